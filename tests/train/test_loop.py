"""Losses that are not finite."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from lapsr_cli.train import checkpoint
from lapsr_cli.train.loop import Step, Stopped, Validated
from tests.train.runs import (
    SMALL_FLAGS,
    Drawn,
    Lapsr,
    begun,
    error_line,
    records,
    state,
    stop_after,
    tensors,
)


def test_a_run_that_diverges_twice_fails(lapsr: Lapsr, drawn: Drawn, tmp_path: Path) -> None:
    run = tmp_path / "run"
    absurd = ("--optimizer", "sgd", "--lr", "1e30", "--grad-clip", "0", "--warm-up", "0")
    given = (*SMALL_FLAGS, *absurd, "--iterations", "9", "--log-every", "1")
    ran = lapsr("train", *drawn.given, "-o", run, *given)
    assert ran.code == 1
    (warning,) = [line for line in ran.error_lines if line.startswith("loss is not finite at ")]
    assert ": back to iteration 0 with half the learning rate" in warning
    line = error_line(ran)
    assert "loss is not finite again at iteration " in line
    assert line.endswith("try a lower --lr")
    saved = checkpoint.read(run / "checkpoints" / "last.pt")
    assert saved.progress.rate_factor == 0.5
    for tensor in tensors(vars(saved)):
        assert tensor.isfinite().all()
    records(run)  # no line holds NaN or Infinity


def test_a_run_that_was_rolled_back_ends_well_with_half_the_learning_rate(
    drawn: Drawn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    trainer = begun(run, drawn, iterations=6, warm_up=0, schedule="constant")
    done = []
    for event in trainer.run():
        if isinstance(event, Step):
            done.append(event.iteration)
            if done == [1, 2, 3]:
                with torch.no_grad():
                    trainer.model.conv_in.weight[0] = math.nan
    assert event == Stopped(6, "finished")
    assert done == [1, 2, 3, 3, 4, 5, 6]
    assert caplog.messages == [
        "loss is not finite at iteration 4: back to iteration 2 with half the learning rate"
    ]
    rates = {r["iteration"]: r["rate"] for r in records(run) if "rate" in r}
    assert rates == pytest.approx({1: 1e-3, 2: 1e-3, **dict.fromkeys((3, 4, 5, 6), 5e-4)})
    assert len([record for record in records(run) if "loss" in record]) == 6
    for tensor in tensors(state(run / "checkpoints" / "last.pt")):
        assert tensor.isfinite().all()

    other = begun(tmp_path / "other", drawn, iterations=6, warm_up=0, schedule="constant")
    stop_after(3, other)
    with torch.no_grad():
        other.model.conv_in.weight[0] = math.nan  # as above, but after the checkpoint was written
    assert any(isinstance(event, Validated) for event in other.run())
    assert [r["loss"] for r in records(tmp_path / "other") if "loss" in r][:2] == [
        r["loss"] for r in records(run) if "loss" in r
    ][:2]
