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
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lapsr_cli.errors import UsageError
from lapsr_cli.pixels.picture import Picture, Size

__all__ = [
    "REACH",
    "Edge",
    "contributions",
    "enlarge",
    "matrix",
    "resize",
    "resized",
    "window_matrices",
]

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


def enlarge(image: Tensor, scale: int) -> Tensor:
    """(B, C, H, W) in floating point -> (B, C, scale H, scale W): ``resize`` by a whole number,
    thirty times as fast on the CPU.

    torch's kernel has the same a = -0.5 where it is told to antialias, which enlarging does not;
    beyond an edge it reads nothing, so the mirrored pixels are there for it.
    """
    if image.device.type == "mps":  # torch has this kernel there from 2.8 on
        return resize(image, float(scale))
    height, width = image.shape[-2:]
    for axis, length in ((-2, height), (-1, width)):
        mirrored = _fold(np.arange(-REACH, length + REACH), np.array(length), "mirror")
        image = image.index_select(axis, torch.from_numpy(mirrored).to(image.device))
    enlarged = F.interpolate(image, scale_factor=scale, mode="bicubic", antialias=True)
    first = REACH * scale
    return enlarged[..., first : first + scale * height, first : first + scale * width]


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


def matrix(length: int, scale: float, *, edge: Edge = "mirror") -> Tensor:
    """What resizes an axis of ``length`` pixels, as a matrix (ceil(scale length), length), fp64."""
    taps, weights = (torch.from_numpy(each.T) for each in _contributions(length, scale, edge))
    dense = torch.zeros(len(taps), length, dtype=torch.float64)
    return dense.scatter_add_(1, taps, weights)  # (outputs, length)


@lru_cache(maxsize=256)
def _contributions(
    length: int, scale: float, edge: Edge
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each kernel tap, the input index and weight of every output: (taps, outputs) twice."""
    index, weight = contributions(
        np.array([length]), np.array([scale]), np.array([0]), math.ceil(length * scale), edge
    )
    used = weight[0].any(axis=0)
    return index[0].T[used], weight[0].T[used]


def contributions(
    length: NDArray[np.int64],
    scale: NDArray[np.float64],
    first: NDArray[np.int64],
    count: int,
    edge: Edge = "mirror",
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What ``count`` outputs from ``first`` on read, were each of B axes resized as a whole.

    ``length``, ``scale`` and ``first`` are (B,). Returns input indices and their weights, both
    (B, count, taps); outer taps may weigh nothing.
    """
    stretch = np.minimum(scale, 1.0)[:, None, None]
    centre = (first[:, None] + np.arange(count) + 0.5) / scale[:, None] - 0.5  # (B, count)
    taps = math.ceil(4 / stretch.min()) + 2
    outermost = np.floor(centre[..., None] - 2 / stretch).astype(np.int64)
    index = outermost + np.arange(taps)  # (B, count, taps)
    weight = _cubic(stretch * (centre[..., None] - index))
    weight /= weight.sum(axis=-1, keepdims=True)
    return _fold(index, length[:, None, None], edge), weight


def window_matrices(
    length: NDArray[np.int64],
    scale: NDArray[np.float64],
    first: NDArray[np.int64],
    count: int,
    width: int,
) -> tuple[NDArray[np.int64], Tensor]:
    """Resize only a part of each of B axes: ``count`` outputs from ``first`` on.

    ``length``, ``scale`` and ``first`` are (B,). The outputs read a window of ``width`` inputs,
    which must be enough. Returns the first input of each window, (B,), and the matrices by which
    to multiply the windows, float64 (B, count, width).
    """
    taps, weights = contributions(length, scale, first, count)  # (B, count, taps)
    used = np.where(weights != 0, taps, length[:, None, None])
    start = np.minimum(used.min(axis=(1, 2)), np.maximum(length - width, 0))
    inside = (taps - start[:, None, None]).clip(0, width - 1)  # clipped taps have weight 0
    dense = torch.zeros(len(length), count, width, dtype=torch.float64)
    return start, dense.scatter_add_(2, torch.from_numpy(inside), torch.from_numpy(weights))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


def _fold(index: NDArray[np.int64], length: NDArray[np.int64], edge: Edge) -> NDArray[np.int64]:
    """Bring indices beyond either end back into the axis."""
    if edge == "replicate":
        return index.clip(0, length - 1)
    index = index % (2 * length)
    folded: NDArray[np.int64] = np.minimum(index, 2 * length - 1 - index)
    return folded


_STRIP_BYTES = 64 << 20


def resized(picture: Picture, size: Size) -> Picture:
    """The picture at a smaller size by MATLAB's imresize: bicubic, antialiased, edges mirrored.

    Colours are premultiplied by alpha on the way. Done in strips, so that it takes little more
    memory than its result.
    """
    if (picture.height, picture.width) == (size.height, size.width):
        return picture
    columns = _Axis(picture.width, size.width)
    colours = np.empty((size.height, size.width, *picture.pixels.shape[2:]), picture.pixels.dtype)
    alpha = None if picture.alpha is None else np.empty(colours.shape[:2], colours.dtype)
    row_bytes = 4 * 4 * picture.width * max(1.0, picture.height / size.height)
    step = max(1, int(_STRIP_BYTES / row_bytes))
    for first in range(0, size.height, step):
        count = min(step, size.height - first)
        rows = _Axis(picture.height, size.height, first, count)
        strip = columns.apply(rows.apply(_premultiplied(picture, rows), 0), 1)  # (count, W, C)
        part = slice(first, first + count)
        if alpha is not None:
            alpha[part] = _to_samples(strip[..., -1], alpha.dtype)
            strip = strip[..., :-1] / strip[..., -1:].clamp(min=0.5 / 65535)
        colours[part] = _to_samples(strip, colours.dtype).reshape(colours[part].shape)
    return Picture(colours, alpha)


class _Axis:
    """Which samples of one axis some outputs read, and how much of each."""

    def __init__(self, length: int, outputs: int, first: int = 0, count: int | None = None) -> None:
        index, weight = contributions(
            np.array([length]),
            np.array([outputs / length]),
            np.array([first]),
            outputs if count is None else count,
        )
        self.start, self.stop = int(index.min()), int(index.max()) + 1
        self.index = torch.from_numpy(index[0].T.copy() - self.start)  # (taps, outputs)
        self.weight = torch.from_numpy(weight[0].T.astype(np.float32))

    def apply(self, samples: Tensor, axis: int) -> Tensor:
        """``samples`` begin at ``start``."""
        shape = [-1 if each == axis else 1 for each in range(samples.ndim)]
        total: Tensor | None = None
        for index, weight in zip(self.index, self.weight, strict=True):
            term = samples.index_select(axis, index).mul_(weight.view(shape))
            total = term if total is None else total.add_(term)
        assert total is not None
        return total


def _premultiplied(picture: Picture, rows: _Axis) -> Tensor:
    """The rows that are read, in [0, 1], alpha behind the colours: (h, W, C)."""
    part = slice(rows.start, rows.stop)
    full = float(np.iinfo(picture.pixels.dtype).max)
    colours = torch.from_numpy(np.atleast_3d(picture.pixels[part]).astype(np.float32)) / full
    if picture.alpha is None:
        return colours
    alpha = torch.from_numpy(picture.alpha[part].astype(np.float32))[..., None] / full
    return torch.cat([colours * alpha, alpha], dim=-1)


def _to_samples(values: Tensor, dtype: np.dtype[np.uint8 | np.uint16]) -> NDArray[np.generic]:
    full = float(np.iinfo(dtype).max)
    return (values.clamp(0, 1) * full).round().numpy().astype(dtype)
