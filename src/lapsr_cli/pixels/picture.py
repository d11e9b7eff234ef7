"""A picture in memory: samples, their size, and alpha."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["Picture", "Samples", "Size"]

Samples = NDArray[np.uint8 | np.uint16]


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


@dataclass(frozen=True)
class Picture:
    """One frame, upright.

    ``pixels``: uint8 or uint16, (H, W, 3) RGB or (H, W) grey. ``alpha``: (H, W) of the same type,
    0 for clear, straight (colours are not multiplied with it), or None.
    """

    pixels: Samples
    alpha: Samples | None = None

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.pixels.shape[1])

    @property
    def depth(self) -> int:
        """Bits a sample: 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def full(self) -> int:
        """The value of white and of opaque: 255 or 65535."""
        return (1 << self.depth) - 1
