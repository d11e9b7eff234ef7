"""3x3 convolutions of 8-bit integers, compiled.

What a convolution reads is activated and rounded to 0..255 by a step and a zero point for each
channel. Its weights take these steps in, and are rounded to -127..127 by a step for each output
channel; products are added up exactly in 32 bits, and the sums are fp32 again after that. So a map
is read and written in a quarter of the bytes, and four products are one. Jacob et al., Quantization
and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018, section
2; what the channels' own steps do to the weights, Nagel et al., arXiv:1906.04721, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from lapsr_cli.codegen import (
    Bytes,
    Code,
    Integer,
    Pointer,
    Processor,
    Tiles,
    Vector,
    this_processor,
)
from lapsr_cli.compiled import TILES, CompiledLayer, addresses, fits
from lapsr_cli.model import NEGATIVE_SLOPE

__all__ = ["LayerScales", "Quantized", "Scale", "is_for", "quantized_weights", "scales_of"]

_LEAST_WIDTH = 1 / 256
"""Of a channel's range, as a part of the widest one: its weights are multiplied by its step, and
must not be all that is left of a kernel."""
_TILE_PIXELS = _TILE_CHANNELS = 32
"""Of the outputs that are computed at a time by products of tiles."""


@dataclass(frozen=True)
class Scale:
    """How a real number x of a channel becomes round(x / step) + zero, kept within 0..255."""

    steps: Tensor  # (C,)
    zeros: Tensor  # (C,), whole numbers

    @classmethod
    def over(cls, ranges: Tensor) -> Scale:
        """For numbers from the lowest to the highest of each channel, (C, 2); 0 becomes one of the
        256 exactly. A channel with next to no range gets a step beside which others keep theirs."""
        lowest, highest = ranges[:, 0].clamp(max=0), ranges[:, 1].clamp(min=0)
        widths = highest - lowest
        least = max(float(widths.max()) * _LEAST_WIDTH, torch.finfo(torch.float32).tiny)
        steps = widths.clamp(min=least) / 255
        return cls(steps, (-lowest / steps).round())


LayerScales = Sequence[Sequence[Sequence[Scale]]]
"""Of what each convolution of the recursive blocks reads, by level, block and place."""


def scales_of(ranges: Tensor) -> LayerScales:
    """From a model's ranges (levels, R, D, C, 2)."""
    return [[[Scale.over(layer) for layer in block] for block in level] for level in ranges]


def quantized_weights(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(C out, C in, 3, 3) -> the same from -127 to 127, int8, and the step of each output channel,
    (C out)."""
    steps = weight.abs().amax((1, 2, 3)).clamp(min=torch.finfo(torch.float32).tiny) / 127
    return (weight / steps[:, None, None, None]).round().to(torch.int8), steps


def is_for(conv: nn.Conv2d, processor: Processor | None = None) -> bool:
    """Whether ``conv`` can be computed so on this processor: 3x3, in fp32, as many channels in as
    out, which fill vectors of fp32 and, four times fewer, of bytes."""
    processor = processor or this_processor()
    out, into, *size = conv.weight.shape
    return (
        processor.multiplies_bytes
        and conv.weight.dtype == torch.float32
        and size == [3, 3]
        and out == into
        and out % processor.vector_bytes == 0
        and fits(out, conv.weight.dtype, processor)
    )


class Quantized:
    """Leaky ReLU and the 3x3 convolution after it, in 8 bits.

    ``reads``: the scales of what it reads, activated. ``writes``: of what the next layer reads,
    which is then given activated and in 8 bits; None for fp32, not activated. A map that is read
    may be either, too. On one core; from several threads at a time.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        reads: Scale,
        writes: Scale | None,
        processor: Processor | None = None,
    ) -> None:
        self._processor = processor or this_processor()
        self._channels = conv.out_channels
        self._writes = writes
        weights, steps = quantized_weights(conv.weight * reads.steps[:, None, None])
        out, into = weights.shape[:2]
        taps = weights.permute(2, 3, 1, 0).reshape(9, into // 4, 4, out)
        self._kernels = taps.transpose(2, 3).contiguous()  # (9, C in / 4, C out, 4)
        factors = steps.double()
        offsets = -(weights.double().sum((2, 3)) * reads.zeros).sum(1) * factors
        if conv.bias is not None:
            offsets += conv.bias.double()
        written = torch.ones(out) if writes is None else writes.steps
        self._factors, self._offsets = (factors / written).float(), (offsets / written).float()
        zeros = torch.zeros(out) if writes is None else writes.zeros
        self._scales = torch.stack([1 / reads.steps, reads.zeros, zeros]).float()  # (3, C)

    def __call__(
        self, pieces: Sequence[Tensor], added: Sequence[Tensor] = (), *, top: bool, bottom: bool
    ) -> Tensor:
        """Pieces (B, C, n, W) of a map, fp32 or uint8, channels-last, one below the other, with a
        row of zeros above them at the ``top`` of the map and below at its ``bottom`` -> (B, C, m,
        W), where m is two less than these rows together, and not less than 0. Pieces of as many
        rows, fp32, are ``added`` to that, if there are any and it is fp32."""
        batch, _, _, width = pieces[0].shape
        count = max(0, sum(piece.shape[2] for piece in pieces) + top + bottom - 2)
        outputs = torch.empty(
            (batch, self._channels, count, width),
            dtype=torch.float32 if self._writes is None else torch.uint8,
            memory_format=torch.channels_last,
        )
        compute = _compiled(
            self._channels,
            reads_bytes=pieces[0].dtype == torch.uint8,
            writes_bytes=self._writes is not None,
            processor=self._processor,
        )
        for number in range(batch if count else 0):
            rows = [0] * top + addresses(pieces, number) + [0] * bottom
            sources = addresses(added, number) or [0] * count
            tensors = [outputs[number], self._kernels, self._factors, self._offsets, self._scales]
            compute([rows, sources], tensors, count, width)
        return outputs


@cache
def _compiled(
    channels: int, *, reads_bytes: bool, writes_bytes: bool, processor: Processor
) -> CompiledLayer:
    code = Code(
        ["rows", "added", "outputs", "kernels", "factors", "offsets", "scales", "scratch"],
        ["count", "width"],
        itemsize=4,
        processor=processor,
    )
    tiles = code.tiles() if processor.multiplies_tiles_of_bytes else None
    across = _TILE_PIXELS if tiles else TILES
    window = _Window(code, channels, across, reads_bytes=reads_bytes)
    count, width = code.integers["count"], code.integers["width"]
    with code.loop(count) as row, code.loop(width, step=across) as left:
        window.read(row, left)
        ending = _Ending(code, window, row, left, writes_bytes=writes_bytes)
        if tiles:
            _write_tiles(code, tiles, window, ending)
        else:
            _write_pixels(code, window, ending)
    return CompiledLayer(code.compiled(), torch.float32, window.scratch)


class _Window:
    """3 rows of pixels in 8 bits, in memory of its own, for the ``across`` outputs beside each
    other that are computed at a time."""

    def __init__(self, code: Code, channels: int, across: int, *, reads_bytes: bool) -> None:
        self._code = code
        self.channels = channels
        self.columns = across + 2
        self._reads_bytes = reads_bytes
        size = 3 * self.columns * channels // 4  # counted in fp32, as all that follows
        scratch = code.pointers["scratch"]
        self.pixels = code.bytes(scratch)
        self.zeros = scratch + size  # fp32
        self.zero_bytes = code.bytes(self.zeros + channels)
        self.spare = self.zeros + (channels + channels // 4)
        self.sums = code.bytes(self.spare + channels)
        self.scratch = size + 3 * channels + channels // 4 + _TILE_PIXELS * _TILE_CHANNELS
        zeros = code.pointers["scales"] + channels
        for channel in range(0, channels, code.lanes):
            self.zero_bytes.put(channel, zeros[channel])

    def pixel(self, y: int, x: Integer | int) -> Bytes:
        """The channels of that one."""
        return self.pixels + x * self.channels + y * self.columns * self.channels

    def read(self, row: Integer, left: Integer) -> None:
        """From ``row`` on, and from the column before ``left``; zeros where there is none."""
        for y in range(3):
            pixels = self._code.pointer_at(self._code.pointers["rows"], row + y)
            there = self._code.is_there(pixels)
            with self._code.loop(self.columns) as x:
                column = left + x - 1
                inside = self._code.both(there, column.within(self._code.integers["width"]))
                if self._reads_bytes:
                    source = self._code.bytes(pixels) + column * self.channels
                    self.pixel(y, x).copy(source.if_(inside, self.zero_bytes), self.channels)
                else:
                    source_pixel = (pixels + column * self.channels).if_(inside, self.zeros)
                    self._quantize(source_pixel, self.pixel(y, x))

    def _quantize(self, pixel: Pointer, place: Bytes) -> None:
        scales = self._code.pointers["scales"]
        for channel in range(0, self.channels, self._code.lanes):
            value = pixel[channel]
            activated = value.larger(NEGATIVE_SLOPE * value)
            place.put(channel, activated * scales[channel] + scales[self.channels + channel])


class _Ending:
    """What becomes of sums: outputs of ``row``, from the column ``left`` on."""

    def __init__(
        self, code: Code, window: _Window, row: Integer, left: Integer, *, writes_bytes: bool
    ) -> None:
        self._code = code
        self._window = window
        self._row, self._left = row, left
        self._writes_bytes = writes_bytes

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
        if self._writes_bytes:
            outputs = code.bytes(code.pointers["outputs"]) + first
            bytes_out = outputs.if_(inside, code.bytes(self._window.spare))
            zeros = code.pointers["scales"] + 2 * channels
            for value, place in zip(values, self._places(channel, sums), strict=True):
                bytes_out.put(place, value.larger(NEGATIVE_SLOPE * value) + zeros[place])
            return
        source = code.pointer_at(code.pointers["added"], self._row)
        is_added = code.both(inside, code.is_there(source))
        added = (source + column * channels).if_(is_added, self._window.zeros)
        there = (code.pointers["outputs"] + first).if_(inside, self._window.spare)
        for value, place in zip(values, self._places(channel, sums), strict=True):
            there[place] = value + added[place]

    def _places(self, channel: Integer, sums: Sequence[Vector]) -> list[Integer]:
        return [channel + number * self._code.lanes for number in range(len(sums))]


def _write_pixels(code: Code, window: _Window, ending: _Ending) -> None:
    """Outputs beside each other, some vectors of channels at a time, by dot products."""
    channels = window.channels
    most = 4 if code.processor.registers >= 32 else 2
    vectors = min(most, channels // code.lanes)
    with code.loop(channels, step=vectors * code.lanes) as out:
        sums = code.dot_products(TILES * vectors)
        for tap in range(9):
            y, x = divmod(tap, 3)
            with code.loop(channels // 4) as four:
                kernel = code.bytes(code.pointers["kernels"])
                kernel = kernel + ((four + tap * (channels // 4)) * channels + out) * 4
                weights = [
                    sums.fours(kernel + number * code.processor.vector_bytes)
                    for number in range(vectors)
                ]
                for tile in range(TILES):
                    value = sums.spread(window.pixel(y, x + tile) + four * 4)
                    for number in range(vectors):
                        sums.add(tile * vectors + number, value, weights[number])
        for tile in range(TILES):
            made = [sums[tile * vectors + number] for number in range(vectors)]
            ending.write(tile, out, made)


def _write_tiles(code: Code, tiles: Tiles, window: _Window, ending: _Ending) -> None:
    """32 outputs beside each other, 32 channels at a time, by products of tiles: registers 0 to 3
    are sums, 4 and 5 have 16 pixels each, 6 and 7 weights for 16 channels each."""
    channels = window.channels
    with code.loop(channels, step=_TILE_CHANNELS) as out:
        for number in range(4):
            tiles.clear(number)
        for tap in range(9):
            y, x = divmod(tap, 3)
            with code.loop(channels, step=64) as first:
                kernel = code.bytes(code.pointers["kernels"])
                kernel = kernel + ((first // 4 + tap * (channels // 4)) * channels + out) * 4
                for half in range(2):
                    tiles.load(4 + half, window.pixel(y, x + 16 * half) + first, channels)
                    tiles.load(6 + half, kernel + 64 * half, 4 * channels)
                for number in range(4):
                    tiles.add_products(number, 4 + number // 2, 6 + number % 2)
        row = 4 * _TILE_CHANNELS
        for number in range(4):
            tiles.store(number, window.sums + (number // 2 * 16 * row + number % 2 * 64), row)
        with code.loop(_TILE_PIXELS) as pixel:
            made = [window.sums.integers(pixel * row + 64 * half) for half in range(2)]
            ending.write(pixel, out, made)
