"""lapsr train from the outside: whole runs, how they end, and how they go on."""

from __future__ import annotations

import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from lapsr_cli import cli, weights
from lapsr_cli.device.selection import choose
from lapsr_cli.metrics import protocol
from lapsr_cli.pixels.color import luma
from lapsr_cli.train import checkpoint
from lapsr_cli.train.distributed import Ranks
from lapsr_cli.train.loop import Event, Pace, Step, Stopped, Trainer, Validated
from lapsr_cli.train.recipe import Recipe
from lapsr_cli.train.run_dir import RunFolder
from lapsr_cli.train.setup import TrainOptions, begin, settle
from tests.conftest import Ran, draw, unprivileged

Lapsr = Callable[..., Ran]
Record = dict[str, Any]

NETWORK = ("--depth", "1", "--recursions", "1")
TINY = (*NETWORK, "--patch-size", "16", "--precision", "fp32", "--device", "cpu")
SMALL = (*TINY, "--scales", "2,4", "--batch-size", "4")
LONG = 240
"""Iterations of the run that others are compared with: long enough to be interrupted."""
LENGTH = ("--batch-size", "2", "--iterations", str(LONG), "--warm-up", "20")
LONG_RUN = (*TINY, "--scales", "2,4", *LENGTH, "--log-every", "3", "--validate-every", "80")
CLOCKS = ("seconds", "patches_per_second")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums come in one order here and in other processes, and tests that run beside cost less."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Drawn:
    """Folders of drawn pictures: some to train on, others to validate on."""

    data: Path
    val: Path

    @property
    def given(self) -> tuple[str, ...]:
        return ("--data", str(self.data), "--val", str(self.val))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    folder = tmp_path_factory.mktemp("drawn")
    for number in range(4):
        draw(folder / "data" / f"{number}.png", 40, 36, seed=number)
    draw(folder / "data" / "grey.png", 33, 47, mode="L", seed=4)
    for number in range(3):
        draw(folder / "val" / f"{number}.png", 27, 22 + number, seed=10 + number)
    return Drawn(folder / "data", folder / "val")


@dataclass(frozen=True)
class Whole:
    """A run that was never disturbed, and what the command returned."""

    path: Path
    code: int


@pytest.fixture(scope="module")
def whole(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The long run, from beginning to end in one go, with everything switched on."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    arguments = ["train", *drawn.given, "-o", str(run), *LONG_RUN, "--tensorboard"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lapsr", *arguments])
        code = cli.lapsr.main(standalone_mode=False)
    return Whole(run, code)


@pytest.fixture
def a_run(whole: Whole, tmp_path: Path) -> Path:
    """A copy of the whole run, to do things to."""
    return Path(shutil.copytree(whole.path, tmp_path / "run"))


@pytest.fixture(scope="module")
def half(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run that was stopped after two of its four iterations; copy it."""
    run = tmp_path_factory.mktemp("runs") / "half"
    stop_after(2, begun(run, drawn, iterations=4))
    return run


def begun(run: Path, drawn: Drawn, *, pace: Pace | None = None, **recipe: Any) -> Trainer:
    """A trainer as the command makes it, without the command."""
    given = {"scales": (2, 4), "patch_size": 16, "batch_size": 4, "precision": "fp32", **recipe}
    fresh = not RunFolder(run).holds_a_run
    wishes = TrainOptions(
        data=(str(drawn.data),),
        val=(str(drawn.val),),
        network={"depth": 1, "recursions": 1} if fresh else {},
        recipe=given if fresh else recipe,
    )
    device, folder = choose("cpu"), RunFolder(run)
    return begin(
        settle(folder, wishes, device),
        folder,
        device,
        Ranks(0, 1, device.torch_device),
        pace=pace or Pace(log_every=1, validate_every=2),
        started=time.monotonic(),
        command=["a test"],
    )


def stop_after(iterations: int, trainer: Trainer) -> list[Event]:
    events = list(trainer.run(lambda: trainer.progress.iteration >= iterations))
    assert events[-1] == Stopped(iterations, "interrupted")
    return events


def not_a_number(text: str) -> float:
    raise AssertionError(f"{text} is in the metrics")


def records(run: Path) -> list[Record]:
    """Every line of the metrics, which must be JSON, without what clocks say."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    parsed = [json.loads(line, parse_constant=not_a_number) for line in lines]
    return [{k: v for k, v in record.items() if k not in CLOCKS} for record in parsed]


def losses(run: Path) -> dict[int, float]:
    return {record["iteration"]: record["loss"] for record in records(run) if "loss" in record}


def state(path: Path) -> dict[str, Any]:
    """A checkpoint without the time that was spent."""
    content = dict(vars(checkpoint.read(path)))
    content["progress"] = {k: v for k, v in vars(content["progress"]).items() if k != "seconds"}
    return content


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, however deep the tensors lie."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def tensors(content: Any) -> list[torch.Tensor]:
    if isinstance(content, torch.Tensor):
        return [content]
    parts = content.values() if isinstance(content, Mapping) else content
    nested = isinstance(content, (Mapping, list, tuple))
    return [tensor for part in parts for tensor in tensors(part)] if nested else []


def assert_same_run(one: Path, other: Path) -> None:
    """Two runs came to the same end, to the bit."""
    assert records(one) == records(other)
    for name in ("last.pt", "best.pt"):
        assert same(state(one / "checkpoints" / name), state(other / "checkpoints" / name))
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def complaint(ran: Ran) -> str:
    """The one line that says what went wrong; it is the last."""
    (line,) = [line for line in ran.error_lines if line.startswith("lapsr: ")]
    assert ran.error_lines[-1] == line
    return line


def upscales(lapsr: Lapsr, run: Path, picture: Path, scale: int) -> None:
    """The run's model enlarges a picture."""
    given = ("upscale", picture, "-m", run / "model.safetensors", "-s", scale, "--device", "cpu")
    ran = lapsr(*given, "-o", run / "up")
    assert ran.code == 0, ran.err
    with (
        Image.open(picture) as before,
        Image.open(run / "up" / f"{picture.stem}_x{scale}.png") as image,
    ):
        assert image.size == (scale * before.width, scale * before.height)


# A run from beginning to end


def test_a_run_leaves_everything_it_promises(whole: Whole, lapsr: Lapsr, drawn: Drawn) -> None:
    assert whole.code == 0
    kept = {name for name in contents(whole.path) if not name.startswith("tensorboard")}
    assert kept >= {
        "config.json",
        "metrics.jsonl",
        "curve.png",
        "checkpoints/last.pt",
        "checkpoints/best.pt",
        "model.safetensors",
    }
    with Image.open(whole.path / "curve.png") as picture:
        assert np.array(picture.convert("L")).std() > 0
    upscales(lapsr, whole.path, drawn.val / "0.png", 2)
    upscales(lapsr, whole.path, drawn.val / "0.png", 4)


def test_config_json_alone_repeats_the_run(whole: Whole, drawn: Drawn) -> None:
    config = json.loads((whole.path / "config.json").read_text())
    recipe = Recipe.from_json(config["recipe"])
    assert recipe.to_json() == checkpoint.read(whole.path / "checkpoints" / "last.pt").recipe
    assert (recipe.network.depth, recipe.network.recursions, recipe.network.levels) == (1, 1, 2)
    assert (recipe.scales, recipe.patch_size, recipe.batch_size) == ((2, 4), 16, 2)
    assert (recipe.iterations, recipe.warm_up, recipe.precision) == (LONG, 20, "fp32")
    assert (recipe.optimizer, recipe.rate, recipe.ema) == ("muon", 1e-3, 0.999)  # the preset's
    assert (config["preset"], config["data"], config["val"]) == (
        "modern",
        [str(drawn.data)],
        [str(drawn.val)],
    )
    (session,) = config["sessions"]
    assert session["command"][:4] == ["lapsr", "train", "--data", str(drawn.data)]
    assert session["versions"]["torch"] == torch.__version__
    assert {"lapsr", "python", "numpy", "platform"} <= session["versions"].keys()
    assert session["git"] is None or len(session["git"]["commit"]) == 40
    assert session["pictures"]["count"] == 5
    assert session["pictures"]["pixels"] == 4 * 40 * 36 + 33 * 47
    assert (session["from_iteration"], session["devices"]) == (0, 1)


def test_the_identity_of_the_pictures_is_that_of_their_pixels(drawn: Drawn, tmp_path: Path) -> None:
    def identity(name: str, data: Path) -> str:
        begun(tmp_path / name, Drawn(data, drawn.val))
        config = json.loads((tmp_path / name / "config.json").read_text())
        return str(config["sessions"][0]["pictures"]["blake2b"])

    elsewhere = Path(shutil.copytree(drawn.data, tmp_path / "elsewhere"))
    before = identity("a", drawn.data)
    assert identity("b", elsewhere) == before
    with Image.open(elsewhere / "2.png") as image:
        pixels = np.array(image)
    pixels[0, 0] ^= 128
    Image.fromarray(pixels).save(elsewhere / "2.png")
    assert identity("c", elsewhere) != before


def by_the_papers_protocol(
    enlarge: Callable[[torch.Tensor, int], torch.Tensor], pictures: Sequence[Path], scale: int
) -> float:
    """PSNR of the luma in 8-bit levels without ``scale`` pixels at each edge, in numpy."""
    found = []
    for path in pictures:
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        hr = luma(pixels.double() / 255)[0]
        height, width = (side // scale * scale for side in hr.shape)
        hr = hr[:height, :width]
        result = enlarge(protocol.degrade(hr, scale), scale)
        original, enlarged = (np.rint(255 * x.clamp(0, 1).double().numpy()) for x in (hr, result))
        difference = (original - enlarged)[scale : height - scale, scale : width - scale]
        found.append(10 * math.log10(255**2 / np.mean(difference**2)))
    return float(np.mean(found))


@pytest.mark.parametrize("scale", [2, 4])
def test_the_last_validation_is_the_papers_protocol_with_the_written_model(
    whole: Whole, drawn: Drawn, scale: int
) -> None:
    validations = [record for record in records(whole.path) if "scores" in record]
    assert [record["iteration"] for record in validations] == [80, 160, 240]
    means = [np.mean([v[0] for v in r["scores"]["val"].values()]) for r in validations]
    assert int(np.argmax(means)) == 2  # so model.safetensors is the last
    model = weights.load(str(whole.path / "model.safetensors"))
    pictures = sorted(drawn.val.iterdir())

    def by_network(lr: torch.Tensor, scale: int) -> torch.Tensor:
        pictures: dict[int, torch.Tensor] = model(lr.float()[None, None], scale)
        return pictures[scale][0, 0]

    score = validations[-1]["scores"]["val"][str(scale)][0]
    assert score == pytest.approx(by_the_papers_protocol(by_network, pictures, scale), abs=1e-2)
    bicubic = validations[-1]["bicubic"]["val"][str(scale)][0]
    expected = by_the_papers_protocol(protocol.bicubic, pictures, scale)
    assert bicubic == pytest.approx(expected, abs=1e-9)
    assert abs(score - bicubic) > 0.1


def test_the_network_learns(whole: Whole) -> None:
    found = losses(whole.path)
    assert list(found) == list(range(3, LONG + 1, 3))
    values = list(found.values())
    assert np.mean(values[-10:]) < 0.4 * np.mean(values[:10])


def test_the_rate_warms_up_and_follows_the_cosine(whole: Whole) -> None:
    rates = {r["iteration"]: r["rate"] for r in records(whole.path) if "rate" in r}
    assert rates[3] == pytest.approx(1e-3 * 3 / 20)
    done = (120 - 1 - 20) / (LONG - 20)
    cosine = 1e-6 + (1e-3 - 1e-6) * (1 + math.cos(math.pi * done)) / 2
    assert rates[120] == pytest.approx(cosine)


def test_tensorboard_shows_what_the_metrics_hold(whole: Whole) -> None:
    events = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    board = events.EventAccumulator(str(whole.path / "tensorboard"))
    board.Reload()
    shown = {scalar.step: scalar.value for scalar in board.Scalars("loss")}
    assert shown == pytest.approx(losses(whole.path), rel=1e-6)
    last = records(whole.path)[-1]
    for scale, (psnr, ssim) in last["scores"]["val"].items():
        assert board.Scalars(f"PSNR {scale}x/val")[-1].value == pytest.approx(psnr, rel=1e-6)
        assert board.Scalars(f"SSIM {scale}x/val")[-1].value == pytest.approx(ssim, rel=1e-6)


def test_a_pipe_gets_plain_lines(lapsr: Lapsr, drawn: Drawn, tmp_path: Path) -> None:
    given = (*SMALL, "--iterations", "4", "--log-every", "2", "--validate-every", "4")
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *given)
    assert ran.code == 0
    assert ran.out == ""
    assert not {"\x1b", "\r"} & set(ran.err)
    starts = ["device: cpu", "recipe: modern, MS-LapSRN D1R1", "iteration 2/4, loss "]
    starts += ["iteration 4/4, loss ", "iteration 4, val: 2x ", "finished: 4 iterations, "]
    assert len(ran.error_lines) == len(starts)
    for line, start in zip(ran.error_lines, starts, strict=True):
        assert line.startswith(start)
    assert ran.error_lines[4].endswith("the best so far")


def test_a_run_without_validation_ships_its_last_average(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ran = lapsr("train", "--data", drawn.data, "-o", run, *SMALL, "--iterations", "3")
    assert ran.code == 0
    assert "no --val: nothing is validated" in ran.err
    saved = checkpoint.read(run / "checkpoints" / "last.pt")
    model = weights.load(str(run / "model.safetensors"))
    assert same(dict(model.state_dict()), dict(saved.ema))
    assert not same(dict(saved.ema), dict(saved.model))
    assert not (run / "checkpoints" / "best.pt").exists()


@pytest.mark.parametrize(
    ("flags", "title", "scale"),
    [
        (["--no-share", "--depth", "1", "--scales", "2,4"], "LapSRN D1 (4x)", 4),
        (["--share", *NETWORK, "--scales", "4", "--skip", "ds"], "MS-LapSRN D1R1 DS", 4),
        ([*NETWORK, "--no-global-residual", "--scales", "2,4"], "without global residual", 2),
        ([*NETWORK, "--no-pyramid", "--scales", "4"], "without pyramid", 4),
    ],
    ids=["LapSRN", "different-source", "no-global-residual", "no-pyramid"],
)
def test_networks_of_every_kind_train_and_enlarge(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path, flags: list[str], title: str, scale: int
) -> None:
    common = ("--patch-size", "16", "--batch-size", "2", "--iterations", "2", "--device", "cpu")
    given = (*common, "--precision", "fp32", "--log-every", "1")
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *flags, *given)
    assert ran.code == 0, ran.err
    assert title in ran.error_lines[1]
    assert list(losses(tmp_path / "run")) == [1, 2]
    upscales(lapsr, tmp_path / "run", drawn.val / "0.png", scale)


def test_a_run_starts_from_a_model_and_has_its_network(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    given = ("--init", "lapsr-draft", "--iterations", "1", "--patch-size", "16", "--device", "cpu")
    tuned = ("--batch-size", "3", "--log-every", "1", "--lr", "1e-9", "--precision", "fp32")
    ran = lapsr("train", "--data", drawn.data, "-o", run, *given, *tuned)
    assert ran.code == 0, ran.err
    assert "MS-LapSRN D5R2, from lapsr-draft, 2x, 4x, 8x" in ran.error_lines[1]
    config = json.loads((run / "config.json").read_text())["recipe"]
    assert (config["network"]["depth"], config["network"]["recursions"]) == (5, 2)
    draft = weights.load("lapsr-draft", offline=True).state_dict()
    trained = weights.load(str(run / "model.safetensors")).state_dict()
    for name, value in draft.items():
        torch.testing.assert_close(trained[name], value, rtol=0, atol=1e-7)
    assert not same(dict(draft), dict(trained))


def test_pictures_mapped_from_the_disk_give_the_same_run(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    given = ("--data", drawn.data, *SMALL, "--iterations", "3", "--log-every", "1")
    assert lapsr("train", *given, "-o", tmp_path / "memory").code == 0
    ran = lapsr("train", *given, "-o", tmp_path / "mapped", "--memory", "1")
    assert ran.code == 0, ran.err
    assert "mapped from" in ran.err
    assert records(tmp_path / "memory") == records(tmp_path / "mapped")
    model = "model.safetensors"
    assert contents(tmp_path / "memory")[model] == contents(tmp_path / "mapped")[model]


# Interruptions

RECIPES: dict[str, dict[str, str]] = {
    "muon": {},
    "adam": {"optimizer": "adam"},
    "sgd": {"optimizer": "sgd", "lr": "0.01"},
    "muon-bf16": {"precision": "bf16"},
    "sgd-bf16": {"optimizer": "sgd", "lr": "0.01", "precision": "bf16"},
    "degraded": {"degrade": "jpeg:60-95,noise:1-3"},
}


@pytest.mark.parametrize("flags", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.parametrize("way", ["stop", "time"])
def test_an_interrupted_run_ends_as_if_nothing_had_been(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path, flags: dict[str, str], way: str
) -> None:
    given = [*SMALL, "--iterations", "4", "--warm-up", "1", "--log-every", "1"]
    given += ["--validate-every", "2", *(f"--{name}={value}" for name, value in flags.items())]
    assert lapsr("train", *drawn.given, "-o", tmp_path / "whole", *given).code == 0
    recipe: dict[str, Any] = {"rate" if n == "lr" else n: v for n, v in flags.items()}
    if "rate" in recipe:
        recipe["rate"] = float(recipe["rate"])
    pace = Pace(log_every=1, validate_every=2, time_limit=3600)
    trainer = begun(tmp_path / "run", drawn, pace=pace, iterations=4, warm_up=1, **recipe)
    if way == "stop":
        stop_after(2, trainer)
    else:
        for event in trainer.run():
            if event.iteration == 1:
                trainer._start = -math.inf  # the hour is over while iteration 2 is done
        assert event == Stopped(2, "time limit")
    stopped = state(tmp_path / "run" / "checkpoints" / "last.pt")
    assert stopped["progress"]["iteration"] == 2
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *given)
    assert ran.code == 0, ran.err
    assert "goes on from iteration 2" in ran.err
    assert "changed from" not in ran.err
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    ended = state(tmp_path / "run" / "checkpoints" / "last.pt")
    assert ended["progress"]["iteration"] == 4
    assert not same(stopped["model"], ended["model"])
    sessions = json.loads((tmp_path / "run" / "config.json").read_text())["sessions"]
    assert [session["from_iteration"] for session in sessions] == [0, 2]


def test_no_time_at_all_leaves_a_run_that_can_be_begun(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    given = (*drawn.given, *SMALL, "--iterations", "3", "--log-every", "1")
    ran = lapsr("train", "-o", tmp_path / "run", *given, "--time-limit", "0s")
    assert ran.code == 0
    assert ran.error_lines[-1].startswith("time limit: ")
    assert "is at iteration 0; the same command goes on from there" in ran.error_lines[-1]
    assert lapsr("train", "-o", tmp_path / "run", *given, "--resume").code == 0
    assert lapsr("train", "-o", tmp_path / "whole", *given, "--no-resume").code == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_an_interruption_between_two_lines_of_metrics_does_not_show(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    given = (*drawn.given, *SMALL, "--iterations", "7", "--log-every", "3")
    for stops, name in (((), "whole"), ((2, 4, 5), "run")):
        for stop in stops:
            pace = Pace(log_every=3)
            stop_after(stop, begun(tmp_path / name, drawn, pace=pace, iterations=7))
        assert lapsr("train", "-o", tmp_path / name, *given).code == 0
    assert list(losses(tmp_path / "whole")) == [3, 6]
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def start(run: Path, drawn: Drawn, *more: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """The long run in a process of its own."""
    arguments = ["train", *drawn.given, "-o", str(run), *LONG_RUN, *more]
    return subprocess.Popen(
        [*before, sys.executable, "-m", "lapsr_cli", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "110"},
    )


def wait_for(process: subprocess.Popen[str], run: Path, words: str) -> None:
    """Until the metrics hold these words, or the process has ended."""
    metrics = run / "metrics.jsonl"
    while process.poll() is None:
        if metrics.is_file() and words in metrics.read_text():
            return
        time.sleep(0.002)


def test_sigterm_ends_with_130_and_a_checkpoint(
    lapsr: Lapsr, drawn: Drawn, whole: Whole, tmp_path: Path
) -> None:
    process = start(tmp_path / "run", drawn)
    wait_for(process, tmp_path / "run", '"iteration": 6,')
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    saved = checkpoint.read(tmp_path / "run" / "checkpoints" / "last.pt").progress
    assert 6 <= saved.iteration < LONG
    assert err.splitlines()[-1].startswith("interrupted: ")
    assert f"is at iteration {saved.iteration}; the same command goes on" in err
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *LONG_RUN)
    assert ran.code == 0
    assert f"goes on from iteration {saved.iteration}" in ran.err
    assert_same_run(tmp_path / "run", whole.path)


IN_A_TERMINAL = (
    "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])) & 255)"
)


def test_a_terminal_shows_a_live_line_and_tables_and_takes_ctrl_c(
    lapsr: Lapsr, drawn: Drawn, whole: Whole, tmp_path: Path
) -> None:
    process = start(tmp_path / "run", drawn, before=[sys.executable, "-c", IN_A_TERMINAL])
    wait_for(process, tmp_path / "run", '"scores"')
    assert process.stdin is not None
    time.sleep(0.2)  # a few more pictures of the live line
    process.stdin.write("\x03")
    process.stdin.flush()
    shown, _ = process.communicate()
    assert process.returncode == 130, shown
    assert "Traceback" not in shown
    assert "\x1b[" in shown
    assert f"/{LONG}" in shown
    assert "patches/s" in shown
    assert "loss 0." in shown
    assert "iteration 80/240, loss" not in shown  # these lines are for pipes
    table = shown[shown.index("iteration 80, the best so far") :]
    for heading in ("PSNR dB", "bicubic", "gain", "SSIM", "val", "2x", "4x"):
        assert heading in table
    first = next(record for record in records(tmp_path / "run") if "scores" in record)
    for psnr, ssim in first["scores"]["val"].values():
        assert f"{psnr:.2f}" in table
        assert f"{ssim:.4f}" in table
    assert "interrupted: " in shown
    assert lapsr("train", *drawn.given, "-o", tmp_path / "run", *LONG_RUN).code == 0
    assert_same_run(tmp_path / "run", whole.path)


def test_a_run_that_is_killed_again_and_again_ends_the_same(
    lapsr: Lapsr, drawn: Drawn, whole: Whole, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    reached: list[int] = []
    for further, saving in ((6, "5m"), (6, "0s"), (72, "1s")):
        seen = max(losses(run)) if reached else 0  # what the metrics hold already says nothing
        process = start(run, drawn, "--save-every", saving)
        wait_for(process, run, f'"iteration": {seen + further},')
        process.kill()
        _, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, err
        reached.append(checkpoint.read(run / "checkpoints" / "last.pt").progress.iteration)
    assert reached[0] == 0  # no checkpoint was due, and all was done again
    assert 0 < reached[1] <= reached[2] < LONG
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 9')  # as if killed while it wrote
    assert lapsr("train", *drawn.given, "-o", run, *LONG_RUN).code == 0
    assert_same_run(run, whole.path)


@pytest.mark.parametrize("stopped", [1, 2], ids=["before", "when validation is due"])
def test_a_checkpoint_never_runs_ahead_of_its_model(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path, stopped: int
) -> None:
    given = (*drawn.given, *SMALL, "--iterations", "2", "--log-every", "1")
    assert lapsr("train", "-o", tmp_path / "whole", *given).code == 0
    run = tmp_path / "run"
    stop_after(stopped, begun(run, drawn, iterations=2))
    model = run / "model.safetensors"
    model.rename(tmp_path / "kept")
    (model / "in the way").mkdir(parents=True)  # the run dies when it comes to its model
    ran = lapsr("train", "-o", run, *given)
    assert ran.code == 1
    assert str(model) in complaint(ran) or ".part" in complaint(ran)
    shutil.rmtree(model)
    (tmp_path / "kept").rename(model)
    assert lapsr("train", "-o", run, *given).code == 0
    assert_same_run(run, tmp_path / "whole")


# Going on


def test_resume_needs_a_run(lapsr: Lapsr, drawn: Drawn, tmp_path: Path) -> None:
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *SMALL, "--resume")
    assert ran.code == 2
    (line,) = ran.error_lines
    assert line.startswith(f"lapsr: --resume: {tmp_path / 'run'} holds no run")
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
        (["--init", "lapsr-draft"], "init None, not lapsr-draft"),
        (["--optimizer", "sgd"], "optimizer muon, not sgd"),
        (["--preset", "paper"], "--preset paper"),
        (["--lr", "-1"], "--lr"),
    ],
)
def test_what_a_run_cannot_go_on_with_changes_nothing(
    lapsr: Lapsr, whole: Whole, a_run: Path, flags: list[str], words: str
) -> None:
    ran = lapsr("train", "-o", a_run, "--device", "cpu", *flags)
    assert ran.code == 2
    (line,) = ran.error_lines
    assert words in line
    assert contents(a_run) == contents(whole.path)


def test_a_changed_rate_is_said_in_one_line_and_used(
    lapsr: Lapsr, half: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(half, tmp_path / "run"))
    before = [record["rate"] for record in records(run) if "rate" in record]
    given = ("--device", "cpu", "--log-every", "1")
    ran = lapsr("train", "-o", run, "--lr", "0.003", *given)  # the pictures are known
    assert ran.code == 0
    changes = [line for line in ran.error_lines if line.startswith("changed from the run so far")]
    assert changes == ["changed from the run so far: --lr 0.003 (was 0.001)"]
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
    ran = lapsr("train", *drawn.given, "-o", a_run, *LONG_RUN)
    assert ran.code == 0
    assert ran.error_lines[-1].startswith(f"finished: {LONG} iterations, ")
    assert not [line for line in ran.error_lines if line.startswith("iteration ")]
    assert_same_run(a_run, whole.path)


def test_a_finished_run_goes_on_when_given_more_iterations(
    lapsr: Lapsr, half: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(half, tmp_path / "run"))
    for iterations in (3, 5):
        given = ("--iterations", str(iterations), "--device", "cpu", "--log-every", "1")
        assert lapsr("train", "-o", run, *given).code == 0
    assert list(losses(run)) == [1, 2, 3, 4, 5]
    assert records(run)[-1]["scores"]


def test_a_run_goes_on_without_the_model_it_began_with(
    lapsr: Lapsr, drawn: Drawn, whole: Whole, tmp_path: Path
) -> None:
    first = Path(shutil.copy(whole.path / "model.safetensors", tmp_path / "first.safetensors"))
    given = (*drawn.given, *SMALL, "--init", first, "--iterations", "2", "--log-every", "1")
    assert lapsr("train", *given, "-o", tmp_path / "whole").code == 0
    assert lapsr("train", *given, "-o", tmp_path / "run", "--time-limit", "0").code == 0
    first.unlink()
    ran = lapsr("train", *given, "-o", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def half_of(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without(key: str) -> Callable[[Path], None]:
    def leave_out(path: Path) -> None:
        content = json.loads(path.read_text())
        del content[key]
        path.write_text(json.dumps(content))

    return leave_out


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
        ("checkpoints/last.pt", half_of),
        ("checkpoints/last.pt", lambda path: path.write_text("no checkpoint")),
        ("checkpoints/last.pt", lambda path: path.write_bytes(b"")),
        ("checkpoints/last.pt", of_another_network),
        ("checkpoints/last.pt", without_momentum),
        ("config.json", half_of),
        ("config.json", lambda path: path.write_text("[]")),
        ("config.json", lambda path: path.write_bytes(b"\xff\xfe{}")),
        ("config.json", lambda path: path.unlink()),
        ("config.json", without("recipe")),
        ("config.json", without("preset")),
        ("config.json", without("sessions")),
        ("config.json", without("data")),
    ],
)
def test_a_damaged_run_is_one_line_and_is_left_as_it_is(
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
    ran = lapsr("train", *drawn.given, "-o", run, *SMALL, "--iterations", "4")
    assert ran.code == 1
    assert str(run / name) in complaint(ran)
    assert contents(run) == before


# When the loss is no number


def test_a_rate_that_blows_up_gets_one_second_chance(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    absurd = ("--optimizer", "sgd", "--lr", "1e30", "--grad-clip", "0", "--warm-up", "0")
    given = (*SMALL, *absurd, "--iterations", "9", "--log-every", "1")
    ran = lapsr("train", *drawn.given, "-o", run, *given)
    assert ran.code == 1
    (warning,) = [line for line in ran.error_lines if "at half the rate" in line][:-1]
    assert warning.startswith("the loss is not a number at iteration ")
    assert ": back to iteration 0, at half the rate" in warning
    line = complaint(ran)
    assert "the loss is not a number again at iteration " in line
    assert line.endswith("give a lower --lr")
    saved = checkpoint.read(run / "checkpoints" / "last.pt")
    assert saved.progress.rate_factor == 0.5
    for tensor in tensors(vars(saved)):
        assert tensor.isfinite().all()
    records(run)  # no line holds NaN or Infinity


def test_a_run_that_was_set_back_ends_well_at_half_the_rate(
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
        "the loss is not a number at iteration 4: back to iteration 2, at half the rate"
    ]
    rates = {r["iteration"]: r["rate"] for r in records(run) if "rate" in r}
    assert rates == pytest.approx({1: 1e-3, 2: 1e-3, **dict.fromkeys((3, 4, 5, 6), 5e-4)})
    assert len([record for record in records(run) if "loss" in record]) == 6
    for tensor in tensors(state(run / "checkpoints" / "last.pt")):
        assert tensor.isfinite().all()

    other = begun(tmp_path / "other", drawn, iterations=6, warm_up=0, schedule="constant")
    stop_after(3, other)
    with torch.no_grad():
        other.model.conv_in.weight[0] = math.nan  # as above, but what is on disk is whole
    assert any(isinstance(event, Validated) for event in other.run())
    assert [r["loss"] for r in records(tmp_path / "other") if "loss" in r][:2] == [
        r["loss"] for r in records(run) if "loss" in r
    ][:2]


# What cannot be


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["-o", "{tmp}/run"], 2, "--data is missing"),
        (["--data", "{data}"], 2, "-o"),
        (["--data", "{tmp}/empty", "-o", "{tmp}/run"], 3, "--data {tmp}/empty: holds no pictures"),
        (["--data", "{tmp}/gone", "-o", "{tmp}/run"], 3, "--data {tmp}/gone: no such file"),
        (["--data", "{tmp}/small", "-o", "{tmp}/run"], 3, "--data: none of 2 pictures"),
        (["{ok}", "--val", "{tmp}/empty"], 3, "--val {tmp}/empty: holds no pictures"),
        (["{ok}", "--val", "{tmp}/gone"], 3, "--val {tmp}/gone: no such file"),
        (["{ok}", "--val", "{tmp}/corrupt"], 1, "{tmp}/corrupt/text.png"),
        (["{ok}", "--val", "{tmp}/tiny"], 1, "{tmp}/tiny/a.png"),
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
        (["{ok}", "--init", "lapsr-draft", "--depth", "3"], 4, "--init lapsr-draft"),
        (["{ok}", "--device", "cuda:77"], 4, "--device cuda:77"),
        (["{ok}", "--device", "tpu"], 2, "--device tpu"),
        (["{ok}", "--preset", "fast"], 2, "--preset"),
        (["{ok}", "--nonsense"], 2, "--nonsense"),
        (["--data", "{data}", "-o", "{data}"], 2, "-o/--output {data}"),
        (["--data", "{data}", "-o", "{data}/0.png"], 2, "{data}/0.png"),
        (["--data", "{data}", "-o", "/proc/lapsr"], 1, "/proc/lapsr"),
    ],
)
def test_what_cannot_be_is_one_line_and_its_exit_code(
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

    ok = ["--data", "{data}", "-o", "{tmp}/run", *TINY, "--iterations", "2"]
    parts = [*ok, *given[1:]] if given[0] == "{ok}" else [*given, "--patch-size", "16"]
    before = contents(drawn.data)
    ran = lapsr("train", *map(filled, parts))
    assert ran.code == code, ran.err
    line = complaint(ran)
    assert filled(words) in line
    said = ("device: ", "recipe: ", "no --val: ", "left out: ")
    assert [each for each in ran.error_lines if not each.startswith(said)] == [line]
    assert contents(drawn.data) == before
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(lapsr: Lapsr, drawn: Drawn, tmp_path: Path) -> None:
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", "--device", "cuda")
    assert ran.code == 4
    (line,) = ran.error_lines
    assert line.startswith("lapsr: --device cuda: torch ")


def test_a_corrupt_picture_is_named_and_left_out(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(drawn.data, tmp_path / "data"))
    half_of(draw(data / "half.jpg", 64, 64))
    (data / "text.png").write_text("this is text")
    draw(data / "small.png", 40, 15)
    given = (*SMALL, "--iterations", "2", "--log-every", "1")
    ran = lapsr("train", "--data", data, "-o", tmp_path / "run", *given)
    assert ran.code == 0
    left_out = [line for line in ran.error_lines if line.startswith("left out: ")]
    assert len(left_out) == 3
    for name in ("half.jpg", "text.png", "small.png"):
        assert sum(str(data / name) in line for line in left_out) == 1
    assert lapsr("train", "--data", drawn.data, "-o", tmp_path / "good", *given).code == 0
    assert losses(tmp_path / "run") == losses(tmp_path / "good")


def test_the_recipe_of_the_paper_runs(lapsr: Lapsr, drawn: Drawn, tmp_path: Path) -> None:
    given = (*SMALL, "--preset", "paper", "--iterations", "2", "--log-every", "1")
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *given)
    assert ran.code == 0, ran.err
    assert "recipe: paper, " in ran.err
    assert "sgd 5e-06" in ran.err
    assert [r["rate"] for r in records(tmp_path / "run") if "rate" in r] == [5e-6, 5e-6]
    assert "changed from" not in lapsr("train", "-o", tmp_path / "run", "--device", "cpu").err


def test_a_folder_that_cannot_be_written(lapsr: Lapsr, drawn: Drawn) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own is closed to nobody
        place = Path(name)
        place.chmod(0o755)
        shutil.copytree(drawn.data, place / "data")
        (place / "run").mkdir(mode=0o555)
        given = ("--data", place / "data", "-o", place / "run", *SMALL, "--iterations", "1")
        with unprivileged():
            ran = lapsr("train", *given)
        assert contents(place / "run") == {}
    assert ran.code == 1
    line = complaint(ran)
    assert line.startswith(f"lapsr: {place / 'run'}")
    assert line.endswith("Permission denied")


# Several processes

SEVERAL = (*TINY, "--scales", "2,4", "--batch-size", "6", "--log-every", "1")
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
    """Two runs differ by no more than the order of sums."""
    assert losses(run) == pytest.approx(losses(other), abs=1e-5)
    models = [weights.load(str(r / "model.safetensors")).state_dict() for r in (run, other)]
    for name, value in models[0].items():
        torch.testing.assert_close(value, models[1][name], rtol=0, atol=1e-5)
    for one, two in zip(records(run), records(other), strict=True):
        for scale, figures in one.get("scores", {}).get("val", {}).items():
            assert figures == pytest.approx(two["scores"]["val"][scale], abs=1e-2)
            baseline = one["bicubic"]["val"][scale]
            assert baseline == pytest.approx(two["bicubic"]["val"][scale], rel=1e-12)


def test_two_processes_train_as_one_and_one_of_them_speaks(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    given = [*drawn.given, *SEVERAL, *GENTLE, "--iterations", "6"]
    command = ("-m", "lapsr_cli", "train", *given, "-o", str(tmp_path / "two"))
    _, err = torchrun(*command).communicate()
    assert lapsr("train", *given, "-o", tmp_path / "one").code == 0
    assert list(losses(tmp_path / "two")) == [1, 2, 3, 4, 5, 6], err
    assert_near(tmp_path / "two", tmp_path / "one")
    values = list(losses(tmp_path / "one").values())
    assert max(values) - min(values) > 1e-3  # so that to be near means something
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == len(set(lines))
    assert [line for line in lines if "and 1 more" in line]
    assert len([line for line in lines if line.startswith("iteration 6/6, ")]) == 1
    session = json.loads((tmp_path / "two" / "config.json").read_text())["sessions"][0]
    assert session["devices"] == 2


def test_a_killed_worker_is_started_again_and_goes_on(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    given = [*drawn.given, *SEVERAL, *GENTLE, "--iterations", "60"]
    command = ("train", *given, "-o", str(run), "--save-every", "0s")
    launcher = torchrun("--max-restarts", "1", "-m", "lapsr_cli", *command)
    wait_for(launcher, run, '"iteration": 4,')
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
    assert f"goes on from iteration {sessions[1]['from_iteration']}" in err
    assert lapsr("train", *given, "-o", tmp_path / "one").code == 0
    assert len(losses(run)) == 60
    assert_near(run, tmp_path / "one")


def test_a_batch_too_small_for_all_processes_is_one_line(drawn: Drawn, tmp_path: Path) -> None:
    given = [*drawn.given, *TINY, "--scales", "2,4", "--batch-size", "3"]
    command = ("-m", "lapsr_cli", "train", *given, "-o", str(tmp_path / "run"))
    launcher = torchrun(*command)
    _, err = launcher.communicate()
    assert launcher.returncode != 0
    (line,) = {line for line in err.splitlines() if line.startswith("lapsr: ")}
    assert line.startswith("lapsr: --batch-size 3: less than a patch for each of 2 scales")
    assert not (tmp_path / "run" / "checkpoints").exists()
