"""The end of a level, compiled: the transposed convolution to features of twice the size, and
beside it the one convolution to the residual (`network.fused`), each after leaky ReLU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from lapsr_cli.cpu.jit.builder import FunctionBuilder
from lapsr_cli.cpu.jit.registers import Accumulators
from lapsr_cli.cpu.jit.values import Integer, Pointer
from lapsr_cli.cpu.kernels.kernel import Kernel, fills_vectors, leaky_relu, row_addresses
from lapsr_cli.cpu.kernels.matmul import MICRO_ROWS, write_matmul
from lapsr_cli.device.cpu_features import Processor, this_processor
from lapsr_cli.network.fused import residual_kernel
from lapsr_cli.network.pyramid import Level

__all__ = ["ResidualConv", "TransposedConv", "supports"]


def supports(level: Level, processor: Processor | None = None) -> bool:
    """Whether ``level``, of MS-LapSRN and doubling, can be computed here: its channels fill whole
    vectors of ``processor`` (default: this one)."""
    weight = level.up.weight
    return fills_vectors(weight.shape[0], weight.dtype, processor or this_processor())


class TransposedConv:
    """Leaky ReLU and the transposed convolution. A call uses one core; several threads may call at
    once."""

    def __init__(self, level: Level, processor: Processor | None = None) -> None:
        assert level.up.bias is not None
        self._kernels = level.up.weight.permute(2, 3, 0, 1).contiguous()  # (3, 3, C in, C out)
        self._bias = level.up.bias
        channels, dtype = len(self._bias), self._bias.dtype
        self._compute = _transposed_conv(channels, dtype, processor or this_processor())

    def __call__(self, pieces: Sequence[Tensor], *, pad_top: bool) -> Tensor:
        """Upsample ``pieces``, consecutive rows (B, C, n, W) of a map, channels-last, from top to
        bottom -> (B, C, 2m, 2W).

        The first row is only read for the one below it: m is one less than the rows of ``pieces``,
        or all of them if ``pad_top``, which puts a row of zeros above them.
        """
        batch, channels, _, width = pieces[0].shape
        count = sum(piece.shape[2] for piece in pieces) + pad_top - 1
        outputs = torch.empty(
            (batch, channels, 2 * count, 2 * width),
            dtype=self._bias.dtype,
            memory_format=torch.channels_last,
        )
        for number in range(batch):
            rows = [0] * pad_top + row_addresses(pieces, number)
            self._compute([rows], [outputs[number], self._kernels, self._bias], count, width)
        return outputs


class ResidualConv:
    """Leaky ReLU, then up and conv_res as one convolution. A call uses one core; several threads
    may call at once."""

    def __init__(self, level: Level, processor: Processor | None = None) -> None:
        self._kernels = residual_kernel(level).permute(2, 3, 0, 1).contiguous()  # (3, 3, 4, C)
        processor = processor or this_processor()
        self._compute = _residual_conv(self._kernels.shape[3], self._kernels.dtype, processor)
        self._micro_pixels = _micro_pixels(processor)

    def __call__(self, pieces: Sequence[Tensor], *, pad_top: bool, pad_bottom: bool) -> Tensor:
        """Convolve ``pieces``, consecutive rows (B, C, n, W) of a map, channels-last, from top to
        bottom -> (B, 4, m, W) for a pixel shuffle, without biases.

        A row of zeros pads them above if ``pad_top``, below if ``pad_bottom``; m is the number of
        rows including these, less two, but not below 0.
        """
        batch, _, _, width = pieces[0].shape
        count = max(0, sum(piece.shape[2] for piece in pieces) + pad_top + pad_bottom - 2)
        stride = width + -width % self._micro_pixels
        outputs = torch.empty(batch, count, stride, 4, dtype=self._kernels.dtype)
        for number in range(batch if count else 0):
            rows = [0] * pad_top + row_addresses(pieces, number) + [0] * pad_bottom
            self._compute([rows], [outputs[number], self._kernels], count, width)
        return outputs[:, :, :width].permute(0, 3, 1, 2)


@cache
def _transposed_conv(channels: int, dtype: torch.dtype, processor: Processor) -> Kernel:
    code = FunctionBuilder(
        ["rows", "outputs", "kernels", "bias", "scratch"],
        ["count", "width"],
        itemsize=dtype.itemsize,
        processor=processor,
    )
    _write_transposed_conv(code, channels)
    patch = 2 * (MICRO_ROWS + 1)
    return Kernel(code.compiled(), dtype, (patch + 2) * channels)


def _write_transposed_conv(code: FunctionBuilder, channels: int) -> None:
    """Output row 2j takes input rows j and j-1 by taps 0 and 2, row 2j+1 takes row j by tap 1; the
    same for columns."""
    columns = MICRO_ROWS + 1
    scratch, width = code.pointers["scratch"], code.integers["width"]
    patch = [[scratch + (y * columns + x) * channels for x in range(columns)] for y in range(2)]
    zeros = scratch + 2 * columns * channels
    discarded = zeros + channels
    with code.loop(code.integers["count"]) as row, code.loop(width, step=MICRO_ROWS) as left:
        _write_activated(code, patch, row, left - 1, channels, zeros)
        for y, row_taps in enumerate([((1, 0), (0, 2)), ((1, 1),)]):
            for x, column_taps in enumerate([((1, 0), (0, 2)), ((1, 1),)]):
                factors = [
                    (
                        patch[below][right : right + MICRO_ROWS],
                        code.pointers["kernels"] + (tap_y * 3 + tap_x) * channels**2,
                    )
                    for below, tap_y in row_taps
                    for right, tap_x in column_taps
                ]
                first = (row * 2 + y) * width * 2 + x
                outputs = [
                    (code.pointers["outputs"] + (first + (left + pixel) * 2) * channels).select(
                        (left + pixel).in_range(width), discarded
                    )
                    for pixel in range(MICRO_ROWS)
                ]
                write_matmul(code, factors, outputs, channels, code.pointers["bias"])


def _micro_pixels(processor: Processor) -> int:
    """Pixels of a micro-kernel of `ResidualConv`: four accumulators for each, weights and inputs
    are to fit the registers."""
    return 4 if processor.registers >= 32 else 2


@cache
def _residual_conv(channels: int, dtype: torch.dtype, processor: Processor) -> Kernel:
    code = FunctionBuilder(
        ["rows", "outputs", "kernels", "scratch"],
        ["count", "width"],
        itemsize=dtype.itemsize,
        processor=processor,
    )
    _write_residual_conv(code, channels)
    patch = 3 * (_micro_pixels(processor) + 2)
    return Kernel(code.compiled(), dtype, (patch + 1) * channels)


def _write_residual_conv(code: FunctionBuilder, channels: int) -> None:
    """The lanes hold input channels, and are summed at the end: there are only four outputs."""
    pixels = _micro_pixels(code.processor)
    columns = pixels + 2
    scratch, width = code.pointers["scratch"], code.integers["width"]
    patch = [[scratch + (y * columns + x) * channels for x in range(columns)] for y in range(3)]
    zeros = scratch + 3 * columns * channels
    stride = (width + (pixels - 1)) // pixels * pixels
    with code.loop(code.integers["count"]) as row, code.loop(width, step=pixels) as left:
        _write_activated(code, patch, row, left - 1, channels, zeros)
        accumulators = Accumulators(code, 4 * pixels)
        with code.loop(channels, step=code.lanes) as channel:
            for tap in range(9):
                y, x = divmod(tap, 3)
                kernel = code.pointers["kernels"] + tap * 4 * channels
                weights = [kernel[channel + part * channels] for part in range(4)]
                for pixel in range(pixels):
                    inputs = patch[y][x + pixel][channel]
                    for part in range(4):
                        accumulators.add_product(pixel * 4 + part, inputs, weights[part])
        outputs = code.pointers["outputs"] + (row * stride + left) * 4
        for number, sums in enumerate(accumulators.horizontal_sums()):
            outputs[number * code.lanes] = sums


def _write_activated(
    code: FunctionBuilder,
    patch: list[list[Pointer]],
    row: Integer,
    left: Integer,
    channels: int,
    zeros: Pointer,
) -> None:
    """Fill ``patch`` with the activated pixels from ``row`` and ``left`` on; zeros outside the
    map."""
    for y, pixels in enumerate(patch):
        source_row = code.pointers["rows"].load_pointer(row + y)
        is_row = source_row.is_not_null()
        for x, pixel in enumerate(pixels):
            column = left + x
            is_inside = is_row & column.in_range(code.integers["width"])
            source = (source_row + column * channels).select(is_inside, zeros)
            with code.loop(channels, step=code.lanes) as channel:
                pixel[channel] = leaky_relu(source[channel])
