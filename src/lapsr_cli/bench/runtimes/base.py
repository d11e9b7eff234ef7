"""The interface of the other runtimes: what they are given, what they return, their errors."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from lapsr_cli.errors import ResourceError
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.text import one_line
from lapsr_cli.weights.export import to_onnx

__all__ = [
    "Luma",
    "OtherRuntime",
    "RuntimeFailed",
    "RuntimeMissing",
    "Workload",
    "errors_as_runtime_failed",
    "import_package",
    "temporary_compiler_cache",
]

_TORCH_CACHE = "TORCHINDUCTOR_CACHE_DIR"

Luma = NDArray[np.float32]
"""One plane, (H, W), in [0, 1]."""


class RuntimeFailed(Exception):
    """A runtime that returns no picture; the message is one line."""


class RuntimeMissing(RuntimeFailed):
    """A runtime that is not installed; the message says what to install."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What every runtime computes; it may prepare for exactly that.

    ``model``: the reference network in fp32 on the CPU, as a user would export it, not the fused
    one. ``scale``: the only scale computed. ``height``, ``width``: of the input, in pixels.
    ``threads``: to use on the CPU.
    """

    model: LaplacianPyramid
    scale: int
    height: int
    width: int
    threads: int
    device: torch.device

    @cached_property
    def graph(self) -> bytes:
        """The network as ONNX, exported once for all runtimes that read it: input "luma"
        (1, 1, H, W) of fixed size, one output (1, 1, scale H, scale W). Raises RuntimeMissing."""
        try:
            with temporary_compiler_cache():
                return to_onnx(self.model, (self.scale,), (self.height, self.width))
        except ResourceError as error:
            raise RuntimeMissing(str(error)) from error

    def require_cpu(self, name: str) -> None:
        """Raise RuntimeFailed for any other device."""
        if self.device.type != "cpu":
            raise RuntimeFailed(f"{name} is measured on the CPU only, not on {self.device}")


@dataclass(frozen=True)
class OtherRuntime:
    """A runtime other than lapsr's with a workload's network loaded."""

    name: str
    version: str
    enlarge: Callable[[Luma], Luma]

    def __call__(self, luma: Luma) -> Luma:
        """(H, W) -> (scale H, scale W), neither clamped nor rounded. Raises RuntimeFailed."""
        with errors_as_runtime_failed():
            return self.enlarge(luma)


def import_package(name: str, install: str | None = None) -> ModuleType:
    """Import the package ``name``; ``install`` is its name on PyPI, if different. Raises
    RuntimeMissing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise RuntimeMissing(
            f"requires {install or name}: pip install 'lapsr-cli[peers]'"
        ) from error


@contextmanager
def errors_as_runtime_failed() -> Iterator[None]:
    """Turn any exception of third-party code into RuntimeFailed."""
    try:
        yield
    except RuntimeFailed:
        raise
    except Exception as error:
        raise RuntimeFailed(one_line(error)) from error


@contextmanager
def temporary_compiler_cache() -> Iterator[None]:
    """Have torch's compiler write to a temporary folder, which is deleted at the end; loaded
    code stays loaded."""
    before = os.environ.get(_TORCH_CACHE)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ[_TORCH_CACHE] = folder
        try:
            yield
        finally:
            del os.environ[_TORCH_CACHE]
            if before is not None:
                os.environ[_TORCH_CACHE] = before
