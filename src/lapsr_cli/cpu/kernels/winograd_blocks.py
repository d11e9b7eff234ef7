"""Code that reads, transforms and writes Winograd's blocks of a feature map.

Maps are given as tables of row addresses, so that a call may work on any rows of any pictures: six
addresses of input rows and four of output rows for each row of blocks, null where there is no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lapsr_cli.cpu.jit.builder import FunctionBuilder
from lapsr_cli.cpu.jit.values import Integer, Pointer, Vector
from lapsr_cli.cpu.kernels.winograd_transforms import (
    INPUT_SIDE,
    OUTPUT_SIDE,
    PRODUCTS,
    transformed_outputs,
)

__all__ = ["BlockMaps", "Layout", "passes", "write_outputs", "write_products"]

Transform = Callable[[Sequence[Vector]], list[Vector]]
Finish = Callable[[Vector, Vector, Integer], Vector]


@dataclass(frozen=True)
class Layout:
    """Scratch memory for the transformed numbers of some blocks: (36, ``blocks``, ``channels``).

    A product has space for one block more: with strides of whole pages, the 36 numbers of a pixel
    would compete for the same lines of the cache.
    """

    channels: int
    blocks: int

    @property
    def product_stride(self) -> int:
        """From one of the 36 products to the next, in numbers."""
        return (self.blocks + 1) * self.channels

    @property
    def size(self) -> int:
        """In numbers."""
        return PRODUCTS * self.product_stride


@contextmanager
def passes(code: FunctionBuilder, layout: Layout) -> Iterator[tuple[Integer, Integer]]:
    """A loop over all blocks of the map, ``layout.blocks`` at a time: the number of the first block
    of a pass, and how many it has."""
    across = (code.integers["width"] + (OUTPUT_SIDE - 1)) // OUTPUT_SIDE
    blocks = code.integers["block_rows"] * across
    with code.loop(blocks, step=layout.blocks) as first:
        yield first, (blocks - first).clamp_max(layout.blocks)


class BlockMaps:
    """The rows and columns of one block, and what is read and written where the map ends.

    ``zeros``, ``discarded``: a pixel each.
    """

    def __init__(
        self,
        code: FunctionBuilder,
        block: Integer,
        channels: int,
        zeros: Pointer,
        discarded: Pointer,
    ) -> None:
        self._width = code.integers["width"]
        self._channels = channels
        self._zeros, self._discarded = zeros, discarded
        across = (self._width + (OUTPUT_SIDE - 1)) // OUTPUT_SIDE
        self._block_row = block // across
        self._left = block % across * OUTPUT_SIDE

    def inputs(self, table: Pointer) -> list[list[Pointer]]:
        """The 6x6 pixels that the block reads; zeros outside the map."""
        return self._pixels(table, INPUT_SIDE, -1, self._zeros)

    def outputs(self, table: Pointer) -> list[list[Pointer]]:
        """The 4x4 pixels of the block to write; what is outside the map is discarded."""
        return self._pixels(table, OUTPUT_SIDE, 0, self._discarded)

    def beside(self, table: Pointer) -> list[list[Pointer]]:
        """The same 4x4 pixels of another map to read; zeros outside it."""
        return self._pixels(table, OUTPUT_SIDE, 0, self._zeros)

    def _pixels(
        self, table: Pointer, side: int, first: int, outside: Pointer
    ) -> list[list[Pointer]]:
        columns = [self._left + (first + x) for x in range(side)]
        are_inside = [column.in_range(self._width) for column in columns]
        pixels: list[list[Pointer]] = []
        for y in range(side):
            row = table.load_pointer(self._block_row * side + y)
            is_row = row.is_not_null()
            pixels.append(
                [
                    (row + column * self._channels).select(is_row & is_inside, outside)
                    for column, is_inside in zip(columns, are_inside, strict=True)
                ]
            )
        return pixels


def write_products(
    code: FunctionBuilder,
    layout: Layout,
    pixels: Sequence[Sequence[Pointer]],
    transformed: Transform,
    products: Pointer,
    spare: Pointer,
    activation: Callable[[Vector], Vector] | None = None,
) -> None:
    """Activate the pixels of a block, and transform their columns and then their rows to 36 numbers
    per channel.

    ``products``: those of the block in a `Layout`. ``spare``: 36 vectors.
    """
    side = len(pixels)
    with code.loop(layout.channels, step=code.lanes) as channel:
        for x in range(side):
            column = [pixels[y][x][channel] for y in range(side)]
            if activation is not None:
                column = [activation(values) for values in column]
            for y, values in enumerate(transformed(column)):
                spare[(y * side + x) * code.lanes] = values
        for y in range(INPUT_SIDE):
            row = [spare[(y * side + x) * code.lanes] for x in range(side)]
            for x, values in enumerate(transformed(row)):
                products[channel + (y * INPUT_SIDE + x) * layout.product_stride] = values


def write_outputs(
    code: FunctionBuilder,
    layout: Layout,
    pixels: Sequence[Sequence[Pointer]],
    beside: Sequence[Sequence[Pointer]],
    finish: Finish,
    products: Pointer,
) -> None:
    """Transform 36 numbers per channel to the 4x4 ``pixels`` of a block.

    ``finish``: an output from its sum and the number of ``beside`` at its place, for a channel.
    """
    with code.loop(layout.channels, step=code.lanes) as channel:
        columns = [
            transformed_outputs(
                [
                    products[channel + (y * INPUT_SIDE + x) * layout.product_stride]
                    for y in range(INPUT_SIDE)
                ]
            )
            for x in range(INPUT_SIDE)
        ]
        for y in range(OUTPUT_SIDE):
            row = transformed_outputs([column[y] for column in columns])
            for x, values in enumerate(row):
                pixels[y][x][channel] = finish(values, beside[y][x][channel], channel)
