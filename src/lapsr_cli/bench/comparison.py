"""Our own runtime and other people's on the same weights, in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

import lapsr_cli
from lapsr_cli.bench import peers
from lapsr_cli.bench.peers import Luma, Peer, PeerFailed, Work
from lapsr_cli.bench.results import PeerSpeed, Timing
from lapsr_cli.bench.timing import in_turn
from lapsr_cli.device import Device
from lapsr_cli.errors import UsageError
from lapsr_cli.runtime import Runtime

__all__ = ["compare"]

OURS = "lapsr"


class _Contender:
    """One runtime with a picture to enlarge; once it has failed it has no further turns."""

    def __init__(self, name: str, luma: Luma) -> None:
        self.name = name
        self.version = ""
        self.problem = ""
        self.difference: float | None = None
        self._luma = luma
        self._peer: Peer | None = None

    def prepare(self, work: Work, expected: Luma) -> None:
        """Load the network and see how far its picture is from the expected one."""
        try:
            self._peer = peers.load(self.name, work)
            self.version = self._peer.version
            self.difference = _difference(self._peer(self._luma), expected)
        except PeerFailed as error:
            self.problem = str(error)

    def __call__(self) -> None:
        if self.problem or self._peer is None:
            return
        try:
            self._peer(self._luma)
        except PeerFailed as error:
            self.problem = str(error)


def compare(
    model_name: str,
    work: Work,
    names: Sequence[str],
    *,
    runs: int,
    warm_up: int = 1,
) -> list[PeerSpeed]:
    """Ours and then those of ``names``, as rows; one that cannot is a row with its problem.

    All get the same random luma, take turns in this process (A B C, A B C), and give a picture in
    the main memory. Ours is ``Runtime.enlarge_luma`` in fp32. Differences are to the reference
    network in fp32 on the CPU. torch's number of threads is ``work.threads`` meanwhile. Whether
    glibc keeps freed memory (`device.keep_freed_memory`) is for the program to decide: it is the
    same for all then. Raises UsageError for a name that is none.
    """
    peers.check_names(names)
    if runs < 1 or warm_up < 0:
        raise UsageError(f"{runs} runs after {warm_up}: there must be one at least")
    luma = np.random.default_rng(0).random((work.height, work.width), dtype=np.float32)
    with _torch_threads(work.threads):
        ours = _ours(work, luma)
        expected = _expected(work, luma)
