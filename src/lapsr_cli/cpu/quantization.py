"""How real numbers become 8-bit integers: steps and zero points.

What a convolution reads is activated and rounded to 0..255 by a step and a zero point for each
channel. Its weights take these steps in, and are rounded to -127..127 by a step for each output
channel; products are added up exactly in 32 bits. Jacob et al., Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018, section 2; what the channels'
own steps do to the weights, Nagel et al., arXiv:1906.04721, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["QuantParams", "quantized_weights"]

_LEAST_WIDTH = 1 / 256
"""Of a channel's range, as a part of the widest one: its weights are multiplied by its step, and
must not be all that is left of a kernel."""


@dataclass(frozen=True, eq=False)
class QuantParams:
    """How a real number x of a channel becomes round(x / step) + zero, kept within 0..255."""

    steps: Tensor  # (C,)
    zeros: Tensor  # (C,), whole numbers

    @classmethod
    def of_range(cls, ranges: Tensor) -> QuantParams:
        """For numbers from the lowest to the highest of each channel, (C, 2); 0 becomes one of the
        256 exactly. A channel with next to no range gets a step beside which others keep theirs."""
        lowest, highest = ranges[:, 0].clamp(max=0), ranges[:, 1].clamp(min=0)
        widths = highest - lowest
        least = max(float(widths.max()) * _LEAST_WIDTH, torch.finfo(torch.float32).tiny)
        steps = widths.clamp(min=least) / 255
        return cls(steps, (-lowest / steps).round())


def quantized_weights(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(C out, C in, 3, 3) -> the same from -127 to 127, int8, and the step of each output channel,
    (C out)."""
    steps = weight.abs().amax((1, 2, 3)).clamp(min=torch.finfo(torch.float32).tiny) / 127
    return (weight / steps[:, None, None, None]).round().to(torch.int8), steps
