"""The same weights by other runtimes: one file each, and one door.

A peer gets the reference network as a user would export it, never our own rearrangement of it
(`fused`): what is compared is what people would otherwise use. Every one computes in fp32, is
told the number of threads, and knows the size of its input before it begins.
"""

from __future__ import annotations

from collections.abc import Iterable

from lapsr_cli.bench.runtimes import compiled, eager, ncnn, onnxruntime, opencv, openvino
from lapsr_cli.bench.runtimes.peer import Luma, Peer, PeerFailed, PeerMissing, Work, failures
from lapsr_cli.errors import UsageError

__all__ = [
    "PEERS",
    "Luma",
    "Peer",
    "PeerFailed",
    "PeerMissing",
    "Work",
    "check_names",
    "load",
]

_LOADERS = {
    "onnxruntime": onnxruntime.load,
    "openvino": openvino.load,
    "ncnn": ncnn.load,
    "opencv": opencv.load,
    "eager": eager.load,
    "compile": compiled.load,
}

PEERS: tuple[str, ...] = tuple(_LOADERS)


def check_names(names: Iterable[str]) -> None:
    """Raises UsageError for a name that is not among PEERS."""
    for name in names:
        if name not in _LOADERS:
            raise UsageError(f"--against {name}: must be one of {', '.join(PEERS)}")


def load(name: str, work: Work) -> Peer:
    """The runtime ``name`` with the network loaded. Raises UsageError for a name that is none,
    PeerMissing where its package is not installed, PeerFailed where it cannot do this work."""
    check_names([name])
    with failures():
        return _LOADERS[name](work)
