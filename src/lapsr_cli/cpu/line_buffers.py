"""Strips of rows on their way through the layers, and the rows that layers keep between strips."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lapsr_cli.network.pyramid import NEGATIVE_SLOPE

__all__ = ["DelayLine", "LineBuffer", "PaddedLineBuffer", "Strip", "valid_conv", "with_row_above"]


class Strip(NamedTuple):
    """Consecutive full-width rows of a feature map; strips come from top to bottom.

    ``skip``: what the end of the recursive block adds, as pieces one below the other; they are
    ahead of ``rows``, since every convolution lags a row. ``last``: the strip ends the picture.
    """

    rows: Tensor  # (B, C, n, W), n may be 0
    skip: list[Tensor]  # (B, C, m, W)
    last: bool


class LineBuffer:
    """Keeps the last two rows of a strip, which a 3x3 convolution needs above the next one."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []

    def __call__(self, rows: Tensor) -> tuple[list[Tensor], bool]:
        """(B, C, n, W) -> the rows to read as pieces one below the other, and whether the picture
        begins with them, so that a row of zeros pads them at the top."""
        pieces = [*self._rows, rows]
        pad_top = not self._rows or self._rows[0].shape[2] < 2
        lowest = rows if rows.shape[2] >= 2 else torch.cat(pieces, dim=2)
        self._rows = [lowest[:, :, -2:].clone(memory_format=torch.channels_last)]
        return pieces, pad_top


class PaddedLineBuffer:
    """The same as one tensor, activated and with the picture's padding, for torch's convolution."""

    def __init__(self) -> None:
        self._kept: Tensor | None = None

    def __call__(self, rows: Tensor, *, last: bool, activated: bool = True) -> Tensor:
        """(B, C, n, W) -> (B, C, kept + n, W), with a row of zeros at either end of a picture.
        ``activated``: leaky ReLU is applied, else the rows are copied as they are."""
        batch, channels, count, width = rows.shape
        kept = rows.new_zeros(batch, channels, 1, width) if self._kept is None else self._kept
        above = kept.shape[2]
        window = torch.empty(
            (batch, channels, above + count + last, width),
            dtype=rows.dtype,
            device=rows.device,
            memory_format=torch.channels_last,
        )
        window[:, :, :above] = kept
        place = window[:, :, above : above + count]
        if activated:
            torch.ops.aten.leaky_relu.out(rows, NEGATIVE_SLOPE, out=place)
        else:
            place.copy_(rows)
        if last:
            window[:, :, -1] = 0
        self._kept = window[:, :, -2:].clone()
        return window


class DelayLine:
    """Holds rows back until those of the convolutions beside them have come as far."""

    def __init__(self) -> None:
        self._waiting: list[Tensor] = []

    def __call__(self, pieces: list[Tensor], count: int) -> list[Tensor]:
        """Take ``pieces`` (B, C, m, W) in, and give the oldest ``count`` rows, as pieces."""
        self._waiting += pieces
        given: list[Tensor] = []
        while count:
            piece = self._waiting.pop(0)
            if piece.shape[2] > count:
                self._waiting.insert(0, piece[:, :, count:])
                piece = piece[:, :, :count]
            given.append(piece)
            count -= piece.shape[2]
        return given


def with_row_above(window: Tensor, count: int, *, last: bool) -> Tensor:
    """The ``count`` newest rows of a padded window and the one above them, which is what a
    transposed convolution reads: (B, C, kept + n, W) -> (B, C, 1 + count, W)."""
    end = window.shape[2] - last
    return window[:, :, end - count - 1 : end]


def valid_conv(window: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 3x3 convolution without padding above and below: (B, C in, n + 2, W) -> (B, C out, n, W);
    no rows if the window has fewer than three."""
    batch, _, height, width = window.shape
    if height < 3:
        return window.new_empty(batch, weight.shape[0], 0, width)
    return F.conv2d(window, weight, bias, padding=(0, 1))
