"""3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3).

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4: a tile of
4x4 outputs from 6x6 inputs as 36 products, one matrix product over the channels for each of the 36,
where 16 outputs of a 3x3 convolution take 16 times 9. The transforms evaluate and interpolate
polynomials (Toom and Cook). Lavin and Gray's points 0, 1, -1, 2, -2 lose a digit in fp32; those
here, 0 and plus and minus the square roots of 1/2 and 2, do not: Barabasz, Anderson, Soodhalter and
Gregg, Error Analysis and Improving the Accuracy of Winograd Convolution, ACM TOMS 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from lapsr_cli.cpu.jit.builder import FunctionBuilder, Integer, Pointer, Vector
from lapsr_cli.cpu.kernels.kernel import MICRO_ROWS, Kernel, addresses, fits, write_products
from lapsr_cli.device.cpu_features import Processor, this_processor
from lapsr_cli.network.pyramid import NEGATIVE_SLOPE

__all__ = ["WinogradConv", "supports", "transformed_inputs", "transformed_outputs"]

_A, _B = math.sqrt(1 / 2), math.sqrt(2)
_POINTS = (0.0, _A, -_A, _B, -_B)  # and infinity
_TILE, _SIDE = 4, 6
_PRODUCTS = _SIDE**2
_GROUPS = 4
"""Of so many tiles from one reading of the kernels: what lies between the transforms, and the
kernels of 64 channels, are then 1 MB."""


N = TypeVar("N", Vector, Tensor)


def transformed_inputs(d: Sequence[N]) -> list[N]:
    """B^T d: six values in a line, the polynomials through which they are multiplied."""
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
    """A^T m: four values in a line from six products."""
    even_a, odd_a = m[1] + m[2], m[1] - m[2]
    even_b, odd_b = m[3] + m[4], m[3] - m[4]
    return [
        m[0] + even_a + even_b,
        _A * odd_a + _B * odd_b,
        _A**2 * even_a + _B**2 * even_b,
        _A**3 * odd_a + _B**3 * odd_b + m[5],
    ]


def transformed_kernels(weight: Tensor) -> Tensor:
    """G g G^T: (C out, C in, 3, 3) -> (36, C in, C out), computed in fp64."""
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
    """Whether ``conv`` is one for Winograd on this processor: 3x3, as many channels in as out,
    which fill vectors, in fp32 or fp64."""
    out, into, *size = conv.weight.shape
    processor = processor or this_processor()
    return size == [3, 3] and out == into and fits(out, conv.weight.dtype, processor)


class WinogradConv:
    """Leaky ReLU and the 3x3 convolution after it, of rows that are there with those around them.

    Beside the rows there are zeros. On one core; from several threads at a time.
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
        """Pieces (B, C, n, W) of a map, channels-last, one below the other, with a row of zeros
        above them if ``pad_top`` and below if ``pad_bottom`` -> (B, C, m, W), where m is
        two less than these rows together, and not less than 0. Pieces of as many rows are
        ``added`` to that, if there are any."""
        batch, _, _, width = pieces[0].shape
        count = max(0, sum(piece.shape[2] for piece in pieces) + pad_top + pad_bottom - 2)
        outputs = torch.empty(
            (batch, self._channels, count, width),
            dtype=self._kernels.dtype,
            memory_format=torch.channels_last,
        )
        below = [0] * (pad_bottom + -count % _TILE)
        for number in range(batch if count else 0):
            read = [0] * pad_top + addresses(pieces, number) + below
            sources = (addresses(added, number) or [0] * count) + below
            self._compute(
                [read, sources], [outputs[number], self._kernels, self._bias], count, width
            )
        return outputs


@dataclass(frozen=True)
class _Layout:
    """Where numbers lie, counted in numbers. Inputs of the products and their outputs: by groups of
    tiles, then by product, tile and channel."""

    channels: int

    @property
    def product(self) -> int:
        """What one of the 36 products has of a group."""
        return MICRO_ROWS * self.channels

    @property
    def group(self) -> int:
        return _PRODUCTS * self.product

    @property
    def inputs(self) -> int:
        """Of all groups, and as many outputs."""
        return _GROUPS * self.group

    @property
    def scratch(self) -> int:
        """Inputs, outputs, a tile between its transforms, zeros, room for what lies outside."""
        return 2 * self.inputs + (_PRODUCTS + 2) * self.channels


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
    return Kernel(code.compiled(), dtype, layout.scratch)


def _write(code: FunctionBuilder, layout: _Layout) -> None:
    """All tiles, some groups at a time."""
    scratch = code.pointers["scratch"]
    inputs, outputs = scratch, scratch + layout.inputs
    spare = outputs + layout.inputs
    across = (code.integers["width"] + (_TILE - 1)) // _TILE
    tiles = (code.integers["count"] + (_TILE - 1)) // _TILE * across
    with code.loop(tiles, step=_GROUPS * MICRO_ROWS) as first:
        here = (tiles - first).clamp_max(_GROUPS * MICRO_ROWS)
        with code.loop(here) as tile:
            place = _Place(first + tile, across)
            _write_inputs(code, layout, place, inputs + _in_groups(layout, tile), spare)
        groups = (here + (MICRO_ROWS - 1)) // MICRO_ROWS
        _write_all_products(code, layout, groups, inputs, outputs)
        with code.loop(here) as tile:
            place = _Place(first + tile, across)
            _write_outputs(code, layout, place, outputs + _in_groups(layout, tile), spare)


class _Place:
    """The upper left pixel of a tile's outputs."""

    def __init__(self, tile: Integer, across: Integer) -> None:
        self.top = tile // across * _TILE
        self.left = tile % across * _TILE


def _in_groups(layout: _Layout, tile: Integer) -> Integer:
    return tile // MICRO_ROWS * layout.group + tile % MICRO_ROWS * layout.channels


def _write_inputs(
    code: FunctionBuilder, layout: _Layout, place: _Place, inputs: Pointer, spare: Pointer
) -> None:
    """6x6 pixels of a tile, activated and transformed, first down its columns."""
    zeros = spare + _PRODUCTS * layout.channels
    width = code.integers["width"]
    columns = [place.left + (number - 1) for number in range(_SIDE)]
    inside = [column.within(width) for column in columns]
    pixels: list[list[Pointer]] = []
    for number in range(_SIDE):
        row = code.pointer_at(code.pointers["rows"], place.top + number)
        there = code.is_there(row)
        pixels.append(
            [
                (row + column * layout.channels).select(code.both(there, within), zeros)
                for column, within in zip(columns, inside, strict=True)
            ]
        )
    with code.loop(layout.channels, step=code.lanes) as channel:
        for x in range(_SIDE):
            values = [pixels[y][x][channel] for y in range(_SIDE)]
            activated = [value.maximum(NEGATIVE_SLOPE * value) for value in values]
            for y, value in enumerate(transformed_inputs(activated)):
                spare[(y * _SIDE + x) * code.lanes] = value
        for y in range(_SIDE):
            line = [spare[(y * _SIDE + x) * code.lanes] for x in range(_SIDE)]
            for x, value in enumerate(transformed_inputs(line)):
                inputs[channel + (y * _SIDE + x) * layout.product] = value


def _write_all_products(
    code: FunctionBuilder, layout: _Layout, groups: Integer, inputs: Pointer, outputs: Pointer
) -> None:
    """36 matrix products, (tiles, C in) by (C in, C out)."""
    with code.loop(_PRODUCTS) as product:
        matrix = code.pointers["kernels"] + product * layout.channels**2
        with code.loop(groups) as group:
            offset = group * layout.group + product * layout.product
            read, written = (
                [start + offset + tile * layout.channels for tile in range(MICRO_ROWS)]
                for start in (inputs, outputs)
            )
            write_products(code, [(read, matrix)], written, layout.channels)


def _write_outputs(
    code: FunctionBuilder, layout: _Layout, place: _Place, products: Pointer, spare: Pointer
) -> None:
    """4x4 pixels of a tile; what lies outside the map goes where nobody reads it."""
    zeros = spare + _PRODUCTS * layout.channels
    outside = zeros + layout.channels
    pixels: list[list[Pointer]] = []
    sources: list[list[Pointer]] = []
    for y in range(_TILE):
        row = place.top + y
        source = code.pointer_at(code.pointers["added"], row)
        is_added = code.is_there(source)
        pixels.append([])
        sources.append([])
        for x in range(_TILE):
            column = place.left + x
            inside = code.both(
                row.within(code.integers["count"]), column.within(code.integers["width"])
            )
            pixel = row * code.integers["width"] + column
            there = code.pointers["outputs"] + pixel * layout.channels
            pixels[y].append(there.select(inside, outside))
            there = source + column * layout.channels
            sources[y].append(there.select(code.both(inside, is_added), zeros))
    with code.loop(layout.channels, step=code.lanes) as channel:
        bias = code.pointers["bias"][channel]
        down = [
            transformed_outputs(
                [products[channel + (y * _SIDE + x) * layout.product] for y in range(_SIDE)]
            )
            for x in range(_SIDE)
        ]
        for y in range(_TILE):
            line = [column[y] for column in down]
            for x, value in enumerate(transformed_outputs(line)):
                pixels[y][x][channel] = value + bias + sources[y][x][channel]
