from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lapsr_cli import files
from lapsr_cli.errors import UsageError
from lapsr_cli.files import Naming, Source, find, name_outputs, sweep, whole_file
from tests.conftest import unprivileged

SUFFIXES = (".png", ".jpg")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_are_searched_below_and_in_order(tmp_path: Path) -> None:
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


def test_a_link_to_its_own_folder_is_no_loop(tmp_path: Path) -> None:
    touch(tmp_path, "sub/a.png")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert len(find([str(tmp_path)], SUFFIXES, tmp_path / "out").sources) == 1


def sources(*names: str, suffix: str = "") -> dict[Source, str]:
    """With the suffix of their outputs, which is their own unless another is given."""
    return {Source(Path("in") / n, Path(n)): suffix or Path(n).suffix for n in names}


def test_the_tree_is_mirrored(tmp_path: Path) -> None:
    naming = Naming(folder=tmp_path, scales=("2", "8"))
    (outputs,) = name_outputs(sources("deep/er/c.jpg"), naming).outputs.values()
    assert outputs == {s: tmp_path / "deep" / "er" / f"c_x{s}.jpg" for s in ("2", "8")}


def tells_case_apart(folder: Path) -> bool:
    (folder / "Case").touch()
    return not (folder / "case").exists()


def test_names_that_differ_in_case_are_two_where_the_file_system_says_so(tmp_path: Path) -> None:
    named = name_outputs(sources("a.png", "A.png"), Naming(folder=tmp_path, scales=("2",)))
    assert len(named.outputs) == (2 if tells_case_apart(tmp_path) else 1)


def test_pictures_of_one_stem_never_share_an_output(tmp_path: Path) -> None:
    naming = Naming(folder=tmp_path, scales=("2",))
    named = name_outputs(sources("a.jpg", "a.png", "A.webp", "b.jpg", suffix=".png"), naming)
    assert [outputs["2"].name for outputs in named.outputs.values()] == [
        "a_jpg_x2.png",
        "a_png_x2.png",
        "A_x2.png" if tells_case_apart(tmp_path) else "A_webp_x2.png",
        "b_x2.png",
    ]


def test_what_cannot_be_told_apart_is_left_out_by_name(tmp_path: Path) -> None:
    naming = Naming(folder=tmp_path, scales=("2",))
    one, two = (Source(Path(folder, "a.png"), Path("a.png")) for folder in ("one", "two"))
    named = name_outputs({one: ".png", two: ".png"}, naming)
    assert list(named.outputs) == [one]
    assert "one/a.png" in named.clashes[two]


@pytest.mark.parametrize("folder", ["lower", "Upper"])
def test_no_input_is_ever_overwritten(tmp_path: Path, folder: str) -> None:
    out = tmp_path / folder
    touch(out, "a.png", "a_x2.png")
    a, result = (Source(out / name, Path(name)) for name in ("a.png", "a_x2.png"))
    named = name_outputs({a: ".png", result: ".png"}, Naming(folder=out, scales=("2",)))
    assert list(named.outputs) == [result]
    assert f"overwrite the input {out / 'a_x2.png'}" in named.clashes[a]
    named = name_outputs({a: ".png"}, Naming(folder=out, scales=("2",), pattern="{stem}"))
    assert list(named.clashes) == [a]


def test_a_pattern_mirrors_the_tree_and_leaves_its_own_results_out(tmp_path: Path) -> None:
    touch(tmp_path, "s1/a.png", "s2/a.png", "out/s1/a_x2.png")
    found = find([str(tmp_path / "**" / "*.png")], SUFFIXES, tmp_path / "out")
    assert [str(source.relative) for source in found.sources] == ["s1/a.png", "s2/a.png"]
    found = find([str(tmp_path / "s*")], SUFFIXES, tmp_path / "out")
    assert [str(source.relative) for source in found.sources] == ["s1/a.png", "s2/a.png"]


def test_a_folder_that_cannot_be_opened_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to nobody
        folder = Path(name)
        folder.chmod(0o755)
        touch(folder, "a.png", "closed/b.png")
        (folder / "closed").chmod(0)
        with unprivileged():
            found = find([name], SUFFIXES, folder / "out")
        (folder / "closed").chmod(0o755)
    assert found.problems == {str(folder / "closed"): "Permission denied"}
    assert [str(source.relative) for source in found.sources] == ["a.png"]


@pytest.mark.parametrize(
    "pattern", ["{stem}", "{name}_{scale}", "x/{stem}_{scale}", "{", "..", "{stem.x}{scale}"]
)
def test_patterns_that_name_nothing_usable(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        Naming(folder=tmp_path, scales=("2", "4"), pattern=pattern)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    with whole_file(path) as file:
        file.write(b"first")
        assert not path.exists()
    assert path.read_bytes() == b"first"

    def fail() -> None:
        with whole_file(path) as file:
            file.write(b"second")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"first"
    assert [each.name for each in path.parent.iterdir()] == ["a.bin"]


def test_where_case_does_not_tell_names_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS and Windows; few machines here have such a file system."""
    monkeypatch.setattr(files, "_folds_case", lambda folder: True)
    sources = [Source(tmp_path / name, Path(name)) for name in ("a.png", "A.png", "a.jpg", "b.png")]
    naming = Naming(folder=tmp_path / "out", scales=("2",), pattern="{stem}_x{scale}")
    named = name_outputs(dict.fromkeys(sources, ".png"), naming)
    assert list(named.clashes) == [sources[1]]
    there = [path.name for outputs in named.outputs.values() for path in outputs.values()]
    assert there == ["a_png_x2.png", "a_jpg_x2.png", "b_x2.png"]


def test_errors_name_the_file_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match=r"directory|exists") as error, whole_file(tmp_path / "a"):
        pass
    assert (error.value.filename, error.value.filename2) == (str(tmp_path / "a"), None)


def test_files_get_the_permissions_of_the_user(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "a") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_what_killed_runs_left_goes_after_a_day(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from lapsr_cli.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as file:\n"
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


def test_without_an_output_folder_nothing_is_left_out(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for text in (str(tmp_path), f"{tmp_path}/*"):
        found = find([text], [".png"])
        assert {source.path.name for source in found.sources} == {"a.png", "b.png"}
        assert found.problems == {}
