"""Cutting a picture into tiles without visible seams: the integer arithmetic.

A window is a tile with its halo. All windows of a picture have one shape; at the picture's edge a
window slides inward instead of shrinking, so the network's zero padding falls exactly where the
picture ends. Each output pixel is taken from the *core* of one window, which is at least a halo
away from every artificial edge. An edge that is also the picture's is not artificial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Span", "Tile", "cut", "fit", "plan"]


class Span(NamedTuple):
    """Along one axis: a window and its core, both half open, in input pixels."""

    start: int
    stop: int
    core_start: int
    core_stop: int

    @property
    def window(self) -> slice:
        """Where the window is in the picture."""
        return slice(self.start, self.stop)

    def core(self, scale: int) -> slice:
        """Where the core is in the enlarged picture."""
        return slice(scale * self.core_start, scale * self.core_stop)

    def core_in_window(self, scale: int) -> slice:
        """Where the core is in the enlarged window."""
        return slice(scale * (self.core_start - self.start), scale * (self.core_stop - self.start))


class Tile(NamedTuple):
    """One window of a picture and its core."""

    rows: Span
    columns: Span

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the window."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def core_pixels(self) -> int:
        """Of the input."""
        rows, columns = self
        return (rows.core_stop - rows.core_start) * (columns.core_stop - columns.core_start)

    def put_core(self, output: Tensor, window: Tensor, scale: int) -> None:
        """Copy the core of an enlarged window (C, scale h, scale w) to its place in ``output``
        (C, scale H, scale W)."""
        rows, columns = self
        core = window[:, rows.core_in_window(scale), columns.core_in_window(scale)]
        output[:, rows.core(scale), columns.core(scale)] = core


def cut(length: int, tile: int, before: int, after: int) -> list[Span]:
    """Cover 0..length with windows of ``tile + before + after`` pixels, or one of ``length``.

    ``before`` and ``after`` are the halo. The cores join without gap or overlap.
    """
    window = tile + before + after
    if window >= length:
        return [Span(0, length, 0, length)]
    spans: list[Span] = []
    covered = 0
    while covered < length:
        start = min(max(covered - before, 0), length - window)
        stop = start + window
        core_stop = length if stop == length else stop - after
        spans.append(Span(start, stop, covered, core_stop))
        covered = core_stop
    return spans


def plan(height: int, width: int, tile: tuple[int, int], before: int, after: int) -> list[Tile]:
    """Every window of a picture, row by row; ``tile`` is (height, width) without the halo."""
    columns = cut(width, tile[1], before, after)
    return [Tile(row, column) for row in cut(height, tile[0], before, after) for column in columns]


def fit(
    height: int, width: int, before: int, after: int, max_pixels: int, overhead_rows: int = 0
) -> tuple[int, int]:
    """The (height, width) of the tile, without its halo, that computes the fewest pixels.

    Windows have at most ``max_pixels`` pixels, including ``overhead_rows`` rows for memory that
    does not depend on the height; but a tile has at least one pixel. The whole picture if it fits.
    """
    halo = before + after
    if (height + overhead_rows) * width <= max_pixels:
        return height, width

    def area(tile: tuple[int, int]) -> int:
        windows = _count(height, tile[0], halo) * _count(width, tile[1], halo)
        return windows * min(tile[0] + halo, height) * min(tile[1] + halo, width)

    candidates: list[tuple[int, int]] = []
    for count in range(1, max(1, width - halo) + 1):
        tile_width = _tile(width, count, halo)
        window_width = min(tile_width + halo, width)
        window_height = max_pixels // window_width - overhead_rows
        tile_height = height if window_height >= height else window_height - halo
        if tile_height >= 1:
            rows = _count(height, tile_height, halo)
            candidates.append((_tile(height, rows, halo), tile_width))
    return min(candidates, key=area, default=(1, 1))


def _tile(length: int, count: int, halo: int) -> int:
    """The smallest tile with which ``count`` windows cover ``length``."""
    return length if count == 1 else -(-(length - halo) // count)


def _count(length: int, tile: int, halo: int) -> int:
    """The number of windows that ``cut`` makes."""
    return 1 if tile + halo >= length else -(-(length - halo) // tile)
