"""The limits of a run, checked before a picture is decoded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from lapsr_cli import image_io
from lapsr_cli.batch.planning import Job
from lapsr_cli.batch.targets import LARGEST_CASCADE, Target, enlargement
from lapsr_cli.device.memory import free_memory
from lapsr_cli.errors import UnreadablePicture, UnwritablePicture, UsageError
from lapsr_cli.image_io import SUFFIXES, Header
from lapsr_cli.pixels.picture import Size

__all__ = ["Limits", "bytes_needed", "check", "check_targets"]

_FRAME_OBJECTS = 8 << 10
"""Bytes of the objects of a frame (directory, arrays, tensors), however few pixels it has."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """``memory``: bytes of pictures held at a time; None: the share that `MemoryPolicy` gives. One
    picture or page may always be held, but not an animation that exceeds ``most`` (``--memory``).
    ``max_pixels``: of an input, all frames together. ``cascade``: run the network on its own output
    to go beyond its largest scale."""

    memory: int | None = None
    most: int | None = None
    max_pixels: int = image_io.MAX_PIXELS
    cascade: bool = False

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise UsageError(f"--max-pixels {self.max_pixels}: must be at least 1")


def check_targets(targets: Iterable[Target], scales: Sequence[int], *, cascade: bool) -> None:
    """Raise UsageError for a scale, but not a size in pixels, beyond what the network reaches."""
    largest = LARGEST_CASCADE if cascade else max(scales)
    for target in targets:
        if target.scale and target.factor(Size(1, 1)) > largest:
            raise UsageError(
                f"-s/--scale {target.label}: this model enlarges up to {max(scales)}x;"
                " --cascade goes further"
            )


def check(job: Job, header: Header, scales: Sequence[int], limits: Limits) -> tuple[int, ...]:
    """The bytes that each part of a picture holds until it is written. Raises PictureError, before
    it is decoded, for one that is too large or cannot be enlarged, held in memory or written."""
    size = Size(header.height, header.width)
    if header.pixels > limits.max_pixels:
        frames = f"{size.width} x {size.height} x {header.frames} frames"
        if len(header.parts) > 1:
            frames = f"its {header.frames} pages"  # which may differ in size
        raise UnreadablePicture(
            f"{job.source.path}: {frames} are {header.pixels} pixels, more than --max-pixels"
            f" {limits.max_pixels}"
        )
    _check_factors(job, size, scales, cascade=limits.cascade)
    for target, path in job.outputs.items():
        result = target.size(size)
        image_io.check_size(path, result.height, result.width)
        if header.frames > 1 and not image_io.holds_frames(path, timed=header.form != "TIFF"):
            raise UnwritablePicture(
                f"{path}: {SUFFIXES[path.suffix.lower()]} cannot hold the {header.frames}"
                f" frames of {job.source.path}; give -f webp or tiff"
            )
    needs = bytes_needed(job, header, scales)
    _check_memory(job, header, needs, limits)
    return needs


def _check_memory(job: Job, header: Header, needs: Sequence[int], limits: Limits) -> None:
    """Raise UnwritablePicture if the largest part does not fit into the memory."""
    need = max(needs)
    number = needs.index(need)
    part, results, most = header.parts[number], "its results", None
    if len(needs) > 1:
        results = f"the results of its page {number + 1}"
    elif part.frames > 1:
        results, most = f"its results of {part.frames} frames", limits.most
    if most is not None and need > most:
        raise UnwritablePicture(
            f"{job.source.path}: {results} need {_readable(need)}, more than --memory allows"
        )
    if need > free_memory(torch.device("cpu")):
        raise UnwritablePicture(
            f"{job.source.path}: {results} need {_readable(need)}, more memory than is free"
        )


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _check_factors(job: Job, size: Size, scales: Sequence[int], *, cascade: bool) -> None:
    """Raise UnwritablePicture for a size beyond what the network reaches."""
    largest = LARGEST_CASCADE if cascade else max(scales)
    for target in job.outputs:
        factor = target.factor(size)
        if factor > largest:
            hint = "" if cascade or factor > LARGEST_CASCADE else "; --cascade goes further"
            raise UnwritablePicture(
                f"{job.source.path}: {size.width} x {size.height} pixels would be enlarged"
                f" {float(factor):.3g} times, more than {largest}{hint}"
            )


def bytes_needed(job: Job, header: Header, scales: Sequence[int]) -> tuple[int, ...]:
    """For each part of a picture, bytes of the input, all its enlargements and the largest result
    being written."""
    size = Size(header.height, header.width)
    enlargements = {enlargement(target.factor(size), scales) for target in job.outputs}
    enlargements |= {  # the intermediate results of a cascade
        max(scales) ** passes
        for passes in range(1, LARGEST_CASCADE.bit_length())
        if max(scales) ** passes < max(enlargements)
    }
    largest = max(target.factor(size) for target in job.outputs)
    copies = 2 + sum(e**2 for e in enlargements if e > 1) + largest**2
    return tuple(
        math.ceil(part.bytes * copies) + part.frames * _FRAME_OBJECTS for part in header.parts
    )
