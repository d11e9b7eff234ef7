"""The Laplacian pyramid network of both papers, from one configuration.

LapSRN:    Lai, Huang, Ahuja, Yang, CVPR 2017, arXiv:1704.03915.
MS-LapSRN: the same, TPAMI 2018, arXiv:1710.01992.

Notation: D = ``depth``, the convolutions in a recursive block; R = ``recursions``, the blocks in a
level; a level doubles height and width. Pictures are luma, (B, 1, H, W), in [0, 1].

    MS-LapSRN: all levels share their weights,      LapSRN: no shared weights, activation after
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

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import nn

from lapsr_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "NEGATIVE_SLOPE",
    "LaplacianPyramid",
    "Level",
    "PyramidConfig",
    "Skip",
    "crop_before",
    "lrelu",
]

Skip = Literal["ss", "ds", "ns"]

NEGATIVE_SLOPE = 0.2
"""Negative slope of leaky ReLU (MS-LapSRN section 3.4)."""

_MOST_CONVOLUTIONS = 512
"""In the recursive blocks of a level, D R. The deepest published network has 40."""
_MOST = {
    "depth": _MOST_CONVOLUTIONS,
    "recursions": _MOST_CONVOLUTIONS,
    "levels": 3,
    "channels": 1024,
}


@dataclass(frozen=True, kw_only=True)
class PyramidConfig:
    """The architecture of a network.

    ``depth`` (D), ``recursions`` (R): as in MS-LapSRN section 3.3. ``skip``: what is added to the
    output of a recursive block (section 3.2): "ss" the input of the level (shared source, as in the
    published model), "ds" the input of the block (different sources), "ns" nothing. ``shared``:
    MS-LapSRN, one set of weights for all levels and blocks; if false LapSRN, with one set per
    level, one block and no skip. ``levels``: how often the picture is doubled, so the largest scale
    is 2**levels. ``channels``: of the feature maps, 64 in both papers.

    For the papers' ablations (LapSRN section 4.1): without ``global_residual``, a level predicts
    its output directly, and nothing is added to it; without ``pyramid``, a single level upsamples
    by 2**levels.

    Files may claim any size, so D R is at most 512 and ``channels`` at most 1024, far beyond what
    was published. Raises UsageError for invalid values.
    """

    depth: int = 5
    recursions: int = 2
    skip: Skip = "ss"
    shared: bool = True
    levels: int = 3
    channels: int = 64
    global_residual: bool = True
    pyramid: bool = True

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise UsageError(
                    f"{name} must be an integer from 1 to {most}, not {reprlib.repr(value)}"
                )
        if self.depth * self.recursions > _MOST_CONVOLUTIONS:
            raise UsageError(
                f"depth x recursions must be at most {_MOST_CONVOLUTIONS},"
                f" not {self.depth} x {self.recursions}"
            )
        for name in ("shared", "global_residual", "pyramid"):
            value = getattr(self, name)
            if type(value) is not bool:
                raise UsageError(f"{name} must be true or false, not {reprlib.repr(value)}")
        if self.skip not in ("ss", "ds", "ns"):
            raise UsageError(f"skip must be ss, ds or ns, not {reprlib.repr(self.skip)}")
        if not self.shared and (self.recursions, self.skip) != (1, "ns"):
            raise UsageError("without shared weights (LapSRN), recursions must be 1 and skip ns")

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales of the outputs, ascending: (2, 4, 8) for three levels."""
        if not self.pyramid:
            return (self.factor,)
        return tuple(2**level for level in range(1, self.levels + 1))

    @property
    def factor(self) -> int:
        """The upsampling factor of a level: 2, except without a pyramid."""
        return 2 if self.pyramid else 2**self.levels

    def layers(self, scale: int) -> int:
        """Depth of the network at ``scale`` in convolutions: (D R + 1) L + 2."""
        return (self.depth * self.recursions + 1) * self.level_of(scale) + 2

    def operations(self, scale: int) -> int:
        """Multiplications plus additions per input pixel for the output at ``scale``.

        A k x k convolution from c to d channels takes 2 k^2 c d per output pixel, a transposed one
        per input pixel.
        """
        factor, channels = self.factor, self.channels
        up = (2 * factor - 1) ** 2 * channels**2
        up_image = (2 * factor) ** 2 if self.global_residual else 0
        body = 9 * channels**2 * self.depth * self.recursions
        level = body + up + up_image + factor**2 * 9 * channels
        pixels: int = sum(factor ** (2 * number) for number in range(self.level_of(scale)))
        return 2 * (9 * channels + level * pixels)

    def level_of(self, scale: int) -> int:
        """The number, from 1, of the level with the output at ``scale``. Raises UsageError if there
        is none."""
        if scale not in self.scales:
            offered = ", ".join(map(str, self.scales))
            raise UsageError(f"-s/--scale {scale}: the scales of this model are {offered}")
        return self.scales.index(scale) + 1

    @property
    def ranges_shape(self) -> tuple[int, int, int, int, int]:
        """The shape of a calibrated network's ranges: (levels, R, D, C, 2)."""
        return (len(self.scales), self.recursions, self.depth, self.channels, 2)

    @property
    def title(self) -> str:
        """The network's name as in the papers: "MS-LapSRN D5R2", "LapSRN D10 (4x)"."""
        ablations = "" if self.global_residual else " without global residual"
        ablations += "" if self.pyramid else f" without pyramid, {self.factor}x"
        if not self.shared:
            return f"LapSRN D{self.depth} ({self.scales[-1]}x){ablations}"
        skip = "" if self.skip == "ss" else f" {self.skip.upper()}"
        return f"MS-LapSRN D{self.depth}R{self.recursions}{skip}{ablations}"


class Level(nn.Module):
    """The weights of a pyramid level: recursive block, upsampling, residual prediction."""

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        channels = config.channels
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(config.depth)
        )
        self.factor = factor = config.factor
        self.up = nn.ConvTranspose2d(channels, channels, 2 * factor - 1, stride=factor)
        self.up_image = (
            nn.ConvTranspose2d(1, 1, 2 * factor, stride=factor, padding=factor // 2, bias=False)
            if config.global_residual
            else None
        )
        self.conv_res = nn.Conv2d(channels, 1, 3, padding=1)

    def upsample(self, features: Tensor) -> Tensor:
        """Upsample features (B, C, H, W) -> (B, C, 2H, 2W); in general by ``factor``."""
        height, width = (self.factor * side for side in features.shape[-2:])
        first = crop_before(self.factor)
        upsampled: Tensor = self.up(features)  # (B, C, 2H + 1, 2W + 1)
        return upsampled[..., first : first + height, first : first + width]  # (B, C, 2H, 2W)

    def add_image(self, picture: Tensor, residual: Tensor) -> Tensor:
        """Add the upsampled picture (B, 1, H, W) to the residual (B, 1, 2H, 2W)."""
        residual = residual.to(picture.dtype)
        return residual if self.up_image is None else self.up_image(picture) + residual


class LaplacianPyramid(nn.Module):
    """The network: luma (B, 1, H, W) in [0, 1] -> {2: (B, 1, 2H, 2W), 4: ..., 8: ...}.

    The output at a scale does not depend on the levels above it: up to rounding, the 2x output of
    an 8x pass is the output of a 2x pass. Outputs are not clamped. The image branch (``up_image``
    and the sums) keeps the dtype of the input; features have that of
    ``conv_in``.

    ``ranges``: minimum and maximum of what each convolution of the recursive blocks reads in each
    channel, (levels, R, D, C, 2), for int8 (`network.calibration`); None if not calibrated. They
    are valid for these weights only, and belong to the state dict.
    """

    ranges: Tensor | None

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("ranges", None)
        self.register_load_state_dict_pre_hook(_expect_ranges)  # type: ignore[no-untyped-call]
        self.conv_in = nn.Conv2d(1, config.channels, 3, padding=1)
        self.levels = nn.ModuleList(
            Level(config) for _ in range(1 if config.shared else len(config.scales))
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize as the authors do: He-normal, conv_in with a standard deviation of 1e-3, zero
        biases, bilinear up_image."""
        if self.conv_in.weight.is_meta:
            return  # nothing to initialize, and torch would load its compiler
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.conv_in.weight, std=1e-3)
        factor = self.config.factor
        tent = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
        for level in self.levels:
            assert isinstance(level, Level)
            if level.up_image is not None:
                with torch.no_grad():
                    level.up_image.weight.copy_(torch.outer(tent, tent)[None, None])

    def level(self, number: int) -> Level:
        """The weights of level ``number``, from 1."""
        level = self.levels[0 if self.config.shared else number - 1]
        assert isinstance(level, Level)
        return level

    def forward(self, luma: Tensor, scale: int | None = None) -> dict[int, Tensor]:
        """The outputs at all scales up to ``scale`` (default: the largest)."""
        last = self.config.level_of(scale) if scale else len(self.config.scales)
        pictures: dict[int, Tensor] = {}
        picture = luma  # (B, 1, H, W)
        features = self.conv_in(luma.to(self.conv_in.weight.dtype))  # (B, C, H, W)
        if not self.config.shared:
            features = lrelu(features)
        for number in range(1, last + 1):
            level = self.level(number)
            body = self.shared_body if self.config.shared else self.plain_body
            features = body(level, features)  # (B, C, H, W)
            if number < last:
                features, residual = self.level_outputs(level, features)
            else:
                residual = self.last_residual(level, features)
            picture = level.add_image(picture, residual)  # (B, 1, 2H, 2W)
            pictures[self.config.scales[number - 1]] = picture
        return pictures

    def level_outputs(self, level: Level, features: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of a level from the features (B, C, H, W) of its last block: features for the
        next level (B, C, 2H, 2W), and the residual (B, 1, 2H, 2W)."""
        features = level.upsample(features)  # (B, C, 2H, 2W)
        if not self.config.shared:
            features = lrelu(features)
        return features, level.conv_res(features)

    def last_residual(self, level: Level, features: Tensor) -> Tensor:
        """The residual (B, 1, 2H, 2W) of the last level, which needs no features for another."""
        return self.level_outputs(level, features)[1]

    def shared_body(self, level: Level, source: Tensor) -> Tensor:
        """MS-LapSRN section 3.3: R recursive blocks, then the activation before the upsampling."""
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
        return lrelu(x)  # (B, C, H, W)

    def plain_body(self, level: Level, features: Tensor) -> Tensor:
        """LapSRN section 3.1: D convolutions, activation after each."""
        for conv in level.convs:
            features = lrelu(conv(features))  # (B, C, H, W)
        return features


def _expect_ranges(model: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: object) -> None:
    """Before a state dict is loaded: the network has ranges if the state dict does."""
    assert isinstance(model, LaplacianPyramid)
    expected = f"{prefix}ranges" in state
    model.ranges = torch.empty(model.config.ranges_shape) if expected else None


def lrelu(x: Tensor) -> Tensor:
    """Leaky ReLU of both papers."""
    return F.leaky_relu(x, NEGATIVE_SLOPE)


def crop_before(factor: int) -> int:
    """Rows and columns cropped before the upsampled features: none for factor 2, as in the authors'
    files."""
    return (factor - 2) // 2
