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

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapsr_cli.cpu.kernels import winograd
from lapsr_cli.cpu.kernels.low_precision import (
    Bf16Conv,
    Int8Conv,
    LowPrecisionConv,
    supports_bf16,
)
from lapsr_cli.cpu.kernels.winograd import WinogradConv
from lapsr_cli.cpu.line_buffers import DelayLine, LineBuffer, PaddedLineBuffer, Strip, convolved
from lapsr_cli.cpu.quantization import LayerParams
from lapsr_cli.cpu.scheduler import Stage, run_stages
from lapsr_cli.cpu.upsample_stage import FusedUpsampleStage, UpsampleStage
from lapsr_cli.network.fused import FusedPyramid, image_kernel
from lapsr_cli.network.pyramid import Level, PyramidConfig, Skip

__all__ = ["StreamingPyramid", "bytes_per_column"]

_STRIP_PIXELS = 16384
"""Of one feature map of a strip: 4 MiB of 64 channels in fp32, 1 MiB in 8 bits."""
_WHOLE_PIXELS = 131072
"""Measured with torch's convolutions: 6,144 pixels take half as long whole, 49,152 a tenth less,
262,144 a tenth more."""
_WHOLE_PIXELS_COMPILED = 32768
"""Measured: 6,144 pixels take a fifth longer in strips, 16,384 a quarter less; but a run that has
only them would compile for a third of a second."""
_IMAGE_STRIPS = 4
"""So much higher are those of the image branch, which has one channel."""
_HEADROOM = 128 << 20
"""Bytes for strips under way, for threads and for the code of torch's convolutions, beyond all that
is counted: a convolution whose code found no memory is a crash in oneDNN 3.12."""
_LEAST_ROWS = 4
"""Two rows are copied again for every strip, whatever its height."""
_STRIPS_PER_THREAD = 4
"""At least: until the first strip is through some layers, there is work for one thread alone."""


class StreamingPyramid(FusedPyramid):
    """A LaplacianPyramid, parameter for parameter, that computes in strips and has no gradients.

    ``strip_pixels``: of one strip, the windows of a batch together. As many threads as torch has
    for one operation have strips of their own. ``whole_pixels``: where the last level reads fewer,
    there is too little for that, and they share every operation on whole maps, as in FusedPyramid;
    by default what was measured for the layers at hand. The convolutions of the recursive blocks
    may be of a narrower dtype than the rest: whole maps are not computed then. ``scales``: those of
    the recursive blocks, which are then computed in 8 bits. ``demand``: raises MemoryError if the
    system would not give so many bytes, asked before a pass computes.
    """

    def __init__(
        self,
        config: PyramidConfig,
        *,
        strip_pixels: int = _STRIP_PIXELS,
        whole_pixels: int | None = None,
        scales: LayerParams | None = None,
        demand: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(config)
        self.demand = demand
        self.scales = scales
        self.strip_pixels = strip_pixels
        self.whole_pixels = whole_pixels

    @torch.inference_mode()
    def forward(self, luma: Tensor, scale: int | None = None) -> dict[int, Tensor]:
        """As in LaplacianPyramid."""
        last = self.config.level_of(scale) if scale else len(self.config.scales)
        if luma.numel() * self.config.factor ** (2 * last - 2) < self._whole_pixels():
            self._demand_room(luma, last)
            return super().forward(luma, scale)
        residuals = self._residuals(luma, last)
        pictures: dict[int, Tensor] = {}
        picture = luma
        for number, residual in enumerate(residuals, start=1):
            self._add_image(self.level(number), picture, residual)
            picture = pictures[self.config.scales[number - 1]] = residual
        return pictures

    def _add_image(self, level: Level, picture: Tensor, residual: Tensor) -> None:
        """As in Level, into ``residual`` and some rows at a time, which a cache holds."""
        if not self.config.global_residual:
            return
        kernel, factor, (batch, _, height, width) = image_kernel(level), level.factor, picture.shape
        rows = max(1, _IMAGE_STRIPS * self.strip_pixels // (batch * width))
        for first in range(0, height, rows):
            end = min(height, first + rows)
            top, bottom = max(0, first - 1), min(height, end + 1)
            edges = (1, 1, top - first + 1, end + 1 - bottom)
            window = F.pad(picture[:, :, top:bottom], edges)  # (B, 1, n + 2, W + 2)
            enlarged = F.pixel_shuffle(F.conv2d(window, kernel), factor)  # (B, 1, fn, fW)
            residual[:, :, factor * first : factor * end] += enlarged

    def _whole_pixels(self) -> int:
        if self.whole_pixels is not None:
            return self.whole_pixels
        conv = self.level(1).convs[0]
        assert isinstance(conv, nn.Conv2d)
        if self.scales is not None or conv.weight.dtype != self.conv_in.weight.dtype:
            return 0
        return _WHOLE_PIXELS_COMPILED if winograd.supports(conv) else _WHOLE_PIXELS

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
            climb = FusedUpsampleStage if config.shared and config.factor == 2 else UpsampleStage
            stages.append(climb(config, self.level(number), residuals[-1], further=number < last))
        self._demand_room(luma, last)
        run_stages(first, stages, threads)
        return residuals

    def _demand_room(self, luma: Tensor, last: int) -> None:
        """See that there is memory for features and for code. Raises RuntimeError, MemoryError."""
        if self.demand is None:
            return
        across = luma.shape[0] * luma.shape[3]
        size = across * bytes_per_column(self.config, self.config.scales[last - 1])
        features = torch.empty(size, dtype=torch.uint8)
        self.demand(_HEADROOM)
        del features  # which stays with this process if it keeps what it frees

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
            return _Compiled(Int8Conv(conv, reads, following[0] if following else None))
        ends = place == self.config.depth - 1
        if supports_bf16(conv):
            return _Compiled(Bf16Conv(conv, low_precision_output=not ends))
        if winograd.supports(conv):
            return _Compiled(WinogradConv(conv))
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
            features = convolved(self.conv_in, padded[:, :, top : top + rows + 2])
            features = features.contiguous(memory_format=torch.channels_last)
            yield Strip(features, [features], top + rows >= height)


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
        self._delay = DelayLine()
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
        self._sight = PaddedLineBuffer()

    def __call__(self, rows: Tensor, added: list[Tensor], *, last: bool) -> Tensor:
        read = rows.to(self._conv.weight.dtype)
        made = convolved(self._conv, self._sight(read, last=last)).to(self._dtype)
        return made.add_(torch.cat(added, dim=2)) if added else made


class _Compiled:
    def __init__(self, convolve: WinogradConv | LowPrecisionConv) -> None:
        self._convolve = convolve
        self._kept = LineBuffer()

    def __call__(self, rows: Tensor, added: list[Tensor], *, last: bool) -> Tensor:
        pieces, pad_top = self._kept(rows)
        return self._convolve(pieces, added, pad_top=pad_top, pad_bottom=last)
