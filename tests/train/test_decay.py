"""`--decay-from`: the end of a run whose length was not known when it began."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lapsr_cli.train import checkpoint
from tests.train.runs import (
    SMALL_FLAGS,
    Drawn,
    Lapsr,
    assert_same_run,
    error_line,
    records,
    same,
)

FLAGS = (*SMALL_FLAGS, "--warm-up", "1", "--log-every", "1", "--validate-every", "4")


@pytest.fixture
def stable(lapsr: Lapsr, drawn: Drawn, tmp_path: Path) -> Path:
    """The checkpoint of eight iterations at the same rate."""
    given = (*FLAGS, "--schedule", "constant", "--iterations", "8", "--lr", "0.004")
    assert lapsr("train", *drawn.given, "-o", tmp_path / "stable", *given).code == 0
    return tmp_path / "stable" / "checkpoints" / "last.pt"


def test_a_decay_is_the_last_fifth_of_a_longer_run(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path, stable: Path
) -> None:
    """As if the run had been of ten iterations with the schedule "wsd" from the beginning."""
    given = (*FLAGS, "--schedule", "wsd", "--iterations", "10", "--lr", "0.004")
    assert lapsr("train", *drawn.given, "-o", tmp_path / "whole", *given).code == 0
    run = tmp_path / "decay"
    assert (
        lapsr("train", *drawn.given, "-o", run, "--decay-from", stable, "--log-every", "1").code
        == 0
    )
    ours, whole = (
        checkpoint.read(folder / "checkpoints" / "last.pt") for folder in (run, tmp_path / "whole")
    )
    assert ours.progress.iteration == 10
    assert same(ours.model, whole.model)
    assert same(ours.ema, whole.ema)
    assert not same(ours.model, checkpoint.read(stable).model)
    rates = [each["rate"] for each in records(run) if "rate" in each]
    assert rates == [pytest.approx(0.004), pytest.approx(1e-6 + 0.003999 * (1 - 0.5**0.5))]
    assert (run / "model.safetensors").is_file()
    assert json.loads((run / "config.json").read_text())["recipe"]["decay"] == 2


def test_an_interrupted_decay_resumes_with_the_same_command(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path, stable: Path
) -> None:
    given = ("--decay-from", stable, "--decay", "40", "--log-every", "1", "--validate-every", "20")
    assert lapsr("train", *drawn.given, "-o", tmp_path / "whole", *given).code == 0
    run = tmp_path / "parts"
    assert lapsr("train", *drawn.given, "-o", run, *given, "--time-limit", "0s").code == 0
    assert checkpoint.read(run / "checkpoints" / "last.pt").progress.iteration < 48
    stable.unlink()  # no longer needed
    assert lapsr("train", *drawn.given, "-o", run, *given).code == 0
    assert_same_run(run, tmp_path / "whole")


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["--decay-from", "{tmp}/none.pt"], 1, "{tmp}/none.pt: No such file"),
        (
            ["--decay-from", "{stable}", "--init", "lapsr-classic"],
            2,
            "--init: not with --decay-from",
        ),
        (["--decay-from", "{stable}", "--iterations", "9"], 2, "--iterations: not with"),
        (["--decay-from", "{stable}", "--depth", "1"], 2, "--depth: not with"),
        (["--decay-from", "{stable}", "--schedule", "step"], 2, "--schedule: not with"),
        (["--decay-from", "{stable}", "--decay", "-1"], 2, "--decay -1"),
        (["--decay-from", "{stable}", "--decay", "0"], 2, "--decay 0"),
    ],
)
def test_invalid_use(
    lapsr: Lapsr,
    drawn: Drawn,
    tmp_path: Path,
    stable: Path,
    given: list[str],
    code: int,
    words: str,
) -> None:
    places = {"tmp": tmp_path, "stable": stable}
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *(g.format(**places) for g in given))
    assert ran.code == code, ran.err
    assert words.format(**places) in error_line(ran)
    assert not (tmp_path / "run").exists()
