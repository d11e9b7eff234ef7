"""The end of a level in strips: from its features to its residual and the next level's features."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from lapsr_cli.cpu.kernels import upsample
from lapsr_cli.cpu.kernels.upsample import ResidualConv, TransposedConv
from lapsr_cli.cpu.line_buffers import (
    LineBuffer,
    PaddedLineBuffer,
    Strip,
    valid_conv,
    with_row_above,
)
from lapsr_cli.network.fused import bias_kernel, cropped_residual, residual_kernel
from lapsr_cli.network.pyramid import NEGATIVE_SLOPE, Level, crop_before

__all__ = ["FusedUpsampleStage", "UpsampleKernels", "UpsampleStage"]


class UpsampleKernels:
    """The kernels at the end of a level of MS-LapSRN that doubles, prepared once for a network: up
    alone, and up and conv_res merged into one convolution at half the size (`network.fused`)."""

    def __init__(self, level: Level) -> None:
        assert level.conv_res.bias is not None
        self.level = level
        self.is_compiled = upsample.supports(level)
        if self.is_compiled:
            self.residual, self.up = ResidualConv(level), TransposedConv(level)
        else:
            self.residual_kernel, self.doubling = residual_kernel(level), _Doubling(level)
        through = bias_kernel(level)  # (1, 1, 3, 3)
        self.bias = through.sum() + level.conv_res.bias
        ones = torch.ones_like(through)
        self.missing_bias = through.sum() - F.conv2d(ones, through, padding=1)[0, 0]
        """What up's bias does not add where conv_res reads padding, (3, 3), 0 in the middle."""


class FusedUpsampleStage:
    """One pass through `UpsampleKernels`. Writes into ``residual`` (B, 1, 2H, 2W), and gives the
    features of the next level if there is a ``further`` one."""

    def __init__(self, kernels: UpsampleKernels, residual: Tensor, *, further: bool) -> None:
        self._kernels = kernels
        self._residual = residual
        self._further = further
        self._end = (_CompiledEnd if kernels.is_compiled else _TorchEnd)(kernels)
        self._columns: list[Tensor] = []
        self.done = 0
        """Rows of the residual so far."""

    def __call__(self, strip: Strip) -> Iterator[Strip]:
        """Features (B, C, n, W) -> those of the next level, (B, C, 2m, 2W)."""
        features, _, last = strip
        parts, upsampled = self._end(features, last=last, further=self._further)
        top, self.done = self.done, self.done + 2 * parts.shape[2]
        self._residual[:, :, top : self.done] = F.pixel_shuffle(parts + self._kernels.bias, 2)
        self._columns.append(F.leaky_relu(features[..., -1:], NEGATIVE_SLOPE))
        if last:
            last_row = F.leaky_relu(features[:, :, -1:], NEGATIVE_SLOPE)
            self._correct_edges(last_row, torch.cat(self._columns, dim=2))
        if self._further:
            yield Strip(upsampled, [upsampled], last)

    def _correct_edges(self, last_row: Tensor, last_column: Tensor) -> None:
        """Subtract what one bias and one kernel for the whole of the residual add too much at its
        edges: up's bias where conv_res reads padding, up's output where it is cropped."""
        residual, missing = self._residual, self._kernels.missing_bias
        row, column = cropped_residual(self._kernels.level, last_row, last_column)
        residual[..., -1:, :] -= row  # (B, 1, 1, 2W)
        residual[..., -1:] -= column  # (B, 1, 2H, 1)
        across = torch.ones(residual.shape[3], dtype=torch.long)
        across[0], across[-1] = 0, 2
        residual[..., 0, :] -= missing[0, across]
        residual[..., -1, :] -= missing[2, across]
        residual[..., 1:-1, 0] -= missing[1, 0]
        residual[..., 1:-1, -1] -= missing[1, 2]


class _TorchEnd:
    """Rows (B, C, n, W) -> the merged convolution's (B, 4, m, W) without biases, where m = n but at
    the picture's ends, and up's (B, C, 2n, 2W) if there is a ``further`` level."""

    def __init__(self, kernels: UpsampleKernels) -> None:
        self._kernels = kernels
        self._buffer = PaddedLineBuffer()

    def __call__(self, rows: Tensor, *, last: bool, further: bool) -> tuple[Tensor, Tensor]:
        window = self._buffer(rows, last=last)  # (B, C, kept + n, W)
        parts = valid_conv(window, self._kernels.residual_kernel, None)  # (B, 4, m, W)
        if not further:
            return parts, rows[:, :, :0]
        return parts, self._kernels.doubling(with_row_above(window, rows.shape[2], last=last))


class _CompiledEnd:
    """The same, compiled."""

    def __init__(self, kernels: UpsampleKernels) -> None:
        self._kernels = kernels
        self._buffer = LineBuffer()

    def __call__(self, rows: Tensor, *, last: bool, further: bool) -> tuple[Tensor, Tensor]:
        pieces, pad_top = self._buffer(rows)
        parts = self._kernels.residual(pieces, pad_top=pad_top, pad_bottom=last)  # (B, 4, m, W)
        if not further:
            return parts, rows[:, :, :0]
        above = [piece[:, :, -1:] for piece in pieces[:-1] if piece.shape[2]]
        return parts, self._kernels.up([*above, rows], pad_top=not above)


class UpsampleStage:
    """The same for LapSRN, and for one level that enlarges more than twice, as the reference
    computes it: up, then conv_res. ``activates``: leaky ReLU lies between the two (LapSRN)."""

    def __init__(self, level: Level, residual: Tensor, *, further: bool, activates: bool) -> None:
        self._level = level
        self._residual = residual
        self._further = further
        self._activates = activates
        self._features, self._upsampled = PaddedLineBuffer(), PaddedLineBuffer()
        self._given = 0
        self.done = 0
        """Rows of the residual so far."""

    def __call__(self, strip: Strip) -> Iterator[Strip]:
        """Features (B, C, n, W) -> those of the next level, (B, C, fm, fW)."""
        features, _, last = strip
        upsampled = self._upsample(features, last=last)
        conv = self._level.conv_res
        window = self._upsampled(upsampled, last=last, activated=self._activates)
        part = valid_conv(window, conv.weight, conv.bias)  # (B, 1, m, fW)
        top, self.done = self.done, self.done + part.shape[2]
        self._residual[:, :, top : self.done] = part
        if self._further:
            yield Strip(upsampled, [upsampled], last)

    def _upsample(self, features: Tensor, *, last: bool) -> Tensor:
        """(B, C, n, W) -> (B, C, fn, fW), but for rows at the picture's ends."""
        factor = self._level.factor
        crop = crop_before(factor)
        count, width = features.shape[2:]
        window = self._features(features, last=last)
        read = with_row_above(window, count, last=last)  # (B, C, 1 + n, W)
        above = factor if self._given else factor + crop
        below = factor * (1 + count) + (crop if last else 0)
        made: Tensor = self._level.up(read)
        upsampled = made[:, :, above:below, crop : crop + factor * width]
        self._given += upsampled.shape[2]
        return upsampled


class _Doubling:
    """The transposed convolution by torch: rows (B, C, 1 + n, W), one above included ->
    (B, C, 2n, 2W).

    Output row 2j takes input rows j-1 and j by taps 2 and 0, output row 2j+1 takes row j by tap 1;
    the same for columns. Each is one convolution to both columns, channels innermost, so that its
    (B, n, W, 2C) is (B, n, 2W, C) as it lies in memory.
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
