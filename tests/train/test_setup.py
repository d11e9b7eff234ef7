"""Invalid options, unusable pictures and missing permissions."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from lapsr_cli.train import setup
from tests.conftest import draw, unprivileged
from tests.train.runs import (
    SMALL_FLAGS,
    TINY_FLAGS,
    Drawn,
    Lapsr,
    contents,
    error_line,
    losses,
    truncate,
)


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["-o", "{tmp}/run"], 2, "--data is required"),
        (["--data", "{data}"], 2, "-o"),
        (
            ["--data", "{tmp}/empty", "-o", "{tmp}/run"],
            3,
            "--data {tmp}/empty: contains no pictures",
        ),
        (["--data", "{tmp}/gone", "-o", "{tmp}/run"], 3, "--data {tmp}/gone: no such file"),
        (["--data", "{tmp}/small", "-o", "{tmp}/run"], 3, "--data: none of 2 pictures"),
        (["{ok}", "--val", "{tmp}/empty"], 3, "--val {tmp}/empty: contains no pictures"),
        (["{ok}", "--val", "{tmp}/gone"], 3, "--val {tmp}/gone: no such file"),
        (["{ok}", "--val", "{tmp}/corrupt"], 1, "{tmp}/corrupt/text.png"),
        (["{ok}", "--val", "{tmp}/tiny"], 1, "{tmp}/tiny/a.png"),
        (["{ok}", "--val", "{data}"], 2, "--data {data}: every picture in it is in --val too"),
        (["{ok}", "--patch-size", "20"], 2, "--patch-size 20"),
        (["{ok}", "--patch-size", "8"], 2, "--patch-size 8"),
        (["{ok}", "--scales", "3"], 2, "--scales 3"),
        (["{ok}", "--scales", "16"], 2, "--scales 16"),
        (["{ok}", "--scales", "0"], 2, "--scales 0"),
        (["{ok}", "--scales", "-2"], 2, "--scales -2"),
        (["{ok}", "--scales", ""], 2, "--scales"),
        (["{ok}", "--scales", "two"], 2, "--scales two"),
        (["{ok}", "--scales", "2,4", "--no-pyramid"], 2, "--scales 2,4"),
        (["{ok}", "--scales", "2,4,8", "--batch-size", "1"], 2, "--batch-size 1"),
        (["{ok}", "--batch-size", "0"], 2, "--batch-size 0"),
        (["{ok}", "--iterations", "0"], 2, "--iterations 0"),
        (["{ok}", "--iterations", "many"], 2, "--iterations"),
        (["{ok}", "--lr", "-1"], 2, "--lr -1"),
        (["{ok}", "--lr", "nan"], 2, "--lr nan"),
        (["{ok}", "--lr", "inf"], 2, "--lr inf"),
        (["{ok}", "--ema", "1"], 2, "--ema 1"),
        (["{ok}", "--seed", "-1"], 2, "--seed -1"),
        (["{ok}", "--seed", "18446744073709551616"], 2, "--seed 18446744073709551616"),
        (["{ok}", "--scale-augmentation", "0"], 2, "--scale-augmentation 0"),
        (["{ok}", "--degrade", "nonsense"], 2, "--degrade nonsense"),
        (["{ok}", "--degrade", "jpeg:95-60"], 2, "--degrade jpeg:95-60"),
        (["{ok}", "--degrade", "noise:1.2.3"], 2, "--degrade noise:1.2.3"),
        (["{ok}", "--depth", "0"], 2, "depth"),
        (["{ok}", "--recursions", "0"], 2, "recursions"),
        (["{ok}", "--no-share", "--recursions", "2"], 2, "recursions"),
        (["{ok}", "--time-limit", "soon"], 2, "--time-limit soon"),
        (["{ok}", "--save-every", ""], 2, "--save-every"),
        (["{ok}", "--log-every", "0"], 2, "--log-every"),
        (["{ok}", "--validate-every", "0"], 2, "--validate-every"),
        (["{ok}", "--memory", "lots"], 2, "--memory lots"),
        (["{ok}", "--init", "nonexistent"], 4, "nonexistent: not known"),
        (["{ok}", "--init", "lapsr-classic", "--depth", "3"], 4, "--init lapsr-classic"),
        (["{ok}", "--device", "cuda:77"], 4, "--device cuda:77"),
        (["{ok}", "--device", "tpu"], 2, "--device tpu"),
        (["{ok}", "--preset", "fast"], 2, "--preset"),
        (["{ok}", "--nonsense"], 2, "--nonsense"),
        (["--data", "{data}", "-o", "{data}"], 2, "-o/--output {data}"),
        (["--data", "{data}", "-o", "{data}/0.png"], 2, "{data}/0.png"),
        (["--data", "{data}", "-o", "{data}/0.png/run"], 1, "{data}/0.png"),
    ],
)
def test_an_invalid_command_is_an_error_of_one_line(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path, given: list[str], code: int, words: str
) -> None:
    (tmp_path / "empty").mkdir()
    for number in range(2):
        draw(tmp_path / "small" / f"{number}.png", 15, 40)
    draw(tmp_path / "corrupt" / "a.png", 40, 40)
    (tmp_path / "corrupt" / "text.png").write_text("this is text")
    draw(tmp_path / "tiny" / "a.png", 30, 9)

    def filled(part: str) -> str:
        return part.replace("{tmp}", str(tmp_path)).replace("{data}", str(drawn.data))

    ok = ["--data", "{data}", "-o", "{tmp}/run", *TINY_FLAGS, "--iterations", "2"]
    parts = [*ok, *given[1:]] if given[0] == "{ok}" else [*given, "--patch-size", "16"]
    before = contents(drawn.data)
    ran = lapsr("train", *map(filled, parts))
    assert ran.code == code, ran.err
    line = error_line(ran)
    assert filled(words) in line
    expected = ("device: ", "recipe: ", "no --val: ", "skipped: ")
    assert [each for each in ran.error_lines if not each.startswith(expected)] == [line]
    assert contents(drawn.data) == before
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device(lapsr: Lapsr, drawn: Drawn, tmp_path: Path) -> None:
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", "--device", "cuda")
    assert ran.code == 4
    (line,) = ran.error_lines
    assert line.startswith("lapsr: --device cuda: torch ")


def test_corrupt_pictures_are_skipped_with_a_warning(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(drawn.data, tmp_path / "data"))
    truncate(draw(data / "half.jpg", 64, 64))
    (data / "text.png").write_text("this is text")
    draw(data / "small.png", 40, 15)
    given = (*SMALL_FLAGS, "--iterations", "2", "--log-every", "1")
    ran = lapsr("train", "--data", data, "-o", tmp_path / "run", *given)
    assert ran.code == 0
    skipped = [line for line in ran.error_lines if line.startswith("skipped: ")]
    assert len(skipped) == 3
    for name in ("half.jpg", "text.png", "small.png"):
        assert sum(str(data / name) in line for line in skipped) == 1
    assert lapsr("train", "--data", drawn.data, "-o", tmp_path / "good", *given).code == 0
    assert losses(tmp_path / "run") == losses(tmp_path / "good")


def test_pictures_of_val_are_left_out_of_training(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(drawn.data, tmp_path / "data"))
    val = Path(shutil.copytree(drawn.val, data / "val"))
    (data / "again.png").symlink_to(next(val.iterdir()))
    number = len(list(val.iterdir())) + 1
    given = (*SMALL_FLAGS, "--iterations", "2", "--log-every", "1")
    ran = lapsr("train", "--data", data, "--val", val, "-o", tmp_path / "run", *given)
    assert ran.code == 0, ran.err
    assert f"left out of training: {number} pictures of --val" in ran.error_lines
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "apart", *given)
    assert "left out" not in ran.err
    assert losses(tmp_path / "run") == losses(tmp_path / "apart")


@pytest.mark.posix
def test_a_folder_without_write_permission(lapsr: Lapsr, drawn: Drawn) -> None:
    with tempfile.TemporaryDirectory() as name:  # the user nobody cannot enter pytest's own
        place = Path(name)
        place.chmod(0o755)
        shutil.copytree(drawn.data, place / "data")
        (place / "run").mkdir(mode=0o555)
        given = ("--data", place / "data", "-o", place / "run", *SMALL_FLAGS, "--iterations", "1")
        with unprivileged():
            ran = lapsr("train", *given)
        assert contents(place / "run") == {}
    assert ran.code == 1
    line = error_line(ran)
    assert line.startswith(f"lapsr: {place / 'run'}")
    assert line.endswith("Permission denied")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_lapsr(tmp_path: Path) -> None:
    """And not that of the repository in which lapsr's environment lies."""
    package = Path(setup.__file__).parents[1]
    site = tmp_path / "project" / ".venv" / "site"
    shutil.copytree(package, site / "lapsr_cli", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "project" / "own.py").touch()

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        folder = str(tmp_path / "project")
        subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)

    def recorded() -> object:
        """By the copy of the module."""
        copy = site / "lapsr_cli" / "train" / "setup.py"
        spec = importlib.util.spec_from_file_location("copied_setup", copy)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["copied_setup"] = module
        spec.loader.exec_module(module)
        return module._git()

    git("init")
    git("add", "own.py")
    git("commit", "-m", "first")
    assert recorded() is None
    git("add", ".")
    git("commit", "-m", "second")
    assert isinstance(recorded(), dict)
