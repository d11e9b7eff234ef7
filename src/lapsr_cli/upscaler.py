"""Pictures in, pyramids out: windows of several pictures share one pass of the network."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lapsr_cli import weights
from lapsr_cli.device import Device, Precision, choose, free_memory
from lapsr_cli.errors import UnreadablePicture, UsageError
from lapsr_cli.image_io import Picture, from_pil, to_pil
from lapsr_cli.model import LaplacianPyramid, halo
from lapsr_cli.resize import REACH
from lapsr_cli.runtime import Runtime
from lapsr_cli.tiling import Tile, fit, plan

__all__ = ["Advance", "Pyramid", "Task", "Upscaler", "Windows"]

AnyImage = TypeVar("AnyImage", Image.Image, NDArray[np.uint8])
Key = TypeVar("Key")
Pyramid = dict[int, Picture]
Advance = Callable[[float, int], None]
_Form = tuple[int, int, int, tuple[int, ...]]

_MEMORY_SHARE = 0.4
"""Of the free memory for windows; outputs and the allocator take up to as much again."""
_LARGEST_BATCH = 64
_CPU_BATCH_BYTES = 256 << 20
"""A pass of small windows on the CPU: past the caches each pixel costs up to half as much again."""
_OPEN_PICTURES = 16
_OPEN_BYTES = 512 << 20


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How pictures are cut and stacked.

    ``tile``: side of a square tile in input pixels, halo not counted; 0 is as large as memory
    allows, None the whole picture. ``batch``: windows in one pass; 0 is as many as memory allows,
    at most 64.
    """

    tile: int | None = 0
    batch: int = 0

    def __post_init__(self) -> None:
        if self.tile is not None and self.tile < 0:
            raise UsageError(f"-t/--tile {self.tile}: must be auto, none or a number of pixels")
        if self.batch < 0:
            raise UsageError(f"--batch-size {self.batch}: must be auto or at least 1")


@dataclass(frozen=True)
class Task(Generic[Key]):
    """A picture to enlarge to ``scales``; ``key`` comes back with the result."""

    key: Key
    picture: Picture
    scales: tuple[int, ...]


@dataclass(eq=False)
class _Job(Generic[Key]):
    """A task under way: its input as a tensor, the outputs so far, the windows still to come."""

    task: Task[Key]
    pixels: Tensor  # uint8 (C, H, W)
    outputs: dict[int, Tensor]  # uint8 (C, scale H, scale W)
    waiting: int


@dataclass
class _Queues(Generic[Key]):
    """Windows that wait for a pass, by form: height, width, channels and scales."""

    by_form: dict[_Form, deque[tuple[_Job[Key], Tile]]] = field(default_factory=dict)

    def add(self, form: _Form, job: _Job[Key], tile: Tile) -> int:
        """Queue a window and return how many of its form now wait."""
        queue = self.by_form.setdefault(form, deque())
        queue.append((job, tile))
        return len(queue)

    def take(self, form: _Form, count: int) -> list[tuple[_Job[Key], Tile]]:
        """At most ``count`` windows of a form, oldest first."""
        queue = self.by_form[form]
        taken = [queue.popleft() for _ in range(min(count, len(queue)))]
        if not queue:
            del self.by_form[form]
        return taken


class Upscaler:
    """A network on a device that turns pictures into pyramids."""

    def __init__(
        self, model: LaplacianPyramid, device: Device | None = None, windows: Windows | None = None
    ) -> None:
        self.runtime = Runtime(model, device or choose())
        self.config = model.config
        self.windows = windows or Windows()
        self._budget = int(free_memory(self.runtime.device.torch_device) * _MEMORY_SHARE)

    @classmethod
    def from_weights(
        cls,
        model: str | Path | None = None,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        windows: Windows | None = None,
        offline: bool = False,
    ) -> Upscaler:
        """An upscaler of a model's name or file, None for the default; downloaded if need be.

        Raises ResourceError if the model or the device cannot be had.
        """
        network = weights.load(None if model is None else str(model), offline=offline)
        return cls(network, choose(device, precision), windows)

    def __call__(self, image: AnyImage, scales: Sequence[int] = (2, 4, 8)) -> dict[int, AnyImage]:
        """Enlarge a PIL image or a uint8 array, (H, W) grey or (H, W, 3) RGB, to every scale.

        The results are of the same kind; a PIL image is turned upright as its EXIF says. Raises
        UsageError for a scale the model does not make and for an image that is none of these,
        UnreadablePicture for one that would lose something (transparency, 16 bit, CMYK).
        """
        if not isinstance(image, Image.Image):
            pyramid = self._one(Picture(_checked(image)), scales)
            return {scale: p.pixels.astype(np.uint8, copy=False) for scale, p in pyramid.items()}
        source = from_pil(image)
        if source.alpha is not None or source.depth == 16:  # until alpha and 16 bits go through
            raise UnreadablePicture("transparency and 16 bits are not supported yet")
        results = {s: to_pil(picture) for s, picture in self._one(source, scales).items()}
        for result in results.values():
            if "icc_profile" in image.info:
                result.info["icc_profile"] = image.info["icc_profile"]
        return results

    def _one(self, picture: Picture, scales: Sequence[int]) -> Pyramid:
        if not scales or not picture.pixels.size:
            raise UsageError("nothing to do: no scales, or an image without pixels")
        wanted = tuple(operator.index(scale) for scale in scales)
        ((_, pyramid),) = self.stream([Task(None, picture, wanted)])
        return pyramid

    def check_scales(self, scales: Iterable[int]) -> None:
        """Raise UsageError for a scale that this model does not make."""
        for scale in scales:
            self.config.level_of(scale)

    def stream(
        self,
        tasks: Iterable[Task[Key]],
        advance: Advance = lambda share, output_pixels: None,
    ) -> Iterator[tuple[Key, Pyramid]]:
        """Enlarge pictures as they come; each result is given as soon as it is whole.

        Windows of one form, of whichever pictures, go through the network together; results may
        so change places. At most 16 pictures, or outputs of 512 MiB, wait for windows of others.
        ``advance`` is told after each pass, for each window in it, the share of its picture and
        the output pixels it gave.
        """
        queues: _Queues[Key] = _Queues()
        open_jobs: deque[_Job[Key]] = deque()
        for task in tasks:
            job, tiles = self._open(task)
            open_jobs.append(job)
            for tile in tiles:
                form = (*tile.shape, job.pixels.shape[0], task.scales)
                if queues.add(form, job, tile) >= self._batch(form):
                    self._pass(queues, form, advance)
            while _crowded(open_jobs):
                self._pass(queues, _form_of_oldest(queues, open_jobs), advance)
            yield from _finished(open_jobs)
        while queues.by_form:
            self._pass(queues, next(iter(queues.by_form)), advance)
            yield from _finished(open_jobs)
        yield from _finished(open_jobs)

    def _open(self, task: Task[Key]) -> tuple[_Job[Key], list[Tile]]:
        self.check_scales(task.scales)
        pixels = torch.from_numpy(task.picture.pixels.astype(np.uint8))  # a copy
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)  # (C, H, W)
        tiles = self._cut(task)
        channels, height, width = pixels.shape
        outputs = {
            scale: torch.empty(
                (scale * height, scale * width, channels), dtype=torch.uint8
            ).permute(2, 0, 1)
            for scale in task.scales
        }
        return _Job(task, pixels, outputs, len(tiles)), tiles

    def _cut(self, task: Task[Key]) -> list[Tile]:
        height, width = task.picture.height, task.picture.width
        before, after = (max(side, REACH) for side in halo(self.config, max(task.scales)))
        tile = self.windows.tile
        if tile is None:
            shape = (height, width)
        elif tile:
            shape = (tile, tile)
        else:
            pixels = self._budget // self.runtime.bytes_per_pixel(max(task.scales))
            shape = fit(height, width, before, after, pixels)
        return plan(height, width, shape, before, after)

    def _batch(self, form: _Form) -> int:
        if self.windows.batch:
            return self.windows.batch
        height, width, _, scales = form
        need = height * width * self.runtime.bytes_per_pixel(max(scales))
        on_cpu = self.runtime.device.torch_device.type == "cpu"
        allowed = min(self._budget, _CPU_BATCH_BYTES) if on_cpu else self._budget
        return max(1, min(_LARGEST_BATCH, allowed // need))

    def _pass(self, queues: _Queues[Key], form: _Form, advance: Advance) -> None:
        """Run the network once on waiting windows of one form and put the cores in place."""
        taken = queues.take(form, self._batch(form))
        windows = torch.stack(
            [job.pixels[:, tile.rows.window, tile.columns.window] for job, tile in taken]
        )  # (B, C, H, W)
        results = self.runtime(windows, form[-1])
        for index, (job, tile) in enumerate(taken):
            for scale, result in results.items():
                _put_core(job.outputs[scale], result[index], tile, scale)
            job.waiting -= 1
            rows, columns = tile
            core = (rows.core_stop - rows.core_start) * (columns.core_stop - columns.core_start)
            share = core / (job.task.picture.height * job.task.picture.width)
            advance(share, core * sum(scale**2 for scale in results))


def _put_core(output: Tensor, window: Tensor, tile: Tile, scale: int) -> None:
    """Copy the core of an enlarged window (C, scale h, scale w) to its place in the output."""
    rows, columns = tile
    core = window[:, rows.core_in_window(scale), columns.core_in_window(scale)]
    output[:, rows.core(scale), columns.core(scale)] = core


def _crowded(jobs: deque[_Job[Key]]) -> bool:
    """Whether too much waits for windows that may never come."""
    waiting = [job for job in jobs if job.waiting]
    size = sum(output.numel() for job in waiting for output in job.outputs.values())
    return bool(waiting) and (len(waiting) > _OPEN_PICTURES or size > _OPEN_BYTES)


def _form_of_oldest(queues: _Queues[Key], jobs: deque[_Job[Key]]) -> _Form:
    oldest = next(job for job in jobs if job.waiting)
    return next(
        form for form, queue in queues.by_form.items() if any(job is oldest for job, _ in queue)
    )


def _finished(open_jobs: deque[_Job[Key]]) -> Iterator[tuple[Key, Pyramid]]:
    """Take the finished jobs off the list and give their pictures."""
    done = [job for job in open_jobs if not job.waiting]
    for job in done:
        open_jobs.remove(job)
        yield (
            job.task.key,
            {scale: Picture(_to_array(output)) for scale, output in job.outputs.items()},
        )


def _to_array(output: Tensor) -> NDArray[np.uint8]:
    array: NDArray[np.uint8] = output.permute(1, 2, 0).numpy()  # (H, W, C)
    return array[..., 0] if array.shape[2] == 1 else array


def _checked(image: object) -> NDArray[np.uint8]:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise UsageError("an image must be a PIL image or a uint8 array")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or not image.size:
        raise UsageError(f"an array must be (H, W) or (H, W, 3), not {image.shape}")
    return image
