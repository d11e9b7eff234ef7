"""Runs of two processes under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from lapsr_cli import weights
from tests.train.runs import TINY_FLAGS, Drawn, Lapsr, losses, records, wait_for_record

SEVERAL = (*TINY_FLAGS, "--scales", "2,4", "--batch-size", "6", "--log-every", "1")
GENTLE = ("--optimizer", "sgd", "--lr", "0.002", "--warm-up", "0", "--schedule", "constant")


def torchrun(*arguments: str) -> subprocess.Popen[str]:
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launcher += ["--monitor-interval", "0.1"]
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def assert_near(run: Path, other: Path) -> None:
    """Two runs differ by no more than what the order of sums explains."""
    assert losses(run) == pytest.approx(losses(other), abs=1e-5)
    models = [weights.load(str(r / "model.safetensors")).state_dict() for r in (run, other)]
    for name, value in models[0].items():
        torch.testing.assert_close(value, models[1][name], rtol=0, atol=1e-5)
    for one, two in zip(records(run), records(other), strict=True):
        for scale, figures in one.get("scores", {}).get("val", {}).items():
            assert figures == pytest.approx(two["scores"]["val"][scale], abs=1e-2)
            baseline = one["bicubic"]["val"][scale]
            assert baseline == pytest.approx(two["bicubic"]["val"][scale], rel=1e-12)


def test_two_processes_train_as_one_and_only_rank_0_prints(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    given = [*drawn.given, *SEVERAL, *GENTLE, "--iterations", "6"]
    command = ("-m", "lapsr_cli", "train", *given, "-o", str(tmp_path / "two"))
    _, err = torchrun(*command).communicate()
    assert lapsr("train", *given, "-o", tmp_path / "one").code == 0
    assert list(losses(tmp_path / "two")) == [1, 2, 3, 4, 5, 6], err
    assert_near(tmp_path / "two", tmp_path / "one")
    values = list(losses(tmp_path / "one").values())
    assert max(values) - min(values) > 1e-3  # large compared with the tolerance
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == len(set(lines))
    assert [line for line in lines if "and 1 more" in line]
    assert len([line for line in lines if line.startswith("iteration 6/6, ")]) == 1
    session = json.loads((tmp_path / "two" / "config.json").read_text())["sessions"][0]
    assert session["devices"] == 2


@pytest.mark.slow  # torchrun starts four processes
def test_a_killed_worker_is_restarted_and_resumes(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    given = [*drawn.given, *SEVERAL, *GENTLE, "--iterations", "24"]
    command = ("train", *given, "-o", str(run), "--save-every", "0s")
    launcher = torchrun("--max-restarts", "1", "-m", "lapsr_cli", *command)
    wait_for_record(launcher, run, '"iteration": 4,')
    workers = [
        child
        for child in psutil.Process(launcher.pid).children(recursive=True)
        if "lapsr_cli" in child.cmdline() and child.environ().get("LOCAL_RANK") == "1"
    ]
    (worker,) = workers
    worker.kill()
    _, err = launcher.communicate()
    assert launcher.returncode == 0, err
    assert "Traceback" not in err
    sessions = json.loads((run / "config.json").read_text())["sessions"]
    assert [session["from_iteration"] > 0 for session in sessions] == [False, True]
    assert f"resuming from iteration {sessions[1]['from_iteration']}" in err
    assert lapsr("train", *given, "-o", tmp_path / "one").code == 0
    assert len(losses(run)) == 24
    assert_near(run, tmp_path / "one")


def test_a_batch_too_small_for_all_processes_is_an_error_of_one_line(
    drawn: Drawn, tmp_path: Path
) -> None:
    given = [*drawn.given, *TINY_FLAGS, "--scales", "2,4", "--batch-size", "3"]
    command = ("-m", "lapsr_cli", "train", *given, "-o", str(tmp_path / "run"))
    launcher = torchrun(*command)
    _, err = launcher.communicate()
    assert launcher.returncode != 0
    (line,) = {line for line in err.splitlines() if line.startswith("lapsr: ")}
    assert line.startswith(
        "lapsr: --batch-size 3: must be at least 4, one patch for each of 2 scales"
    )
    assert not (tmp_path / "run" / "checkpoints").exists()
