"""What all compiled layers share: the addresses of rows, scratch memory, the activation."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lapsr_cli.cpu.jit.compiler import CompiledFunction
from lapsr_cli.cpu.jit.values import Vector
from lapsr_cli.device.cpu_features import Processor
from lapsr_cli.network.pyramid import NEGATIVE_SLOPE

__all__ = ["Kernel", "fills_vectors", "leaky_relu", "leaky_relu_gradient", "row_addresses"]


class Kernel:
    """A compiled function, with scratch memory for each thread that calls it.

    Its parameters are, in this order: tables of row addresses, tensors, the scratch memory
    (``scratch_size`` numbers of ``dtype``), and counts.
    """

    def __init__(self, function: CompiledFunction, dtype: torch.dtype, scratch_size: int) -> None:
        self._function = function
        self._dtype = dtype
        self._scratch_size = scratch_size
        self._per_thread = threading.local()

    def __call__(
        self, tables: Sequence[ArrayLike], tensors: Sequence[Tensor], *counts: int
    ) -> None:
        """``tables``: addresses of rows, 0 (null) where there is no row."""
        arrays = [np.ascontiguousarray(table, np.int64) for table in tables]
        self._function(
            *(array.ctypes.data for array in arrays),
            *(tensor.data_ptr() for tensor in tensors),
            self._scratch().data_ptr(),
            *counts,
        )

    def _scratch(self) -> Tensor:
        """This thread's scratch memory."""
        if not hasattr(self._per_thread, "scratch"):
            self._per_thread.scratch = torch.zeros(self._scratch_size, dtype=self._dtype)
        scratch: Tensor = self._per_thread.scratch
        return scratch


def fills_vectors(channels: int, dtype: torch.dtype, processor: Processor) -> bool:
    """Whether ``channels`` numbers of ``dtype`` fill whole vectors of ``processor``. False for
    dtypes other than fp32 and fp64."""
    is_float = dtype in (torch.float32, torch.float64)
    return is_float and channels % (processor.vector_bytes // dtype.itemsize) == 0


def row_addresses(pieces: Iterable[Tensor], number: int) -> list[int]:
    """The address of every row (W, C) of picture ``number`` in a batch.

    ``pieces``: consecutive rows (B, C, n, W) of a map, channels-last, from top to bottom.
    """
    rows: list[int] = []
    for piece in pieces:
        _, channels, count, width = piece.shape
        if not count:  # strides of an empty tensor may be anything
            continue
        batch_stride, channel_stride, row_stride, column_stride = (
            stride * piece.element_size() for stride in piece.stride()
        )
        assert channel_stride == piece.element_size() or channels == 1
        assert column_stride == channels * piece.element_size() or width == 1
        first = piece.data_ptr() + number * batch_stride
        rows += range(first, first + count * row_stride, row_stride)
    return rows


def leaky_relu(values: Vector) -> Vector:
    """The activation of both papers."""
    return values.maximum(NEGATIVE_SLOPE * values)


def leaky_relu_gradient(values: Vector, inputs: Vector) -> Vector:
    """``values`` times the derivative of the activation at ``inputs``."""
    return values.where_positive(inputs, NEGATIVE_SLOPE * values)
