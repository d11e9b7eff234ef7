"""The output of a low-precision convolution: from accumulators to pixels of the next map."""

from __future__ import annotations

from collections.abc import Sequence

from lapsr_cli.cpu.jit.builder import FunctionBuilder
from lapsr_cli.cpu.jit.values import Integer, Vector
from lapsr_cli.cpu.kernels.kernel import leaky_relu
from lapsr_cli.cpu.kernels.window import Window

__all__ = ["Epilogue"]


class Epilogue:
    """Writes the outputs of ``row`` from column ``left`` on.

    ``quantizes``: they are activated and stored like the pixels of ``window``; else the pixels of
    ``added`` are added, and they are stored in fp32, not activated.
    """

    def __init__(
        self,
        code: FunctionBuilder,
        window: Window,
        row: Integer,
        left: Integer,
        *,
        quantizes: bool,
    ) -> None:
        self._code = code
        self._window = window
        self._row, self._left = row, left
        self._quantizes = quantizes

    def write(self, pixel: Integer | int, channel: Integer, sums: Sequence[Vector]) -> None:
        """Write output ``pixel`` of the window from ``channel`` on. Discarded outside the map."""
        code, channels = self._code, self._window.channels
        width = code.integers["width"]
        column = self._left + pixel
        is_inside = column.in_range(width)
        first = (self._row * width + column) * channels
        values = [
            value * code.pointers["factors"][each] + code.pointers["offsets"][each]
            for value, each in zip(sums, self._channels(channel, sums), strict=True)
        ]
        if self._quantizes:
            output = code.pointers["outputs"].as_bytes() + first * self._window.itemsize
            output = output.select(is_inside, self._window.discarded.as_bytes())
            zero_points = code.pointers["quantization"] + 2 * channels
            for value, each in zip(values, self._channels(channel, sums), strict=True):
                activated = leaky_relu(value)
                if self._window.itemsize == 1:
                    activated = activated + zero_points[each]
                self._window.store(output, each, activated)
            return
        skip = code.pointers["added"].load_pointer(self._row)
        is_added = is_inside & skip.is_not_null()
        added = (skip + column * channels).select(is_added, self._window.zeros)
        floats = (code.pointers["outputs"] + first).select(is_inside, self._window.discarded)
        for value, each in zip(values, self._channels(channel, sums), strict=True):
            floats[each] = value + added[each]

    def _channels(self, first: Integer, vectors: Sequence[Vector]) -> list[Integer]:
        """The first channel of each of these vectors."""
        return [first + number * self._code.lanes for number in range(len(vectors))]
