"""The exact receptive field of the network, derived by interval arithmetic."""

from __future__ import annotations

import math
from typing import NamedTuple

from lapsr_cli.network.pyramid import PyramidConfig, crop_before

__all__ = ["Halo", "halo"]


class Halo(NamedTuple):
    """How far a low-resolution pixel's outputs look to either side of it, in LR pixels."""

    before: int
    after: int


class _Interval(NamedTuple):
    """Positions first..last along one axis, both included."""

    first: int
    last: int

    def widened(self, by: int) -> _Interval:
        return _Interval(self.first - by, self.last + by)

    def before_upsampling(self, kernel: int, stride: int, crop: int) -> _Interval:
        """What a transposed convolution reads: output o takes input i and tap k where
        o = stride i + k - crop."""
        first = math.ceil((self.first + crop - (kernel - 1)) / stride)
        return _Interval(first, (self.last + crop) // stride)


def _joined(*intervals: _Interval | None) -> _Interval:
    """The smallest interval that holds all that are there."""
    there = [interval for interval in intervals if interval is not None]
    return _Interval(min(i.first for i in there), max(i.last for i in there))


def halo(config: PyramidConfig, scale: int) -> Halo:
    """The exact halo at ``scale``, in LR pixels, by interval arithmetic from output to input.

    LR pixel 0 owns the output pixels 0..scale-1 along an axis; the interval they depend on,
    followed back through every layer, is -before..after. The same for rows and columns. A
    transposed convolution reaches further back than ahead, so the two sides differ.
    """
    factor = config.factor
    picture: _Interval | None = _Interval(0, scale - 1)
    features: _Interval | None = None
    for _ in range(config.level_of(scale)):
        upsampled = _joined(picture and picture.widened(1), features)  # conv_res, next level
        features = upsampled.before_upsampling(2 * factor - 1, factor, crop_before(factor))  # up
        features = features.widened(config.depth * config.recursions)
        if picture is not None and config.global_residual:
            picture = picture.before_upsampling(2 * factor, factor, factor // 2)  # up_image
        else:
            picture = None
    assert features is not None
    read = _joined(picture, features.widened(1))  # conv_in
    return Halo(before=-read.first, after=read.last)
