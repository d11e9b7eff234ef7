"""Rows of a map on their way through the layers: strips of them, and those that are kept."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapsr_cli.network.pyramid import NEGATIVE_SLOPE

__all__ = [
    "DelayLine",
    "LineBuffer",
    "PaddedLineBuffer",
    "Strip",
    "convolved",
    "new_rows_and_one",
    "valid",
]


class Strip(NamedTuple):
    """Rows of a level, from top to bottom. ``skip``: what is added to them at the end of the
    recursive block, which lies ahead of them, one piece below the other; ``last``: whether they
    reach the picture's end."""

    rows: Tensor  # (B, C, n, W), n may be 0
    skip: list[Tensor]  # (B, C, m, W)
    last: bool


class LineBuffer:
    """The rows that a strip's first ones need above them, from the strip before."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []

    def __call__(self, rows: Tensor) -> tuple[list[Tensor], bool]:
        """Those rows and (B, C, n, W), one below the other; and whether there are none of them or
        one, so that a row of zeros is above them, the picture's padding."""
        pieces = [*self._rows, rows]
        top = not self._rows or self._rows[0].shape[2] < 2
        lowest = rows if rows.shape[2] >= 2 else torch.cat(pieces, dim=2)
        self._rows = [lowest[:, :, -2:].clone(memory_format=torch.channels_last)]
        return pieces, top


class PaddedLineBuffer:
    """What a 3x3 convolution sees of its input: the strip, and rows kept from the one before."""

    def __init__(self) -> None:
        self._kept: Tensor | None = None

    def __call__(self, rows: Tensor, *, last: bool, activated: bool = True) -> Tensor:
        """(B, C, n, W) -> (B, C, kept + n, W), with a row of zeros at either end of a picture."""
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


def new_rows_and_one(window: Tensor, count: int, *, last: bool) -> Tensor:
    """The ``count`` rows that are new in a window and the one above them, which is what a
    transposed convolution reads."""
    end = window.shape[2] - last
    return window[:, :, end - count - 1 : end]


class DelayLine:
    """Rows that wait until those of the convolutions beside them have come as far."""

    def __init__(self) -> None:
        self._waiting: list[Tensor] = []

    def __call__(self, pieces: list[Tensor], count: int) -> list[Tensor]:
        """Take ``pieces`` in, and give the ``count`` uppermost rows of what waits."""
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


def convolved(conv: nn.Conv2d, window: Tensor) -> Tensor:
    """(B, C in, n + 2, W) -> (B, C out, n, W): rows that the window holds all of."""
    return valid(window, conv.weight, conv.bias)


def valid(window: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """The same by a kernel (C out, C in, 3, 3); no rows if the window has less than three."""
    batch, _, height, width = window.shape
    if height < 3:
        return window.new_empty(batch, kernel.shape[0], 0, width)
    return F.conv2d(window, kernel, bias, padding=(0, 1))
