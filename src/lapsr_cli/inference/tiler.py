"""Sizes of tiles and batches: as requested or as memory allows, halved when a device runs out of
memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from lapsr_cli.device.memory import MemoryPolicy, release_freed_memory
from lapsr_cli.errors import DeviceError, UsageError
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.inference.tiling import Tile, fit, plan
from lapsr_cli.network.halo import halo
from lapsr_cli.pixels.resize import REACH

__all__ = ["Reach", "TileOptions", "Tiler"]

log = logging.getLogger(__name__)

_LARGEST_BATCH = 64
_CPU_BATCH_BYTES = 256 << 20
"""For a batch of small windows on the CPU: outside the caches, a pixel takes up to 1.5 times as
long."""


@dataclass(frozen=True, kw_only=True)
class TileOptions:
    """How pictures are cut and batched.

    ``tile``: side of a square tile in input pixels, without the halo; 0: as large as memory
    allows; None: the whole picture. ``batch``: windows in one pass; 0: as many as memory allows,
    at most 64. Both are upper limits; less memory means smaller ones.
    """

    tile: int | None = 0
    batch: int = 0

    def __post_init__(self) -> None:
        if self.tile is not None and self.tile < 0:
            raise UsageError(f"-t/--tile {self.tile}: must be auto, none or a number of pixels")
        if self.batch < 0:
            raise UsageError(f"--batch-size {self.batch}: must be auto or at least 1")


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Input pixels on either side that are read before the network and bicubic read any: for
    ``colours`` that are hidden, and for ``chroma`` that is restored."""

    colours: int = 0
    chroma: int = 0


_NO_REACH = Reach()


class Tiler:
    """Cuts pictures for one device.

    ``memory``: bytes that a pass may take; None: what the memory policy gives to one pass on the
    device of ``runtime``. A window is a tile with its halo.
    """

    def __init__(self, runtime: Runtime, options: TileOptions, memory: int | None = None) -> None:
        self._device = runtime.device.torch_device
        self._options = options
        self._memory = (
            MemoryPolicy([self._device]).tiles(self._device) if memory is None else memory
        )
        self._limit: int | None = None  # bytes of a pass, set once one was too large

    def cut(
        self,
        runtime: Runtime,
        height: int,
        width: int,
        scale: int,
        reach: Reach = _NO_REACH,
    ) -> list[Tile]:
        """The tiles of a picture that ``runtime`` enlarges to ``scale``."""
        chroma = REACH + reach.chroma
        before, after = (max(side, chroma) + reach.colours for side in halo(runtime.config, scale))
        if runtime.tta:  # a rotated window needs the largest halo on every side
            before = after = max(before, after)
        tile = self._options.tile
        allowed = self._memory if tile == 0 else None
        if self._limit is not None:
            allowed = min(self._limit, self._memory)
        shape = (height, width)
        if allowed is not None:
            pixels = allowed // runtime.bytes_per_pixel(scale)
            shape = fit(height, width, before, after, pixels, runtime.overhead_rows(scale))
        if tile:
            shape = (min(shape[0], tile), min(shape[1], tile))
        return plan(height, width, shape, before, after)

    def batch_size(self, runtime: Runtime, window: tuple[int, int], scale: int) -> int:
        """The number of windows (height, width) in one pass."""
        need = _bytes_of(runtime, window, scale)
        largest = self._options.batch
        if not largest:
            on_cpu = self._device.type == "cpu"
            allowed = min(self._memory, _CPU_BATCH_BYTES) if on_cpu else self._memory
            largest = min(_LARGEST_BATCH, allowed // need)
        if self._limit is not None:
            largest = min(largest, self._limit // need)
        return max(1, largest)

    def halve(self, runtime: Runtime, window: tuple[int, int], count: int, scale: int) -> str:
        """Halve the memory of a pass after ``count`` windows did not fit, and release freed memory.
        Returns a note for the user."""
        release_freed_memory(self._device)
        tried = count * _bytes_of(runtime, window, scale)
        self._limit = min(tried // 2, self._limit or tried)
        size = f"{count} x {window[1]} x {window[0]} pixels"
        log.warning("out of memory on %s at %s: continuing with half of that", self._device, size)
        return f"out of memory at {size}: continued in smaller parts"

    def cut_smaller(
        self,
        runtime: Runtime,
        height: int,
        width: int,
        scale: int,
        window: tuple[int, int],
        reach: Reach = _NO_REACH,
    ) -> list[Tile]:
        """Smaller tiles of a picture whose windows were too large. Raises DeviceError if there are
        none."""
        tiles = self.cut(runtime, height, width, scale, reach)
        if tiles[0].shape == window:
            raise DeviceError(
                f"--device {self._device}: not enough memory for a window of"
                f" {window[1]} x {window[0]} pixels, the smallest"
            )
        return tiles


def _bytes_of(runtime: Runtime, window: tuple[int, int], scale: int) -> int:
    """Bytes that one window (height, width) takes on the device."""
    rows = window[0] + runtime.overhead_rows(scale)
    return rows * window[1] * runtime.bytes_per_pixel(scale)
