"""Bytes of upscaled files, from those of their inputs: a fit by benchmarks/file_sizes.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from lapsr_cli.image_io import Encoding, Header
from lapsr_cli.image_io.formats import FORMATS

__all__ = ["expected_bytes"]

_LOSSY = {"JPEG", "AVIF", "HEIF", "WEBP"}
_RAW_BITS, _PHOTO_BITS = 7.5, 4.5
"""Per sample: from where on an input is not compressed, and what a photograph then counts as."""


class _Fit(NamedTuple):
    """Bits per sample, as powers of two: ``constants`` by quality, then what is added for each
    doubling of the input's bits per sample, for each doubling of its sides, and for colours."""

    constants: Mapping[int, float]
    slope: float
    growth: float
    colour: float


_LOSSLESS_INPUT = {
    "JPEG": _Fit({50: -2.65, 75: -2.12, 85: -1.71, 95: -0.89, 100: 0.12}, 1.22, -0.60, -0.65),
    "WEBP": _Fit({50: -4.74, 75: -4.30, 85: -3.69, 95: -2.78, 100: -2.26}, 1.95, -0.85, -0.85),
    "AVIF": _Fit({50: -3.49, 75: -2.50, 95: -1.23, 100: 0.07}, 1.32, -0.76, -0.69),
    "PNG": _Fit({0: 0.48}, 0.87, -0.45, 0.16),
    "TIFF": _Fit({0: 0.73}, 0.85, -0.46, 0.13),
    "GIF": _Fit({0: 1.34}, 0.79, -0.36, -1.43),
    "WEBP lossless": _Fit({0: 0.54}, 0.82, -0.55, -0.12),
}
_LOSSY_INPUT = {
    "JPEG": _Fit({50: -1.33, 75: -0.85, 85: -0.48, 95: 0.33, 100: 1.36}, 1.10, -0.61, 0.38),
    "WEBP": _Fit({50: -2.43, 75: -2.02, 85: -1.47, 95: -0.60, 100: -0.05}, 1.63, -0.89, 0.78),
    "AVIF": _Fit({50: -2.22, 75: -1.35, 95: -0.07, 100: 1.34}, 1.31, -0.81, 0.55),
    "PNG": _Fit({0: 1.30}, 0.85, -0.48, 0.98),
    "TIFF": _Fit({0: 1.57}, 0.84, -0.51, 0.90),
    "GIF": _Fit({0: 2.18}, 0.72, -0.40, -0.70),
    "WEBP lossless": _Fit({0: 1.12}, 0.88, -0.52, 0.58),
}


def expected_bytes(
    source_bytes: int, header: Header, form: str, pixels: int, encoding: Encoding
) -> int:
    """Of a file in the format ``form`` with so many ``pixels``, all frames together, upscaled from
    a photograph of ``source_bytes``."""
    samples = pixels * header.channels
    bits = _bits_per_sample(source_bytes, header, form, pixels, encoding)
    if header.depth == 16 and FORMATS[form].sixteen:
        bits += 8  # the lower half of a sample is noise
    return round(samples * bits / 8)


def _bits_per_sample(
    source_bytes: int, header: Header, form: str, pixels: int, encoding: Encoding
) -> float:
    """Of the output, 8 bits deep."""
    if form == "BMP" or (form == "PNG" and encoding.compress == 0):
        return 8.0
    name = "WEBP lossless" if form == "WEBP" and encoding.lossless else form
    fit = (_LOSSY_INPUT if header.form in _LOSSY else _LOSSLESS_INPUT)[name]
    source_pixels = header.height * header.width * header.frames
    source_bits = 8 * source_bytes / (source_pixels * header.channels) - (header.depth - 8)
    if not 0 < source_bits < _RAW_BITS:
        source_bits = _PHOTO_BITS
    quality = 100 if encoding.lossless else encoding.quality
    constant = np.interp(quality, list(fit.constants), list(fit.constants.values()))
    doublings = np.log2(pixels / source_pixels) / 2
    power = constant + fit.slope * np.log2(source_bits) + fit.growth * doublings
    return float(2 ** (power + (fit.colour if header.channels > 2 else 0.0)))
