"""The same weights in other runtimes, one module each.

Each runtime gets the reference network as a user would export it, not lapsr's fused one: the
comparison is with what people would otherwise use. All compute in fp32, with the given number of
threads, for an input size that is known in advance.
"""

from __future__ import annotations

from collections.abc import Iterable

from lapsr_cli.bench.runtimes import compiled, eager, ncnn, onnxruntime, opencv, openvino
from lapsr_cli.bench.runtimes.base import (
    Luma,
    OtherRuntime,
    RuntimeFailed,
    RuntimeMissing,
    Workload,
    errors_as_runtime_failed,
)
from lapsr_cli.errors import UsageError

__all__ = [
    "RUNTIMES",
    "Luma",
    "OtherRuntime",
    "RuntimeFailed",
    "RuntimeMissing",
    "Workload",
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

RUNTIMES: tuple[str, ...] = tuple(_LOADERS)


def check_names(names: Iterable[str]) -> None:
    """Raise UsageError for a name that is not in RUNTIMES."""
    for name in names:
        if name not in _LOADERS:
            raise UsageError(f"--against {name}: must be one of {', '.join(RUNTIMES)}")


def load(name: str, workload: Workload) -> OtherRuntime:
    """The runtime ``name`` with the workload's network loaded.

    Raises UsageError for an unknown name, RuntimeMissing if its package is not installed,
    RuntimeFailed if it cannot run this workload.
    """
    check_names([name])
    with errors_as_runtime_failed():
        return _LOADERS[name](workload)
