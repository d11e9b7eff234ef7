"""What a peer is asked for, what it is, and why there is none."""

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
    "Peer",
    "PeerFailed",
    "PeerMissing",
    "Work",
    "failures",
    "files_that_vanish",
    "package",
]

_TORCH_CACHE = "TORCHINDUCTOR_CACHE_DIR"

Luma = NDArray[np.float32]
"""One plane, (H, W), in [0, 1]."""


class PeerFailed(Exception):
    """Why a runtime gives no picture, on one line."""


class PeerMissing(PeerFailed):
    """A runtime that is not installed; the line says what to install."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every runtime is asked for, and may prepare for.

    ``model``: the reference network in fp32 on the CPU, as a user would export it; none of our own
    rearrangements. ``scale``: the one picture wanted. ``height``, ``width``: of the input, in
    pixels. ``threads``: to compute with on the CPU.
    """

    model: LaplacianPyramid
    scale: int
    height: int
    width: int
    threads: int
    device: torch.device

    @cached_property
    def graph(self) -> bytes:
        """The network as ONNX, made once for all that read it: input "luma" (1, 1, H, W), its
        size fixed, one output (1, 1, scale H, scale W). Raises PeerMissing."""
        try:
            with files_that_vanish():
                return to_onnx(self.model, (self.scale,), (self.height, self.width))
        except ResourceError as error:
            raise PeerMissing(str(error)) from error

    def on_the_cpu(self, name: str) -> None:
        """Raises PeerFailed on another device."""
        if self.device.type != "cpu":
            raise PeerFailed(f"{name} is compared on the CPU alone, not on {self.device}")


@dataclass(frozen=True)
class Peer:
    """A runtime that has the network loaded, and is called with a picture."""

    name: str
    version: str
    enlarge: Callable[[Luma], Luma]

    def __call__(self, luma: Luma) -> Luma:
        """(H, W) -> (scale H, scale W), neither clamped nor rounded. Raises PeerFailed."""
        with failures():
            return self.enlarge(luma)


def package(name: str, install: str | None = None) -> ModuleType:
    """Import the package ``name``; ``install`` is its name for pip. Raises PeerMissing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise PeerMissing(f"needs {install or name}: pip install 'lapsr-cli[peers]'") from error


@contextmanager
def failures() -> Iterator[None]:
    """Other people's code raises what it likes: here all of it becomes PeerFailed."""
    try:
        yield
    except PeerFailed:
        raise
    except Exception as error:
        raise PeerFailed(one_line(error)) from error


@contextmanager
def files_that_vanish() -> Iterator[None]:
    """What torch's compiler writes lies in a folder that is gone afterwards; what was loaded from
    it stays loaded."""
    before = os.environ.get(_TORCH_CACHE)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ[_TORCH_CACHE] = folder
        try:
            yield
        finally:
            del os.environ[_TORCH_CACHE]
            if before is not None:
                os.environ[_TORCH_CACHE] = before
