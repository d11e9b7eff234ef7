"""The input of a low-precision convolution: a sliding window of three rows of quantized pixels."""

from __future__ import annotations

from lapsr_cli.cpu.jit.builder import FunctionBuilder
from lapsr_cli.cpu.jit.values import BytePointer, Integer, Pointer, Vector
from lapsr_cli.cpu.kernels.kernel import leaky_relu

__all__ = ["Window"]


class Window:
    """The pixels that ``pixels`` adjacent outputs of a row read: 3 rows by ``pixels`` + 2 columns,
    each pixel ``channels`` numbers of ``itemsize`` bytes (1: uint8, 2: bf16), in scratch memory.

    Reading a row overwrites the one three above it. ``is_quantized``: the map has these numbers
    already; else it is in fp32 and not activated.
    """

    def __init__(
        self,
        code: FunctionBuilder,
        channels: int,
        itemsize: int,
        pixels: int,
        *,
        is_quantized: bool,
    ) -> None:
        self._code = code
        self.channels = channels
        self.itemsize = itemsize
        self.pixel_bytes = itemsize * channels
        self._columns = pixels + 2
        self._is_quantized = is_quantized
        scratch = code.pointers["scratch"]
        self._pixels = scratch.as_bytes()
        window_size = 3 * self._columns * self.pixel_bytes // 4
        self.zeros = scratch + window_size
        self._zero_points = (self.zeros + channels).as_bytes()
        self.discarded = self.zeros + 2 * channels
        self.free = (self.discarded + channels).as_bytes()
        self.size = window_size + 3 * channels
        """Of the scratch memory used, in fp32 numbers: the window, a pixel of zeros in fp32, one of
        zeros quantized, and one to discard; what follows is ``free``."""
        zero_points = code.pointers["quantization"] + channels
        for channel in range(0, channels, code.lanes):
            self.store(self._zero_points, channel, zero_points[channel])

    def row(self, number: Integer) -> BytePointer:
        """Where row ``number`` of the map, padding included, is in the window."""
        return self._pixels + number % 3 * (self._columns * self.pixel_bytes)

    def read(self, number: Integer, left: Integer) -> None:
        """Read row ``number`` from the column before ``left`` on; zeros outside the map."""
        window_row = self.row(number)
        row = self._code.pointers["rows"].load_pointer(number)
        is_row = row.is_not_null()
        with self._code.loop(self._columns) as x:
            column = left + x - 1
            is_inside = is_row & column.in_range(self._code.integers["width"])
            pixel = window_row + x * self.pixel_bytes
            if self._is_quantized:
                source = row.as_bytes() + column * self.pixel_bytes
                pixel.copy_from(source.select(is_inside, self._zero_points), self.pixel_bytes)
            else:
                floats = (row + column * self.channels).select(is_inside, self.zeros)
                self._quantize(floats, pixel)

    def store(self, pixel: BytePointer, channel: Integer | int, values: Vector) -> None:
        """Round ``values`` and store them from ``channel`` on."""
        if self.itemsize == 1:
            pixel.store_uint8(channel, values)
        else:
            pixel.store_bf16(channel * 2, values)

    def _quantize(self, floats: Pointer, pixel: BytePointer) -> None:
        """Activate a pixel in fp32, quantize it and store it."""
        quantization = self._code.pointers["quantization"]
        for channel in range(0, self.channels, self._code.lanes):
            values = leaky_relu(floats[channel])
            if self.itemsize == 1:
                values = values * quantization[channel] + quantization[self.channels + channel]
            self.store(pixel, channel, values)
