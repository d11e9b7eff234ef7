"""3x3 convolutions with a quarter of the multiplications, for inference and training.

Winograd's F(4x4, 3x3), see `kernels.winograd_transforms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lapsr_cli.cpu.jit.builder import FunctionBuilder
from lapsr_cli.cpu.jit.values import Integer, Pointer, Vector
from lapsr_cli.cpu.kernels.kernel import (
    Kernel,
    fills_vectors,
    leaky_relu,
    leaky_relu_gradient,
    row_addresses,
)
from lapsr_cli.cpu.kernels.matmul import MICRO_ROWS, write_matmul
from lapsr_cli.cpu.kernels.winograd_blocks import (
    BlockMaps,
    Layout,
    passes,
    write_outputs,
    write_products,
)
from lapsr_cli.cpu.kernels.winograd_transforms import (
    INPUT_SIDE,
    OUTPUT_SIDE,
    PRODUCTS,
    transformed_inputs,
    transformed_kernels,
)
from lapsr_cli.device.cpu_features import Processor, this_processor

__all__ = ["WinogradConv", "compiled_convolution", "supports"]

_BLOCKS = 4 * MICRO_ROWS
"""Per pass over the kernels: the transformed inputs and outputs and the kernels of 64 channels then
take 1 MB."""


def supports(conv: nn.Conv2d, processor: Processor | None = None) -> bool:
    """Whether ``conv`` can be computed by `WinogradConv`: 3x3, in fp32 or fp64, with as many input
    as output channels, which fill whole vectors of ``processor`` (default: this one)."""
    out_channels, in_channels, *size = conv.weight.shape
    processor = processor or this_processor()
    return (
        size == [3, 3]
        and out_channels == in_channels
        and fills_vectors(out_channels, conv.weight.dtype, processor)
    )


class WinogradConv:
    """Leaky ReLU and the 3x3 convolution after it, on rows of a feature map.

    Pads with zeros on the left and right. A call uses one core; several threads may call at once.
    """

    def __init__(self, conv: nn.Conv2d, processor: Processor | None = None) -> None:
        self._channels = conv.out_channels
        self._kernels = transformed_kernels(conv.weight.double()).to(conv.weight.dtype)
        self._bias = torch.zeros_like(self._kernels[0, 0]) if conv.bias is None else conv.bias
        self._compute = compiled_convolution(
            self._channels, conv.weight.dtype, processor or this_processor()
        )

    def __call__(
        self,
        pieces: Sequence[Tensor],
        added: Sequence[Tensor] = (),
        *,
        pad_top: bool,
        pad_bottom: bool,
    ) -> Tensor:
        """Convolve ``pieces``, consecutive rows (B, C, n, W) of a map, channels-last, from top to
        bottom -> (B, C, m, W).

        A row of zeros pads them above if ``pad_top``, below if ``pad_bottom``; m is the number of
        rows including these, less two, but not below 0. ``added``: m rows, also in pieces, that are
        added to the result.
        """
        batch, _, _, width = pieces[0].shape
        count = max(0, sum(piece.shape[2] for piece in pieces) + pad_top + pad_bottom - 2)
        outputs = torch.empty(
            (batch, self._channels, count, width),
            dtype=self._kernels.dtype,
            memory_format=torch.channels_last,
        )
        for number in range(batch if count else 0):
            rows = [0] * pad_top + row_addresses(pieces, number) + [0] * pad_bottom
            tables = [
                _in_blocks(rows, INPUT_SIDE, count),
                _in_blocks(row_addresses(added, number) or [0] * count, OUTPUT_SIDE, count),
                _in_blocks(row_addresses([outputs], number), OUTPUT_SIDE, count),
            ]
            self._compute(tables, [self._kernels, self._bias], -(-count // OUTPUT_SIDE), width)
        return outputs


def _in_blocks(rows: list[int], side: int, count: int) -> NDArray[np.int64]:
    """The addresses of the ``side`` rows that each row of blocks has of ``rows``, for ``count``
    rows of outputs; 0 below the last row."""
    blocks = -(-count // OUTPUT_SIDE)
    padded = np.zeros(blocks * OUTPUT_SIDE + side - OUTPUT_SIDE, np.int64)
    padded[: len(rows)] = rows
    windows = np.lib.stride_tricks.sliding_window_view(padded, side)[::OUTPUT_SIDE]
    return np.ascontiguousarray(windows)


@cache
def compiled_convolution(
    channels: int,
    dtype: torch.dtype,
    processor: Processor,
    kind: Literal["forward", "input gradient"] = "forward",
) -> Kernel:
    """The convolution of any rows of maps (W, C), given as the rows of each row of blocks.

    Tables: six rows of inputs, four rows of another map, four rows of outputs. Tensors: transformed
    kernels (36, C in, C out), bias (C out). Counts: rows of blocks, width.

    "forward": the inputs are activated by leaky ReLU, and the other map and the bias are added to
    the outputs. "input gradient": the outputs are multiplied by the derivative of leaky ReLU at the
    other map.
    """
    code = FunctionBuilder(
        ["rows", "beside", "outputs", "kernels", "bias", "scratch"],
        ["block_rows", "width"],
        itemsize=dtype.itemsize,
        processor=processor,
    )
    layout = Layout(channels, _BLOCKS)
    _write(code, layout, is_forward=kind == "forward")
    return Kernel(code.compiled(), dtype, 2 * layout.size + (PRODUCTS + 2) * channels)


def _write(code: FunctionBuilder, layout: Layout, *, is_forward: bool) -> None:
    """All blocks, `_BLOCKS` at a time: inputs, products, outputs."""
    inputs = code.pointers["scratch"]
    outputs = inputs + layout.size
    spare = outputs + layout.size
    zeros = spare + PRODUCTS * layout.channels
    discarded = zeros + layout.channels

    def forward_output(values: Vector, beside: Vector, channel: Integer) -> Vector:
        return values + code.pointers["bias"][channel] + beside

    def input_gradient(values: Vector, beside: Vector, _channel: Integer) -> Vector:
        return leaky_relu_gradient(values, beside)

    with passes(code, layout) as (first, count):
        with code.loop(count) as block:
            maps = BlockMaps(code, first + block, layout.channels, zeros, discarded)
            write_products(
                code,
                layout,
                maps.inputs(code.pointers["rows"]),
                transformed_inputs,
                inputs + block * layout.channels,
                spare,
                leaky_relu if is_forward else None,
            )
        _write_matmuls(code, layout, (count + (MICRO_ROWS - 1)) // MICRO_ROWS, inputs, outputs)
        with code.loop(count) as block:
            maps = BlockMaps(code, first + block, layout.channels, zeros, discarded)
            write_outputs(
                code,
                layout,
                maps.outputs(code.pointers["outputs"]),
                maps.beside(code.pointers["beside"]),
                forward_output if is_forward else input_gradient,
                outputs + block * layout.channels,
            )


def _write_matmuls(
    code: FunctionBuilder, layout: Layout, groups: Integer, inputs: Pointer, outputs: Pointer
) -> None:
    """36 matrix products, (blocks, C in) by (C in, C out); a group has `MICRO_ROWS` blocks."""
    with code.loop(PRODUCTS) as product:
        matrix = code.pointers["kernels"] + product * layout.channels**2
        with code.loop(groups) as group:
            offset = product * layout.product_stride + group * (MICRO_ROWS * layout.channels)
            rows, results = (
                [start + offset + block * layout.channels for block in range(MICRO_ROWS)]
                for start in (inputs, outputs)
            )
            write_matmul(code, [(rows, matrix)], results, layout.channels)
