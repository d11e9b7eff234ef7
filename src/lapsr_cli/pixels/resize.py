"""Bicubic resizing like MATLAB's imresize: a = -0.5, pixel centres aligned, antialiased.

Output position u (from 0) reads the input around (u + 0.5) / scale - 0.5, weighted by the kernel of
Keys 1981 (IEEE TASSP 29(6), equation 15), which is stretched by 1 / scale for downscaling. The axes
are resized one after the other, rows first. Floating-point numbers are not rounded in between;
uint8 is, as in MATLAB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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
"""LR pixels on either side that an upscaled pixel depends on: the radius of the cubic kernel."""

_BLOCK_BYTES = 64 << 20
"""Working memory of `resized` for a block of rows."""


def resize(image: Tensor, scale: float, *, edge: Edge = "mirror") -> Tensor:
    """(..., H, W) -> (..., ceil(scale H), ceil(scale W)), on the same device, of the same dtype.

    ``edge``: "mirror" is half-sample symmetric, as in MATLAB today; "replicate" repeats the pixels
    at the edge, as in MATLAB when the benchmark pictures were made. uint8 is rounded after each
    axis; floating-point numbers are neither rounded nor clamped.

    Raises UsageError if ``scale`` is not positive.
    """
    if not scale > 0:
        raise UsageError(f"scale must be positive, not {scale}")
    rows = _resize_axis(image, -2, scale, edge)  # (..., scale H, W)
    return _resize_axis(rows, -1, scale, edge)  # (..., scale H, scale W)


def enlarge(image: Tensor, scale: int) -> Tensor:
    """(B, C, H, W) in floating point -> (B, C, scale H, scale W): `resize` by an integer, 30 times
    as fast on the CPU.

    torch's kernel has a = -0.5 only with ``antialias``, which does nothing else when upscaling. It
    reads no pixels beyond the edge, so they are mirrored first.
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


def resized(picture: Picture, size: Size) -> Picture:
    """Downscale ``picture`` to ``size`` as MATLAB's imresize does, with mirrored edges.

    Colours are premultiplied by alpha for this. Works in blocks of rows, so that it needs little
    more memory than the result.
    """
    if (picture.height, picture.width) == (size.height, size.width):
        return picture
    row_scale, column_scale = size.height / picture.height, size.width / picture.width
    columns = _taps(picture.width, column_scale, "mirror", 0, size.width)
    colours = np.empty((size.height, size.width, *picture.pixels.shape[2:]), picture.pixels.dtype)
    alpha = None if picture.alpha is None else np.empty(colours.shape[:2], colours.dtype)
    row_bytes = 4 * 4 * picture.width * max(1.0, picture.height / size.height)
    step = max(1, int(_BLOCK_BYTES / row_bytes))
    for first in range(0, size.height, step):
        count = min(step, size.height - first)
        rows = _taps(picture.height, row_scale, "mirror", first, count)
        read = _premultiplied(picture, rows.start, rows.stop)  # (h, W, C)
        block = columns.apply(rows.apply(read, -3, start=rows.start), -2)  # (count, W', C)
        part = slice(first, first + count)
        if alpha is not None:
            alpha[part] = _to_samples(block[..., -1], alpha.dtype)
            block = block[..., :-1] / block[..., -1:].clamp(min=0.5 / 65535)
        colours[part] = _to_samples(block, colours.dtype).reshape(colours[part].shape)
    return Picture(colours, alpha)


def matrix(length: int, scale: float, *, edge: Edge = "mirror") -> Tensor:
    """The matrix that resizes an axis of ``length`` pixels, (ceil(scale length), length), fp64."""
    taps = _whole_axis(length, scale, edge)
    return _dense(taps.index.T, taps.weight.T, length)


def window_matrices(
    length: NDArray[np.int64],
    scale: NDArray[np.float64],
    first: NDArray[np.int64],
    count: int,
    width: int,
) -> tuple[NDArray[np.int64], Tensor]:
    """Matrices that resize only a part of each of B axes: ``count`` outputs from ``first`` on.

    ``length``, ``scale`` and ``first`` are (B,). ``width``: inputs per window, enough for all that
    the outputs read. Returns the first input of each window, (B,), and the matrices by which to
    multiply the windows, fp64 (B, count, width).
    """
    index, weight = contributions(length, scale, first, count)  # (B, count, taps)
    used = np.where(weight != 0, index, length[:, None, None])
    start = np.minimum(used.min(axis=(1, 2)), np.maximum(length - width, 0))
    inside = (index - start[:, None, None]).clip(0, width - 1)  # clipped taps have weight 0
    return start, _dense(inside, weight, width)


def contributions(
    length: NDArray[np.int64],
    scale: NDArray[np.float64],
    first: NDArray[np.int64],
    count: int,
    edge: Edge = "mirror",
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What ``count`` outputs from ``first`` on read, on each of B axes.

    ``length``, ``scale`` and ``first`` are (B,). Returns the indices of the inputs and their
    weights, both (B, count, taps). Outer taps may have weight 0.
    """
    stretch = np.minimum(scale, 1.0)[:, None, None]
    centre = (first[:, None] + np.arange(count) + 0.5) / scale[:, None] - 0.5  # (B, count)
    taps = math.ceil(4 / stretch.min()) + 2
    outermost = np.floor(centre[..., None] - 2 / stretch).astype(np.int64)
    index = outermost + np.arange(taps)  # (B, count, taps)
    weight = _cubic(stretch * (centre[..., None] - index))
    weight /= weight.sum(axis=-1, keepdims=True)
    return _fold(index, length[:, None, None], edge), weight


@dataclass(frozen=True, eq=False)
class _Taps:
    """How an axis is resized: output o is the sum over t of weight[t, o] * input[index[t, o]]."""

    index: NDArray[np.int64]  # (taps, outputs)
    weight: NDArray[np.float64]  # (taps, outputs)

    @property
    def start(self) -> int:
        """The first input that is read."""
        return int(self.index.min())

    @property
    def stop(self) -> int:
        """One past the last input that is read."""
        return int(self.index.max()) + 1

    def apply(self, samples: Tensor, axis: int, *, start: int = 0) -> Tensor:
        """Resize ``axis``, counted from the end, of ``samples``, whose first is input ``start``.

        In the dtype of floating-point samples, in fp64 for integers.
        """
        dtype = samples.dtype if samples.is_floating_point() else torch.float64
        indices = torch.from_numpy(self.index - start).to(samples.device)
        weights = torch.from_numpy(self.weight).to(samples.device, dtype)
        total: Tensor | None = None
        for index, weight in zip(indices, weights, strict=True):
            term = samples.index_select(axis, index).to(dtype)
            term = term.mul_(weight.view(-1, *[1] * (-axis - 1)))
            total = term if total is None else total.add_(term)
        assert total is not None
        return total


@lru_cache(maxsize=256)
def _whole_axis(length: int, scale: float, edge: Edge) -> _Taps:
    return _taps(length, scale, edge, 0, math.ceil(length * scale))


def _taps(length: int, scale: float, edge: Edge, first: int, count: int) -> _Taps:
    """For ``count`` outputs from ``first`` on, without taps that all of them weight 0."""
    index, weight = contributions(
        np.array([length]), np.array([scale]), np.array([first]), count, edge
    )
    used = weight[0].any(axis=0)
    return _Taps(index[0].T[used], weight[0].T[used])


def _resize_axis(image: Tensor, axis: int, scale: float, edge: Edge) -> Tensor:
    result = _whole_axis(image.shape[axis], scale, edge).apply(image, axis)
    if image.is_floating_point():
        return result
    # MATLAB rounds halves away from zero; values are not negative here.
    return (result + 0.5).floor().clamp(0, 255).to(image.dtype)


def _dense(index: NDArray[np.int64], weight: NDArray[np.float64], width: int) -> Tensor:
    """Taps (..., outputs, taps) as matrices (..., outputs, width), fp64."""
    dense = torch.zeros(*index.shape[:-1], width, dtype=torch.float64)
    return dense.scatter_add_(-1, torch.from_numpy(index), torch.from_numpy(weight))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


def _fold(index: NDArray[np.int64], length: NDArray[np.int64], edge: Edge) -> NDArray[np.int64]:
    """Map indices beyond either end of the axis into it."""
    if edge == "replicate":
        return index.clip(0, length - 1)
    index = index % (2 * length)
    folded: NDArray[np.int64] = np.minimum(index, 2 * length - 1 - index)
    return folded


def _premultiplied(picture: Picture, first: int, end: int) -> Tensor:
    """Rows ``first`` to ``end`` in [0, 1], premultiplied, alpha as the last channel: (n, W, C)."""
    part = slice(first, end)
    full = float(picture.full)
    colours = torch.from_numpy(np.atleast_3d(picture.pixels[part]).astype(np.float32)) / full
    if picture.alpha is None:
        return colours
    alpha = torch.from_numpy(picture.alpha[part].astype(np.float32))[..., None] / full
    return torch.cat([colours * alpha, alpha], dim=-1)


def _to_samples(values: Tensor, dtype: np.dtype[np.uint8 | np.uint16]) -> NDArray[np.generic]:
    full = float(np.iinfo(dtype).max)
    return (values.clamp(0, 1) * full).round().numpy().astype(dtype)
