"""Runs that are interrupted, killed, damaged or changed, and how they resume."""

from __future__ import annotations

import json
import math
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lapsr_cli.train import checkpoint
from lapsr_cli.train.loop import LoopOptions, Stopped
from tests.train.runs import (
    LONG,
    LONG_RUN_FLAGS,
    SMALL_FLAGS,
    Drawn,
    Lapsr,
    Whole,
    assert_same_run,
    begun,
    contents,
    error_line,
    losses,
    records,
    same,
    start,
    state,
    stop_after,
    truncate,
    wait_for_record,
)

RECIPES: dict[str, dict[str, str]] = {
    "muon": {},
    "adam": {"optimizer": "adam"},
    "sgd": {"optimizer": "sgd", "lr": "0.01"},
    "muon-bf16": {"precision": "bf16"},
    "sgd-bf16": {"optimizer": "sgd", "lr": "0.01", "precision": "bf16"},
    "degraded": {"degrade": "jpeg:60-95,noise:1-3"},
    "adversarial": {"adversarial": "0.5"},
}


@pytest.mark.parametrize("flags", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.parametrize("way", ["stop", "time"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path, flags: dict[str, str], way: str
) -> None:
    given = [*SMALL_FLAGS, "--iterations", "4", "--warm-up", "1", "--log-every", "1"]
    given += ["--validate-every", "2", *(f"--{name}={value}" for name, value in flags.items())]
    assert lapsr("train", *drawn.given, "-o", tmp_path / "whole", *given).code == 0
    recipe: dict[str, Any] = {"rate" if n == "lr" else n: v for n, v in flags.items()}
    recipe |= {name: float(recipe[name]) for name in ("rate", "adversarial") if name in recipe}
    options = LoopOptions(log_every=1, validate_every=2, time_limit=3600)
    trainer = begun(tmp_path / "run", drawn, options=options, iterations=4, warm_up=1, **recipe)
    if way == "stop":
        stop_after(2, trainer)
    else:
        for event in trainer.run():
            if event.iteration == 1:
                trainer._start = -math.inf  # the hour ends during iteration 2
        assert event == Stopped(2, "time limit")
    stopped = state(tmp_path / "run" / "checkpoints" / "last.pt")
    assert stopped["progress"]["iteration"] == 2
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *given)
    assert ran.code == 0, ran.err
    assert "resuming from iteration 2" in ran.err
    assert "changed since" not in ran.err
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    ended = state(tmp_path / "run" / "checkpoints" / "last.pt")
    assert ended["progress"]["iteration"] == 4
    assert not same(stopped["model"], ended["model"])
    sessions = json.loads((tmp_path / "run" / "config.json").read_text())["sessions"]
    assert [session["from_iteration"] for session in sessions] == [0, 2]


def test_a_time_limit_of_zero_leaves_a_run_that_can_be_resumed(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    given = (*drawn.given, *SMALL_FLAGS, "--iterations", "3", "--log-every", "1")
    ran = lapsr("train", "-o", tmp_path / "run", *given, "--time-limit", "0s")
    assert ran.code == 0
    assert ran.error_lines[-1].startswith("time limit: ")
    assert "saved iteration 0 to " in ran.error_lines[-1]
    assert lapsr("train", "-o", tmp_path / "run", *given, "--resume").code == 0
    assert lapsr("train", "-o", tmp_path / "whole", *given, "--no-resume").code == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_an_interruption_between_two_records_changes_neither(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    given = (*drawn.given, *SMALL_FLAGS, "--iterations", "7", "--log-every", "3")
    for stops, name in (((), "whole"), ((2, 4, 5), "run")):
        for stop in stops:
            options = LoopOptions(log_every=3)
            stop_after(stop, begun(tmp_path / name, drawn, options=options, iterations=7))
        assert lapsr("train", "-o", tmp_path / name, *given).code == 0
    assert list(losses(tmp_path / "whole")) == [3, 6]
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.posix
def test_sigterm_ends_with_130_and_a_checkpoint(
    lapsr: Lapsr, drawn: Drawn, whole: Whole, tmp_path: Path
) -> None:
    process = start(tmp_path / "run", drawn)
    wait_for_record(process, tmp_path / "run", '"iteration": 6,')
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    saved = checkpoint.read(tmp_path / "run" / "checkpoints" / "last.pt").progress
    assert 6 <= saved.iteration < LONG
    assert err.splitlines()[-1].startswith("interrupted: ")
    assert f"saved iteration {saved.iteration} to " in err
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *LONG_RUN_FLAGS)
    assert ran.code == 0
    assert f"resuming from iteration {saved.iteration}" in ran.err
    assert_same_run(tmp_path / "run", whole.path)


IN_A_TERMINAL = (
    "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])) & 255)"
)


@pytest.mark.posix
def test_a_terminal_shows_a_live_line_and_tables_and_ctrl_c_stops(
    lapsr: Lapsr, drawn: Drawn, whole: Whole, tmp_path: Path
) -> None:
    process = start(tmp_path / "run", drawn, before=[sys.executable, "-c", IN_A_TERMINAL])
    wait_for_record(process, tmp_path / "run", '"scores"')
    assert process.stdin is not None
    time.sleep(0.2)  # the live line is drawn a few more times
    process.stdin.write("\x03")
    process.stdin.flush()
    shown, _ = process.communicate()
    assert process.returncode == 130, shown
    assert "Traceback" not in shown
    assert "\x1b[" in shown
    assert f"/{LONG}" in shown
    assert "patches/s" in shown
    assert "loss 0." in shown
    assert f"iteration 40/{LONG}, loss" not in shown  # such lines are for pipes only
    table = shown[shown.index("iteration 40, best so far") :]
    for heading in ("PSNR dB", "bicubic", "gain", "SSIM", "val", "2x", "4x"):
        assert heading in table
    first = next(record for record in records(tmp_path / "run") if "scores" in record)
    for psnr, ssim in first["scores"]["val"].values():
        assert f"{psnr:.2f}" in table
        assert f"{ssim:.4f}" in table
    assert "interrupted: " in shown
    assert lapsr("train", *drawn.given, "-o", tmp_path / "run", *LONG_RUN_FLAGS).code == 0
    assert_same_run(tmp_path / "run", whole.path)


@pytest.mark.posix
def test_a_run_that_is_killed_repeatedly_ends_the_same(
    lapsr: Lapsr, drawn: Drawn, whole: Whole, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    reached: list[int] = []
    for further, saving in ((6, "5m"), (6, "0s"), (30, "1s")):
        seen = max(losses(run)) if reached else 0  # records of an earlier session say nothing
        process = start(run, drawn, "--save-every", saving)
        wait_for_record(process, run, f'"iteration": {seen + further},')
        process.kill()
        _, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, err
        reached.append(checkpoint.read(run / "checkpoints" / "last.pt").progress.iteration)
    assert reached[0] == 0  # no checkpoint was due, so the next session starts over
    assert 0 < reached[1] <= reached[2] < LONG
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 9')  # as if killed while writing
    assert lapsr("train", *drawn.given, "-o", run, *LONG_RUN_FLAGS).code == 0
    assert_same_run(run, whole.path)


@pytest.mark.parametrize("stopped", [1, 2], ids=["before", "when validation is due"])
def test_a_checkpoint_is_never_newer_than_its_model(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path, stopped: int
) -> None:
    given = (*drawn.given, *SMALL_FLAGS, "--iterations", "2", "--log-every", "1")
    assert lapsr("train", "-o", tmp_path / "whole", *given).code == 0
    run = tmp_path / "run"
    stop_after(stopped, begun(run, drawn, iterations=2))
    model = run / "model.safetensors"
    model.rename(tmp_path / "kept")
    (model / "in the way").mkdir(parents=True)  # writing the model fails
    ran = lapsr("train", "-o", run, *given)
    assert ran.code == 1
    assert str(model) in error_line(ran) or ".part" in error_line(ran)
    shutil.rmtree(model)
    (tmp_path / "kept").rename(model)
    assert lapsr("train", "-o", run, *given).code == 0
    assert_same_run(run, tmp_path / "whole")


def test_resume_needs_a_run(lapsr: Lapsr, drawn: Drawn, tmp_path: Path) -> None:
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *SMALL_FLAGS, "--resume")
    assert ran.code == 2
    (line,) = ran.error_lines
    assert line.startswith(f"lapsr: --resume: {tmp_path / 'run'} contains no run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--no-resume"], "--no-resume"),
        (["--depth", "2"], "depth 1, not 2"),
        (["--recursions", "3"], "recursions 1, not 3"),
        (["--skip", "ns"], "skip ss, not ns"),
        (["--no-share"], "shared True, not False"),
        (["--scales", "2"], "scales"),
        (["--scales", "2,4,8"], "scales"),
        (["--init", "lapsr-classic"], "init None, not lapsr-classic"),
        (["--optimizer", "sgd"], "optimizer muon, not sgd"),
        (["--preset", "paper"], "--preset paper"),
        (["--lr", "-1"], "--lr"),
    ],
)
def test_options_that_a_run_cannot_resume_with_change_nothing(
    lapsr: Lapsr, whole: Whole, a_run: Path, flags: list[str], words: str
) -> None:
    ran = lapsr("train", "-o", a_run, "--device", "cpu", *flags)
    assert ran.code == 2
    (line,) = ran.error_lines
    assert words in line
    assert contents(a_run) == contents(whole.path)


def test_a_changed_learning_rate_is_printed_and_used(
    lapsr: Lapsr, half: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(half, tmp_path / "run"))
    before = [record["rate"] for record in records(run) if "rate" in record]
    given = ("--device", "cpu", "--log-every", "1")
    ran = lapsr("train", "-o", run, "--lr", "0.003", *given)  # --data and --val are in config.json
    assert ran.code == 0
    changes = [
        line for line in ran.error_lines if line.startswith("changed since the last session")
    ]
    assert changes == ["changed since the last session: --lr 0.003 (was 0.001)"]
    rates = [record["rate"] for record in records(run) if "rate" in record]
    assert rates == pytest.approx([*before, 0.003 * 3 / 100, 0.003 * 4 / 100])


def test_a_changed_weight_decay_is_used(lapsr: Lapsr, half: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(half, tmp_path / "run"))
    given = ("--weight-decay", "0.25", "--bias-lr-factor", "0.5", "--device", "cpu")
    assert lapsr("train", "-o", run, *given).code == 0
    groups = checkpoint.read(run / "checkpoints" / "last.pt").optimizer["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.25, 0.25]
    assert [group["factor"] for group in groups] == [1.0, 0.5]


def test_a_finished_run_has_nothing_left_to_do(
    lapsr: Lapsr, drawn: Drawn, whole: Whole, a_run: Path
) -> None:
    ran = lapsr("train", *drawn.given, "-o", a_run, *LONG_RUN_FLAGS)
    assert ran.code == 0
    assert ran.error_lines[-1].startswith(f"finished: {LONG} iterations, ")
    assert not [line for line in ran.error_lines if line.startswith("iteration ")]
    assert_same_run(a_run, whole.path)


def test_a_finished_run_resumes_with_more_iterations(
    lapsr: Lapsr, half: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(half, tmp_path / "run"))
    for iterations in (3, 5):
        given = ("--iterations", str(iterations), "--device", "cpu", "--log-every", "1")
        assert lapsr("train", "-o", run, *given).code == 0
    assert list(losses(run)) == [1, 2, 3, 4, 5]
    assert records(run)[-1]["scores"]


def test_a_run_resumes_without_the_model_it_started_from(
    lapsr: Lapsr, drawn: Drawn, whole: Whole, tmp_path: Path
) -> None:
    first = Path(shutil.copy(whole.path / "model.safetensors", tmp_path / "first.safetensors"))
    given = (*drawn.given, *SMALL_FLAGS, "--init", first, "--iterations", "2", "--log-every", "1")
    assert lapsr("train", *given, "-o", tmp_path / "whole").code == 0
    assert lapsr("train", *given, "-o", tmp_path / "run", "--time-limit", "0").code == 0
    first.unlink()
    ran = lapsr("train", *given, "-o", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def without(key: str) -> Callable[[Path], None]:
    def remove_key(path: Path) -> None:
        content = json.loads(path.read_text())
        del content[key]
        path.write_text(json.dumps(content))

    return remove_key


def of_another_network(path: Path) -> None:
    saved = checkpoint.read(path)
    saved.model["conv_in.weight"] = saved.model["conv_in.weight"][:32]
    checkpoint.write(saved, path)


def without_momentum(path: Path) -> None:
    saved = checkpoint.read(path)
    saved.optimizer["param_groups"].pop()
    checkpoint.write(saved, path)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("checkpoints/last.pt", truncate),
        ("checkpoints/last.pt", lambda path: path.write_text("no checkpoint")),
        ("checkpoints/last.pt", lambda path: path.write_bytes(b"")),
        ("checkpoints/last.pt", of_another_network),
        ("checkpoints/last.pt", without_momentum),
        ("config.json", truncate),
        ("config.json", lambda path: path.write_text("[]")),
        ("config.json", lambda path: path.write_bytes(b"\xff\xfe{}")),
        ("config.json", lambda path: path.unlink()),
        ("config.json", without("recipe")),
        ("config.json", without("preset")),
        ("config.json", without("sessions")),
        ("config.json", without("data")),
    ],
)
def test_a_damaged_run_is_an_error_of_one_line_and_not_changed(
    lapsr: Lapsr,
    drawn: Drawn,
    half: Path,
    tmp_path: Path,
    name: str,
    damage: Callable[[Path], object],
) -> None:
    run = Path(shutil.copytree(half, tmp_path / "run"))
    damage(run / name)
    before = contents(run)
    ran = lapsr("train", *drawn.given, "-o", run, *SMALL_FLAGS, "--iterations", "4")
    assert ran.code == 1
    assert str(run / name) in error_line(ran)
    assert contents(run) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")
def test_a_reader_that_goes_stops_a_run_with_a_checkpoint(drawn: Drawn, tmp_path: Path) -> None:
    process = start(tmp_path / "run", drawn)
    wait_for_record(process, tmp_path / "run", '"iteration": 3,')
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    assert process.wait(60) == 141
    saved = checkpoint.read(tmp_path / "run" / "checkpoints" / "last.pt").progress
    assert 3 <= saved.iteration < LONG
