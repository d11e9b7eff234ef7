"""Seconds of repeated calls, by the wall clock or, on CUDA, by events."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from lapsr_cli.bench.results import Timing

__all__ = ["finish", "in_turn", "repeated"]

_CPU = torch.device("cpu")


def repeated(
    call: Callable[[], object], runs: int, warm_up: int = 1, *, device: torch.device = _CPU
) -> Timing:
    """``call`` made ``runs`` times after ``warm_up`` calls that do not count.

    What was begun on ``device`` has ended before a call begins, and before it counts as done.
    """
    return in_turn([call], runs, warm_up, device=device)[0]


def in_turn(
    calls: Sequence[Callable[[], object]],
    runs: int,
    warm_up: int = 1,
    *,
    device: torch.device = _CPU,
) -> list[Timing]:
    """Several calls as A B C, A B C: a machine that becomes slower or faster meanwhile does so to
    all of them. The timing of each, in order; the first ``warm_up`` rounds do not count."""
    seconds: list[list[float]] = [[] for _ in calls]
    for number in range(warm_up + runs):
        for call, taken in zip(calls, seconds, strict=True):
            duration = _duration(call, device)
            if number >= warm_up:
                taken.append(duration)
    return [_timing(taken) for taken in seconds]


def _duration(call: Callable[[], object], device: torch.device) -> float:
    finish(device)
    if device.type == "cuda":
        return _duration_on_cuda(call, device)
    start = time.perf_counter()
    call()
    finish(device)
    return time.perf_counter() - start


def _duration_on_cuda(call: Callable[[], object], device: torch.device) -> float:
    """By events on the stream that computes; the GPU's clock, not the program's."""
    stream = torch.cuda.current_stream(device)
    began = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    ended = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    began.record(stream)
    call()
    ended.record(stream)
    finish(device)
    return float(began.elapsed_time(ended)) / 1e3


def finish(device: torch.device) -> None:
    """Wait for what was begun on a device that computes beside the program."""
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
