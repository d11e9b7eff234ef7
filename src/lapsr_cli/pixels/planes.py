"""Splits samples into the planes that the network upscales, and merges its output into samples.

As in the papers, the network upscales luma only; chroma is upscaled by bicubic. That of a JPEG is
restored before, and takes on details of the upscaled luma (`pixels.chroma`). A picture with
transparent areas goes through the network as three opaque ones: its colours alone, with those of
transparent pixels filled in from around them, and the picture over black and over white. The first
gives the colours of the result, the others its alpha. On the CPU, samples are merged in blocks of
rows: maps of a whole picture in fp32 would need more memory than all the rest, and clearing that
memory more time than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lapsr_cli.pixels.chroma import restored, slope
from lapsr_cli.pixels.color import LUMA_SPAN, rgb_to_ycbcr, ycbcr_to_rgb
from lapsr_cli.pixels.color import luma as luma_of
from lapsr_cli.pixels.resize import REACH, enlarge

__all__ = ["FILL_REACH", "Planes", "merge", "split"]

FILL_REACH = 4
"""LR pixels on either side from which a transparent pixel takes its colour."""

_VISIBLE = 1 / 16
"""Alpha from which a pixel's own colour counts in full. Below, 8 bits often hold little of it:
colours were divided by alpha, or compressed as if nobody saw them."""

_BLOCK_PIXELS = 1 << 18
"""Output pixels per block of rows on the CPU: 1 MiB of each plane in fp32."""


@dataclass(frozen=True)
class Planes:
    """The planes of samples, in [0, 1].

    The network upscales each of ``lumas`` (B, 1, H, W): that of the colours, and, if ``alpha``
    (B, 1, H, W) is not None, those of the picture over black and over white. ``chroma``
    (B, 2, H, W), of the colours, is None for grey. ``slope`` (B, 2, H, W): by how much it changes
    where luma does; None: take on no details of luma. ``is_opaque``: there is an alpha channel, but
    nothing is transparent; then ``alpha`` is None, as it is without an alpha channel.
    """

    lumas: tuple[Tensor, ...]
    chroma: Tensor | None
    alpha: Tensor | None
    is_opaque: bool
    slope: Tensor | None = None

    @property
    def channels(self) -> int:
        """Channels of the samples, 1 to 4."""
        colours = 1 if self.chroma is None else 3
        return colours + (self.is_opaque or self.alpha is not None)


def split(samples: Tensor, chroma_step: float = 0.0) -> Planes:
    """Samples (B, C, H, W) in [0, 1] -> planes.

    C is 1 for grey or 3 for RGB, and one more with straight alpha as the last channel.
    ``chroma_step``: by which a JPEG quantized subsampled chroma, as in `Photo`; 0: leave it as it
    is.
    """
    has_alpha = samples.shape[1] in (2, 4)
    colours, alpha = (samples[:, :-1], samples[:, -1:]) if has_alpha else (samples, None)
    is_opaque = alpha is not None and bool((alpha == 1).all())
    if is_opaque:
        alpha = None
    pictures = [colours]
    if alpha is not None:
        over_black = colours * alpha
        colours = _filled(colours, alpha)
        pictures = [colours, over_black, over_black + (1 - alpha)]
    if colours.shape[1] == 1:
        return Planes(tuple(each.contiguous() for each in pictures), None, alpha, is_opaque)
    lumas = tuple(luma_of(each).contiguous() for each in pictures)
    chroma = rgb_to_ycbcr(colours)[:, 1:]  # (B, 2, H, W)
    if not chroma_step:
        return Planes(lumas, chroma, alpha, is_opaque)
    chroma = restored(lumas[0], chroma, chroma_step)
    return Planes(lumas, chroma, alpha, is_opaque, slope(lumas[0], chroma))


def _filled(colours: Tensor, alpha: Tensor) -> Tensor:
    """``colours`` (B, C, H, W), those of transparent pixels replaced by the mean of the colours
    around them, weighted by alpha; by grey where there are none."""
    grey = 1e-4  # the weight of grey, small beside any visible pixel's
    weight = _blurred(alpha)
    mean = (_blurred(colours * alpha) + 0.5 * grey) / (weight + grey)
    return torch.lerp(mean, colours, (alpha / _VISIBLE).clamp(max=1))


def _blurred(planes: Tensor) -> Tensor:
    """Weighted by distance, a pyramid of 2 FILL_REACH + 1 pixels; nothing beyond the edge."""
    for _ in range(2):
        planes = F.avg_pool2d(planes, FILL_REACH + 1, stride=1, padding=FILL_REACH // 2)
    return planes


def merge(planes: Planes, lumas: Sequence[Tensor], scale: int, dtype: torch.dtype) -> Tensor:
    """Samples (B, C, scale H, scale W) of ``dtype``, uint8 or uint16, with straight alpha.

    ``lumas``, each (B, 1, scale H, scale W), are those of ``planes`` (H, W) upscaled by the
    network.
    """
    batch, _, height, width = planes.lumas[0].shape
    device = lumas[0].device
    row_pixels = batch * scale * scale * width
    rows = max(1, _BLOCK_PIXELS // row_pixels) if device.type == "cpu" else height
    shape = (batch, planes.channels, scale * height, scale * width)
    samples = torch.empty(shape, dtype=dtype, device=device)
    full = torch.iinfo(dtype).max
    for first in range(0, height, rows):
        end = min(height, first + rows)
        block = slice(scale * first, scale * end)
        parts = [luma[:, :, block] for luma in lumas]
        merged = _merge_rows(planes, parts, scale, (first, end), 0.5 / full)
        samples[:, :, block] = (merged.clamp(0, 1) * full).round().to(dtype)
    return samples


def _merge_rows(
    planes: Planes,
    lumas: Sequence[Tensor],
    scale: int,
    rows: tuple[int, int],
    transparent: float,
) -> Tensor:
    """The samples (B, C, scale n, scale W) of ``rows``, n rows of the planes from first to end.

    ``lumas``: upscaled, of these rows. An alpha up to ``transparent`` rounds to 0: nobody sees the
    colour of that pixel, so it is black.
    """
    colours = lumas[0]
    if planes.chroma is not None:
        chroma = _enlarge_rows(planes.chroma, rows, scale)
        if planes.slope is not None:
            details = colours - _enlarge_rows(planes.lumas[0], rows, scale)
            chroma = chroma + _enlarge_rows(planes.slope, rows, scale) * details
        colours = ycbcr_to_rgb(torch.cat([colours, chroma], dim=1))  # (B, 3, scale n, scale W)
    if planes.is_opaque:
        return torch.cat([colours, torch.ones_like(lumas[0])], dim=1)
    if planes.alpha is None:
        return colours
    luma, over_black, over_white = lumas
    black, white = (0.0, 1.0) if planes.chroma is None else LUMA_SPAN
    alpha = _alpha_between(luma, over_black, over_white, black, white)
    alpha = alpha.clamp(*_alpha_bounds(planes.alpha, rows, scale))  # (B, 1, scale n, scale W)
    return torch.cat([colours.masked_fill(alpha <= transparent, 0), alpha], dim=1)


def _alpha_between(
    luma: Tensor, over_black: Tensor, over_white: Tensor, black: float, white: float
) -> Tensor:
    """The alpha with which ``luma`` over ``black`` and over ``white`` comes closest to what the
    network made of the picture over them, by the sum of the two squared differences."""
    luma = luma.clamp(black, white)
    above, below = luma - black, white - luma
    covered = above * (over_black - black) + below * (white - over_white)
    return covered / (above.square() + below.square())


def _enlarge_rows(planes: Tensor, rows: tuple[int, int], scale: int) -> Tensor:
    """Bicubic upscaling of n ``rows`` of (B, C, H, W): (B, C, scale n, scale W)."""
    first, end = rows
    top, bottom = max(0, first - REACH), min(planes.shape[2], end + REACH)
    enlarged = enlarge(planes[:, :, top:bottom], scale)
    return enlarged[:, :, scale * (first - top) : scale * (end - top)]


def _alpha_bounds(alpha: Tensor, rows: tuple[int, int], scale: int) -> tuple[Tensor, Tensor]:
    """The least and the largest alpha of n ``rows``, (B, 1, scale n, scale W): both 1 where all
    pixels within REACH are opaque, both 0 where they are transparent, 0 and 1 elsewhere."""
    first, end = rows
    index = torch.arange(first - REACH, end + REACH, device=alpha.device)
    around = alpha.index_select(2, index.clamp(0, alpha.shape[2] - 1))
    around = F.pad(around, (REACH, REACH, 0, 0), mode="replicate")
    highest = F.max_pool2d(around, 2 * REACH + 1, stride=1)  # (B, 1, n, W)
    lowest = -F.max_pool2d(-around, 2 * REACH + 1, stride=1)
    low, high = (F.interpolate(b, scale_factor=scale) for b in (lowest.floor(), highest.ceil()))
    return low, high
