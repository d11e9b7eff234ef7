"""The sizes users ask for: which enlargement serves them, and shrinking from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapsr_cli.errors import UsageError
from lapsr_cli.image_io import Picture
from lapsr_cli.resize import contributions

__all__ = ["LARGEST_CASCADE", "Size", "Target", "enlargement", "shrunk"]

LARGEST_CASCADE = 64

_STRIP_BYTES = 64 << 20


@dataclass(frozen=True)
class Size:
    """Of a picture, in pixels."""

    height: int
    width: int

    def times(self, factor: Fraction) -> Size:
        """Each side rounded, halves up, and at least one pixel."""
        height, width = (
            max(1, math.floor(factor * side + Fraction(1, 2))) for side in (self.height, self.width)
        )
        return Size(height, width)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A size asked for: a scale, or a box in pixels that the picture is to fill.

    ``scale``: a decimal as it was written. ``width``, ``height``: either or both, the picture fits
    within; ``long_edge``: of the longer side. Raises UsageError, naming the flag.
    """

    scale: str = ""
    width: int | None = None
    height: int | None = None
    long_edge: int | None = None

    def __post_init__(self) -> None:
        if self.scale:
            self._fraction()
        for flag in ("width", "height", "long_edge"):
            value = getattr(self, flag)
            if value is not None and value < 1:
                raise UsageError(f"--{flag.replace('_', '-')} {value}: must be at least 1")
        if not self.scale and not self._bounds:
            raise UsageError("-s/--scale: name at least one scale")

    def _fraction(self) -> Fraction:
        try:
            value = Fraction(self.scale)
        except (ValueError, ZeroDivisionError):
            value = Fraction(0)
        if "/" in self.scale or not 1 <= value <= LARGEST_CASCADE:
            raise UsageError(
                f"-s/--scale {self.scale}: must be a list of numbers from 1 to {LARGEST_CASCADE},"
                " as in 2,4,8"
            )
        return value

    @property
    def _bounds(self) -> dict[str, int]:
        found = {"w": self.width, "h": self.height, "e": self.long_edge}
        return {letter: value for letter, value in found.items() if value is not None}

    @property
    def label(self) -> str:
        """What {scale} becomes in names: "2", "2.5", "w1920", "w1920h1080", "e4000"."""
        if self.scale:
            value = self._fraction()
            return str(value) if value.denominator == 1 else f"{float(value):g}"
        return "".join(f"{letter}{value}" for letter, value in self._bounds.items())

    def factor(self, size: Size) -> Fraction:
        """How many times larger than ``size`` the result is; below 1 it is smaller."""
        if self.scale:
            return self._fraction()
        sides = {"w": size.width, "h": size.height, "e": max(size.height, size.width)}
        return min(Fraction(value, sides[letter]) for letter, value in self._bounds.items())

    def size(self, size: Size) -> Size:
        """Of the result."""
        return size.times(self.factor(size))


def enlargement(factor: Fraction, scales: Sequence[int]) -> int:
    """The least the network can enlarge to reach ``factor``: 1 (not at all), one of ``scales``, or
    the largest of them times what a second pass has to add."""
    if factor <= 1:
        return 1
    sufficient = [scale for scale in scales if scale >= factor]
    if sufficient:
        return min(sufficient)
    return max(scales) * enlargement(factor / max(scales), scales)


def shrunk(picture: Picture, size: Size) -> Picture:
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
