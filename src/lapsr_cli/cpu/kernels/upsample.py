"""The end of a level, compiled: leaky ReLU, then the transposed convolution to features of twice
the size, and beside it the one convolution to the residual (see `fused`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from lapsr_cli.cpu.jit.builder import FunctionBuilder, Integer, Pointer
from lapsr_cli.cpu.kernels.kernel import MICRO_ROWS, Kernel, addresses, fits, write_products
from lapsr_cli.device.cpu_features import Processor, this_processor
from lapsr_cli.network.fused import residual_kernel
from lapsr_cli.network.pyramid import NEGATIVE_SLOPE, Level

__all__ = ["Residual", "Upsampling", "supports"]


def supports(level: Level, processor: Processor | None = None) -> bool:
    """Whether ``level``, of MS-LapSRN and doubling, has what can be computed here."""
    weight = level.up.weight
    return fits(weight.shape[0], weight.dtype, processor or this_processor())


class Upsampling:
    """Leaky ReLU and the transposed convolution. On one core; from several threads at a time."""

    def __init__(self, level: Level, processor: Processor | None = None) -> None:
        assert level.up.bias is not None
        self._kernels = level.up.weight.permute(2, 3, 0, 1).contiguous()  # (3, 3, C in, C out)
        self._bias = level.up.bias
        channels, dtype = len(self._bias), self._bias.dtype
        self._compute = _upsampling(channels, dtype, processor or this_processor())

    def __call__(self, pieces: Sequence[Tensor], *, pad_top: bool) -> Tensor:
        """Pieces (B, C, n, W) of a map, channels-last, one below the other, below the row above
        them, which is zeros if ``pad_top`` -> (B, C, 2m, 2W), where m is their rows less
        the one above."""
        batch, channels, _, width = pieces[0].shape
        count = sum(piece.shape[2] for piece in pieces) + pad_top - 1
        outputs = torch.empty(
            (batch, channels, 2 * count, 2 * width),
            dtype=self._bias.dtype,
            memory_format=torch.channels_last,
        )
        for number in range(batch):
            rows = [0] * pad_top + addresses(pieces, number)
            self._compute([rows], [outputs[number], self._kernels, self._bias], count, width)
        return outputs


class Residual:
    """Leaky ReLU, then up and conv_res as one. On one core; from several threads at a time."""

    def __init__(self, level: Level, processor: Processor | None = None) -> None:
        self._kernels = residual_kernel(level).permute(2, 3, 0, 1).contiguous()  # (3, 3, 4, C)
        processor = processor or this_processor()
        self._compute = _residual(self._kernels.shape[3], self._kernels.dtype, processor)
        self._pixels = _pixels(processor)

    def __call__(self, pieces: Sequence[Tensor], *, pad_top: bool, pad_bottom: bool) -> Tensor:
        """Pieces (B, C, n, W) of a map, channels-last, one below the other, with a row of zeros
        above them if ``pad_top`` and below if ``pad_bottom`` -> (B, 4, m, W), for a
        pixel shuffle, without biases; m is two less than these rows, and not less than 0."""
        batch, _, _, width = pieces[0].shape
        count = max(0, sum(piece.shape[2] for piece in pieces) + pad_top + pad_bottom - 2)
        across = width + -width % self._pixels
        outputs = torch.empty(batch, count, across, 4, dtype=self._kernels.dtype)
        for number in range(batch if count else 0):
            rows = [0] * pad_top + addresses(pieces, number) + [0] * pad_bottom
            self._compute([rows], [outputs[number], self._kernels], count, width)
        return outputs[:, :, :width].permute(0, 3, 1, 2)


@cache
def _upsampling(channels: int, dtype: torch.dtype, processor: Processor) -> Kernel:
    code = FunctionBuilder(
        ["rows", "outputs", "kernels", "bias", "scratch"],
        ["count", "width"],
        itemsize=dtype.itemsize,
        processor=processor,
    )
    _write_upsampling(code, channels)
    seen = 2 * (MICRO_ROWS + 1)
    return Kernel(code.compiled(), dtype, (seen + 2) * channels)


def _write_upsampling(code: FunctionBuilder, channels: int) -> None:
    """Output row 2j takes input rows j and j-1 by taps 0 and 2, row 2j+1 takes row j by tap 1; the
    same for columns."""
    columns = MICRO_ROWS + 1
    scratch, width = code.pointers["scratch"], code.integers["width"]
    seen = [[scratch + (y * columns + x) * channels for x in range(columns)] for y in range(2)]
    zeros = scratch + 2 * columns * channels
    spare = zeros + channels
    with code.loop(code.integers["count"]) as row, code.loop(width, step=MICRO_ROWS) as left:
        _write_activated(code, seen, row, left - 1, channels, zeros)
        for y, vertically in enumerate([((1, 0), (0, 2)), ((1, 1),)]):
            for x, sideways in enumerate([((1, 0), (0, 2)), ((1, 1),)]):
                factors = [
                    (
                        seen[below][right : right + MICRO_ROWS],
                        code.pointers["kernels"] + (tap_y * 3 + tap_x) * channels**2,
                    )
                    for below, tap_y in vertically
                    for right, tap_x in sideways
                ]
                first = (row * 2 + y) * width * 2 + x
                written = [
                    (code.pointers["outputs"] + (first + (left + tile) * 2) * channels).select(
                        (left + tile).within(width), spare
                    )
                    for tile in range(MICRO_ROWS)
                ]
                write_products(code, factors, written, channels, code.pointers["bias"])


def _pixels(processor: Processor) -> int:
    """Whose four sums each, weights and inputs fit the registers."""
    return 4 if processor.registers >= 32 else 2


@cache
def _residual(channels: int, dtype: torch.dtype, processor: Processor) -> Kernel:
    code = FunctionBuilder(
        ["rows", "outputs", "kernels", "scratch"],
        ["count", "width"],
        itemsize=dtype.itemsize,
        processor=processor,
    )
    _write_residual(code, channels)
    seen = 3 * (_pixels(processor) + 2)
    return Kernel(code.compiled(), dtype, (seen + 1) * channels)


def _write_residual(code: FunctionBuilder, channels: int) -> None:
    """Sums over vectors of channels, and at the end over the lanes of each."""
    pixels = _pixels(code.processor)
    columns = pixels + 2
    scratch, width = code.pointers["scratch"], code.integers["width"]
    seen = [[scratch + (y * columns + x) * channels for x in range(columns)] for y in range(3)]
    zeros = scratch + 3 * columns * channels
    across = (width + (pixels - 1)) // pixels * pixels
    with code.loop(code.integers["count"]) as row, code.loop(width, step=pixels) as left:
        _write_activated(code, seen, row, left - 1, channels, zeros)
        sums = code.sums(4 * pixels)
        with code.loop(channels, step=code.lanes) as channel:
            for tap in range(9):
                y, x = divmod(tap, 3)
                kernel = code.pointers["kernels"] + tap * 4 * channels
                weights = [kernel[channel + part * channels] for part in range(4)]
                for pixel in range(pixels):
                    value = seen[y][x + pixel][channel]
                    for part in range(4):
                        sums.add_product(pixel * 4 + part, value, weights[part])
        written = code.pointers["outputs"] + (row * across + left) * 4
        made = code.lane_sums([sums[number] for number in range(len(sums))])
        for number, vector in enumerate(made):
            written[number * code.lanes] = vector


def _write_activated(
    code: FunctionBuilder,
    seen: list[list[Pointer]],
    row: Integer,
    left: Integer,
    channels: int,
    zeros: Pointer,
) -> None:
    """Pixels from rows ``row`` and columns ``left`` on, activated; zeros where there are none."""
    for y, places in enumerate(seen):
        pixels = code.pointer_at(code.pointers["rows"], row + y)
        there = code.is_there(pixels)
        for x, place in enumerate(places):
            column = left + x
            inside = code.both(there, column.within(code.integers["width"]))
            pixel = (pixels + column * channels).select(inside, zeros)
            with code.loop(channels, step=code.lanes) as channel:
                value = pixel[channel]
                place[channel] = value.maximum(NEGATIVE_SLOPE * value)
