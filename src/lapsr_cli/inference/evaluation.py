"""PSNR and SSIM of a network on whole pictures, by the papers' protocol."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lapsr_cli.errors import DeviceError, ResourceError, WeightsError
from lapsr_cli.inference.runtime import NotFinite, OutOfMemory, Runtime
from lapsr_cli.inference.tiler import TileOptions, Tiler
from lapsr_cli.inference.tiling import Tile
from lapsr_cli.metrics import protocol
from lapsr_cli.metrics.protocol import Score

__all__ = ["Degrade", "Evaluator", "bicubic_score"]

Degrade = Callable[[Tensor], Tensor]


class Evaluator:
    """Scores one network. Pictures are cut into tiles as in `BatchRunner`, smaller ones if memory
    runs out."""

    def __init__(self, runtime: Runtime, options: TileOptions | None = None) -> None:
        self.runtime = runtime
        self._tiler = Tiler(runtime, options or TileOptions())

    def score(self, hr: Tensor, scale: int, degrade: Degrade = lambda lr: lr) -> Score:
        """PSNR in dB and SSIM at ``scale`` for HR luma (H, W), float64 in [0, 1].

        ``degrade``: applied to LR luma (h, w) after downscaling; the papers' protocol has none.
        Raises DeviceError if the smallest tile does not fit into the device's memory.
        """
        lr = degrade(protocol.degrade(hr, scale))
        return protocol.score(self.enlarge(lr, scale), hr, scale)

    def enlarge(self, lr: Tensor, scale: int) -> Tensor:
        """LR luma (H, W) in [0, 1] -> (scale H, scale W) on the CPU, fp32, not clamped.

        Raises DeviceError if the smallest tile does not fit into the device's memory, or a lower
        precision overflows; WeightsError if fp32 does.
        """
        height, width = lr.shape
        picture = torch.empty(1, scale * height, scale * width)
        tiles = self._tiler.cut(self.runtime, height, width, scale)
        while not self._enlarge_tiles(lr, tiles, picture, scale):
            window = tiles[0].shape
            self._tiler.halve(self.runtime, window, 1, scale)
            tiles = self._tiler.cut_smaller(self.runtime, height, width, scale, window)
        return picture[0]

    def _enlarge_tiles(self, lr: Tensor, tiles: list[Tile], picture: Tensor, scale: int) -> bool:
        """Fill ``picture`` (1, scale H, scale W); False if a tile was too large for the device."""
        for tile in tiles:
            window = lr[tile.rows.window, tile.columns.window]
            try:
                enlarged = self.runtime.enlarge_luma(window, scale)
            except OutOfMemory:
                return False
            except NotFinite as error:
                raise _overflow(self.runtime.device.precision) from error
            tile.put_core(picture, enlarged[None], scale)
        return True


def _overflow(precision: str) -> ResourceError:
    if precision == "fp32":
        return WeightsError("this model gave values that are not finite (infinity or NaN)")
    return DeviceError(f"--precision {precision}: the features of this model overflow; use fp32")


def bicubic_score(hr: Tensor, scale: int, degrade: Degrade = lambda lr: lr) -> Score:
    """The baseline's PSNR in dB and SSIM for HR luma (H, W), float64 in [0, 1]."""
    lr = degrade(protocol.degrade(hr, scale))
    return protocol.score(protocol.bicubic(lr, scale), hr, scale)
