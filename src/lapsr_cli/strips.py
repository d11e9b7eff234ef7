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
from lapsr_cli.relay import one_core, relayed
from lapsr_cli.winograd import Winograd, is_for

__all__ = ["StripPyramid", "bytes_per_column"]

_STRIP_PIXELS = 8192
"""Of one feature map of a strip: 2 MiB of 64 channels in fp32."""
_WHOLE_PIXELS = 131072
"""Measured with torch's convolutions: 6,144 pixels take half as long whole, 49,152 a tenth less,
262,144 a tenth more."""
_WHOLE_PIXELS_COMPILED = 32768
"""Measured: 6,144 pixels take a fifth longer in strips, 16,384 a quarter less; but a run that has
only them would compile for a third of a second."""
_LEAST_ROWS = 4
"""Two rows are copied again for every strip, whatever its height."""
_MOST_LAYERS = 100
"""Of one thread: each layer draws its strips through two frames of Python's stack."""
_STRIPS_PER_THREAD = 4
"""At least: a thread waits for the first strip of the one before it."""


_END_COST, _END_COST_COMPILED, _END_COST_NARROW = 1.0, 3.0, 5.0


class StripPyramid(FusedPyramid):
    """A LaplacianPyramid, parameter for parameter, that computes in strips and has no gradients.

    ``strip_pixels``: of one strip, the windows of a batch together. As many threads as torch has
    for one operation share the layers. ``whole_pixels``: where the last level reads fewer, there is
    too little for that, and they share every operation on whole maps, as in FusedPyramid; by
    default what was measured for the layers at hand. The convolutions of the recursive blocks may
    be of a narrower dtype than the rest: whole maps are not computed then. ``scales``: those of the
    recursive blocks, which are then computed in 8 bits.
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
        shares = _Shares(config, last, self._end_cost(), threads)
        strips = self._first_features(luma, self._rows(height, batch * width, threads))
        residuals: list[Tensor] = []
        for number in range(1, last + 1):
            level = self.level(number)
            rows = self._rows(height, batch * width, threads)
            strips = _as_sources(_no_higher_than(rows, strips))
            for recursion in range(config.recursions):
                for place in range(config.depth):
                    layer = self._layer(number, recursion, place)
                    ends = config.skip if place == config.depth - 1 else None
                    strips = _no_higher_than(2 * rows, _through(layer, strips, ends))
                    strips = shares.share(strips, number)
            shares.take_end(number)
            height, width = config.factor * height, config.factor * width
            residuals.append(luma.new_empty(batch, 1, height, width))
            merged = config.shared and config.factor == 2
            climb = _climb_merged if merged else partial(_climb, config)
            strips = climb(level, strips, residuals[-1], further=number < last)
        with one_core():
            for _ in strips:
                pass  # the last level draws the strips through all of them
        return residuals

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

    def _end_cost(self) -> float:
        """Of the end of a level that another follows, in convolutions of that level: measured."""
        conv = self.level(1).convs[0]
        assert isinstance(conv, nn.Conv2d)
        if self.scales is not None or half.is_for(conv):
            return _END_COST_NARROW
        return _END_COST_COMPILED if is_for(conv) else _END_COST

    def _rows(self, height: int, across: int, threads: int) -> int:
        """How high a strip is of a map ``across`` pixels wide, the windows of a batch together."""
        strips = _STRIPS_PER_THREAD * threads
        return max(_LEAST_ROWS, min(self.strip_pixels // across, height // strips))

    def _first_features(self, luma: Tensor, rows: int) -> Strips:
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


Strips = Iterator[Strip]


def bytes_per_column(config: PyramidConfig, scale: int, dtype: torch.dtype) -> int:
    """Memory that the features of a pass take for each column of the picture, at most.

    Rows kept by the convolutions and waiting beside them, and the maps of the last strip, which
    becomes higher from layer to layer: measured to be up to 23 rows for each convolution of a
    level. Each level is as many times wider as it enlarges.
    """
    rows = 23 * config.depth * config.recursions + 20
    widths: int = sum(config.factor**number for number in range(config.level_of(scale)))
    return rows * widths * config.channels * dtype.itemsize


class _Shares:
    """Where along the convolutions the next thread takes over, so that all have as much to do.
    ``end_cost``: of a level that another follows, in convolutions; of the last it is about one."""

    def __init__(self, config: PyramidConfig, last: int, end_cost: float, threads: int) -> None:
        self._costs = {number: config.factor ** (2 * number - 2) for number in range(1, last + 1)}
        self._end_cost = end_cost
        layers = config.depth * config.recursions
        ends = {number: 1.0 if number == last else end_cost for number in self._costs}
        total = sum(cost * (layers + ends[number]) for number, cost in self._costs.items())
        self._share = total / threads
        self._taken = 0.0
        self._layers = 0

    def share(self, strips: Strips, number: int) -> Strips:
        """A layer of level ``number``; from here on in another thread if this one's are enough."""
        self._taken += self._costs[number]
        self._layers += 1
        has_its_share = self._taken + self._costs[number] / 2 >= self._share
        if has_its_share:
            self._taken -= self._share
        if not has_its_share and self._layers < _MOST_LAYERS:
            return strips
        self._layers = 0
        return relayed(strips)

    def take_end(self, number: int) -> None:
        """What comes after the layers of level ``number``, always in the thread of its last."""
        self._taken += self._end_cost * self._costs[number]


def _no_higher_than(most: int, strips: Strips) -> Strips:
    """The same rows in strips of at most ``most``. The last one grows by a row in every layer."""
    for rows, skip, last in strips:
        *others, final = torch.split(rows, most, dim=2)
        for piece in others:
            yield Strip(piece, skip, last=False)
            skip = []  # given away  # noqa: PLW2901
        yield Strip(final, skip, last)


def _as_sources(strips: Strips) -> Strips:
    """What a level begins with is also what its recursive blocks add."""
    for rows, _, last in strips:
        yield Strip(rows, [rows], last)


def _through(layer: _Compiled | _Directly, strips: Strips, ends: Skip | None) -> Strips:
    delay = _Delay()
    seen = given = 0
    for rows, skip, last in strips:
        seen += rows.shape[2]
        count = max(0, seen - (not last)) - given  # it looks one row ahead
        given += count
        if ends is None:
            yield Strip(layer(rows, [], last=last), skip, last)
        elif ends == "ns":
            x = layer(rows, [], last=last)
            yield Strip(x, [x], last)
        else:
            source = delay(skip, count)
            x = layer(rows, source, last=last)
            yield Strip(x, source if ends == "ss" else [x], last)


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


def _climb_merged(level: Level, strips: Strips, residual: Tensor, *, further: bool) -> Strips:
    """A level of MS-LapSRN: puts its rows into ``residual`` (B, 1, 2H, 2W), and gives the features
    of the next level if there is a ``further`` one."""
    ending = _CompiledEnd(level) if upsampling.is_for(level) else _End(level)
    assert level.conv_res.bias is not None
    bias = bias_through(level).sum() + level.conv_res.bias
    columns: list[Tensor] = []
    done = 0
    for features, _, last in strips:
        parts, upsampled = ending(features, last=last, further=further)
        top, done = done, done + 2 * parts.shape[2]
        residual[:, :, top:done] = F.pixel_shuffle(parts + bias, 2)
        columns.append(F.leaky_relu(features[..., -1:], NEGATIVE_SLOPE))
        if last:
            last_row = F.leaky_relu(features[:, :, -1:], NEGATIVE_SLOPE)
            _settle_edges(level, residual, last_row, torch.cat(columns, dim=2))
        if further:
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


def _climb(
    config: PyramidConfig, level: Level, strips: Strips, residual: Tensor, *, further: bool
) -> Strips:
    """The same for LapSRN, and for one level that enlarges more than twice, as the reference has
    it: up, then conv_res."""
    sight, sight_of_res = _Sight(), _Sight()
    factor = config.factor
    crop = (factor - 2) // 2  # as in Level.upsample
    given = done = 0
    for features, _, last in strips:
        count, width = features.shape[2:]
        read = _new_rows_and_one(sight(features, last=last), count, last=last)  # (B, C, 1 + n, W)
        above = factor if given else factor + crop
        below = factor * (1 + count) + (crop if last else 0)
        upsampled = level.up(read)[:, :, above:below, crop : crop + factor * width]
        given += upsampled.shape[2]
        window = sight_of_res(upsampled, last=last, activated=not config.shared)
        part = _convolved(level.conv_res, window)  # (B, 1, m, fW)
        top, done = done, done + part.shape[2]
        residual[:, :, top:done] = part
        if further:
            yield Strip(upsampled, [upsampled], last)


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
