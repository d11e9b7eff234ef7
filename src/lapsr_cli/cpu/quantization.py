"""Quantization to 8-bit integers: scales and zero points.

The activated input of a convolution is rounded to uint8 with a scale and a zero point for each
channel. The input's scales are multiplied into the weights, and these rounded to -127..127 with a
scale for each output channel; products accumulate exactly in 32 bits. Jacob et al., Quantization
and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018, section
2; for what per-channel scales of the input do to the weights, Nagel et al., arXiv:1906.04721,
section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["QuantParams", "quantized_weights"]

_MIN_RELATIVE_RANGE = 1 / 256
"""Narrowest range of a channel, as a fraction of the widest. Weights are multiplied by the scale of
their channel: one far above the others would leave them few of the 8 bits."""


@dataclass(frozen=True, eq=False)
class QuantParams:
    """Maps a real number x of a channel to round(x / scale) + zero_point, clamped to 0..255."""

    scales: Tensor  # (C,)
    zero_points: Tensor  # (C,), integers

    @classmethod
    def of_range(cls, ranges: Tensor) -> QuantParams:
        """For numbers between the minimum and the maximum of each channel, (C, 2).

        Zero is represented exactly. A channel with next to no range gets the scale of one with
        1/256 of the widest.
        """
        lowest, highest = ranges[:, 0].clamp(max=0), ranges[:, 1].clamp(min=0)
        widths = highest - lowest
        minimum = max(float(widths.max()) * _MIN_RELATIVE_RANGE, torch.finfo(torch.float32).tiny)
        scales = widths.clamp(min=minimum) / 255
        return cls(scales, (-lowest / scales).round())


def quantized_weights(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (C out, C in, 3, 3) -> the same as int8, -127 to 127, and the scales of the output
    channels, (C out,)."""
    scales = weight.abs().amax((1, 2, 3)).clamp(min=torch.finfo(torch.float32).tiny) / 127
    return (weight / scales[:, None, None, None]).round().to(torch.int8), scales
