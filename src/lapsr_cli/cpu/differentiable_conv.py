"""Leaky ReLU and a 3x3 convolution as one differentiable operation on one core.

Forward pass, input gradient and kernel gradient are compiled Winograd convolutions, each with a
quarter of the multiplications of a direct one (Lavin and Gray 2016, section 4). The activation is
computed where a map is read, so that no activated map is kept for the backward pass.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lapsr_cli.cpu.kernels.winograd import compiled_convolution
from lapsr_cli.cpu.kernels.winograd_gradient import compiled_kernel_gradient
from lapsr_cli.cpu.kernels.winograd_transforms import (
    INPUT_SIDE,
    OUTPUT_SIDE,
    transformed_kernels,
)
from lapsr_cli.device.cpu_features import this_processor

__all__ = ["PreparedConv", "activated_conv"]


class PreparedConv(NamedTuple):
    """The kernels of a convolution, transformed once for several uses.

    ``forward``: (36, C in, C out), differentiable. ``backward``: (36, C out, C in), of the
    convolution that computes the input gradient: the same kernels, rotated by 180 degrees.
    """

    forward: Tensor
    backward: Tensor
    bias: Tensor

    @classmethod
    def of(cls, conv: nn.Conv2d) -> PreparedConv:
        """Prepare a convolution that `winograd.supports`, with a bias."""
        assert conv.bias is not None
        rotated = conv.weight.detach().flip(2, 3).transpose(0, 1)
        return cls(transformed_kernels(conv.weight), transformed_kernels(rotated), conv.bias)


def activated_conv(features: Tensor, conv: PreparedConv, skip: Tensor | None = None) -> Tensor:
    """conv(leaky_relu(features)) + skip: (B, C, H, W) -> (B, C, H, W), channels-last, padded by
    zeros."""
    result: Tensor = _ActivatedConv.apply(features, *conv, skip)  # type: ignore[no-untyped-call]
    return result


class _ActivatedConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        forward: Tensor,
        backward: Tensor,
        bias: Tensor,
        skip: Tensor | None,
    ) -> Tensor:
        features = _channels_last(features)
        added = None if skip is None else _channels_last(skip)
        outputs = torch.empty_like(features)
        tables = [
            _rows(features, INPUT_SIDE),
            _null(features) if added is None else _rows(added, OUTPUT_SIDE),
            _rows(outputs, OUTPUT_SIDE),
        ]
        compute = compiled_convolution(features.shape[1], features.dtype, this_processor())
        compute(tables, [forward, bias], len(tables[0]), features.shape[3])
        ctx.save_for_backward(features, backward)
        ctx.has_skip = skip is not None
        return outputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, backward = ctx.saved_tensors
        gradient = _channels_last(gradient)
        channels, width = features.shape[1], features.shape[3]
        rows, gradients = _rows(features, INPUT_SIDE), _rows(gradient, OUTPUT_SIDE)
        kernel_gradient = torch.zeros_like(backward)
        compute = compiled_kernel_gradient(channels, features.dtype, this_processor())
        compute([rows, gradients], [kernel_gradient], len(rows), width)

        input_gradient = torch.empty_like(features)
        tables = [
            _rows(gradient, INPUT_SIDE),
            _rows(features, OUTPUT_SIDE),
            _rows(input_gradient, OUTPUT_SIDE),
        ]
        compute = compiled_convolution(channels, features.dtype, this_processor(), "input gradient")
        no_bias = backward[0, 0]  # not read
        compute(tables, [backward, no_bias], len(rows), width)
        return (
            input_gradient,
            kernel_gradient,
            None,
            gradient.sum((0, 2, 3)),
            gradient if ctx.has_skip else None,
        )


def _channels_last(features: Tensor) -> Tensor:
    return features.contiguous(memory_format=torch.channels_last)


def _rows(features: Tensor, side: int) -> NDArray[np.int64]:
    """The addresses of the ``side`` rows of each row of blocks in a map (B, C, H, W), channels-last
    and contiguous; 0 outside the map: (rows of blocks, side)."""
    batch, channels, height, width = features.shape
    numbers = _row_numbers(batch, height, side)
    row_bytes = channels * width * features.element_size()
    return np.where(numbers < 0, 0, features.data_ptr() + numbers * row_bytes)


def _null(features: Tensor) -> NDArray[np.int64]:
    """The table of a map that there is none of."""
    return np.zeros_like(_row_numbers(features.shape[0], features.shape[2], OUTPUT_SIDE))


@lru_cache(maxsize=64)
def _row_numbers(batch: int, height: int, side: int) -> NDArray[np.int64]:
    """The numbers of these rows, those of all pictures counted through; -1 outside the picture."""
    first = -((side - OUTPUT_SIDE) // 2)
    starts = np.arange(0, height, OUTPUT_SIDE)
    rows = starts[:, None] + first + np.arange(side)  # (rows of blocks of a picture, side)
    pictures = np.arange(batch)[:, None, None] * height + rows
    is_outside = (rows < 0) | (rows >= height)
    return np.where(is_outside, -1, pictures).reshape(-1, side)
