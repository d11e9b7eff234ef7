"""The gradient of a Winograd convolution with respect to its kernels.

Of the 36 matrices (C in, C out) that the kernels are transformed to: a sum over blocks of outer
products of transformed inputs and transformed output gradients (`kernels.winograd_transforms`),
which is 36 matrix products, with a quarter of the multiplications of the direct gradient.
"""

from __future__ import annotations

import math
from functools import cache

import torch

from lapsr_cli.cpu.jit.builder import FunctionBuilder
from lapsr_cli.cpu.jit.registers import Accumulators
from lapsr_cli.cpu.jit.values import Integer, Pointer
from lapsr_cli.cpu.kernels.kernel import Kernel, leaky_relu
from lapsr_cli.cpu.kernels.winograd_blocks import BlockMaps, Layout, passes, write_products
from lapsr_cli.cpu.kernels.winograd_transforms import (
    PRODUCTS,
    transformed_inputs,
    transformed_output_gradients,
)
from lapsr_cli.device.cpu_features import Processor

__all__ = ["compiled_kernel_gradient"]

_BLOCKS = 24
"""Per pass over the sums: the more blocks, the fewer passes; but their transformed inputs and
gradients, 0.44 MB for 64 channels, are to stay in the cache."""
_MICRO_ROWS = 4
"""Input channels of a micro-kernel: times two vectors of output channels, 8 accumulators."""


@cache
def compiled_kernel_gradient(channels: int, dtype: torch.dtype, processor: Processor) -> Kernel:
    """Adds the gradient of some rows of maps (W, C), given as the rows of each row of blocks.

    Tables: six rows of inputs, not activated, and four rows of output gradients. Tensors: the sums
    (36, C in, C out) to add to. Counts: rows of blocks, width.
    """
    code = FunctionBuilder(
        ["rows", "gradients", "sums", "scratch"],
        ["block_rows", "width"],
        itemsize=dtype.itemsize,
        processor=processor,
    )
    layout = Layout(channels, _BLOCKS)
    _write(code, layout)
    return Kernel(code.compiled(), dtype, 2 * layout.size + (PRODUCTS + 1) * channels)


def _write(code: FunctionBuilder, layout: Layout) -> None:
    inputs = code.pointers["scratch"]
    gradients = inputs + layout.size
    spare = gradients + layout.size
    zeros = spare + PRODUCTS * layout.channels
    with passes(code, layout) as (first, count):
        with code.loop(count) as block:
            maps = BlockMaps(code, first + block, layout.channels, zeros, zeros)
            offset = block * layout.channels
            pixels = maps.inputs(code.pointers["rows"])
            write_products(
                code, layout, pixels, transformed_inputs, inputs + offset, spare, leaky_relu
            )
            pixels = maps.beside(code.pointers["gradients"])
            write_products(
                code, layout, pixels, transformed_output_gradients, gradients + offset, spare
            )
        with code.loop(PRODUCTS) as product:
            offset = product * layout.product_stride
            sums = code.pointers["sums"] + product * layout.channels**2
            _add_outer_products(
                code, inputs + offset, gradients + offset, sums, count, layout.channels
            )


def _add_outer_products(
    code: FunctionBuilder,
    inputs: Pointer,
    gradients: Pointer,
    sums: Pointer,
    count: Integer,
    channels: int,
) -> None:
    """Add the transposed ``inputs`` (count, C in) times ``gradients`` (count, C out) to ``sums``
    (C in, C out), both C = ``channels``."""
    vectors = math.gcd(channels // code.lanes, 4 if code.processor.registers >= 32 else 2)
    rows = math.gcd(channels, _MICRO_ROWS)
    with (
        code.loop(channels, step=rows) as first_in,
        code.loop(channels, step=vectors * code.lanes) as first_out,
    ):
        accumulators = Accumulators(code, rows * vectors)
        with code.loop(count) as block:
            offset = block * channels
            row = gradients + offset + first_out
            loaded = [row[number * code.lanes] for number in range(vectors)]
            for number in range(rows):
                value = inputs.broadcast(offset + first_in + number)
                for vector, gradient in enumerate(loaded):
                    accumulators.add_product(number * vectors + vector, value, gradient)
        for number in range(rows):
            result = sums + (first_in + number) * channels + first_out
            for vector in range(vectors):
                place = vector * code.lanes
                result[place] = result[place] + accumulators[number * vectors + vector]
