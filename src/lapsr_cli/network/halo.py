"""The exact receptive field of the network, derived by interval arithmetic."""

from __future__ import annotations

import math
from typing import NamedTuple

from lapsr_cli.network.pyramid import PyramidConfig, crop_before

__all__ = ["Halo", "halo"]


class Halo(NamedTuple):
    """LR pixels before and after an LR pixel, along an axis, that its outputs depend on."""

    before: int
    after: int


class _Interval(NamedTuple):
    """Positions first..last along one axis, both included."""

    first: int
    last: int

    def widened(self, by: int) -> _Interval:
        return _Interval(self.first - by, self.last + by)

    def before_upsampling(self, kernel: int, stride: int, crop: int) -> _Interval:
        """The inputs that a transposed convolution reads for these outputs: output o reads input i
        by tap k where o = stride i + k - crop."""
        first = math.ceil((self.first + crop - (kernel - 1)) / stride)
        return _Interval(first, (self.last + crop) // stride)


def _union(*intervals: _Interval | None) -> _Interval:
    """The smallest interval that contains all of them; None is empty."""
    given = [interval for interval in intervals if interval is not None]
    return _Interval(min(i.first for i in given), max(i.last for i in given))


def halo(config: PyramidConfig, scale: int) -> Halo:
    """The exact halo at ``scale``, in LR pixels, by interval arithmetic from output to input.

    Along an axis, the outputs of LR pixel 0 are the pixels 0..scale-1; traced back through every
    layer, they depend on the LR pixels -before..after. Rows and columns are the same. The two sides
    differ because a transposed convolution reaches further back than ahead.
    """
    factor = config.factor
    picture: _Interval | None = _Interval(0, scale - 1)
    features: _Interval | None = None
    for _ in range(config.level_of(scale)):
        upsampled = _union(picture and picture.widened(1), features)  # conv_res, next level
        features = upsampled.before_upsampling(2 * factor - 1, factor, crop_before(factor))  # up
        features = features.widened(config.depth * config.recursions)
        if picture is not None and config.global_residual:
            picture = picture.before_upsampling(2 * factor, factor, factor // 2)  # up_image
        else:
            picture = None
    assert features is not None
    read = _union(picture, features.widened(1))  # conv_in
    return Halo(before=-read.first, after=read.last)
