"""3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3).

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4: a block of
4x4 outputs is computed from a block of 6x6 inputs by 36 products, where 16 outputs of a direct 3x3
convolution take 16 times 9; over many blocks and all channels, that is 36 matrix products. The
transforms evaluate and interpolate polynomials (Toom-Cook). Lavin and Gray's points 0, 1, -1, 2, -2
lose a digit in fp32; the points used here, 0 and plus and minus the square roots of 1/2 and 2, do
not: Barabasz, Anderson, Soodhalter and Gregg, Error Analysis and Improving the Accuracy of Winograd
Convolution, ACM TOMS 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from lapsr_cli.cpu.jit.builder import FunctionBuilder
from lapsr_cli.cpu.jit.values import Integer, Pointer, Vector
from lapsr_cli.cpu.kernels.kernel import Kernel, fills_vectors, leaky_relu, row_addresses
from lapsr_cli.cpu.kernels.matmul import MICRO_ROWS, write_matmul
from lapsr_cli.device.cpu_features import Processor, this_processor

__all__ = [
    "WinogradConv",
    "supports",
    "transformed_inputs",
    "transformed_kernels",
    "transformed_outputs",
]

_A, _B = math.sqrt(1 / 2), math.sqrt(2)
_POINTS = (0.0, _A, -_A, _B, -_B)  # and infinity
_OUTPUT_SIDE, _INPUT_SIDE = 4, 6  # of a block
_PRODUCTS = _INPUT_SIDE**2
_GROUPS = 4
"""Groups of `MICRO_ROWS` blocks per pass over the kernels: the transformed inputs and outputs and
the kernels of 64 channels then take 1 MB."""


N = TypeVar("N", Vector, Tensor)


def transformed_inputs(d: Sequence[N]) -> list[N]:
    """B^T d: six inputs in a row or column -> six factors."""
    even_a, odd_a = d[4] - _B**2 * d[2], d[3] - _B**2 * d[1]
    even_b, odd_b = d[4] - _A**2 * d[2], d[3] - _A**2 * d[1]
    return [
        d[0] + d[4] - (_A**2 + _B**2) * d[2],  # A^2 B^2 = 1
        even_a + _A * odd_a,
        even_a - _A * odd_a,
        even_b + _B * odd_b,
        even_b - _B * odd_b,
        d[1] + d[5] - (_A**2 + _B**2) * d[3],
    ]


def transformed_outputs(m: Sequence[N]) -> list[N]:
    """A^T m: six products in a row or column -> four outputs."""
    even_a, odd_a = m[1] + m[2], m[1] - m[2]
    even_b, odd_b = m[3] + m[4], m[3] - m[4]
    return [
        m[0] + even_a + even_b,
        _A * odd_a + _B * odd_b,
        _A**2 * even_a + _B**2 * even_b,
        _A**3 * odd_a + _B**3 * odd_b + m[5],
    ]


def transformed_kernels(weight: Tensor) -> Tensor:
    """G g G^T: kernels (C out, C in, 3, 3) -> (36, C in, C out). Computed in fp64, returned in the
    dtype of ``weight``."""
    rows = [
        [
            point**power / math.prod(point - other for other in _POINTS if other != point)
            for power in range(3)
        ]
        for point in _POINTS
    ]
    transform = torch.tensor([*rows, [0, 0, 1]], dtype=torch.float64)  # G, (6, 3)
    taps = weight.double().permute(2, 3, 1, 0).flatten(0, 1).flatten(1)  # (9, C in C out)
    products = torch.kron(transform, transform) @ taps  # (36, C in C out)
    return products.to(weight.dtype).view(_PRODUCTS, weight.shape[1], weight.shape[0])


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
        self._kernels = transformed_kernels(conv.weight)
        self._bias = torch.zeros_like(self._kernels[0, 0]) if conv.bias is None else conv.bias
        self._compute = _compiled(self._channels, conv.weight.dtype, processor or this_processor())

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
        below = [0] * (pad_bottom + -count % _OUTPUT_SIDE)  # up to whole blocks
        for number in range(batch if count else 0):
            rows = [0] * pad_top + row_addresses(pieces, number) + below
            skips = (row_addresses(added, number) or [0] * count) + below
            self._compute([rows, skips], [outputs[number], self._kernels, self._bias], count, width)
        return outputs


@dataclass(frozen=True)
class _Layout:
    """Sizes and strides of the scratch memory, in numbers.

    The matrix products read (group, product, block, channel) and write the same shape; a group is
    `MICRO_ROWS` blocks.
    """

    channels: int

    @property
    def product_stride(self) -> int:
        """From one of the 36 products of a group to the next."""
        return MICRO_ROWS * self.channels

    @property
    def group_stride(self) -> int:
        return _PRODUCTS * self.product_stride

    @property
    def inputs(self) -> int:
        """Size of the products' inputs, and of their outputs."""
        return _GROUPS * self.group_stride

    @property
    def size(self) -> int:
        """Inputs, outputs, a block between its transforms, a pixel of zeros, a pixel to discard."""
        return 2 * self.inputs + (_PRODUCTS + 2) * self.channels

    def offset(self, block: Integer) -> Integer:
        """Of a block in the first product's inputs or outputs."""
        return block // MICRO_ROWS * self.group_stride + block % MICRO_ROWS * self.channels


@cache
def _compiled(channels: int, dtype: torch.dtype, processor: Processor) -> Kernel:
    code = FunctionBuilder(
        ["rows", "added", "outputs", "kernels", "bias", "scratch"],
        ["count", "width"],
        itemsize=dtype.itemsize,
        processor=processor,
    )
    layout = _Layout(channels)
    _write(code, layout)
    return Kernel(code.compiled(), dtype, layout.size)


def _write(code: FunctionBuilder, layout: _Layout) -> None:
    """All blocks, ``_GROUPS`` groups at a time: inputs, products, outputs."""
    scratch = code.pointers["scratch"]
    inputs, outputs = scratch, scratch + layout.inputs
    spare = outputs + layout.inputs
    across = (code.integers["width"] + (_OUTPUT_SIDE - 1)) // _OUTPUT_SIDE
    blocks = (code.integers["count"] + (_OUTPUT_SIDE - 1)) // _OUTPUT_SIDE * across
    with code.loop(blocks, step=_GROUPS * MICRO_ROWS) as first:
        count = (blocks - first).clamp_max(_GROUPS * MICRO_ROWS)
        with code.loop(count) as block:
            corner = _Corner(first + block, across)
            _write_inputs(code, layout, corner, inputs + layout.offset(block), spare)
        groups = (count + (MICRO_ROWS - 1)) // MICRO_ROWS
        _write_products(code, layout, groups, inputs, outputs)
        with code.loop(count) as block:
            corner = _Corner(first + block, across)
            _write_outputs(code, layout, corner, outputs + layout.offset(block), spare)


class _Corner:
    """The upper left output pixel of a block."""

    def __init__(self, block: Integer, across: Integer) -> None:
        self.top = block // across * _OUTPUT_SIDE
        self.left = block % across * _OUTPUT_SIDE


def _write_inputs(
    code: FunctionBuilder, layout: _Layout, corner: _Corner, inputs: Pointer, spare: Pointer
) -> None:
    """Activate and transform the 6x6 pixels that a block reads, columns first."""
    zeros = spare + _PRODUCTS * layout.channels
    width = code.integers["width"]
    columns = [corner.left + (x - 1) for x in range(_INPUT_SIDE)]
    are_inside = [column.in_range(width) for column in columns]
    pixels: list[list[Pointer]] = []
    for y in range(_INPUT_SIDE):
        row = code.pointers["rows"].load_pointer(corner.top + y)
        is_row = row.is_not_null()
        pixels.append(
            [
                (row + column * layout.channels).select(is_row & is_inside, zeros)
                for column, is_inside in zip(columns, are_inside, strict=True)
            ]
        )
    with code.loop(layout.channels, step=code.lanes) as channel:
        for x in range(_INPUT_SIDE):
            loaded = [pixels[y][x][channel] for y in range(_INPUT_SIDE)]
            activated = [leaky_relu(values) for values in loaded]
            for y, values in enumerate(transformed_inputs(activated)):
                spare[(y * _INPUT_SIDE + x) * code.lanes] = values
        for y in range(_INPUT_SIDE):
            row_of_six = [spare[(y * _INPUT_SIDE + x) * code.lanes] for x in range(_INPUT_SIDE)]
            for x, values in enumerate(transformed_inputs(row_of_six)):
                inputs[channel + (y * _INPUT_SIDE + x) * layout.product_stride] = values


def _write_products(
    code: FunctionBuilder, layout: _Layout, groups: Integer, inputs: Pointer, outputs: Pointer
) -> None:
    """36 matrix products, (blocks, C in) by (C in, C out)."""
    with code.loop(_PRODUCTS) as product:
        matrix = code.pointers["kernels"] + product * layout.channels**2
        with code.loop(groups) as group:
            offset = group * layout.group_stride + product * layout.product_stride
            rows, results = (
                [start + offset + block * layout.channels for block in range(MICRO_ROWS)]
                for start in (inputs, outputs)
            )
            write_matmul(code, [(rows, matrix)], results, layout.channels)


def _write_outputs(
    code: FunctionBuilder, layout: _Layout, corner: _Corner, products: Pointer, spare: Pointer
) -> None:
    """Transform the products of a block to 4x4 pixels; add the bias and ``added``. Pixels outside
    the map are discarded."""
    zeros = spare + _PRODUCTS * layout.channels
    discarded = zeros + layout.channels
    pixels: list[list[Pointer]] = []
    skips: list[list[Pointer]] = []
    for y in range(_OUTPUT_SIDE):
        row = corner.top + y
        skip = code.pointers["added"].load_pointer(row)
        is_added = skip.is_not_null()
        pixels.append([])
        skips.append([])
        for x in range(_OUTPUT_SIDE):
            column = corner.left + x
            is_inside = row.in_range(code.integers["count"]) & column.in_range(
                code.integers["width"]
            )
            pixel = row * code.integers["width"] + column
            output = code.pointers["outputs"] + pixel * layout.channels
            pixels[y].append(output.select(is_inside, discarded))
            skip_pixel = skip + column * layout.channels
            skips[y].append(skip_pixel.select(is_inside & is_added, zeros))
    with code.loop(layout.channels, step=code.lanes) as channel:
        bias = code.pointers["bias"][channel]
        columns = [
            transformed_outputs(
                [
                    products[channel + (y * _INPUT_SIDE + x) * layout.product_stride]
                    for y in range(_INPUT_SIDE)
                ]
            )
            for x in range(_INPUT_SIDE)
        ]
        for y in range(_OUTPUT_SIDE):
            row_of_six = [column[y] for column in columns]
            for x, values in enumerate(transformed_outputs(row_of_six)):
                pixels[y][x][channel] = values + bias + skips[y][x][channel]
