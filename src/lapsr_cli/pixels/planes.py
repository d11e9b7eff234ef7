"""Splits samples into the planes that the network upscales, and merges its output into samples.

As in the papers, the network upscales luma only; here also alpha, as a picture of its own. Chroma
is upscaled by bicubic. Colours are premultiplied by alpha, so that the colours of transparent
pixels do not bleed into visible ones. On the CPU, samples are merged in blocks of rows: maps of a
whole picture in fp32 would need more memory than all the rest, and clearing that memory more time
than the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lapsr_cli.pixels.color import rgb_to_ycbcr, ycbcr_to_rgb
from lapsr_cli.pixels.resize import REACH, enlarge

__all__ = ["Planes", "merge", "split"]

_BLOCK_PIXELS = 1 << 18
"""Output pixels per block of rows on the CPU: 1 MiB of each plane in fp32."""


@dataclass(frozen=True)
class Planes:
    """The planes of samples, in [0, 1], colours premultiplied by alpha.

    The network upscales ``luma`` (B, 1, H, W) and ``alpha`` (B, 1, H, W); ``chroma`` (B, 2, H, W)
    is None for grey. ``is_opaque``: there is an alpha channel, but nothing is transparent; then
    ``alpha`` is None, as it is without an alpha channel.
    """

    luma: Tensor
    chroma: Tensor | None
    alpha: Tensor | None
    is_opaque: bool

    @property
    def channels(self) -> int:
        """Channels of the samples, 1 to 4."""
        colours = 1 if self.chroma is None else 3
        return colours + (self.is_opaque or self.alpha is not None)


def split(samples: Tensor) -> Planes:
    """Samples (B, C, H, W) in [0, 1] -> planes.

    C is 1 for grey or 3 for RGB, and one more with straight alpha as the last channel.
    """
    has_alpha = samples.shape[1] in (2, 4)
    colours, alpha = (samples[:, :-1], samples[:, -1:]) if has_alpha else (samples, None)
    is_opaque = alpha is not None and bool((alpha == 1).all())
    if is_opaque:
        alpha = None
    if alpha is not None:
        colours, alpha = colours * alpha, alpha.contiguous()
    if colours.shape[1] == 1:
        return Planes(colours.contiguous(), None, alpha, is_opaque)
    ycbcr = rgb_to_ycbcr(colours)  # (B, 3, H, W)
    return Planes(ycbcr[:, :1].contiguous(), ycbcr[:, 1:], alpha, is_opaque)


def merge(
    planes: Planes, luma: Tensor, alpha: Tensor | None, scale: int, dtype: torch.dtype
) -> Tensor:
    """Samples (B, C, scale H, scale W) of ``dtype``, uint8 or uint16, with straight alpha.

    ``luma`` and ``alpha``, both (B, 1, scale H, scale W), are those of ``planes`` (H, W) upscaled
    by the network.
    """
    batch, _, height, width = planes.luma.shape
    row_pixels = batch * scale * scale * width
    rows = max(1, _BLOCK_PIXELS // row_pixels) if luma.device.type == "cpu" else height
    shape = (batch, planes.channels, scale * height, scale * width)
    samples = torch.empty(shape, dtype=dtype, device=luma.device)
    full = torch.iinfo(dtype).max
    for first in range(0, height, rows):
        end = min(height, first + rows)
        block = slice(scale * first, scale * end)
        alpha_block = None if alpha is None else alpha[:, :, block]
        merged = _merge_rows(
            planes, luma[:, :, block], alpha_block, scale, (first, end), 0.5 / full
        )
        samples[:, :, block] = (merged.clamp(0, 1) * full).round().to(dtype)
    return samples


def _merge_rows(
    planes: Planes,
    luma: Tensor,
    alpha: Tensor | None,
    scale: int,
    rows: tuple[int, int],
    transparent: float,
) -> Tensor:
    """The samples (B, C, scale n, scale W) of ``rows``, n rows of the planes from first to end.

    ``luma`` and ``alpha``: upscaled, of these rows. An alpha up to ``transparent`` rounds to 0: it
    has no colour to divide by alpha, so the pixel is black.
    """
    colours = luma
    if planes.chroma is not None:
        chroma = _enlarge_rows(planes.chroma, rows, scale)
        colours = ycbcr_to_rgb(torch.cat([luma, chroma], dim=1))  # (B, 3, scale n, scale W)
    if planes.is_opaque:
        return torch.cat([colours, torch.ones_like(luma)], dim=1)
    if alpha is None or planes.alpha is None:
        return colours
    # Where all neighbours are opaque or transparent, the result is exactly so; no edge overshoots.
    alpha = alpha.clamp(*_alpha_bounds(planes.alpha, rows, scale))  # (B, 1, scale n, scale W)
    straight = (colours / alpha.clamp(min=transparent)).masked_fill(alpha <= transparent, 0)
    return torch.cat([straight, alpha], dim=1)


def _enlarge_rows(planes: Tensor, rows: tuple[int, int], scale: int) -> Tensor:
    """Bicubic upscaling of n ``rows`` of (B, C, H, W): (B, C, scale n, scale W)."""
    first, end = rows
    top, bottom = max(0, first - REACH), min(planes.shape[2], end + REACH)
    enlarged = enlarge(planes[:, :, top:bottom], scale)
    return enlarged[:, :, scale * (first - top) : scale * (end - top)]


def _alpha_bounds(alpha: Tensor, rows: tuple[int, int], scale: int) -> tuple[Tensor, Tensor]:
    """Minimum and maximum over 3x3 pixels of alpha, for n ``rows``: (B, 1, scale n, scale W)."""
    first, end = rows
    index = torch.arange(first - 1, end + 1, device=alpha.device).clamp(0, alpha.shape[2] - 1)
    padded = F.pad(alpha.index_select(2, index), (1, 1, 0, 0), mode="replicate")
    highest = F.max_pool2d(padded, 3, stride=1)  # (B, 1, n, W)
    lowest = -F.max_pool2d(-padded, 3, stride=1)
    low, high = (F.interpolate(bound, scale_factor=scale) for bound in (lowest, highest))
    return low, high
