"""The Laplacian pyramid network of both papers, from one configuration.

LapSRN:    Lai, Huang, Ahuja, Yang, CVPR 2017, arXiv:1704.03915.
MS-LapSRN: the same, TPAMI 2018, arXiv:1710.01992.

Notation: D = ``depth``, convolutions in one recursive block; R = ``recursions``, blocks in one
level; a level doubles height and width. Pictures are luma, (B, 1, H, W), in [0, 1].

    MS-LapSRN: everything shared by all levels,     LapSRN: nothing shared, activation after
    activation before each convolution              each convolution

    f = conv_in(y)                                  f = lrelu(conv_in(y))
    each level:                                     each level:
        x = f                                           D times: f = lrelu(conv_d(f))
        R times: h = x, then D times                    f = lrelu(up(f))
            h = conv_d(lrelu(h));                       y = up_image(y) + conv_res(f)
            x = h + f | h + x | h
        f = up(lrelu(x))
        y = up_image(y) + conv_res(f)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from lapsr_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Halo", "LaplacianPyramid", "PyramidConfig", "Skip", "halo"]

Skip = Literal["ss", "ds", "ns"]

NEGATIVE_SLOPE = 0.2
"""Slope of the leaky rectifier below zero (MS-LapSRN section 3.4)."""


@dataclass(frozen=True, kw_only=True)
class PyramidConfig:
    """What the network looks like.

    ``depth`` (D) and ``recursions`` (R) as in the MS-LapSRN paper, section 3.3. ``skip``: what is
    added to the output of a recursive block: "ss" the level's input (shared source, the published
    model), "ds" the block's own input (different source), "ns" nothing (section 3.2).
    ``shared``: MS-LapSRN, one set of weights for every level and block; without it LapSRN, which
    has one set for each level, one block, and no skip. ``levels``: doublings, so the largest
    scale is 2**levels. ``channels``: width of the feature maps, 64 in both papers.

    Raises UsageError for values that describe no network.
    """

    depth: int = 5
    recursions: int = 2
    skip: Skip = "ss"
    shared: bool = True
    levels: int = 3
    channels: int = 64

    def __post_init__(self) -> None:
        for name in ("depth", "recursions", "levels", "channels"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise UsageError(f"{name} must be a whole number from 1, not {value}")
        if self.levels > 3:
            raise UsageError(f"levels must be 1, 2 or 3 (2x, 4x, 8x), not {self.levels}")
        if self.skip not in ("ss", "ds", "ns"):
            raise UsageError(f"skip must be ss, ds or ns, not {self.skip!r}")
        if not self.shared and (self.recursions, self.skip) != (1, "ns"):
            raise UsageError("a network that shares nothing (LapSRN) has recursions 1 and skip ns")

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales that one pass gives, ascending: (2, 4, 8) for three levels."""
        return tuple(2**level for level in range(1, self.levels + 1))

    def layers(self, scale: int) -> int:
        """Convolutions on the way to the picture at ``scale``: (D R + 1) L + 2."""
        return (self.depth * self.recursions + 1) * self.level_of(scale) + 2

    def level_of(self, scale: int) -> int:
        """The level whose output is the picture at ``scale``; UsageError if there is none."""
        if scale not in self.scales:
            offered = ", ".join(map(str, self.scales))
            raise UsageError(f"-s/--scale {scale}: this model makes the scales {offered}")
        return self.scales.index(scale) + 1

    @property
    def title(self) -> str:
        """The network in the papers' words: "MS-LapSRN D5R2" or "LapSRN D10 (4x)"."""
        if not self.shared:
            return f"LapSRN D{self.depth} ({self.scales[-1]}x)"
        skip = "" if self.skip == "ss" else f" {self.skip.upper()}"
        return f"MS-LapSRN D{self.depth}R{self.recursions}{skip}"


class Level(nn.Module):
    """The weights of one pyramid level: recursive block, upsampling, residual prediction."""

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        channels = config.channels
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(config.depth)
        )
        self.up = nn.ConvTranspose2d(channels, channels, 3, stride=2)
        self.up_image = nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1, bias=False)
        self.conv_res = nn.Conv2d(channels, 1, 3, padding=1)

    def upsample(self, features: Tensor) -> Tensor:
        """Double height and width: (B, C, H, W) -> (B, C, 2H, 2W)."""
        height, width = features.shape[-2:]
        upsampled: Tensor = self.up(features)  # (B, C, 2H + 1, 2W + 1)
        return upsampled[..., : 2 * height, : 2 * width]  # (B, C, 2H, 2W)


class LaplacianPyramid(nn.Module):
    """The network: luma (B, 1, H, W) in [0, 1] -> {2: (B, 1, 2H, 2W), 4: ..., 8: ...}.

    A picture at a lower scale does not depend on the levels above it: the 2x picture of an 8x
    pass is the 2x picture. Outputs are not clamped. The image branch (``up_image`` and the sums)
    keeps the dtype of the input; the features take that of ``conv_in``.
    """

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_in = nn.Conv2d(1, config.channels, 3, padding=1)
        self.levels = nn.ModuleList(
            Level(config) for _ in range(1 if config.shared else config.levels)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The authors' start: He-normal, sigma 1e-3 for conv_in, zero biases, bilinear image."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.conv_in.weight, std=1e-3)
        tent = torch.tensor([0.25, 0.75, 0.75, 0.25])
        for level in self.levels:
            assert isinstance(level, Level)
            with torch.no_grad():
                level.up_image.weight.copy_(torch.outer(tent, tent)[None, None])

    def level(self, number: int) -> Level:
        """The weights of level ``number``, counted from 1."""
        level = self.levels[0 if self.config.shared else number - 1]
        assert isinstance(level, Level)
        return level

    def forward(self, luma: Tensor, scale: int | None = None) -> dict[int, Tensor]:
        """Every picture up to ``scale`` (the largest by default) from one pass."""
        last = self.config.level_of(scale) if scale else self.config.levels
        pictures: dict[int, Tensor] = {}
        picture = luma  # (B, 1, H, W)
        features = self.conv_in(luma.to(self.conv_in.weight.dtype))  # (B, C, H, W)
        if not self.config.shared:
            features = lrelu(features)
        for number in range(1, last + 1):
            level = self.level(number)
            body = self._shared_body if self.config.shared else self._plain_body
            features = body(level, features)  # (B, C, 2H, 2W)
            residual = level.conv_res(features).to(picture.dtype)  # (B, 1, 2H, 2W)
            picture = level.up_image(picture) + residual  # (B, 1, 2H, 2W)
            pictures[2**number] = picture
        return pictures

    def _shared_body(self, level: Level, source: Tensor) -> Tensor:
        """MS-LapSRN section 3.3: R recursive blocks before the upsampling."""
        x = source  # (B, C, H, W)
        for _ in range(self.config.recursions):
            h = x
            for conv in level.convs:
                h = conv(lrelu(h))  # (B, C, H, W)
            if self.config.skip == "ss":
                x = h + source
            elif self.config.skip == "ds":
                x = h + x
            else:
                x = h
        return level.upsample(lrelu(x))  # (B, C, 2H, 2W)

    def _plain_body(self, level: Level, features: Tensor) -> Tensor:
        """LapSRN section 3.1: D convolutions, then the upsampling, activation after each."""
        for conv in level.convs:
            features = lrelu(conv(features))  # (B, C, H, W)
        return lrelu(level.upsample(features))  # (B, C, 2H, 2W)


def lrelu(x: Tensor) -> Tensor:
    """Leaky rectifier of both papers."""
    return F.leaky_relu(x, NEGATIVE_SLOPE)


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

    def joined(self, other: _Interval) -> _Interval:
        return _Interval(min(self.first, other.first), max(self.last, other.last))

    def before_upsampling(self, kernel: int, crop: int) -> _Interval:
        """What a transposed convolution of stride 2 reads: output o takes input i and tap k
        where o = 2 i + k - crop."""
        return _Interval(math.ceil((self.first + crop - (kernel - 1)) / 2), (self.last + crop) // 2)


def halo(config: PyramidConfig, scale: int) -> Halo:
    """The exact halo at ``scale``, in LR pixels, by interval arithmetic from output to input.

    LR pixel 0 owns the output pixels 0..scale-1 along an axis; the interval they depend on,
    followed back through every layer, is -before..after. The same for rows and columns. A
    transposed convolution reaches further back than ahead, so the two sides differ.
    """
    picture = _Interval(0, scale - 1)
    features: _Interval | None = None
    for _ in range(config.level_of(scale)):
        upsampled = picture.widened(1)  # conv_res
        if features is not None:
            upsampled = upsampled.joined(features)
        features = upsampled.before_upsampling(kernel=3, crop=0)  # up
        features = features.widened(config.depth * config.recursions)
        picture = picture.before_upsampling(kernel=4, crop=1)  # up_image
    assert features is not None
    read = picture.joined(features.widened(1))  # conv_in
    return Halo(before=-read.first, after=read.last)
