"""Our own runtime and other people's on the same weights, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

import lapsr_cli
from lapsr_cli.bench import runtimes as peers
from lapsr_cli.bench.results import PeerSpeed, Timing
from lapsr_cli.bench.runtimes import Luma, Peer, PeerFailed, Work
from lapsr_cli.bench.timing import in_turn
from lapsr_cli.device.selection import Device, FeaturePrecision
from lapsr_cli.inference.runtime import Runtime

__all__ = ["compare"]


@dataclass
class _Contender:
    """A peer in the comparison: its name, and what became of it. Once it has failed it has no
    further turns, and the others go on."""

    name: str
    peer: Peer | None = None
    difference: float | None = None
    problem: str = ""

    def prepare(self, work: Work, luma: Luma, expected: Luma) -> None:
        """Load the network, and see how far its picture is from the expected one."""
        try:
            self.peer = peers.load(self.name, work)
            self.difference = _largest_difference(self.peer(luma), expected)
        except PeerFailed as error:
            self.problem = str(error)

    def take_turn(self, luma: Luma) -> None:
        if self.peer is None or self.problem:
            return
        try:
            self.peer(luma)
        except PeerFailed as error:
            self.problem = str(error)


def compare(
    model_name: str,
    work: Work,
    names: Sequence[str],
    *,
    runs: int,
    warm_up: int = 1,
    precision: FeaturePrecision = "fp32",
) -> list[PeerSpeed]:
    """Our own row, and one for each of ``names``; a peer that cannot has its problem for figures.

    All enlarge the same random luma in this process, in turn (A B C, A B C), and leave the picture
    in the main memory; ours is ``Runtime.enlarge_luma`` in ``precision``, the others compute in
    fp32. Differences are to the reference network in fp32 on the CPU. torch's number of threads is
    ``work.threads`` meanwhile. Whether the process keeps the memory it frees
    (`memory.keep_freed_memory`) is for the program to decide; it holds for all of them. Raises
    UsageError for a name that is none.
    """
    peers.check_names(names)
    luma = np.random.default_rng(0).random((work.height, work.width), dtype=np.float32)
    with _torch_threads(work.threads):
        ours = _ours(work, luma, precision)
        expected = _reference(work, luma)
        difference = _largest_difference(ours(), expected)
        contenders = [_Contender(name) for name in dict.fromkeys(names)]
        for contender in contenders:
            contender.prepare(work, luma, expected)
        turns: list[Callable[[], object]] = [ours]
        turns += (partial(contender.take_turn, luma) for contender in contenders)
        first, *others = in_turn(turns, runs, warm_up, device=work.device)
    row = PeerSpeed(
        peer="lapsr",
        version=lapsr_cli.__version__,
        model=model_name,
        device=str(work.device),
        precision=precision,
        scale=work.scale,
        width=work.width,
        height=work.height,
        seconds=first,
        ratio=1.0,
        difference=difference,
    )
    return [row, *map(partial(_row, row), contenders, others)]


def _row(ours: PeerSpeed, contender: _Contender, timing: Timing) -> PeerSpeed:
    """A peer's row beside ours; a timing with turns that were not taken says nothing."""
    version = contender.peer.version if contender.peer else ""
    row = replace(ours, peer=contender.name, version=version)
    if contender.problem:
        return replace(row, seconds=None, ratio=None, difference=None, problem=contender.problem)
    assert ours.seconds is not None
    ratio = timing.median / ours.seconds.median
    return replace(row, seconds=timing, ratio=ratio, difference=contender.difference)


def _ours(work: Work, luma: Luma, precision: FeaturePrecision) -> Callable[[], Luma]:
    """Our runtime, one picture a call."""
    runtime = Runtime(work.model, Device(work.device, precision, "compared"))

    def enlarge() -> Luma:
        picture: Luma = runtime.enlarge_luma(torch.from_numpy(luma), work.scale).numpy()
        return picture

    return enlarge


def _reference(work: Work, luma: Luma) -> Luma:
    with torch.inference_mode():
        pictures = work.model(torch.from_numpy(luma)[None, None], work.scale)
    expected: Luma = pictures[work.scale][0, 0].numpy()
    return expected


def _largest_difference(picture: Luma, expected: Luma) -> float:
    if picture.shape != expected.shape:
        raise PeerFailed(f"gave a picture of {picture.shape}, not of {expected.shape} samples")
    return float(np.abs(picture - expected).max())


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
