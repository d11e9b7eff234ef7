"""The network on the CPU, for inference: strips of rows instead of whole feature maps.

A picture goes through every layer a strip of full-width rows at a time. A layer keeps the last
rows it has read for its next strip, so nothing is computed twice and there is no halo; zeros pad
only where the picture really ends. The output of a layer lags behind its input by the one row it
looks ahead; the picture's last strip catches up. Feature maps take memory for a few rows, however
high the picture is.

Kernels are prepared once for a network. What belongs to a pass is the rows that its layers keep.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

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
from lapsr_cli.cpu.line_buffers import DelayLine, LineBuffer, PaddedLineBuffer, Strip, valid_conv
from lapsr_cli.cpu.quantization import QuantParams
from lapsr_cli.cpu.scheduler import Stage, run_stages
from lapsr_cli.cpu.upsample_stage import (
    FusedUpsampleStage,
    UpsampleKernels,
    UpsampleStage,
)
from lapsr_cli.device.memory import ensure_allocatable
from lapsr_cli.device.selection import FeaturePrecision
from lapsr_cli.network.fused import FusedPyramid, image_kernel
from lapsr_cli.network.pyramid import Level, PyramidConfig, Skip

__all__ = ["StreamingPyramid", "bytes_per_column"]

_STRIP_PIXELS = 16384
"""Pixels of one feature map of a strip: 4 MiB of 64 channels in fp32, 1 MiB in 8 bits."""
_WHOLE_PIXELS = 131072
"""Measured with torch's convolutions: whole maps take half as long at 6,144 pixels, a tenth less at
49,152, a tenth more at 262,144."""
_WHOLE_PIXELS_COMPILED = 32768
"""Measured with compiled ones: strips take a fifth longer at 6,144 pixels, a quarter less at
16,384; but a run of small pictures alone would spend a third of a second on compiling."""
_IMAGE_BLOCK = 4
"""The image branch has one channel, so it takes this many times the rows of a strip at once."""
_HEADROOM = 128 << 20
"""Bytes for strips in flight, for threads and for the code of torch's convolutions, beyond all that
is counted: oneDNN 3.12 crashes if there is no memory for a convolution's code."""
_LEAST_ROWS = 4
"""Of a strip: two rows are copied again for each, whatever its height."""
_STRIPS_PER_THREAD = 4
"""At least: until the first strip is through some layers, only one thread has work."""


class StreamingPyramid:
    """Runs ``network`` in strips. Its weights must not change afterwards.

    ``precision`` of the convolutions in the recursive blocks; "fp32" is the dtype that the network
    has, which may be float64. For "int8" the network must have ranges (`network.calibration`), and
    the processor must support it (`supports_int8`). ``strip_pixels``: pixels in one strip, all
    tiles of a batch together. Each of torch's threads works on a strip of its own; but where the
    last level reads fewer than ``whole_pixels`` there is too little work for that, and in fp32 all
    threads share every operation on whole maps. The default is what was measured for the network
    at hand.
    """

    def __init__(
        self,
        network: FusedPyramid,
        precision: FeaturePrecision = "fp32",
        *,
        strip_pixels: int = _STRIP_PIXELS,
        whole_pixels: int | None = None,
    ) -> None:
        self.network = network
        self.config = network.config
        self.precision = precision
        self.strip_pixels = strip_pixels
        self.whole_pixels = self._measured_whole_pixels() if whole_pixels is None else whole_pixels

    @torch.inference_mode()
    def __call__(
        self,
        luma: Tensor,
        scale: int | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> dict[int, Tensor]:
        """As LaplacianPyramid: luma (B, 1, H, W) -> {2: (B, 1, 2H, 2W), ...} up to ``scale``.

        ``progress`` is told the share (0-1, rising) of the last level's rows that are through the
        convolutions, after each strip; from any of the threads, never from two at a time. What it
        raises ends the pass. Raises RuntimeError or MemoryError if there is not enough memory.
        """
        last = self.config.level_of(scale) if scale else len(self.config.scales)
        if luma.numel() * self.config.factor ** (2 * last - 2) < self.whole_pixels:
            self._ensure_memory(luma, last)
            whole: dict[int, Tensor] = self.network(luma, scale)
            return whole
        residuals = self._residuals(luma, last, progress)
        pictures: dict[int, Tensor] = {}
        picture = luma
        for level, residual in zip(self._levels, residuals, strict=False):
            self._add_image(level, picture, residual)
            picture = residual  # (B, 1, 2H, 2W)
            pictures[self.config.scales[len(pictures)]] = picture
        return pictures

    def _measured_whole_pixels(self) -> int:
        if self.precision != "fp32":
            return 0
        supported = winograd.supports(_convs(self.network.level(1))[0])
        return _WHOLE_PIXELS_COMPILED if supported else _WHOLE_PIXELS

    @cached_property
    def _levels(self) -> list[_PreparedLevel]:
        """The kernels of every level; compiled when the first strip needs them."""
        count = len(self.config.scales)
        if self.precision == "int8":
            ends = {level: _LevelEnd.of(level, self.config) for level in self._distinct_levels}
            return [
                _PreparedLevel(self._int8_blocks(number), ends[self.network.level(number)])
                for number in range(1, count + 1)
            ]
        prepared = {
            level: _PreparedLevel(
                [self._convolutions(level)] * self.config.recursions,
                _LevelEnd.of(level, self.config),
            )
            for level in self._distinct_levels
        }
        return [prepared[self.network.level(number)] for number in range(1, count + 1)]

    @property
    def _distinct_levels(self) -> set[Level]:
        return {self.network.level(n) for n in range(1, len(self.config.scales) + 1)}

    def _convolutions(self, level: Level) -> list[_Conv]:
        """Those of a recursive block, which are the same in each of them. LapSRN's activation after
        each convolution is the activation before the next, since nothing else reads it."""
        return [
            self._convolution(conv, ends_block=place == self.config.depth - 1)
            for place, conv in enumerate(_convs(level))
        ]

    def _convolution(self, conv: nn.Conv2d, *, ends_block: bool) -> _Conv:
        if self.precision in ("bf16", "fp16"):
            half = torch.bfloat16 if self.precision == "bf16" else torch.float16
            rounded = copy.deepcopy(conv).to(half)
            if supports_bf16(rounded):
                return Bf16Conv(rounded, low_precision_output=not ends_block)
            return _TorchConv(rounded, conv.weight.dtype if ends_block else half)
        if winograd.supports(conv):
            return WinogradConv(conv)
        return _TorchConv(conv, conv.weight.dtype)

    def _int8_blocks(self, number: int) -> list[list[_Conv]]:
        """The recursive blocks of a level: the same weights, but steps and zero points of their
        own."""
        ranges = self.network.ranges
        assert ranges is not None
        blocks: list[list[_Conv]] = []
        for block in ranges[number - 1]:  # (D, C, 2)
            params = [QuantParams.of_range(each) for each in block]
            following = [*params[1:], None]
            convs = _convs(self.network.level(number))
            blocks.append(
                [
                    Int8Conv(conv, reads, writes)
                    for conv, reads, writes in zip(convs, params, following, strict=True)
                ]
            )
        return blocks

    def _add_image(self, level: _PreparedLevel, picture: Tensor, residual: Tensor) -> None:
        """Add the enlarged ``picture`` (B, 1, H, W) to ``residual`` (B, 1, fH, fW), as many rows at
        a time as a cache holds."""
        kernel = level.end.image_kernel  # (f^2, 1, 3, 3)
        if kernel is None:
            return
        factor, (batch, _, height, width) = self.config.factor, picture.shape
        rows = max(1, _IMAGE_BLOCK * self.strip_pixels // (batch * width))
        for first in range(0, height, rows):
            end = min(height, first + rows)
            above, below = max(0, first - 1), min(height, end + 1)
            edges = (1, 1, above - first + 1, end + 1 - below)
            window = F.pad(picture[:, :, above:below], edges)  # (B, 1, n + 2, W + 2)
            enlarged = F.pixel_shuffle(F.conv2d(window, kernel), factor)  # (B, 1, fn, fW)
            residual[:, :, factor * first : factor * end] += enlarged

    def _residuals(
        self, luma: Tensor, last: int, progress: Callable[[float], None]
    ) -> list[Tensor]:
        """(B, 1, H, W) -> one for each level up to the last, (B, 1, 2H, 2W) and so on."""
        config = self.config
        batch, _, height, width = luma.shape
        threads = torch.get_num_threads()
        first = self._first_features(luma, self._strip_rows(height, batch * width, threads))
        residuals: list[Tensor] = []
        stages: list[Stage[Strip]] = []
        for level in self._levels[:last]:
            rows = self._strip_rows(height, batch * width, threads)
            stages += [partial(_as_sources, rows), *self._block_stages(level, 2 * rows)]
            height, width = config.factor * height, config.factor * width
            residuals.append(luma.new_empty(batch, 1, height, width))
            end = level.end.stage(residuals[-1], further=len(residuals) < last)
            stages.append(partial(_tell, progress, end, height) if len(residuals) == last else end)
        self._ensure_memory(luma, last)
        run_stages(first, stages, threads)
        return residuals

    def _ensure_memory(self, luma: Tensor, last: int) -> None:
        """Raise RuntimeError or MemoryError, before anything is computed, if there is no memory for
        features and code."""
        across = luma.shape[0] * luma.shape[3]
        size = across * bytes_per_column(self.config, self.config.scales[last - 1])
        features = torch.empty(size, dtype=torch.uint8)
        ensure_allocatable(_HEADROOM)
        del features  # stays with this process if it keeps the memory it frees

    def _block_stages(self, level: _PreparedLevel, most_rows: int) -> Iterator[_ConvStage]:
        """The convolutions of a level, each giving strips of at most ``most_rows``."""
        for block in level.blocks:
            for conv in block:
                skip = self.config.skip if conv is block[-1] else None
                yield _ConvStage(conv, most_rows, skip)

    def _strip_rows(self, height: int, across: int, threads: int) -> int:
        """The height of a strip of a map that is ``across`` pixels wide, all tiles of a batch
        together."""
        strips = _STRIPS_PER_THREAD * threads
        return max(_LEAST_ROWS, min(self.strip_pixels // across, height // strips))

    def _first_features(self, luma: Tensor, rows: int) -> Iterator[Strip]:
        """conv_in, whose input is there as a whole, ``rows`` at a time."""
        conv, height = self.network.conv_in, luma.shape[2]
        padded = F.pad(luma.to(conv.weight.dtype), (0, 0, 1, 1))  # (B, 1, H + 2, W)
        for top in range(0, height, rows):
            window = padded[:, :, top : top + rows + 2]
            features = valid_conv(window, conv.weight, conv.bias)  # (B, C, n, W)
            features = features.contiguous(memory_format=torch.channels_last)
            yield Strip(features, [features], top + rows >= height)


@dataclass(frozen=True, eq=False)
class _TorchConv:
    """A convolution that torch computes, in the dtype of its weights. ``dtype``: of its output."""

    conv: nn.Conv2d
    dtype: torch.dtype


_Conv = WinogradConv | LowPrecisionConv | _TorchConv


@dataclass(frozen=True, eq=False)
class _LevelEnd:
    """The kernels of a level behind its recursive blocks, but for what belongs to a pass."""

    level: Level
    config: PyramidConfig
    upsample: UpsampleKernels | None  # None: up and conv_res one after the other
    image_kernel: Tensor | None  # (f^2, 1, 3, 3)

    @classmethod
    def of(cls, level: Level, config: PyramidConfig) -> _LevelEnd:
        is_fused = config.shared and config.factor == 2
        upsample = UpsampleKernels(level) if is_fused else None
        return cls(level, config, upsample, image_kernel(level) if config.global_residual else None)

    def stage(self, residual: Tensor, *, further: bool) -> FusedUpsampleStage | UpsampleStage:
        """A pass's last stage of this level, which fills ``residual`` (B, 1, fH, fW) and gives the
        features of the next level if there is a ``further`` one."""
        if self.upsample is not None:
            return FusedUpsampleStage(self.upsample, residual, further=further)
        return UpsampleStage(
            self.level, residual, further=further, activates=not self.config.shared
        )


@dataclass(frozen=True, eq=False)
class _PreparedLevel:
    """The kernels of a level. ``blocks``: its convolutions by recursive block and place."""

    blocks: Sequence[Sequence[_Conv]]
    end: _LevelEnd


def bytes_per_column(config: PyramidConfig, scale: int) -> int:
    """Bytes that the features of a pass take for each column of the picture, in fp32.

    These are the rows kept by convolutions and by the skip connections beside them, and the maps of
    the last strip, which becomes higher from layer to layer: measured to be up to 23 rows for each
    convolution of a level. Each level is as many times wider as it enlarges. Not counted are the
    strips in flight of a narrow picture, 0.1 GB at most.
    """
    rows = 23 * config.depth * config.recursions + 20
    widths: int = sum(config.factor**number for number in range(config.level_of(scale)))
    return rows * widths * config.channels * torch.float32.itemsize


def _convs(level: Level) -> list[nn.Conv2d]:
    return [conv for conv in level.convs if isinstance(conv, nn.Conv2d)]


def _no_higher_than(most: int, strip: Strip) -> Iterator[Strip]:
    """The same rows in strips of at most ``most``. The last one grows by a row in every layer."""
    rows, skip, last = strip
    *others, final = torch.split(rows, most, dim=2)
    for piece in others:
        yield Strip(piece, skip, last=False)
        skip = []  # given away
    yield Strip(final, skip, last)


def _as_sources(most: int, strip: Strip) -> Iterator[Strip]:
    """The features that a level begins with, which its recursive blocks also add."""
    for rows, _, last in _no_higher_than(most, strip):
        yield Strip(rows, [rows], last)


def _tell(
    progress: Callable[[float], None],
    end: FusedUpsampleStage | UpsampleStage,
    height: int,
    strip: Strip,
) -> Iterator[Strip]:
    """The last stage of a pass, which then tells ``progress`` how far it has come."""
    yield from end(strip)
    progress(end.done / height)


class _ConvStage:
    """A convolution in one pass; at the end of a block, with the skip connection ``skip``."""

    def __init__(self, conv: _Conv, most_rows: int, skip: Skip | None) -> None:
        self._layer = _TorchLayer(conv) if isinstance(conv, _TorchConv) else _CompiledLayer(conv)
        self._most_rows = most_rows
        self._skip = skip
        self._delay = DelayLine()
        self._seen = self._given = 0

    def __call__(self, strip: Strip) -> Iterator[Strip]:
        rows, skip, last = strip
        self._seen += rows.shape[2]
        count = max(0, self._seen - (not last)) - self._given  # it looks one row ahead
        self._given += count
        if self._skip is None or self._skip == "ns":
            x = self._layer(rows, [], last=last)
            made = Strip(x, skip if self._skip is None else [x], last)
        else:
            source = self._delay(skip, count)
            x = self._layer(rows, source, last=last)
            made = Strip(x, source if self._skip == "ss" else [x], last)
        return _no_higher_than(self._most_rows, made)


class _TorchLayer:
    def __init__(self, conv: _TorchConv) -> None:
        self._conv, self._dtype = conv.conv, conv.dtype
        self._buffer = PaddedLineBuffer()

    def __call__(self, rows: Tensor, added: list[Tensor], *, last: bool) -> Tensor:
        weight, bias = self._conv.weight, self._conv.bias
        window = self._buffer(rows.to(weight.dtype), last=last)  # (B, C, kept + n, W)
        made = valid_conv(window, weight, bias).to(self._dtype)
        return made.add_(torch.cat(added, dim=2)) if added else made


class _CompiledLayer:
    def __init__(self, conv: WinogradConv | LowPrecisionConv) -> None:
        self._conv = conv
        self._buffer = LineBuffer()

    def __call__(self, rows: Tensor, added: list[Tensor], *, last: bool) -> Tensor:
        pieces, pad_top = self._buffer(rows)
        return self._conv(pieces, added, pad_top=pad_top, pad_bottom=last)
