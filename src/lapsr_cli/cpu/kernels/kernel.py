"""What compiled layers have in common: rows by their addresses, memory of each thread, and matrix
products in registers."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lapsr_cli.cpu.jit.builder import FunctionBuilder, Integer, Pointer, Sums
from lapsr_cli.cpu.jit.compiler import Function
from lapsr_cli.device.cpu_features import Processor

__all__ = ["MICRO_ROWS", "Kernel", "addresses", "fits", "write_products"]

MICRO_ROWS = 6
"""Rows of a matrix product at a time: times four vectors of columns, 24 sums in 32 registers."""


class Kernel:
    """A function whose first parameter is a table of rows, and its memory for what lies between its
    steps: ``scratch`` numbers for each thread, the last parameter but for counts."""

    def __init__(self, function: Function, dtype: torch.dtype, scratch: int) -> None:
        self._function = function
        self._dtype = dtype
        self._size = scratch
        self._threads = threading.local()

    def __call__(
        self, tables: Sequence[Sequence[int]], tensors: Sequence[Tensor], *counts: int
    ) -> None:
        """``tables``: of addresses, 0 where there is no row."""
        arrays = [(ctypes.c_int64 * len(table))(*table) for table in tables]
        self._function(
            *(ctypes.addressof(array) for array in arrays),
            *(tensor.data_ptr() for tensor in tensors),
            self._scratch().data_ptr(),
            *counts,
        )

    def _scratch(self) -> Tensor:
        """This thread's."""
        if not hasattr(self._threads, "scratch"):
            self._threads.scratch = torch.zeros(self._size, dtype=self._dtype)
        scratch: Tensor = self._threads.scratch
        return scratch


def fits(channels: int, dtype: torch.dtype, processor: Processor) -> bool:
    """Whether such channels fill vectors of this processor."""
    is_float = dtype in (torch.float32, torch.float64)
    return is_float and channels % (processor.vector_bytes // dtype.itemsize) == 0


def addresses(pieces: Iterable[Tensor], number: int) -> list[int]:
    """Where the rows (W, C) of that picture of a batch are, from pieces (B, C, n, W) of a map,
    channels-last, one below the other."""
    rows: list[int] = []
    for piece in pieces:
        _, channels, count, width = piece.shape
        if not count:  # whose strides may be anything
            continue
        across, beside, step, next_pixel = (n * piece.element_size() for n in piece.stride())
        assert beside == piece.element_size() or channels == 1
        assert next_pixel == channels * piece.element_size() or width == 1
        first = piece.data_ptr() + number * across
        rows += range(first, first + count * step, step)
    return rows


def write_products(
    code: FunctionBuilder,
    factors: Sequence[tuple[Sequence[Pointer], Pointer]],
    written: Sequence[Pointer],
    channels: int,
    bias: Pointer | None = None,
) -> None:
    """As many rows as are ``written``, each the sum of products: of a row (C in) and of a matrix
    (C in, C out), both C = ``channels``, for each pair of such rows and a matrix."""
    vectors = _vectors_at_once(code, channels)
    with code.loop(channels, step=vectors * code.lanes) as out:
        sums = code.sums(len(written) * vectors)
        for rows, matrix in factors:
            with code.loop(channels) as channel:
                _add_products(code, sums, rows, matrix + channel * channels + out, channel)
        for row, place in enumerate(written):
            for number in range(vectors):
                column = out + number * code.lanes
                value = sums[row * vectors + number]
                place[column] = value if bias is None else value + bias[column]


def _add_products(
    code: FunctionBuilder, sums: Sums, rows: Sequence[Pointer], weights: Pointer, channel: Integer
) -> None:
    vectors = len(sums) // len(rows)
    weight = [weights[number * code.lanes] for number in range(vectors)]
    for tile, row in enumerate(rows):
        value = row.broadcast(channel)
        for number in range(vectors):
            sums.add_product(tile * vectors + number, value, weight[number])


def _vectors_at_once(code: FunctionBuilder, channels: int) -> int:
    """Their sums for every row, their weights and an input are to fit the registers."""
    most = 4 if code.processor.registers >= 32 else 2
    return math.gcd(channels // code.lanes, most)
