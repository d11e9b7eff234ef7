"""Pictures fitted to what a format or a screen supports: opaque, 8 bits, sRGB."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from lapsr_cli.image_io import icc
from lapsr_cli.image_io.pil import split_channels
from lapsr_cli.pixels.picture import Picture, Samples

__all__ = ["flatten", "to_8_bits", "to_srgb"]

_CHUNK = 1 << 22
"""Samples converted at a time: the intermediate values take four times the memory."""


def flatten(picture: Picture, background: tuple[int, int, int]) -> Picture:
    """A picture composited over a colour (RGB, 0 to 255) and rounded, without alpha.

    Grey stays grey if the background is grey.
    """
    if picture.alpha is None:
        return picture
    pixels = picture.pixels
    if pixels.ndim == 2 and len(set(background)) > 1:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    full = picture.full
    below = np.array(background, np.uint32) * (full // 255)
    if pixels.ndim == 2:
        below = below[:1]
    result = np.empty_like(pixels)
    for rows in _row_chunks(pixels):
        alpha = picture.alpha[rows, :, None].astype(np.uint32)
        above = pixels[rows].reshape(*alpha.shape[:2], -1).astype(np.uint32)
        mixed = (above * alpha + below * (full - alpha) + full // 2) // full
        result[rows] = mixed.reshape(result[rows].shape)
    return Picture(result)


def to_8_bits(picture: Picture) -> Picture:
    """A picture with 8 bits per sample: x / 257 rounded, so that 65535 becomes 255."""
    if picture.depth == 8:
        return picture
    alpha = None if picture.alpha is None else _to_8_bits(picture.alpha)
    return Picture(_to_8_bits(picture.pixels), alpha)


def _to_8_bits(samples: Samples) -> Samples:
    result = np.empty(samples.shape, np.uint8)
    for rows in _row_chunks(samples):
        result[rows] = (samples[rows].astype(np.uint32) + 128) // 257
    return result


def _row_chunks(samples: Samples) -> Iterator[slice]:
    rows = max(1, _CHUNK // max(1, samples[0].size))
    return (slice(top, top + rows) for top in range(0, len(samples), rows))


def to_srgb(picture: Picture, icc_profile: bytes) -> Picture:
    """An 8-bit picture converted to sRGB (RGB) by its profile. Raises Damaged."""
    converted = icc.to_srgb(Image.fromarray(picture.pixels), icc_profile)
    return Picture(split_channels(np.asarray(converted)).pixels, picture.alpha)
