"""Finding inputs, and atomic writes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lapsr_cli.errors import UsageError
from lapsr_cli.files import atomic_write, find, sweep

SUFFIXES = (".png", ".jpg")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_are_searched_recursively_and_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.JPG", "deep/er/c.png", "notes.txt", "deep/no.gif")
    found = find([str(tmp_path)], SUFFIXES, tmp_path / "out")
    assert [str(source.relative) for source in found.sources] == [
        "a.JPG",
        "b.png",
        "deep/er/c.png",
    ]
    assert found.problems == {}


def test_files_and_patterns_and_each_picture_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png", "c.txt", "strange")
    inputs = [tmp_path / "strange", tmp_path / "?.*", tmp_path / "a.png", tmp_path / "gone*"]
    found = find(map(str, inputs), SUFFIXES, tmp_path / "out")
    assert [source.path.name for source in found.sources] == ["strange", "a.png", "b.png"]
    assert found.problems == {str(tmp_path / "gone*"): "no such file or folder"}


def test_a_name_with_pattern_characters_is_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].png", "a1.png")
    found = find([str(tmp_path / "a[1].png")], SUFFIXES, tmp_path / "out")
    assert [source.path.name for source in found.sources] == ["a[1].png"]


def test_the_output_folder_is_not_an_input(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "out/a_x2.png")
    found = find([str(tmp_path)], SUFFIXES, tmp_path / "out")
    assert [source.path.name for source in found.sources] == ["a.png"]
    with pytest.raises(UsageError, match="input folder"):
        find([str(tmp_path)], SUFFIXES, tmp_path)


@pytest.mark.posix
def test_a_link_to_a_parent_folder_is_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "sub/a.png")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert len(find([str(tmp_path)], SUFFIXES, tmp_path / "out").sources) == 1


def tells_case_apart(folder: Path) -> bool:
    (folder / "Case").touch()
    return not (folder / "case").exists()


def test_a_pattern_keeps_relative_paths_and_excludes_the_output_folder(tmp_path: Path) -> None:
    touch(tmp_path, "s1/a.png", "s2/a.png", "out/s1/a_x2.png")
    found = find([str(tmp_path / "**" / "*.png")], SUFFIXES, tmp_path / "out")
    assert [str(source.relative) for source in found.sources] == ["s1/a.png", "s2/a.png"]
    found = find([str(tmp_path / "s*")], SUFFIXES, tmp_path / "out")
    assert [str(source.relative) for source in found.sources] == ["s1/a.png", "s2/a.png"]


def test_a_file_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    with atomic_write(path) as file:
        file.write(b"first")
        assert not path.exists()
    assert path.read_bytes() == b"first"

    def fail() -> None:
        with atomic_write(path) as file:
            file.write(b"second")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"first"
    assert [each.name for each in path.parent.iterdir()] == ["a.bin"]


def test_errors_name_the_final_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match=r"directory|exists") as error, atomic_write(tmp_path / "a"):
        pass
    assert (error.value.filename, error.value.filename2) == (str(tmp_path / "a"), None)


@pytest.mark.posix
def test_files_get_permissions_by_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.posix
def test_files_of_killed_runs_are_removed_after_a_day(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from lapsr_cli.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], check=False)
    (left,) = tmp_path.iterdir()
    (tmp_path / "b.part").touch()
    os.utime(tmp_path / "b.part", (0, 0))
    assert sweep([tmp_path, tmp_path / "not there"]) == 0
    yesterday = time.time() - 90_000
    os.utime(left, (yesterday, yesterday))
    assert sweep([tmp_path]) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["b.part"]


def test_without_an_output_folder_nothing_is_excluded(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for text in (str(tmp_path), f"{tmp_path}/*"):
        found = find([text], [".png"])
        assert {source.path.name for source in found.sources} == {"a.png", "b.png"}
        assert found.problems == {}


def test_a_link_to_a_picture_is_a_picture_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/photo.png", "in/a.png", "in/sub/b.png")
    (tmp_path / "in" / "copy.png").symlink_to("a.png")
    (tmp_path / "in" / "sub" / "c.png").symlink_to(tmp_path / "elsewhere" / "photo.png")
    (tmp_path / "in" / "sub" / "d.png").symlink_to(tmp_path / "elsewhere" / "photo.png")
    found = find([str(tmp_path / "in")], SUFFIXES, tmp_path / "out")
    assert [str(source.relative) for source in found.sources] == [
        "a.png",
        "copy.png",
        "sub/b.png",
        "sub/c.png",
        "sub/d.png",
    ]


def test_one_path_in_several_spellings_is_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "in/a.png", "in/sub/b.png")
    (tmp_path / "same").symlink_to("in")
    monkeypatch.chdir(tmp_path / "in")
    inputs = ["a.png", "./a.png", "../in/a.png", "../same/a.png", ".", str(tmp_path / "in"), "*"]
    found = find(inputs, SUFFIXES, tmp_path / "out")
    assert [str(source.path) for source in found.sources] == ["a.png", "sub/b.png"]


@pytest.mark.parametrize(("count", "more"), [(1, ""), (3, " and 2 more")])
def test_links_to_folders_are_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int, more: str
) -> None:
    touch(tmp_path, "elsewhere/a.png", "in/sub/b.png", "in/c.png", "out/c_x2.png")
    for number in range(count):
        (tmp_path / "in" / "sub" / f"link{number}").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "results").symlink_to(tmp_path / "out")
    inputs = [str(tmp_path / "in")] * 2
    found = find(inputs, SUFFIXES, tmp_path / "out")
    assert [source.path.name for source in found.sources] == ["c.png", "b.png"]
    first = tmp_path / "in" / "sub" / "link0"
    assert caplog.messages == [f"links to folders are not followed: {first}{more}"]
    caplog.clear()
    find(inputs, SUFFIXES, tmp_path / "out", recursive=False)
    assert caplog.messages == []


def test_a_folder_named_by_a_link_is_searched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "elsewhere/a.png")
    (tmp_path / "link").symlink_to("elsewhere")
    for text in ("link", "l*"):
        found = find([str(tmp_path / text)], SUFFIXES, tmp_path / "out")
        assert [source.path.name for source in found.sources] == ["a.png"]
    assert caplog.messages == []
