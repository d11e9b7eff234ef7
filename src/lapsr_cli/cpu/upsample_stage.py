"""The end of a level in strips: from its features to its residual and the next level's features."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from lapsr_cli.cpu.kernels import upsample as upsampling
from lapsr_cli.cpu.line_buffers import (
    LineBuffer,
    PaddedLineBuffer,
    Strip,
    convolved,
    new_rows_and_one,
    valid,
)
from lapsr_cli.network.fused import bias_through, cropped, residual_kernel
from lapsr_cli.network.pyramid import NEGATIVE_SLOPE, Level, PyramidConfig

__all__ = ["FusedUpsampleStage", "UpsampleStage"]


class FusedUpsampleStage:
    """A level of MS-LapSRN: puts its rows into ``residual`` (B, 1, 2H, 2W), and gives the features
    of the next level if there is a ``further`` one."""

    def __init__(
        self, config: PyramidConfig, level: Level, residual: Tensor, *, further: bool
    ) -> None:
        assert config.shared
        assert level.conv_res.bias is not None
        self._level = level
        self._residual = residual
        self._further = further
        self._ending = _CompiledEnd(level) if upsampling.supports(level) else _End(level)
        self._bias = bias_through(level).sum() + level.conv_res.bias
        self._columns: list[Tensor] = []
        self._done = 0

    def __call__(self, strip: Strip) -> Iterator[Strip]:
        """Features (B, C, n, W) -> those of the next level, (B, C, 2m, 2W)."""
        features, _, last = strip
        parts, upsampled = self._ending(features, last=last, further=self._further)
        top, self._done = self._done, self._done + 2 * parts.shape[2]
        self._residual[:, :, top : self._done] = F.pixel_shuffle(parts + self._bias, 2)
        self._columns.append(F.leaky_relu(features[..., -1:], NEGATIVE_SLOPE))
        if last:
            last_row = F.leaky_relu(features[:, :, -1:], NEGATIVE_SLOPE)
            last_column = torch.cat(self._columns, dim=2)
            _settle_edges(self._level, self._residual, last_row, last_column)
        if self._further:
            yield Strip(upsampled, [upsampled], last)


class _End:
    """What a level's features end in: rows (B, C, n, W) -> up and conv_res as one convolution, its
    (B, 4, m, W) without biases, where m = n but at the picture's ends, and up alone, (B, C, 2n,
    2W), if there is a ``further`` level."""

    def __init__(self, level: Level) -> None:
        self._sight = PaddedLineBuffer()
        self._kernel = residual_kernel(level)
        self._up = _Doubling(level)

    def __call__(self, rows: Tensor, *, last: bool, further: bool) -> tuple[Tensor, Tensor]:
        window = self._sight(rows, last=last)  # (B, C, kept + n, W)
        read = new_rows_and_one(window, rows.shape[2], last=last)  # (B, C, 1 + n, W)
        return valid(window, self._kernel, None), self._up(read) if further else rows[:, :, :0]


class _CompiledEnd:
    """The same."""

    def __init__(self, level: Level) -> None:
        self._residual = upsampling.Residual(level)
        self._up = upsampling.Upsampling(level)
        self._kept = LineBuffer()

    def __call__(self, rows: Tensor, *, last: bool, further: bool) -> tuple[Tensor, Tensor]:
        pieces, pad_top = self._kept(rows)
        parts = self._residual(pieces, pad_top=pad_top, pad_bottom=last)
        if not further:
            return parts, rows[:, :, :0]
        above = [piece[:, :, -1:] for piece in pieces[:-1] if piece.shape[2]]
        return parts, self._up([*above, rows], pad_top=not above)


def _settle_edges(level: Level, residual: Tensor, last_row: Tensor, last_column: Tensor) -> None:
    """Take out again what one bias and one kernel for the whole of ``residual`` add too much at
    its edges: up's bias where conv_res reads padding, up's output where it is cropped."""
    row, column = cropped(level, last_row, last_column)  # (B, 1, 1, 2W), (B, 1, 2H, 1)
    residual[..., -1:, :] -= row
    residual[..., -1:] -= column
    through = bias_through(level)
    ones = torch.ones_like(through)
    missing = through.sum() - F.conv2d(ones, through, padding=1)[0, 0]  # (3, 3), 0 in the middle
    across = torch.ones(residual.shape[3], dtype=torch.long)
    across[0], across[-1] = 0, 2
    residual[..., 0, :] -= missing[0, across]
    residual[..., -1, :] -= missing[2, across]
    residual[..., 1:-1, 0] -= missing[1, 0]
    residual[..., 1:-1, -1] -= missing[1, 2]


class UpsampleStage:
    """The same for LapSRN, and for one level that enlarges more than twice, as the reference has
    it: up, then conv_res."""

    def __init__(
        self, config: PyramidConfig, level: Level, residual: Tensor, *, further: bool
    ) -> None:
        self._config = config
        self._level = level
        self._residual = residual
        self._further = further
        self._sight, self._sight_of_res = PaddedLineBuffer(), PaddedLineBuffer()
        self._given = self._done = 0

    def __call__(self, strip: Strip) -> Iterator[Strip]:
        """Features (B, C, n, W) -> those of the next level, (B, C, fm, fW)."""
        features, _, last = strip
        upsampled = self._upsampled(features, last=last)
        window = self._sight_of_res(upsampled, last=last, activated=not self._config.shared)
        part = convolved(self._level.conv_res, window)  # (B, 1, m, fW)
        top, self._done = self._done, self._done + part.shape[2]
        self._residual[:, :, top : self._done] = part
        if self._further:
            yield Strip(upsampled, [upsampled], last)

    def _upsampled(self, features: Tensor, *, last: bool) -> Tensor:
        """(B, C, n, W) -> (B, C, fn, fW), but for rows at the picture's ends."""
        factor = self._config.factor
        crop = (factor - 2) // 2  # as in Level.upsample
        count, width = features.shape[2:]
        window = self._sight(features, last=last)
        read = new_rows_and_one(window, count, last=last)  # (B, C, 1 + n, W)
        above = factor if self._given else factor + crop
        below = factor * (1 + count) + (crop if last else 0)
        made: Tensor = self._level.up(read)
        upsampled = made[:, :, above:below, crop : crop + factor * width]
        self._given += upsampled.shape[2]
        return upsampled


class _Doubling:
    """The transposed convolution: rows (B, C, 1 + n, W), one above included -> (B, C, 2n, 2W).

    Output row 2j takes input rows j-1 and j by taps 2 and 0, output row 2j+1 takes row j by tap 1;
    the same for columns. Each is one convolution to both columns, channels innermost, so that its
    (B, n, W, 2C) is (B, n, 2W, C) as it lies there.
    """

    def __init__(self, level: Level) -> None:
        assert level.up.bias is not None
        self.channels = level.up.bias.shape[0]
        taps = F.pad(level.up.weight, (0, 1))  # (C in, C out, 3, 4), the last is zero
        parity = torch.tensor([[2, 0], [3, 1]], device=taps.device)
        both = taps[..., parity].permute(3, 1, 0, 2, 4).flatten(0, 1)  # (px C out, C in, 3, tx)
        both = both.contiguous(memory_format=torch.channels_last)
        self.kernels = both[:, :, [2, 0]], both[:, :, [1]]
        self.bias = level.up.bias.repeat(2)

    def __call__(self, read: Tensor) -> Tensor:
        batch, channels, height, width = read.shape
        count = height - 1
        doubled = read.new_empty(batch, count, 2, width, 2 * channels)
        if count:
            windows = read, read[:, :, 1:]
            for parity, (kernel, window) in enumerate(zip(self.kernels, windows, strict=True)):
                columns = F.conv2d(window, kernel, self.bias, padding=(0, 1))  # (B, 2C, n, W + 1)
                doubled[:, :, parity] = columns[..., :width].permute(0, 2, 3, 1)
        return doubled.view(batch, 2 * count, 2 * width, channels).permute(0, 3, 1, 2)
