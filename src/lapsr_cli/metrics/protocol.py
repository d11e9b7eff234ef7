"""The evaluation protocol of the papers.

Crop the original (HR) to a multiple of the scale; downscale its luma with MATLAB's bicubic, without
rounding (LR); upscale; round to 8 bits; crop ``scale`` pixels at each edge; compute PSNR, SSIM and
IFC against the luma of the original. MS-LapSRN section 4.1 and the authors' evaluation scripts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lapsr_cli.errors import UsageError
from lapsr_cli.metrics.ifc import SMALLEST_SIDE, ifc
from lapsr_cli.metrics.psnr import psnr
from lapsr_cli.metrics.ssim import ssim
from lapsr_cli.pixels.color import luma
from lapsr_cli.pixels.resize import resize

__all__ = [
    "Score",
    "bicubic",
    "crop_to_multiple",
    "degrade",
    "information_fidelity",
    "luma_of",
    "score",
]


class Score(NamedTuple):
    """PSNR in dB and SSIM of one picture."""

    psnr: float
    ssim: float


def luma_of(pixels: Tensor) -> Tensor:
    """uint8 or uint16 pixels (3, H, W) or (1, H, W) -> float64 luma (H, W) in [0, 1]. Grey is used
    as it is."""
    values = pixels.double() / torch.iinfo(pixels.dtype).max
    return luma(values)[0] if values.shape[0] == 3 else values[0]


def crop_to_multiple(picture: Tensor, scale: int) -> Tensor:
    """Crop (..., H, W) at the bottom and right to multiples of ``scale``. Raises UsageError if
    nothing is left."""
    height, width = (side - side % scale for side in picture.shape[-2:])
    if not (height and width):
        raise UsageError(f"pictures smaller than {scale} x {scale} cannot be scored at {scale}x")
    return picture[..., :height, :width]


def degrade(hr: Tensor, scale: int) -> Tensor:
    """HR luma (H, W) in [0, 1] -> LR luma (H/scale, W/scale), not rounded. HR is cropped to a
    multiple of ``scale``, or UsageError raised."""
    return resize(crop_to_multiple(hr, scale), 1 / scale)


def bicubic(lr: Tensor, scale: int) -> Tensor:
    """The baseline of every table: LR (H, W) -> (scale H, scale W)."""
    return resize(lr, float(scale))


def score(picture: Tensor, hr: Tensor, scale: int) -> Score:
    """Score an upscaled luma picture (H, W) against the HR luma it was made from."""
    result, original = _compared(picture, hr, scale)
    return Score(psnr(result, original), ssim(result, original))


def information_fidelity(picture: Tensor, hr: Tensor, scale: int) -> float | None:
    """IFC of what ``score`` compares; None if that is too small for IFC.

    Separate from ``score`` because validation during training needs no IFC. LapSRN's authors round
    RGB before IFC, and not the luma made of it; for bicubic on Set5 that gives 4.7 % more at 2x,
    1.4 % at 4x, 0.5 % at 8x.
    """
    result, original = _compared(picture, hr, scale)
    return ifc(result, original) if min(original.shape) >= SMALLEST_SIDE else None


def _compared(picture: Tensor, hr: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """The result and the original, both rounded and without their edges:
    (H - 2 scale, W - 2 scale)."""
    reference = crop_to_multiple(hr, scale)
    inner = (slice(scale, -scale), slice(scale, -scale))
    return _rounded(picture)[inner], _rounded(reference)[inner]


def _rounded(picture: Tensor) -> Tensor:
    """Clamped to [0, 1] and rounded to the nearest of 256 levels."""
    return torch.round(picture.double().clamp(0, 1) * 255) / 255
