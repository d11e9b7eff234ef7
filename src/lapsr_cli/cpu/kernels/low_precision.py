"""3x3 convolutions of numbers narrower than fp32, compiled: 8-bit integers, and bf16.

A map is read and written in a quarter or half of the bytes, and several products are one
instruction: dot products of bytes (x86's VNNI), or products of 16 x 16 numbers (AMX). The sums are
32 bits wide, and what becomes of them is computed in fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

from lapsr_cli.cpu.jit.builder import Bytes, FunctionBuilder, Integer, Pointer, Tiles, Vector
from lapsr_cli.cpu.kernels.kernel import MICRO_ROWS, Kernel, addresses, fits
from lapsr_cli.cpu.quantization import QuantParams, quantized_weights
from lapsr_cli.device.cpu_features import Processor, this_processor
from lapsr_cli.network.pyramid import NEGATIVE_SLOPE

__all__ = ["Bf16Conv", "Int8Conv", "LowPrecisionConv", "supports_bf16", "supports_int8"]

_TILE_PIXELS = _TILE_CHANNELS = 32
"""Of the outputs that are computed at a time by products of tiles."""
_DOT_PIXELS = 8 * MICRO_ROWS
"""Of a row that is read at a time for dot products."""


class LowPrecisionConv:
    """Leaky ReLU and the 3x3 convolution after it, of narrow numbers.

    ``kernels``: (C out, C in, 3, 3), int8 or bf16. A map in fp32 becomes uint8 by ``scales`` (3, C)
    first: factors, zeros and the zeros of what is written; bf16 has none. Sums are multiplied by
    ``factors`` (C out), and ``offsets`` (C out) added. ``writes_narrow``: the next layer is given
    these activated and narrow, else they are fp32 and not activated. On one core; from several
    threads at a time.
    """

    def __init__(
        self,
        kernels: Tensor,
        factors: Tensor,
        offsets: Tensor,
        scales: Tensor,
        *,
        low_precision_output: bool,
        processor: Processor | None = None,
    ) -> None:
        out, into = kernels.shape[:2]
        self._dtype = torch.uint8 if kernels.dtype == torch.int8 else kernels.dtype
        together = 4 // kernels.dtype.itemsize
        taps = kernels.permute(2, 3, 1, 0).reshape(9, into // together, together, out)
        self._kernels = taps.transpose(2, 3).contiguous()  # (9, C in / 4 or 2, C out, 4 or 2)
        self._channels = out
        self._factors, self._offsets = factors.float(), offsets.float()
        self._scales = scales.float().contiguous()
        self._writes_narrow = low_precision_output
        self._processor = processor or this_processor()

    def __call__(
        self,
        pieces: Sequence[Tensor],
        added: Sequence[Tensor] = (),
        *,
        pad_top: bool,
        pad_bottom: bool,
    ) -> Tensor:
        """Pieces (B, C, n, W) of a map, narrow or fp32, channels-last, one below the other, with a
        row of zeros above them if ``pad_top`` and below if ``pad_bottom`` -> (B, C, m,
        W), where m is two less than these rows together, and not less than 0. Pieces of as many
        rows, fp32, are ``added`` to that, if there are any and it is fp32."""
        batch, _, _, width = pieces[0].shape
        count = max(0, sum(piece.shape[2] for piece in pieces) + pad_top + pad_bottom - 2)
        outputs = torch.empty(
            (batch, self._channels, count, width),
            dtype=self._dtype if self._writes_narrow else torch.float32,
            memory_format=torch.channels_last,
        )
        compute = _compiled(
            self._channels,
            self._dtype,
            reads=pieces[0].dtype == self._dtype,
            writes=self._writes_narrow,
            processor=self._processor,
        )
        for number in range(batch if count else 0):
            rows = [0] * pad_top + addresses(pieces, number) + [0] * pad_bottom
            sources = addresses(added, number) or [0] * count
            tensors = [outputs[number], self._kernels, self._factors, self._offsets, self._scales]
            compute([rows, sources], tensors, count, width)
        return outputs


def supports_int8(conv: nn.Conv2d, processor: Processor | None = None) -> bool:
    """Whether ``conv`` can be computed so on this processor: 3x3, in fp32, as many channels in as
    out, which fill vectors of fp32 and, four times fewer, of bytes."""
    processor = processor or this_processor()
    out, into, *size = conv.weight.shape
    return (
        processor.has_vnni
        and conv.weight.dtype == torch.float32
        and size == [3, 3]
        and out == into
        and out % processor.vector_bytes == 0
        and fits(out, conv.weight.dtype, processor)
    )


class Int8Conv(LowPrecisionConv):
    """Leaky ReLU and the 3x3 convolution after it, in 8 bits.

    ``reads``: the scales of what it reads, activated. ``writes``: of what the next layer reads,
    which is then given activated and in 8 bits; None for fp32, not activated.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        reads: QuantParams,
        writes: QuantParams | None,
        processor: Processor | None = None,
    ) -> None:
        weights, steps = quantized_weights(conv.weight * reads.steps[:, None, None])
        factors = steps.double()
        offsets = -(weights.double().sum((2, 3)) * reads.zeros).sum(1) * factors
        if conv.bias is not None:
            offsets += conv.bias.double()
        written = torch.ones_like(steps) if writes is None else writes.steps
        zeros = torch.zeros_like(steps) if writes is None else writes.zeros
        super().__init__(
            weights,
            factors / written,
            offsets / written,
            torch.stack([1 / reads.steps, reads.zeros, zeros]),
            low_precision_output=writes is not None,
            processor=processor,
        )


def supports_bf16(conv: nn.Conv2d, processor: Processor | None = None) -> bool:
    """Whether ``conv`` can be computed so on this processor: 3x3, in bf16, as many channels in as
    out, which fill its tiles."""
    processor = processor or this_processor()
    out, into, *size = conv.weight.shape
    is_fitting = size == [3, 3] and out == into and out % 32 == 0
    bf16 = torch.bfloat16
    return conv.weight.dtype == bf16 and is_fitting and processor.has_amx(bf16.itemsize)


class Bf16Conv(LowPrecisionConv):
    """Leaky ReLU and the 3x3 convolution after it, in bf16. ``writes_narrow``: the next layer is
    given what this one makes activated and in bf16, else it is fp32 and not activated."""

    def __init__(
        self, conv: nn.Conv2d, *, low_precision_output: bool, processor: Processor | None = None
    ) -> None:
        out = conv.out_channels
        super().__init__(
            conv.weight,
            torch.ones(out),
            torch.zeros(out) if conv.bias is None else conv.bias,
            torch.zeros(3, out),
            low_precision_output=low_precision_output,
            processor=processor,
        )


@cache
def _compiled(
    channels: int, dtype: torch.dtype, *, reads: bool, writes: bool, processor: Processor
) -> Kernel:
    """``reads``, ``writes``: narrow numbers, else fp32."""
    code = FunctionBuilder(
        ["rows", "added", "outputs", "kernels", "factors", "offsets", "scales", "scratch"],
        ["count", "width"],
        itemsize=4,
        processor=processor,
    )
    tiles = code.tiles() if processor.has_amx(dtype.itemsize) else None
    across = _TILE_PIXELS if tiles else _DOT_PIXELS
    window = _Window(code, channels, dtype.itemsize, across, low_precision_input=reads)
    count, width = code.integers["count"], code.integers["width"]
    with code.loop(width, step=across) as left:
        for above in range(2):
            window.read(Integer.of(code.builder, above), left)
        with code.loop(count) as row:
            window.read(row + 2, left)
            ending = _Ending(code, window, row, left, low_precision_output=writes)
            if tiles:
                _write_tiles(code, tiles, window, row, ending)
            else:
                with code.loop((width - left).clamp_max(across), step=MICRO_ROWS) as beside:
                    _write_pixels(code, window, row, beside, ending)
    return Kernel(code.compiled(), torch.float32, window.scratch)


class _Window:
    """3 rows of pixels of narrow numbers, each of ``size`` bytes, in memory of its own, for the
    ``across`` outputs beside each other that are computed at a time. It goes down the map: each row
    takes the place of the one that is no longer needed."""

    def __init__(
        self,
        code: FunctionBuilder,
        channels: int,
        size: int,
        across: int,
        *,
        low_precision_input: bool,
    ) -> None:
        self._code = code
        self.channels = channels
        self.size = size
        self.pixel_bytes = size * channels
        self.columns = across + 2
        self._reads_narrow = low_precision_input
        count = 3 * self.columns * self.pixel_bytes // 4  # in fp32, as all that follows
        scratch = code.pointers["scratch"]
        self.pixels = code.bytes(scratch)
        self.zeros = scratch + count  # fp32
        self.narrow_zeros = code.bytes(self.zeros + channels)
        self.spare = self.zeros + 2 * channels
        self.sums = code.bytes(self.spare + channels)
        self.scratch = count + 3 * channels + _TILE_PIXELS * _TILE_CHANNELS
        zeros = code.pointers["scales"] + channels
        for channel in range(0, channels, code.lanes):
            self.store(self.narrow_zeros, channel, zeros[channel])

    def line(self, row: Integer) -> Bytes:
        """Where that row of the map is."""
        return self.pixels + row % 3 * (self.columns * self.pixel_bytes)

    def read(self, row: Integer, left: Integer) -> None:
        """That row from the column before ``left`` on; zeros where there is none."""
        line = self.line(row)
        pixels = self._code.pointer_at(self._code.pointers["rows"], row)
        there = self._code.is_there(pixels)
        with self._code.loop(self.columns) as x:
            column = left + x - 1
            inside = self._code.both(there, column.within(self._code.integers["width"]))
            place = line + x * self.pixel_bytes
            if self._reads_narrow:
                source = self._code.bytes(pixels) + column * self.pixel_bytes
                place.copy(source.select(inside, self.narrow_zeros), self.pixel_bytes)
            else:
                source_pixel = (pixels + column * self.channels).select(inside, self.zeros)
                self._narrow(source_pixel, place)

    def store(self, pixel: Bytes, channel: Integer | int, values: Vector) -> None:
        """As narrow numbers, from that channel on."""
        if self.size == 1:
            pixel.put(channel, values)
        else:
            pixel.put_bf16(channel * 2, values)

    def _narrow(self, pixel: Pointer, place: Bytes) -> None:
        scales = self._code.pointers["scales"]
        for channel in range(0, self.channels, self._code.lanes):
            value = pixel[channel]
            activated = value.maximum(NEGATIVE_SLOPE * value)
            if self.size == 1:
                activated = activated * scales[channel] + scales[self.channels + channel]
            self.store(place, channel, activated)


class _Ending:
    """What becomes of sums: outputs of ``row``, from the column ``left`` on."""

    def __init__(
        self,
        code: FunctionBuilder,
        window: _Window,
        row: Integer,
        left: Integer,
        *,
        low_precision_output: bool,
    ) -> None:
        self._code = code
        self._window = window
        self._row, self._left = row, left
        self._writes_narrow = low_precision_output

    def write(self, pixel: Integer | int, channel: Integer, sums: Sequence[Vector]) -> None:
        """Of that pixel of the window and from that channel on."""
        code, channels = self._code, self._window.channels
        width = code.integers["width"]
        column = self._left + pixel
        inside = column.within(width)
        first = (self._row * width + column) * channels
        values = [
            value * code.pointers["factors"][place] + code.pointers["offsets"][place]
            for value, place in zip(sums, self._places(channel, sums), strict=True)
        ]
        if self._writes_narrow:
            outputs = code.bytes(code.pointers["outputs"]) + first * self._window.size
            outputs = outputs.select(inside, code.bytes(self._window.spare))
            zeros = code.pointers["scales"] + 2 * channels
            for value, place in zip(values, self._places(channel, sums), strict=True):
                activated = value.maximum(NEGATIVE_SLOPE * value)
                if self._window.size == 1:
                    activated = activated + zeros[place]
                self._window.store(outputs, place, activated)
            return
        source = code.pointer_at(code.pointers["added"], self._row)
        is_added = code.both(inside, code.is_there(source))
        added = (source + column * channels).select(is_added, self._window.zeros)
        there = (code.pointers["outputs"] + first).select(inside, self._window.spare)
        for value, place in zip(values, self._places(channel, sums), strict=True):
            there[place] = value + added[place]

    def _places(self, channel: Integer, sums: Sequence[Vector]) -> list[Integer]:
        return [channel + number * self._code.lanes for number in range(len(sums))]


def _write_pixels(
    code: FunctionBuilder, window: _Window, row: Integer, beside: Integer, ending: _Ending
) -> None:
    """Outputs from the column ``beside`` of the window on, some vectors of channels at a time, by
    dot products of bytes."""
    channels = window.channels
    most = 4 if code.processor.registers >= 32 else 2
    vectors = min(most, channels // code.lanes)
    lines = [window.line(row + y) + beside * window.pixel_bytes for y in range(3)]
    with code.loop(channels, step=vectors * code.lanes) as out:
        sums = code.dot_products(MICRO_ROWS * vectors)
        for tap in range(9):
            y, x = divmod(tap, 3)
            with code.loop(channels // 4) as four:
                kernel = code.bytes(code.pointers["kernels"])
                kernel = kernel + ((four + tap * (channels // 4)) * channels + out) * 4
                weights = [
                    sums.fours(kernel + number * code.processor.vector_bytes)
                    for number in range(vectors)
                ]
                for tile in range(MICRO_ROWS):
                    value = sums.broadcast(lines[y] + (x + tile) * window.pixel_bytes + four * 4)
                    for number in range(vectors):
                        sums.add(tile * vectors + number, value, weights[number])
        for tile in range(MICRO_ROWS):
            made = [sums[tile * vectors + number] for number in range(vectors)]
            ending.write(beside + tile, out, made)


def _write_tiles(
    code: FunctionBuilder, tiles: Tiles, window: _Window, row: Integer, ending: _Ending
) -> None:
    """Outputs by products of tiles: registers 0 to 3 are sums of 16 pixels and 16 channels each, 4
    and 5 have 16 pixels, 6 and 7 weights for 16 channels."""
    channels, size = window.channels, window.size
    rows, columns = _TILE_PIXELS // 16, _TILE_CHANNELS // 16
    lines = [window.line(row + y) for y in range(3)]
    with code.loop(channels, step=_TILE_CHANNELS) as out:
        for number in range(rows * columns):
            tiles.clear(number)
        for tap in range(9):
            y, x = divmod(tap, 3)
            with code.loop(window.pixel_bytes, step=64) as first:
                kernel = code.bytes(code.pointers["kernels"]) + tap * channels * window.pixel_bytes
                kernel = kernel + (first // 4 * channels + out) * 4
                for column in range(columns):
                    tiles.load(6 + column, kernel + 64 * column, 4 * channels)
                for part in range(rows):
                    pixels = lines[y] + (x + 16 * part) * window.pixel_bytes + first
                    tiles.load(4 + part, pixels, window.pixel_bytes)
                    for column in range(columns):
                        number = part * columns + column
                        tiles.add_products(number, 4 + part, 6 + column, size=size)
        step = 4 * _TILE_CHANNELS
        for number in range(rows * columns):
            part, column = divmod(number, columns)
            tiles.store(number, window.sums + (part * 16 * step + column * 64), step)
        with code.loop(_TILE_PIXELS) as pixel:
            places = [pixel * step + column * 64 for column in range(columns)]
            read = window.sums.integers if size == 1 else window.sums.floats
            ending.write(pixel, out, [read(place) for place in places])
