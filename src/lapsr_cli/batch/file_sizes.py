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
    doubling of the input's bits per sample, for each doubling of its sides, and for colours; then,
    for lossy inputs, for each doubling of the mean quantization step of a JPEG, and for inputs that
    are no JPEG."""

    constants: Mapping[int, float]
    slope: float
    growth: float
    colour: float
    step: float = 0.0
    modern: float = 0.0


_LOSSLESS_INPUT = {
    "JPEG": _Fit({50: -2.22, 75: -1.70, 85: -1.30, 95: -0.49, 100: 0.56}, 1.07, -0.62, -0.68),
    "WEBP": _Fit({50: -3.98, 75: -3.55, 85: -2.97, 95: -2.08, 100: -1.56}, 1.66, -0.88, -0.93),
    "AVIF": _Fit({50: -3.77, 75: -2.81, 95: -1.53, 100: -0.23}, 1.44, -0.76, -0.63),
    "PNG": _Fit({0: -0.03}, 1.06, -0.45, 0.24),
    "TIFF": _Fit({0: -0.01}, 1.12, -0.44, 0.31),
    "GIF": _Fit({0: 0.47}, 1.14, -0.39, -1.44),
    "WEBP lossless": _Fit({0: -0.36}, 1.19, -0.54, -0.01),
}
_LOSSY_INPUT = {
    "JPEG": _Fit(
        {50: -2.34, 75: -1.85, 85: -1.47, 95: -0.64, 100: 0.50}, 0.83, -0.65, -0.08, 0.36, 1.98
    ),
    "WEBP": _Fit(
        {50: -4.14, 75: -3.76, 85: -3.22, 95: -2.28, 100: -1.72}, 1.24, -0.92, 0.14, 0.55, 2.94
    ),
    "AVIF": _Fit({50: -3.48, 75: -2.60, 95: -1.30, 100: 0.21}, 0.99, -0.83, 0.05, 0.42, 2.33),
    "PNG": _Fit({0: 0.55}, 0.64, -0.51, 0.55, 0.28, 1.82),
    "TIFF": _Fit({0: 0.64}, 0.66, -0.53, 0.65, 0.30, 1.84),
    "GIF": _Fit({0: 0.94}, 0.70, -0.48, -0.91, 0.32, 1.69),
    "WEBP lossless": _Fit({0: 0.17}, 0.67, -0.51, 0.44, 0.29, 1.57),
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
    power += fit.colour if header.channels > 2 else 0.0
    power += fit.step * np.log2(header.quantization) if header.quantization else fit.modern
    return float(2**power)
