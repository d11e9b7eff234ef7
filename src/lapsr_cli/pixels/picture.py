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
    """Height and width of a picture, in pixels."""

    height: int
    width: int

    def times(self, factor: Fraction) -> Size:
        """Both sides times ``factor``, rounded (halves up), at least one pixel."""
        height, width = (
            max(1, math.floor(factor * side + Fraction(1, 2))) for side in (self.height, self.width)
        )
        return Size(height, width)


@dataclass(frozen=True)
class Picture:
    """A frame, with its orientation applied.

    ``pixels``: uint8 or uint16, RGB (H, W, 3) or grey (H, W). ``alpha``: (H, W) of the same dtype,
    straight (not multiplied into the colours), 0 for transparent; None if there is no alpha.
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
        """Bits per sample: 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def bytes(self) -> int:
        """Of the samples."""
        return self.pixels.nbytes + (0 if self.alpha is None else self.alpha.nbytes)

    @property
    def full(self) -> int:
        """The largest value of a sample, white or opaque: 255 or 65535."""
        return (1 << self.depth) - 1
