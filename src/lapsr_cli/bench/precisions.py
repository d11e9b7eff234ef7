"""How fast a network is in each precision of its device, by a short measurement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from lapsr_cli.bench.timing import interleaved
from lapsr_cli.device.selection import FeaturePrecision, choose
from lapsr_cli.errors import LapsrError
from lapsr_cli.inference.runtime import NotFinite, Runtime
from lapsr_cli.upscaler import Upscaler

__all__ = ["seconds_by_precision"]

_SIDE, _SMALL_SIDE = 256, 64
_RUNS = 5
_HOPELESS = 3
"""Times slower than the fastest on a small picture: not measured further. Where the processor lacks
instructions for bf16, it is ten times as slow."""


def seconds_by_precision(upscaler: Upscaler, scale: int) -> dict[str, float]:
    """Median seconds for 256 x 256 random pixels of luma to ``scale``, the runs interleaved.
    Precisions that are far slower than another are left out.

    Which precision is fastest does not follow from the instructions that a processor has: it
    depends on how fast it is in the others.
    """
    luma = torch.rand(_SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    small = luma[:_SMALL_SIDE, :_SMALL_SIDE].contiguous()
    runtimes = list(_usable(upscaler.runner.runtimes[upscaler.name], small, scale))
    first = _medians(runtimes, small, scale, runs=1)
    hopeful = [each for each in runtimes if first[each] < _HOPELESS * min(first.values())]
    medians = _medians(hopeful, luma, scale, runs=_RUNS)
    return {runtime.device.precision: seconds for runtime, seconds in medians.items()}


def _medians(
    runtimes: Sequence[Runtime], luma: Tensor, scale: int, *, runs: int
) -> dict[Runtime, float]:
    calls = [partial(runtime.enlarge_luma, luma, scale) for runtime in runtimes]
    timings = interleaved(calls, runs, device=runtimes[0].device.torch_device)
    return {each: timing.median for each, timing in zip(runtimes, timings, strict=True)}


def _usable(runtime: Runtime, luma: Tensor, scale: int) -> Iterator[Runtime]:
    """The network in each precision that its device and its weights allow."""
    for precision in get_args(FeaturePrecision):
        try:
            choose(str(runtime.device.torch_device), precision)
            other = runtime.in_precision(precision)
            other.enlarge_luma(luma, scale)
        except (LapsrError, NotFinite):
            continue
        yield other
