"""The GEMM micro-kernel: a few rows by whole vectors of columns, accumulated in registers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lapsr_cli.cpu.jit.builder import FunctionBuilder
from lapsr_cli.cpu.jit.registers import Accumulators
from lapsr_cli.cpu.jit.values import Integer, Pointer

__all__ = ["MICRO_ROWS", "column_vectors", "write_matmul"]

MICRO_ROWS = 6
"""Rows of a micro-kernel: times four vectors of columns, 24 accumulators in 32 registers."""


def column_vectors(code: FunctionBuilder, channels: int) -> int:
    """Vectors of columns of a micro-kernel, a divisor of those in ``channels``: accumulators for
    ``MICRO_ROWS`` rows, weights and an input are to fit the registers."""
    maximum = 4 if code.processor.registers >= 32 else 2
    return math.gcd(channels // code.lanes, maximum)


def write_matmul(
    code: FunctionBuilder,
    factors: Sequence[tuple[Sequence[Pointer], Pointer]],
    outputs: Sequence[Pointer],
    channels: int,
    bias: Pointer | None = None,
) -> None:
    """Write the sum of several matrix products: one pair of ``factors`` each, rows (C in) and a
    matrix (C in, C out), both C = ``channels``. All pairs have as many rows as there are
    ``outputs`` (C out). ``bias``: (C out)."""
    vectors = column_vectors(code, channels)
    with code.loop(channels, step=vectors * code.lanes) as first:
        accumulators = Accumulators(code, len(outputs) * vectors)
        for rows, matrix in factors:
            with code.loop(channels) as channel:
                weights = matrix + channel * channels + first
                _write_outer_product(code, accumulators, rows, weights, channel)
        for row, output in enumerate(outputs):
            for number in range(vectors):
                column = first + number * code.lanes
                value = accumulators[row * vectors + number]
                output[column] = value if bias is None else value + bias[column]


def _write_outer_product(
    code: FunctionBuilder,
    accumulators: Accumulators,
    rows: Sequence[Pointer],
    weights: Pointer,
    channel: Integer,
) -> None:
    """Add what one input ``channel`` of all rows contributes, by a row of the matrix."""
    vectors = len(accumulators) // len(rows)
    loaded = [weights[number * code.lanes] for number in range(vectors)]
    for number, row in enumerate(rows):
        value = row.broadcast(channel)
        for vector, weight in enumerate(loaded):
            accumulators.add_product(number * vectors + vector, value, weight)
