"""lapsr and other runtimes on the same weights, their runs interleaved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

import lapsr_cli
from lapsr_cli.bench import runtimes
from lapsr_cli.bench.results import RuntimeSpeed, Timing
from lapsr_cli.bench.runtimes import Luma, OtherRuntime, RuntimeFailed, Workload
from lapsr_cli.bench.timing import interleaved
from lapsr_cli.device.selection import Device, FeaturePrecision
from lapsr_cli.inference.runtime import Runtime

__all__ = ["compare"]

Load = Callable[[str, Workload], OtherRuntime]


@dataclass
class _Candidate:
    """Another runtime in the comparison. Once it fails it is not called again; the others
    continue."""

    name: str
    runtime: OtherRuntime | None = None
    difference: float | None = None
    problem: str = ""

    def prepare(self, load: Load, workload: Workload, luma: Luma, expected: Luma) -> None:
        """Load the network and compare its output with ``expected``."""
        try:
            self.runtime = load(self.name, workload)
            self.difference = _largest_difference(self.runtime(luma), expected)
        except RuntimeFailed as error:
            self.problem = str(error)

    def run(self, luma: Luma) -> None:
        """One timed call."""
        if self.runtime is None or self.problem:
            return
        try:
            self.runtime(luma)
        except RuntimeFailed as error:
            self.problem = str(error)


def compare(
    model_name: str,
    workload: Workload,
    names: Sequence[str],
    *,
    runs: int,
    warm_up: int = 1,
    precision: FeaturePrecision = "fp32",
    load: Load = runtimes.load,
) -> list[RuntimeSpeed]:
    """One row for lapsr and one for each runtime in ``names``; a runtime that fails has a problem
    instead of figures.

    All upscale the same random luma in this process, their runs interleaved (A B C, A B C), and
    leave the result in main memory. lapsr is ``Runtime.enlarge_luma`` in ``precision``, the others
    compute in fp32. Differences are from the reference network in fp32 on the CPU. torch uses
    ``workload.threads`` threads. Whether the process keeps freed memory
    (`memory.keep_freed_memory`) is up to the caller and applies to all runtimes.

    ``load``: loads a runtime by name. Raises UsageError for an unknown name.
    """
    runtimes.check_names(names)
    luma = np.random.default_rng(0).random((workload.height, workload.width), dtype=np.float32)
    with _torch_threads(workload.threads):
        run_lapsr = _lapsr(workload, luma, precision)
        expected = _reference(workload, luma)
        difference = _largest_difference(run_lapsr(), expected)
        candidates = [_Candidate(name) for name in dict.fromkeys(names)]
        for candidate in candidates:
            candidate.prepare(load, workload, luma, expected)
        calls: list[Callable[[], object]] = [run_lapsr]
        calls += (partial(candidate.run, luma) for candidate in candidates)
        first, *others = interleaved(calls, runs, warm_up, device=workload.device)
    lapsr = RuntimeSpeed(
        peer="lapsr",
        version=lapsr_cli.__version__,
        model=model_name,
        device=str(workload.device),
        precision=precision,
        scale=workload.scale,
        width=workload.width,
        height=workload.height,
        seconds=first,
        ratio=1.0,
        difference=difference,
    )
    return [lapsr, *map(partial(_row, lapsr), candidates, others)]


def _row(lapsr: RuntimeSpeed, candidate: _Candidate, timing: Timing) -> RuntimeSpeed:
    """The row of another runtime; the timing of one that failed includes calls not made."""
    version = candidate.runtime.version if candidate.runtime else ""
    row = replace(lapsr, peer=candidate.name, version=version)
    if candidate.problem:
        return replace(row, seconds=None, ratio=None, difference=None, problem=candidate.problem)
    assert lapsr.seconds is not None
    ratio = timing.median / lapsr.seconds.median
    return replace(row, seconds=timing, ratio=ratio, difference=candidate.difference)


def _lapsr(workload: Workload, luma: Luma, precision: FeaturePrecision) -> Callable[[], Luma]:
    """lapsr's own runtime on ``luma``."""
    runtime = Runtime(workload.model, Device(workload.device, precision, "compared"))

    def enlarge() -> Luma:
        picture: Luma = runtime.enlarge_luma(torch.from_numpy(luma), workload.scale).numpy()
        return picture

    return enlarge


def _reference(workload: Workload, luma: Luma) -> Luma:
    with torch.inference_mode():
        pictures = workload.model(torch.from_numpy(luma)[None, None], workload.scale)
    expected: Luma = pictures[workload.scale][0, 0].numpy()
    return expected


def _largest_difference(picture: Luma, expected: Luma) -> float:
    """Raises RuntimeFailed if the shapes differ."""
    if picture.shape != expected.shape:
        raise RuntimeFailed(f"returned a picture of shape {picture.shape}, not {expected.shape}")
    return float(np.abs(picture - expected).max())


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
