"""Bicubic resizing as MATLAB's imresize: cubic a = -0.5, centres aligned, antialiased shrinking.

Output position u (counted from 0) reads the input around (u + 0.5) / scale - 0.5 with the kernel
of Keys 1981 (IEEE TASSP 29(6), equation 15), stretched by 1/scale when shrinking. The two axes are
separate passes, rows first. Doubles are not rounded between the passes; uint8 is, as in MATLAB.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapsr_cli.errors import UsageError

__all__ = ["REACH", "Edge", "resize"]

Edge = Literal["mirror", "replicate"]

REACH = 2
"""LR pixels to either side that an enlarged pixel depends on: the cubic kernel's radius."""


def resize(image: Tensor, scale: float, *, edge: Edge = "mirror") -> Tensor:
    """(..., H, W) -> (..., ceil(scale H), ceil(scale W)), same dtype and device.

    ``edge``: "mirror" is half-sample symmetric, today's MATLAB; "replicate" repeats the outermost
    pixel, as MATLAB did when the benchmark pictures were made. uint8 input is rounded to uint8
    after each pass; floating point keeps its values, overshoot included.

    Raises UsageError if ``scale`` is not positive.
    """
    if not scale > 0:
        raise UsageError(f"scale must be positive, not {scale}")
    rows = _resize_axis(image, -2, scale, edge)  # (..., scale H, W)
    return _resize_axis(rows, -1, scale, edge)  # (..., scale H, scale W)


def _resize_axis(image: Tensor, axis: int, scale: float, edge: Edge) -> Tensor:
    taps, weights = _contributions(image.shape[axis], scale, edge)
    dtype = image.dtype if image.is_floating_point() else torch.float64
    shape = [-1, *[1] * (-axis - 1)]
    result: Tensor | None = None
    for tap, weight in zip(taps, weights, strict=True):
        index = torch.from_numpy(tap).to(image.device)
        factor = torch.from_numpy(weight).to(image.device, dtype).view(shape)
        term = image.index_select(axis, index).to(dtype) * factor
        result = term if result is None else result + term
    assert result is not None
    if image.is_floating_point():
        return result
    # MATLAB rounds halves away from zero; values are not negative here.
    return (result + 0.5).floor().clamp(0, 255).to(image.dtype)


@lru_cache(maxsize=256)
def _contributions(
    length: int, scale: float, edge: Edge
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each kernel tap, the input index and weight of every output: (taps, outputs) twice."""
    stretch = min(scale, 1.0)
    width = 4 / stretch
    centre = (np.arange(math.ceil(length * scale)) + 0.5) / scale - 0.5
    first = np.floor(centre - width / 2).astype(np.int64)
    index = first + np.arange(math.ceil(width) + 2)[:, None]
    weight = _cubic(stretch * (centre - index))
    weight /= weight.sum(axis=0)
    used = weight.any(axis=1)
    return _fold(index[used], length, edge), weight[used]


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


def _fold(index: NDArray[np.int64], length: int, edge: Edge) -> NDArray[np.int64]:
    """Bring indices beyond either end back into the picture."""
    if edge == "replicate":
        return index.clip(0, length - 1)
    index = index % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)
