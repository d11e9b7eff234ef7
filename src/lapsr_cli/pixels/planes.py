"""What the network enlarges of a window, and samples from what it made: chroma, alpha, rounding.

Only luma goes through the network, as in the papers, and alpha, which is a picture of its own.
Colours are premultiplied, so that what nobody sees does not bleed into what they see; chroma is
enlarged by bicubic. On the CPU samples are made some rows at a time: maps of a whole picture in
fp32 would take more memory than all the rest, and clearing it more time than the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lapsr_cli.pixels.color import rgb_to_ycbcr, ycbcr_to_rgb
from lapsr_cli.pixels.resize import REACH, enlarge

__all__ = ["Parts", "merge", "split"]

_BLOCK_PIXELS = 1 << 18
"""Of the result, made at a time on the CPU: 1 MiB of each plane in fp32."""


@dataclass(frozen=True)
class Parts:
    """Of samples. ``luma`` (B, 1, H, W) and, where something shows through, ``alpha`` (B, 1, H, W)
    are for the network; ``chroma`` (B, 2, H, W) is there for RGB. All in [0, 1], the colours
    premultiplied. ``is_opaque``: there is an alpha channel, and nothing shows through."""

    luma: Tensor
    chroma: Tensor | None
    alpha: Tensor | None
    is_opaque: bool

    @property
    def channels(self) -> int:
        """Of the samples."""
        colours = 1 if self.chroma is None else 3
        return colours + (self.is_opaque or self.alpha is not None)


def split(samples: Tensor) -> Parts:
    """Of grey or RGB in [0, 1], with straight alpha behind or without: (B, 1 to 4, H, W)."""
    has_alpha = samples.shape[1] in (2, 4)
    colours, alpha = (samples[:, :-1], samples[:, -1:]) if has_alpha else (samples, None)
    is_opaque = alpha is not None and bool((alpha == 1).all())
    if is_opaque:
        alpha = None
    if alpha is not None:
        colours, alpha = colours * alpha, alpha.contiguous()
    if colours.shape[1] == 1:
        return Parts(colours.contiguous(), None, alpha, is_opaque)
    ycbcr = rgb_to_ycbcr(colours)  # (B, 3, H, W)
    return Parts(ycbcr[:, :1].contiguous(), ycbcr[:, 1:], alpha, is_opaque)


def merge(
    parts: Parts, luma: Tensor, alpha: Tensor | None, scale: int, dtype: torch.dtype
) -> Tensor:
    """Samples (B, C, scale H, scale W) of ``dtype``, uint8 or uint16, from what the network made of
    the luma and the alpha: (B, 1, scale H, scale W)."""
    batch, _, height, width = parts.luma.shape
    across = batch * scale * scale * width
    rows = max(1, _BLOCK_PIXELS // across) if luma.device.type == "cpu" else height
    shape = (batch, parts.channels, scale * height, scale * width)
    samples = torch.empty(shape, dtype=dtype, device=luma.device)
    full = torch.iinfo(dtype).max
    for first in range(0, height, rows):
        end = min(height, first + rows)
        place = slice(scale * first, scale * end)
        part = None if alpha is None else alpha[:, :, place]
        made = _composed(parts, luma[:, :, place], part, scale, (first, end), 0.5 / full)
        samples[:, :, place] = (made.clamp(0, 1) * full).round().to(dtype)
    return samples


def _composed(
    parts: Parts,
    luma: Tensor,
    alpha: Tensor | None,
    scale: int,
    rows: tuple[int, int],
    least: float,
) -> Tensor:
    """(B, C, scale n, scale W) of those n rows of the window, of which ``luma`` and ``alpha`` are.

    Alpha up to ``least`` is rounded to none: there is no colour to divide out, so it is black.
    """
    colours = luma
    if parts.chroma is not None:
        chroma = _enlarged(parts.chroma, rows, scale)
        colours = ycbcr_to_rgb(torch.cat([luma, chroma], dim=1))  # (B, 3, scale n, scale W)
    if parts.is_opaque:
        return torch.cat([colours, torch.ones_like(luma)], dim=1)
    if alpha is None or parts.alpha is None:
        return colours
    # What was opaque or transparent all around stays so exactly, and no edge overshoots.
    within = alpha.clamp(*_bounds(parts.alpha, rows, scale))  # (B, 1, scale n, scale W)
    straight = (colours / within.clamp(min=least)).masked_fill(within <= least, 0)
    return torch.cat([straight, within], dim=1)


def _enlarged(planes: Tensor, rows: tuple[int, int], scale: int) -> Tensor:
    """Those n rows of (B, C, H, W) by bicubic, (B, C, scale n, scale W)."""
    first, end = rows
    top, bottom = max(0, first - REACH), min(planes.shape[2], end + REACH)
    enlarged = enlarge(planes[:, :, top:bottom], scale)
    return enlarged[:, :, scale * (first - top) : scale * (end - top)]


def _bounds(alpha: Tensor, rows: tuple[int, int], scale: int) -> tuple[Tensor, Tensor]:
    """The least and the most of the 3x3 pixels around those n rows, (B, 1, scale n, scale W)."""
    first, end = rows
    index = torch.arange(first - 1, end + 1, device=alpha.device).clamp(0, alpha.shape[2] - 1)
    around = F.pad(alpha.index_select(2, index), (1, 1, 0, 0), mode="replicate")
    highest = F.max_pool2d(around, 3, stride=1)  # (B, 1, n, W)
    lowest = -F.max_pool2d(-around, 3, stride=1)
    low, high = (F.interpolate(bound, scale_factor=scale) for bound in (lowest, highest))
    return low, high
