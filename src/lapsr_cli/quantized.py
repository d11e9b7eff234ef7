"""3x3 convolutions of 8-bit integers, compiled.

What a convolution reads is activated and rounded to 0..255 by a step and a zero point for each
channel. Its weights take these steps in, and are rounded to -127..127 by a step for each output
channel; products are added up exactly in 32 bits. Jacob et al., Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018, section 2; what the channels'
own steps do to the weights, Nagel et al., arXiv:1906.04721, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lapsr_cli.compiled import fits
from lapsr_cli.narrow import NarrowConvolution
from lapsr_cli.processor import Processor, this_processor

__all__ = ["LayerScales", "Quantized", "Scale", "is_for", "quantized_weights", "scales_of"]

_LEAST_WIDTH = 1 / 256
"""Of a channel's range, as a part of the widest one: its weights are multiplied by its step, and
must not be all that is left of a kernel."""


@dataclass(frozen=True, eq=False)
class Scale:
    """How a real number x of a channel becomes round(x / step) + zero, kept within 0..255."""

    steps: Tensor  # (C,)
    zeros: Tensor  # (C,), whole numbers

    @classmethod
    def over(cls, ranges: Tensor) -> Scale:
        """For numbers from the lowest to the highest of each channel, (C, 2); 0 becomes one of the
        256 exactly. A channel with next to no range gets a step beside which others keep theirs."""
        lowest, highest = ranges[:, 0].clamp(max=0), ranges[:, 1].clamp(min=0)
        widths = highest - lowest
        least = max(float(widths.max()) * _LEAST_WIDTH, torch.finfo(torch.float32).tiny)
        steps = widths.clamp(min=least) / 255
        return cls(steps, (-lowest / steps).round())


LayerScales = Sequence[Sequence[Sequence[Scale]]]
"""Of what each convolution of the recursive blocks reads, by level, block and place."""


def scales_of(ranges: Tensor) -> LayerScales:
    """From a model's ranges (levels, R, D, C, 2)."""
    return [[[Scale.over(layer) for layer in block] for block in level] for level in ranges]


def quantized_weights(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(C out, C in, 3, 3) -> the same from -127 to 127, int8, and the step of each output channel,
    (C out)."""
    steps = weight.abs().amax((1, 2, 3)).clamp(min=torch.finfo(torch.float32).tiny) / 127
    return (weight / steps[:, None, None, None]).round().to(torch.int8), steps


def is_for(conv: nn.Conv2d, processor: Processor | None = None) -> bool:
    """Whether ``conv`` can be computed so on this processor: 3x3, in fp32, as many channels in as
    out, which fill vectors of fp32 and, four times fewer, of bytes."""
    processor = processor or this_processor()
    out, into, *size = conv.weight.shape
    return (
        processor.multiplies_bytes
        and conv.weight.dtype == torch.float32
        and size == [3, 3]
        and out == into
        and out % processor.vector_bytes == 0
        and fits(out, conv.weight.dtype, processor)
    )


class Quantized(NarrowConvolution):
    """Leaky ReLU and the 3x3 convolution after it, in 8 bits.

    ``reads``: the scales of what it reads, activated. ``writes``: of what the next layer reads,
    which is then given activated and in 8 bits; None for fp32, not activated.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        reads: Scale,
        writes: Scale | None,
        processor: Processor | None = None,
    ) -> None:
        weights, steps = quantized_weights(conv.weight * reads.steps[:, None, None])
        factors = steps.double()
        offsets = -(weights.double().sum((2, 3)) * reads.zeros).sum(1) * factors
        if conv.bias is not None:
            offsets += conv.bias.double()
        written = torch.ones_like(steps) if writes is None else writes.steps
        zeros = torch.zeros_like(steps) if writes is None else writes.zeros
        super().__init__(
            weights,
            factors / written,
            offsets / written,
            torch.stack([1 / reads.steps, reads.zeros, zeros]),
            writes_narrow=writes is not None,
            processor=processor,
        )
