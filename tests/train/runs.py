"""Helpers for tests of whole runs of `lapsr train`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lapsr_cli.device.selection import choose
from lapsr_cli.train import checkpoint
from lapsr_cli.train.distributed import ProcessGroup
from lapsr_cli.train.loop import Event, LoopOptions, Stopped, Trainer
from lapsr_cli.train.run_dir import RunDirectory
from lapsr_cli.train.setup import TrainOptions, build_trainer, resolve
from tests.conftest import Ran

Lapsr = Callable[..., Ran]
Record = dict[str, Any]
NETWORK_FLAGS = ("--depth", "1", "--recursions", "1")
TINY_FLAGS = (*NETWORK_FLAGS, "--patch-size", "16", "--precision", "fp32", "--device", "cpu")
SMALL_FLAGS = (*TINY_FLAGS, "--scales", "2,4", "--batch-size", "4")
LONG = 120
"""Iterations of the long run: enough for a process to be interrupted in the middle."""
LENGTH_FLAGS = ("--batch-size", "2", "--iterations", str(LONG), "--warm-up", "20")
LONG_RUN_FLAGS = (
    *TINY_FLAGS,
    "--scales",
    "2,4",
    *LENGTH_FLAGS,
    "--log-every",
    "3",
    "--validate-every",
    "40",
)
MEASURED = ("seconds", "patches_per_second")


@dataclass(frozen=True)
class Drawn:
    """Folders of drawn pictures: some to train on, others to validate on."""

    data: Path
    val: Path

    @property
    def given(self) -> tuple[str, ...]:
        return ("--data", str(self.data), "--val", str(self.val))


@dataclass(frozen=True)
class Whole:
    """An uninterrupted run, and the exit code of its command."""

    path: Path
    code: int


def begun(run: Path, drawn: Drawn, *, options: LoopOptions | None = None, **recipe: Any) -> Trainer:
    """A trainer as the command builds it, in this process: new or resumed."""
    given = {"scales": (2, 4), "patch_size": 16, "batch_size": 4, "precision": "fp32", **recipe}
    fresh = not RunDirectory(run).has_checkpoint
    given_options = TrainOptions(
        data=(str(drawn.data),),
        val=(str(drawn.val),),
        network={"depth": 1, "recursions": 1} if fresh else {},
        recipe=given if fresh else recipe,
    )
    device, run_dir = choose("cpu"), RunDirectory(run)
    return build_trainer(
        resolve(run_dir, given_options, device),
        run_dir,
        device,
        ProcessGroup(0, 1, device.torch_device),
        options=options or LoopOptions(log_every=1, validate_every=2),
        started=time.monotonic(),
        command=["a test"],
    )


def stop_after(iterations: int, trainer: Trainer) -> list[Event]:
    events = list(trainer.run(lambda: trainer.progress.iteration >= iterations))
    assert events[-1] == Stopped(iterations, "interrupted")
    return events


def reject_constant(text: str) -> float:
    raise AssertionError(f"{text} is in the metrics")


def records(run: Path) -> list[Record]:
    """Every line of metrics.jsonl, which must be strict JSON, without measured times."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    parsed = [json.loads(line, parse_constant=reject_constant) for line in lines]
    return [{k: v for k, v in record.items() if k not in MEASURED} for record in parsed]


def losses(run: Path) -> dict[int, float]:
    return {record["iteration"]: record["loss"] for record in records(run) if "loss" in record}


def state(path: Path) -> dict[str, Any]:
    """The content of a checkpoint without the measured time."""
    content = dict(vars(checkpoint.read(path)))
    content["progress"] = {k: v for k, v in vars(content["progress"]).items() if k != "seconds"}
    return content


def same(one: Any, other: Any) -> bool:
    """Whether two nested structures are equal, tensors bit for bit."""
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
    """Two runs have the same metrics, checkpoints and model, bit for bit."""
    assert records(one) == records(other)
    for name in ("last.pt", "best.pt"):
        assert same(state(one / "checkpoints" / name), state(other / "checkpoints" / name))
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def error_line(ran: Ran) -> str:
    """The only error message, which must be the last line."""
    (line,) = [line for line in ran.error_lines if line.startswith("lapsr: ")]
    assert ran.error_lines[-1] == line
    return line


def upscales(lapsr: Lapsr, run: Path, picture: Path, scale: int) -> None:
    """The model of a run upscales a picture."""
    given = ("upscale", picture, "-m", run / "model.safetensors", "-s", scale, "--device", "cpu")
    ran = lapsr(*given, "-o", run / "up")
    assert ran.code == 0, ran.err
    with (
        Image.open(picture) as before,
        Image.open(run / "up" / f"{picture.stem}_x{scale}.png") as image,
    ):
        assert image.size == (scale * before.width, scale * before.height)


def start(run: Path, drawn: Drawn, *more: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start the long run in a process of its own."""
    arguments = ["train", *drawn.given, "-o", str(run), *LONG_RUN_FLAGS, *more]
    return subprocess.Popen(
        [*before, sys.executable, "-m", "lapsr_cli", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "110"},
    )


def wait_for_record(process: subprocess.Popen[str], run: Path, words: str) -> None:
    """Wait until metrics.jsonl contains ``words`` or the process has ended."""
    metrics = run / "metrics.jsonl"
    while process.poll() is None:
        if metrics.is_file() and words in metrics.read_text():
            return
        time.sleep(0.002)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
