"""How large tiles and batches are: what was asked for, what memory allows, and less of both once a
device was out of memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from lapsr_cli.device.memory import MemoryPolicy, release_freed_memory
from lapsr_cli.errors import DeviceError, UsageError
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.inference.tiling import Tile, fit, plan
from lapsr_cli.network.halo import halo
from lapsr_cli.pixels.resize import REACH

__all__ = ["TileOptions", "Tiler"]

log = logging.getLogger(__name__)

_LARGEST_BATCH = 64
_CPU_BATCH_BYTES = 256 << 20
"""For a batch of small windows on the CPU: beyond the caches a pixel takes up to half as long
again."""


@dataclass(frozen=True, kw_only=True)
class TileOptions:
    """How pictures are cut and batched.

    ``tile``: side of a square tile in input pixels, without the halo; 0 is as large as memory
    allows, None the whole picture. ``batch``: windows in one pass; 0 is as many as memory allows,
    at most 64. Both are upper limits where the memory of the device is smaller.
    """

    tile: int | None = 0
    batch: int = 0

    def __post_init__(self) -> None:
        if self.tile is not None and self.tile < 0:
            raise UsageError(f"-t/--tile {self.tile}: must be auto, none or a number of pixels")
        if self.batch < 0:
            raise UsageError(f"--batch-size {self.batch}: must be auto or at least 1")


class Tiler:
    """Cuts pictures for one device.

    ``memory``: bytes that a pass may take; None is what the memory policy gives to one pass on the
    device of ``runtime``. A window is a tile with its halo.
    """

    def __init__(self, runtime: Runtime, options: TileOptions, memory: int | None = None) -> None:
        self._device = runtime.device.torch_device
        self._options = options
        self._memory = (
            MemoryPolicy([self._device]).tiles(self._device) if memory is None else memory
        )
        self._limit: int | None = None  # bytes of a pass, once one was too large

    def cut(self, runtime: Runtime, height: int, width: int, scale: int) -> list[Tile]:
        """The tiles of a picture that ``runtime`` enlarges to ``scale``."""
        before, after = (max(side, REACH) for side in halo(runtime.config, scale))
        if runtime.tta:  # a turned window needs on each side what any side needs
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
        """How many windows (height, width) go through the network together."""
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
        """After a pass of ``count`` windows was out of memory: half of that from here on, and what
        was freed goes back to the system. A note for the user about it."""
        release_freed_memory(self._device)
        tried = count * _bytes_of(runtime, window, scale)
        self._limit = min(tried // 2, self._limit or tried)
        size = f"{count} x {window[1]} x {window[0]} pixels"
        log.warning("out of memory on %s at %s: going on with half of that", self._device, size)
        return f"out of memory at {size}: computed in smaller parts"

    def cut_smaller(
        self, runtime: Runtime, height: int, width: int, scale: int, window: tuple[int, int]
    ) -> list[Tile]:
        """The tiles of a picture whose windows were too large. Raises DeviceError if there are no
        smaller ones."""
        tiles = self.cut(runtime, height, width, scale)
        if tiles[0].shape == window:
            raise DeviceError(
                f"--device {self._device}: its memory does not hold a window of"
                f" {window[1]} x {window[0]} pixels, the smallest there is"
            )
        return tiles


def _bytes_of(runtime: Runtime, window: tuple[int, int], scale: int) -> int:
    """Bytes that one window (height, width) takes on the device."""
    rows = window[0] + runtime.overhead_rows(scale)
    return rows * window[1] * runtime.bytes_per_pixel(scale)
