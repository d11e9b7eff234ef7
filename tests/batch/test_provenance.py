"""Results that exist: which are complete, and which this run would have made differently."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapsr_cli.batch.provenance import Records
from lapsr_cli.files import find
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.weights.serialization import Weights, write_safetensors
from tests.conftest import Ran, draw, results_in, tiny_network

Lapsr = Callable[..., Ran]

KEPT = "--if-exists overwrite makes them again"


@pytest.fixture
def upscale(lapsr: Lapsr, tmp_path: Path, tiny: Path) -> Lapsr:
    """From the folder "in" to the folder "out"; a later -m replaces the model."""

    def run(*arguments: str | Path) -> Ran:
        return lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "-m", tiny, *arguments)

    return run


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another model."""
    config = PyramidConfig(depth=1, recursions=1, channels=4)
    path = tmp_path / "other.safetensors"
    state = tiny_network(config, seed=1).state_dict()
    write_safetensors(Weights(config, state, "drawn by a test"), path)
    return path


def records(folder: Path) -> Path:
    return folder / "out" / ".lapsr" / "results.jsonl"


@pytest.mark.parametrize("content", [b"", b"this is no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_complete_picture_is_made_again(
    upscale: Lapsr, tmp_path: Path, content: bytes
) -> None:
    draw(tmp_path / "in" / "a.png")
    assert upscale("-s", "2,4").code == 0
    whole = {path: path.read_bytes() for path in results_in(tmp_path / "out")}
    (tmp_path / "out" / "a_x2.png").write_bytes(content)
    before = (tmp_path / "out" / "a_x4.png").stat().st_mtime_ns
    ran = upscale("-s", "2,4", "--dry-run")
    assert ran.out.splitlines() == [f"{tmp_path}/out/a_x2.png  40 x 32"]
    ran = upscale("-s", "2,4")
    assert ran.code == 0
    warning = f"warning: {tmp_path}/in/a.png: a_x2.png was there, but is no complete picture"
    assert any(line.startswith(warning) for line in ran.error_lines), ran.err
    assert "1 done (1 file)" in ran.err
    assert {path: path.read_bytes() for path in results_in(tmp_path / "out")} == whole
    assert (tmp_path / "out" / "a_x4.png").stat().st_mtime_ns == before
    assert "1 skipped" in upscale("-s", "2,4").err


def test_what_is_no_file_fails_its_picture(upscale: Lapsr, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        draw(tmp_path / "in" / f"{name}.png")
    (tmp_path / "out" / "a_x2.png").mkdir(parents=True)
    (tmp_path / "out" / "b_x2.png").symlink_to("gone.png")
    ran = upscale()
    assert ran.code == 1
    folder, link = (tmp_path / "out" / f"{stem}_x2.png" for stem in "ab")
    assert f"failed: {folder}: not a regular file" in ran.error_lines
    assert f"failed: {link}: No such file or directory" in ran.error_lines
    assert "1 done (1 file), 2 failed" in ran.err
    assert folder.is_dir()
    assert link.readlink() == Path("gone.png")


@pytest.mark.parametrize(
    ("first", "then", "made"),
    [
        ([], ["-m", "{other}"], "with tiny.safetensors"),
        (["--name", "{{stem}}"], ["--name", "{{stem}}", "-s", "4"], "at scale 2"),
        (["--name", "{{stem}}"], ["--name", "{{stem}}", "--width", "60"], "at scale 2"),
        ([], ["--tta"], "without --tta"),
        (["--tta", "--precision", "bf16"], [], "in bf16, with --tta"),
        (["-f", "jpg", "--quality", "80"], ["-f", "jpg"], "with --quality 80"),
        (["-f", "webp", "--lossless"], ["-f", "webp"], "with --lossless"),
        ([], ["--strip-metadata"], "without --strip-metadata"),
        (
            ["-f", "jpg", "--background", "#ff8800"],
            ["-f", "jpg", "--background", "white"],
            "with --background #ff8800",
        ),
    ],
)
def test_a_result_that_was_made_differently_is_kept_and_said(
    upscale: Lapsr, tmp_path: Path, other: Path, first: list[str], then: list[str], made: str
) -> None:
    source = draw(tmp_path / "in" / "a.png")
    first, then = ([each.format(other=other) for each in given] for given in (first, then))
    assert upscale(*first).code == 0
    (path,) = results_in(tmp_path / "out")
    before = path.read_bytes()
    ran = upscale(*then, "-v")
    said = f"warning: 1 existing result kept that this run would make differently, such as {path},"
    assert f"{said} made {made}; {KEPT}" in ran.error_lines
    assert f"skipped: {source}: outputs exist; {path.name} was made {made}" in ran.error_lines
    assert path.read_bytes() == before
    assert KEPT not in upscale(*first).err


def test_dry_runs_reports_and_overwriting(upscale: Lapsr, tmp_path: Path, other: Path) -> None:
    source = draw(tmp_path / "in" / "a.png")
    assert upscale().code == 0
    lines = records(tmp_path).read_bytes()
    ran = upscale("-m", other, "--dry-run")
    assert f"{source.stem}_x2.png, made with tiny.safetensors; {KEPT}" in ran.err
    assert upscale("-m", other, "--report", tmp_path / "report.json").code == 0
    (picture,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["pictures"]
    assert picture["status"] == "skipped"
    assert picture["message"] == "outputs exist; a_x2.png was made with tiny.safetensors"
    assert records(tmp_path).read_bytes() == lines
    assert "a_x2.png exists already" in upscale("-m", other, "--if-exists", "error").err
    ran = upscale("-m", other, "--if-exists", "overwrite")
    assert "1 done" in ran.err
    assert KEPT not in ran.err
    assert KEPT not in upscale("-m", other).err


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (["--compress", "0"], []),
        (["--quality", "50", "--background", "red"], []),
        ([], ["--tile", "16", "--batch-size", "1", "--memory", "1G"]),
        (["-s", "1"], ["-s", "1", "--tta", "--precision", "bf16"]),
        (["-f", "webp", "--lossless", "--quality", "9"], ["-f", "webp", "--lossless"]),
    ],
)
def test_what_changes_nothing_in_a_result_is_not_said(
    upscale: Lapsr, tmp_path: Path, first: list[str], then: list[str]
) -> None:
    draw(tmp_path / "in" / "a.png")
    assert upscale(*first).code == 0
    ran = upscale(*then)
    assert "1 skipped" in ran.err
    assert KEPT not in ran.err


def test_a_picture_of_which_some_results_exist_warns(
    upscale: Lapsr, tmp_path: Path, other: Path
) -> None:
    source = draw(tmp_path / "in" / "a.png")
    assert upscale().code == 0
    ran = upscale("-s", "2,4", "-m", other)
    assert f"warning: {source}: a_x2.png was made with tiny.safetensors" in ran.error_lines
    assert "1 done (1 file), 1 warning" in ran.err


def test_the_default_is_two_models(lapsr: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    draw(tmp_path / "in" / "b.jpg")
    command = ("upscale", tmp_path / "in", "-o", tmp_path / "out")
    assert lapsr(*command).code == 0
    assert KEPT not in lapsr(*command).err
    ran = lapsr(*command, "-m", "lapsr-classic")
    assert (
        f"1 existing result kept that this run would make differently, such as {tmp_path}"
        in ran.err
    )
    assert "b_x2.jpg, made with lapsr-photo;" in ran.err
    ran = lapsr(*command, "-m", "lapsr-photo")
    assert "a_x2.png, made with lapsr-classic;" in ran.err
    assert lapsr(*command, "-m", "lapsr-classic", "--if-exists", "overwrite").code == 0
    assert "b_x2.jpg, made with lapsr-classic;" in lapsr(*command).err


def test_another_picture_of_that_name_and_another_model_of_that_name(
    upscale: Lapsr, tmp_path: Path, tiny: Path, other: Path
) -> None:
    draw(tmp_path / "in" / "a.png")
    own = shutil.copy(tiny, tmp_path / "own.safetensors")
    assert upscale("-m", own).code == 0
    assert KEPT not in upscale("-m", tiny).err, "the same weights by another name"
    draw(tmp_path / "in" / "a.png", 90, 90, seed=1)
    shutil.copy(other, own)
    assert "made from another file, with another own.safetensors;" in upscale("-m", own).err


def test_a_result_that_others_have_changed_is_theirs(
    upscale: Lapsr, tmp_path: Path, other: Path
) -> None:
    draw(tmp_path / "in" / "a.png")
    assert upscale().code == 0
    draw(tmp_path / "out" / "a_x2.png", 50, 50, seed=2)
    ran = upscale("-m", other)
    assert "1 skipped" in ran.err
    assert KEPT not in ran.err


def test_without_records_nothing_is_said(upscale: Lapsr, tmp_path: Path, other: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    assert upscale().code == 0
    shutil.rmtree(records(tmp_path).parent)
    ran = upscale("-m", other)
    assert "1 skipped" in ran.err
    assert KEPT not in ran.err
    assert not records(tmp_path).exists(), "a run that makes nothing leaves nothing"


def test_damaged_lines_cost_only_themselves(upscale: Lapsr, tmp_path: Path, other: Path) -> None:
    for stem in ("a", "b", "c"):
        draw(tmp_path / "in" / f"{stem}.png")
    assert upscale().code == 0
    lines = records(tmp_path).read_bytes().splitlines(keepends=True)
    a, b, c = sorted(lines, key=lambda line: str(json.loads(line)["path"]))  # any may finish first
    unknown = json.dumps({**json.loads(c), "made_by": [1], "tta": None}).encode()
    damage = b'\n\xff\xfe\n[]\n{"path": 3}\n"path"\n{"path": {}}\n' + b"[" * 100_000 + b"\n"
    records(tmp_path).write_bytes(a + damage + unknown + b"\n" + b[: len(b) // 2])
    draw(tmp_path / "in" / "d.png")
    ran = upscale("-v", "-m", other)
    assert "a.png: outputs exist; a_x2.png was made with tiny.safetensors" in ran.err
    assert ran.error_lines[1:].count(f"skipped: {tmp_path}/in/b.png: outputs exist") == 1
    assert "c_x2.png was made with tiny.safetensors, without --tta" in ran.err
    last = records(tmp_path).read_bytes().splitlines()[-1]
    assert json.loads(last)["path"] == "d_x2.png", "half a line spoils the next"


def test_where_no_record_can_be_written_the_results_still_are(
    upscale: Lapsr, tmp_path: Path
) -> None:
    for stem in ("a", "b"):
        draw(tmp_path / "in" / f"{stem}.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lapsr").write_text("a file where a folder should be")
    ran = upscale()
    assert ran.code == 0
    assert "2 done" in ran.err
    said = [
        line for line in ran.error_lines if "what results are made with is not recorded" in line
    ]
    assert len(said) == 1
    assert str(records(tmp_path)) in said[0]


def test_what_lapsr_keeps_in_a_folder_is_no_input(tmp_path: Path) -> None:
    draw(tmp_path / "out" / "a.png")
    draw(tmp_path / "out" / ".lapsr" / "b.png")
    draw(tmp_path / "out" / ".lapsr" / "deep" / "c.png")
    for text in ("out", "out/*", "out/.*", "out/**/*", "out/.*/*.png"):
        found = find([str(tmp_path / text)], [".png"])
        assert {source.path.name for source in found.sources} <= {"a.png"}


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=9).filter(
                lambda name: name not in (".", "..")
            ),
            st.integers(0, 5),
        ),
        max_size=20,
    )
)
def test_the_last_record_of_a_path_counts_whatever_its_name(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("out")
    expected: dict[Path, int] = {}
    for name, size in made:
        path = folder / "sub" / name
        expected[path] = size
        Records(folder).add({path: {"bytes": size}})
    reader = Records(folder)
    (folder / "sub").mkdir()
    for path, size in expected.items():
        path.write_bytes(bytes(size))
        record = reader.of(path)
        assert record == {"path": f"sub/{path.name}", "bytes": size}
        path.write_bytes(bytes(size + 1))
        assert reader.of(path) is None
        path.unlink()
