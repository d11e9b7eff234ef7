"""Seconds of repeated calls, measured by the wall clock or, on CUDA, by events."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lapsr_cli.bench.results import Timing
from lapsr_cli.errors import UsageError
from lapsr_cli.pixels.picture import Size

__all__ = ["TimingOptions", "interleaved", "repeated", "synchronize"]

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class TimingOptions:
    """What is timed and how often.

    ``sizes``: of the input; ablations use the first. ``batch``: pictures per call. ``runs``: number
    of measured runs, after ``warm_up`` runs that do not count. ``threads``: of torch and of
    the other runtimes; 0 is torch's default. Raises UsageError, naming the option.
    """

    sizes: tuple[Size, ...]
    batch: int = 1
    runs: int = 3
    warm_up: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        if not self.sizes:
            raise UsageError("--size: needs at least one size")
        for option, value in (
            ("--batch-size", self.batch),
            ("--runs", self.runs),
            ("--warm-up", self.warm_up),
        ):
            if value < 1:
                raise UsageError(f"{option} {value}: must be at least 1")
        cores = os.cpu_count() or 1
        if not 0 <= self.threads <= cores:  # torch crashes with thousands of threads
            raise UsageError(
                f"--threads {self.threads}: must be from 1 to {cores}, the number of cores"
            )


def repeated(
    call: Callable[[], object], runs: int, warm_up: int = 1, *, device: torch.device = _CPU
) -> Timing:
    """Time ``runs`` calls, after ``warm_up`` calls that do not count.

    ``device`` is synchronized before and after each call.
    """
    return interleaved([call], runs, warm_up, device=device)[0]


def interleaved(
    calls: Sequence[Callable[[], object]],
    runs: int,
    warm_up: int = 1,
    *,
    device: torch.device = _CPU,
) -> list[Timing]:
    """Time several calls, their runs interleaved (A B C, A B C), so that changes in the machine's
    speed affect all of them.

    The first ``warm_up`` rounds do not count. Returns one timing per call, in order.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    for number in range(warm_up + runs):
        for call, measured in zip(calls, seconds, strict=True):
            duration = _duration(call, device)
            if number >= warm_up:
                measured.append(duration)
    return [_timing(measured) for measured in seconds]


def _duration(call: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    if device.type == "cuda":
        return _duration_on_cuda(call, device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def _duration_on_cuda(call: Callable[[], object], device: torch.device) -> float:
    """Seconds between two events on the current stream, by the GPU's clock."""
    stream = torch.cuda.current_stream(device)
    began = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    ended = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    began.record(stream)
    call()
    ended.record(stream)
    synchronize(device)
    return float(began.elapsed_time(ended)) / 1e3


def synchronize(device: torch.device) -> None:
    """Wait for all work queued on ``device``; the CPU has none."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _timing(seconds: Sequence[float]) -> Timing:
    return Timing(
        median=statistics.median(seconds),
        least=min(seconds),
        most=max(seconds),
        runs=len(seconds),
    )
