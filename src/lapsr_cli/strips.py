"""The same network in strips of rows, for inference.

A picture goes through every layer a strip of full-width rows at a time. A layer keeps the last
rows it read for its next strip, so that nothing is computed twice and there is no halo; zeros pad
only where the picture really ends. What a layer gives lags behind what it reads by the row it
looks ahead; the picture's last strip catches up. Feature maps take memory for some rows, however
many the picture has.

A convolution reads its input activated and below the rows kept from before: one pass over the
strip does both. Up and conv_res are one convolution at half the size (see `fused`) in every level.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapsr_cli import half, upsampling
from lapsr_cli.fused import FusedPyramid, bias_through, cropped, residual_kernel
from lapsr_cli.half import Half
from lapsr_cli.model import NEGATIVE_SLOPE, Level, PyramidConfig, Skip
from lapsr_cli.narrow import NarrowConvolution
from lapsr_cli.quantized import LayerScales, Quantized
from lapsr_cli.relay import Stage, relay
from lapsr_cli.winograd import Winograd, is_for

__all__ = ["StripPyramid", "bytes_per_column"]

_STRIP_PIXELS = 16384
"""Of one feature map of a strip: 4 MiB of 64 channels in fp32, 1 MiB in 8 bits."""
_WHOLE_PIXELS = 131072
"""Measured with torch's convolutions: 6,144 pixels take half as long whole, 49,152 a tenth less,
262,144 a tenth more."""
_WHOLE_PIXELS_COMPILED = 32768
"""Measured: 6,144 pixels take a fifth longer in strips, 16,384 a quarter less; but a run that has
only them would compile for a third of a second."""
_LEAST_ROWS = 4
"""Two rows are copied again for every strip, whatever its height."""
_STRIPS_PER_THREAD = 4
"""At least: until the first strip is through some layers, there is work for one thread alone."""


class StripPyramid(FusedPyramid):
    """A LaplacianPyramid, parameter for parameter, that computes in strips and has no gradients.

    ``strip_pixels``: of one strip, the windows of a batch together. As many threads as torch has
    for one operation have strips of their own. ``whole_pixels``: where the last level reads fewer,
    there is too little for that, and they share every operation on whole maps, as in FusedPyramid;
    by default what was measured for the layers at hand. The convolutions of the recursive blocks
    may be of a narrower dtype than the rest: whole maps are not computed then. ``scales``: those of
    the recursive blocks, which are then computed in 8 bits.
    """

    def __init__(
        self,
        config: PyramidConfig,
        *,
        strip_pixels: int = _STRIP_PIXELS,
        whole_pixels: int | None = None,
        scales: LayerScales | None = None,
    ) -> None:
        super().__init__(config)
        self.scales = scales
        self.strip_pixels = strip_pixels
        self.whole_pixels = whole_pixels

    @torch.inference_mode()
    def forward(self, luma: Tensor, scale: int | None = None) -> dict[int, Tensor]:
        """As in LaplacianPyramid."""
        last = self.config.level_of(scale) if scale else len(self.config.scales)
        if luma.numel() * self.config.factor ** (2 * last - 2) < self._whole_pixels():
            return super().forward(luma, scale)
        residuals = self._residuals(luma, last)
        pictures: dict[int, Tensor] = {}
        picture = luma
        for number, residual in enumerate(residuals, start=1):
            picture = self.level(number).add_image(picture, residual)
            pictures[self.config.scales[number - 1]] = picture
        return pictures

    def _whole_pixels(self) -> int:
        if self.whole_pixels is not None:
            return self.whole_pixels
        conv = self.level(1).convs[0]
        assert isinstance(conv, nn.Conv2d)
        if self.scales is not None or conv.weight.dtype != self.conv_in.weight.dtype:
            return 0
        return _WHOLE_PIXELS_COMPILED if is_for(conv) else _WHOLE_PIXELS

    def _residuals(self, luma: Tensor, last: int) -> list[Tensor]:
        """(B, 1, H, W) -> one for each level up to the last, (B, 1, 2H, 2W) and so on."""
        config = self.config
        batch, _, height, width = luma.shape
        threads = torch.get_num_threads()
        first = self._first_features(luma, self._rows(height, batch * width, threads))
        residuals: list[Tensor] = []
        stages: list[Stage[Strip]] = []
        for number in range(1, last + 1):
            rows = self._rows(height, batch * width, threads)
            stages += [partial(_as_sources, rows), *self._layers(number, 2 * rows)]
            height, width = config.factor * height, config.factor * width
            residuals.append(luma.new_empty(batch, 1, height, width))
            climb = _MergedClimb if config.shared and config.factor == 2 else _Climb
            stages.append(climb(config, self.level(number), residuals[-1], further=number < last))
        relay(first, stages, threads)
        return residuals

    def _layers(self, number: int, most: int) -> Iterator[_Through]:
        """Those of a level, which give strips of at most so many rows."""
        for recursion in range(self.config.recursions):
            for place in range(self.config.depth):
                ends = self.config.skip if place == self.config.depth - 1 else None
                yield _Through(self._layer(number, recursion, place), most, ends)

    def _layer(self, number: int, recursion: int, place: int) -> _Compiled | _Directly:
        """Leaky ReLU and convolution ``place`` of that level and block, counted from 0. LapSRN's
        activation after each convolution is the same, for what nobody else reads: it is then that
        of the next layer."""
        conv = self.level(number).convs[place]
        assert isinstance(conv, nn.Conv2d)
        if self.scales is not None:
            reads, *following = self.scales[number - 1][recursion][place:]
            return _Compiled(Quantized(conv, reads, following[0] if following else None))
        ends = place == self.config.depth - 1
        if half.is_for(conv):
            return _Compiled(Half(conv, writes_narrow=not ends))
        if is_for(conv):
            return _Compiled(Winograd(conv))
        return _Directly(conv, self.conv_in.weight.dtype if ends else conv.weight.dtype)

    def _rows(self, height: int, across: int, threads: int) -> int:
        """How high a strip is of a map ``across`` pixels wide, the windows of a batch together."""
        strips = _STRIPS_PER_THREAD * threads
        return max(_LEAST_ROWS, min(self.strip_pixels // across, height // strips))

    def _first_features(self, luma: Tensor, rows: int) -> Iterator[Strip]:
        """conv_in, whose input is there as a whole, ``rows`` at a time."""
        height = luma.shape[2]
        padded = F.pad(luma.to(self.conv_in.weight.dtype), (0, 0, 1, 1))  # (B, 1, H + 2, W)
        for top in range(0, height, rows):
            features = _convolved(self.conv_in, padded[:, :, top : top + rows + 2])
            features = features.contiguous(memory_format=torch.channels_last)
            yield Strip(features, [features], top + rows >= height)


class Strip(NamedTuple):
    """Rows of a level, from top to bottom. ``skip``: what is added to them at the end of the
    recursive block, which lies ahead of them, one piece below the other; ``last``: whether they
    reach the picture's end."""

    rows: Tensor  # (B, C, n, W), n may be 0
    skip: list[Tensor]  # (B, C, m, W)
    last: bool


def bytes_per_column(config: PyramidConfig, scale: int) -> int:
    """Memory that the features of a pass take for each column of the picture, in fp32.

    Rows kept by the convolutions and waiting beside them, and the maps of the last strip, which
    becomes higher from layer to layer: measured to be up to 23 rows for each convolution of a
    level. Each level is as many times wider as it enlarges. Not counted are the strips under way in
    a narrow picture, 0.1 GB at most.
    """
    rows = 23 * config.depth * config.recursions + 20
    widths: int = sum(config.factor**number for number in range(config.level_of(scale)))
    return rows * widths * config.channels * torch.float32.itemsize


def _no_higher_than(most: int, strip: Strip) -> Iterator[Strip]:
    """The same rows in strips of at most ``most``. The last one grows by a row in every layer."""
    rows, skip, last = strip
    *others, final = torch.split(rows, most, dim=2)
    for piece in others:
        yield Strip(piece, skip, last=False)
        skip = []  # given away
    yield Strip(final, skip, last)


def _as_sources(most: int, strip: Strip) -> Iterator[Strip]:
    """What a level begins with is also what its recursive blocks add."""
    for rows, _, last in _no_higher_than(most, strip):
        yield Strip(rows, [rows], last)


class _Through:
    """A layer; at the end of a block it also adds what the skip connection ``ends`` says."""

    def __init__(self, layer: _Compiled | _Directly, most: int, ends: Skip | None) -> None:
        self._layer = layer
        self._most = most
        self._ends = ends
        self._delay = _Delay()
        self._seen = self._given = 0

    def __call__(self, strip: Strip) -> Iterator[Strip]:
        rows, skip, last = strip
        self._seen += rows.shape[2]
        count = max(0, self._seen - (not last)) - self._given  # it looks one row ahead
        self._given += count
        if self._ends is None or self._ends == "ns":
            x = self._layer(rows, [], last=last)
            made = Strip(x, skip if self._ends is None else [x], last)
        else:
            source = self._delay(skip, count)
            x = self._layer(rows, source, last=last)
            made = Strip(x, source if self._ends == "ss" else [x], last)
        return _no_higher_than(self._most, made)


class _Directly:
    """By torch. ``dtype``: of what is made, which may be wider than what is computed in."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        self._conv = conv
        self._dtype = dtype
        self._sight = _Sight()

    def __call__(self, rows: Tensor, added: list[Tensor], *, last: bool) -> Tensor:
        read = rows.to(self._conv.weight.dtype)
        made = _convolved(self._conv, self._sight(read, last=last)).to(self._dtype)
        return made.add_(torch.cat(added, dim=2)) if added else made


class _Compiled:
    def __init__(self, convolve: Winograd | NarrowConvolution) -> None:
        self._convolve = convolve
        self._kept = _Kept()

    def __call__(self, rows: Tensor, added: list[Tensor], *, last: bool) -> Tensor:
        pieces, top = self._kept(rows)
        return self._convolve(pieces, added, top=top, bottom=last)


class _Kept:
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


class _MergedClimb:
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
        self._ending = _CompiledEnd(level) if upsampling.is_for(level) else _End(level)
        self._bias = bias_through(level).sum() + level.conv_res.bias
        self._columns: list[Tensor] = []
        self._done = 0

    def __call__(self, strip: Strip) -> Iterator[Strip]:
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
        self._sight = _Sight()
        self._kernel = residual_kernel(level)
        self._up = _Doubling(level)

    def __call__(self, rows: Tensor, *, last: bool, further: bool) -> tuple[Tensor, Tensor]:
        window = self._sight(rows, last=last)  # (B, C, kept + n, W)
        read = _new_rows_and_one(window, rows.shape[2], last=last)  # (B, C, 1 + n, W)
        return _valid(window, self._kernel, None), self._up(read) if further else rows[:, :, :0]


class _CompiledEnd:
    """The same."""

    def __init__(self, level: Level) -> None:
        self._residual = upsampling.Residual(level)
        self._up = upsampling.Upsampling(level)
        self._kept = _Kept()

    def __call__(self, rows: Tensor, *, last: bool, further: bool) -> tuple[Tensor, Tensor]:
        pieces, top = self._kept(rows)
        parts = self._residual(pieces, top=top, bottom=last)
        if not further:
            return parts, rows[:, :, :0]
        above = [piece[:, :, -1:] for piece in pieces[:-1] if piece.shape[2]]
        return parts, self._up([*above, rows], top=not above)


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


class _Climb:
    """The same for LapSRN, and for one level that enlarges more than twice, as the reference has
    it: up, then conv_res."""

    def __init__(
        self, config: PyramidConfig, level: Level, residual: Tensor, *, further: bool
    ) -> None:
        self._config = config
        self._level = level
        self._residual = residual
        self._further = further
        self._sight, self._sight_of_res = _Sight(), _Sight()
        self._given = self._done = 0

    def __call__(self, strip: Strip) -> Iterator[Strip]:
        features, _, last = strip
        upsampled = self._upsampled(features, last=last)
        window = self._sight_of_res(upsampled, last=last, activated=not self._config.shared)
        part = _convolved(self._level.conv_res, window)  # (B, 1, m, fW)
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
        read = _new_rows_and_one(window, count, last=last)  # (B, C, 1 + n, W)
        above = factor if self._given else factor + crop
        below = factor * (1 + count) + (crop if last else 0)
        made: Tensor = self._level.up(read)
        upsampled = made[:, :, above:below, crop : crop + factor * width]
        self._given += upsampled.shape[2]
        return upsampled


class _Sight:
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


def _new_rows_and_one(window: Tensor, count: int, *, last: bool) -> Tensor:
    """The ``count`` rows that are new in a window and the one above them, which is what a
    transposed convolution reads."""
    end = window.shape[2] - last
    return window[:, :, end - count - 1 : end]


class _Delay:
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


def _convolved(conv: nn.Conv2d, window: Tensor) -> Tensor:
    """(B, C in, n + 2, W) -> (B, C out, n, W): rows that the window holds all of."""
    return _valid(window, conv.weight, conv.bias)


def _valid(window: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    batch, _, height, width = window.shape
    if height < 3:
        return window.new_empty(batch, kernel.shape[0], 0, width)
    return F.conv2d(window, kernel, bias, padding=(0, 1))
