"""How good a network is on pictures at full size, by the papers' protocol, tiled when large."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lapsr_cli.device.memory import free_memory
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.inference.tiling import fit, plan
from lapsr_cli.metrics import protocol
from lapsr_cli.metrics.protocol import Score
from lapsr_cli.network.halo import halo

__all__ = ["Evaluator", "Harm", "bicubic_score"]

Harm = Callable[[Tensor], Tensor]

_MEMORY_SHARE = 0.4


class Evaluator:
    """Scores one network. ``max_pixels``: of a window, halo included; 0 is what memory allows."""

    def __init__(self, runtime: Runtime, *, max_pixels: int = 0) -> None:
        self.runtime = runtime
        self.max_pixels = max_pixels

    def score(self, hr: Tensor, scale: int, harm: Harm = lambda lr: lr) -> Score:
        """PSNR in dB and SSIM at ``scale`` for HR luma (H, W), float64 in [0, 1].

        ``harm``: what LR luma (h, w) suffers besides shrinking; nothing in the papers' protocol.
        """
        lr = harm(protocol.degrade(hr, scale))
        return protocol.score(self.enlarge(lr, scale), hr, scale)

    def enlarge(self, lr: Tensor, scale: int) -> Tensor:
        """LR luma (H, W) in [0, 1] -> (scale H, scale W) on the CPU, fp32, not clamped."""
        height, width = lr.shape
        before, after = halo(self.runtime.config, scale)
        tile = self._tile(height, width, scale)
        picture = torch.empty(scale * height, scale * width)
        for rows, columns in plan(height, width, tile, before, after):
            enlarged = self.runtime.enlarge_luma(lr[rows.window, columns.window], scale)
            core = enlarged[rows.core_in_window(scale), columns.core_in_window(scale)]
            picture[rows.core(scale), columns.core(scale)] = core
        return picture

    def _tile(self, height: int, width: int, scale: int) -> tuple[int, int]:
        around = halo(self.runtime.config, scale)
        if self.max_pixels:
            return fit(height, width, *around, self.max_pixels)
        budget = int(free_memory(self.runtime.device.torch_device) * _MEMORY_SHARE)
        pixels = budget // self.runtime.bytes_per_pixel(scale)
        return fit(height, width, *around, pixels, self.runtime.rows_on_top(scale))


def bicubic_score(hr: Tensor, scale: int, harm: Harm = lambda lr: lr) -> Score:
    """The baseline's PSNR in dB and SSIM for HR luma (H, W), float64 in [0, 1]."""
    lr = harm(protocol.degrade(hr, scale))
    return protocol.score(protocol.bicubic(lr, scale), hr, scale)
