"""Pictures in, pyramids out: windows of several pictures share one pass of the network."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapsr_cli.device.memory import free_memory, is_out_of_memory, release_freed_memory
from lapsr_cli.errors import DeviceError, UsageError
from lapsr_cli.inference.runtime import NotFinite, OutOfMemory, PendingResult, Runtime
from lapsr_cli.inference.tiling import Tile, fit, plan
from lapsr_cli.network.halo import halo
from lapsr_cli.pixels.picture import Picture
from lapsr_cli.pixels.resize import REACH

__all__ = ["Advance", "Passes", "Pyramid", "Result", "Task", "Windows"]

log = logging.getLogger(__name__)

Key = TypeVar("Key")
Pyramid = dict[int, Picture]
Advance = Callable[[float, int], None]

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
    at most 64. Where the device's memory does not hold what is asked for, it is less.
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
    """A picture to enlarge to ``scales`` by the network called ``model``; ``key`` comes back with
    the result."""

    key: Key
    picture: Picture
    scales: tuple[int, ...]
    model: str


@dataclass(frozen=True)
class Result(Generic[Key]):
    """The pyramid of a picture, from how many windows, and what did not go as planned."""

    key: Key
    pyramid: Pyramid
    windows: int
    notes: tuple[str, ...]


class _BatchKey(NamedTuple):
    """What windows of one pass have in common."""

    model: str
    height: int
    width: int
    channels: int
    dtype: torch.dtype
    scales: tuple[int, ...]


@dataclass(eq=False)
class _Job(Generic[Key]):
    """A task under way: its input as a tensor, the outputs so far, the windows still to come."""

    task: Task[Key]
    samples: Tensor  # (C, H, W)
    outputs: dict[int, Tensor]  # (C, scale H, scale W)
    windows: int = 0
    waiting: int = 0
    shares: list[tuple[float, int]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def settle(self, tile: Tile) -> tuple[float, int]:
        """A window is in place: the share of the picture in its core, and the output pixels."""
        self.waiting -= 1
        rows, columns = tile
        core = (rows.core_stop - rows.core_start) * (columns.core_stop - columns.core_start)
        share = core / (self.task.picture.height * self.task.picture.width)
        self.shares.append((share, core * sum(scale**2 for scale in self.outputs)))
        return self.shares[-1]


_Windows = Sequence[tuple[_Job[Key], Tile]]


@dataclass(frozen=True)
class _InFlight(Generic[Key]):
    """A pass that was launched, and the windows in it."""

    taken: _Windows[Key]
    form: _BatchKey
    launched: PendingResult


class _StreamState(Generic[Key]):
    """What one stream of pictures is at: jobs, windows that wait, passes that were launched."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self.jobs: deque[_Job[Key]] = deque()
        self.queues: dict[_BatchKey, deque[tuple[_Job[Key], Tile]]] = {}
        self.flights: deque[_InFlight[Key]] = deque()

    @property
    def crowded(self) -> bool:
        """Whether too much waits for windows that may never come."""
        waiting = [job for job in self.jobs if job.waiting]
        size = sum(output.nbytes for job in waiting for output in job.outputs.values())
        return bool(waiting) and (len(waiting) > _OPEN_PICTURES or size > _OPEN_BYTES)

    @property
    def oldest_form(self) -> _BatchKey:
        """That of the windows of the oldest picture that has any waiting."""
        forms = {id(job): form for form, queue in self.queues.items() for job, _ in queue}
        return next(forms[id(job)] for job in self.jobs if id(job) in forms)

    def take(self, form: _BatchKey, count: int) -> _Windows[Key]:
        """At most ``count`` windows of a form, oldest first."""
        queue = self.queues[form]
        taken = [queue.popleft() for _ in range(min(count, len(queue)))]
        if not queue:
            del self.queues[form]
        return taken

    def finished(self) -> Iterator[Result[Key]]:
        """Take the finished jobs off the list and give their pictures."""
        for job in [job for job in self.jobs if not job.waiting]:
            self.jobs.remove(job)
            alpha = job.task.picture.alpha is not None
            pyramid = {s: _to_picture(output, alpha=alpha) for s, output in job.outputs.items()}
            yield Result(job.task.key, pyramid, job.windows, tuple(job.notes))


class Passes:
    """Networks on one device, fed with windows of as many pictures as fit into its memory."""

    def __init__(
        self, runtimes: Mapping[str, Runtime], windows: Windows, memory: int | None = None
    ) -> None:
        self.runtimes = dict(runtimes)
        self.windows = windows
        self._device = next(iter(self.runtimes.values())).device.torch_device
        if memory is None:
            memory = int(free_memory(self._device) * _MEMORY_SHARE)
        self._budget = memory
        # Where copies go on beside the network, one pass computes while another is put in place.
        overlaps = next(iter(self.runtimes.values())).transfer.overlaps
        self._most_flights = 1 if overlaps else 0
        self._limit: int | None = None  # bytes of a pass, once one was too large
        self._in_fp32: dict[str, Runtime] = {}

    def stream(
        self,
        tasks: Iterable[Task[Key] | None],
        advance: Advance = lambda share, output_pixels: None,
    ) -> Iterator[Result[Key]]:
        """Enlarge pictures as they come; each result is given as soon as it is whole.

        Windows of one form, of whichever pictures, go through the network together; results may
        so change places. At most 16 pictures, or outputs of 512 MiB, wait for windows of others;
        a None among the tasks says that the next one is not there yet, and nothing waits for it.
        Where the device computes beside this thread, a pass is launched before the results of the
        one before it are put in place. ``advance`` is told after each pass, for each window in it,
        the share of its picture and the output pixels it gave. Raises DeviceError if the memory
        does not hold one pixel's pass.
        """
        way: _StreamState[Key] = _StreamState(advance)
        for task in tasks:
            if task is not None:
                way.jobs.append(_open(task))
                self._queue_windows(way.jobs[-1], way)
            while (form := self._full(way)) is not None:
                self._pass(form, way)
            while way.queues and (task is None or way.crowded):
                self._pass(way.oldest_form, way)
                yield from way.finished()
            if task is None or way.crowded:
                self._land(way, 0)
            yield from way.finished()
        while way.queues:
            self._pass(next(iter(way.queues)), way)
            yield from way.finished()
        self._land(way, 0)
        yield from way.finished()

    def _queue_windows(self, job: _Job[Key], way: _StreamState[Key]) -> None:
        tiles = self.cut(job.task)
        job.windows = job.waiting = len(tiles)
        for tile in tiles:
            way.queues.setdefault(_form(job, tile), deque()).append((job, tile))

    def _full(self, way: _StreamState[Key]) -> _BatchKey | None:
        """A form of which a whole batch waits."""
        return next((f for f, queue in way.queues.items() if len(queue) >= self._batch(f)), None)

    def cut(self, task: Task[Key]) -> list[Tile]:
        """The windows of a picture, as large as the memory allows or as was asked for."""
        height, width = task.picture.height, task.picture.width
        runtime, scale = self.runtimes[task.model], max(task.scales)
        before, after = (max(side, REACH) for side in halo(runtime.config, scale))
        if runtime.tta:  # turned windows need on each side what any side needs
            before = after = max(before, after)
        tile = self.windows.tile
        allowed = self._budget if tile == 0 else None
        if self._limit is not None:
            allowed = min(self._limit, self._budget)
        if allowed is not None:
            pixels = allowed // runtime.bytes_per_pixel(scale)
            shape = fit(height, width, before, after, pixels, runtime.rows_on_top(scale))
        else:
            shape = (height, width)
        if tile:
            shape = (min(shape[0], tile), min(shape[1], tile))
        return plan(height, width, shape, before, after)

    def _batch(self, form: _BatchKey) -> int:
        need = self._need(form)
        largest = self.windows.batch
        if not largest:
            on_cpu = self._device.type == "cpu"
            allowed = min(self._budget, _CPU_BATCH_BYTES) if on_cpu else self._budget
            largest = min(_LARGEST_BATCH, allowed // need)
        if self._limit is not None:
            largest = min(largest, self._limit // need)
        return max(1, largest)

    def _need(self, form: _BatchKey) -> int:
        """Bytes that one window takes on the device."""
        runtime, scale = self.runtimes[form.model], max(form.scales)
        rows = form.height + runtime.rows_on_top(scale)
        return rows * form.width * runtime.bytes_per_pixel(scale)

    def _pass(self, form: _BatchKey, way: _StreamState[Key]) -> None:
        """Launch the network once on waiting windows of one form."""
        taken = way.take(form, self._batch(form))
        try:
            launched = self.runtimes[form.model].launch(_stacked_windows(taken), form.scales)
        except OutOfMemory:
            self._make_smaller(taken, form, way)
            return
        way.flights.append(_InFlight(taken, form, launched))
        self._land(way, self._most_flights)

    def _land(self, way: _StreamState[Key], most: int) -> None:
        """Put the cores of the oldest passes in place, until ``most`` are under way."""
        while len(way.flights) > most:
            flight = way.flights.popleft()
            try:
                results = self._results(flight)
            except OutOfMemory:
                self._make_smaller(flight.taken, flight.form, way)
                continue
            for index, (job, tile) in enumerate(flight.taken):
                for scale, result in results.items():
                    _put_core(job.outputs[scale], result[index], tile, scale)
                way.advance(*job.settle(tile))

    def _results(self, flight: _InFlight[Key]) -> dict[int, Tensor]:
        """Of a pass; in fp32 if half precision overflowed. Raises OutOfMemory."""
        model = flight.form.model
        try:
            return flight.launched.results()
        except NotFinite:
            precision = self.runtimes[model].device.precision
            for job, _ in flight.taken:
                job.notes[f"{precision} overflowed: computed again in fp32"] = None
        if model not in self._in_fp32:
            self._in_fp32[model] = self.runtimes[model].in_fp32()
        return self._in_fp32[model](_stacked_windows(flight.taken), flight.form.scales)

    def _make_smaller(self, taken: _Windows[Key], form: _BatchKey, way: _StreamState[Key]) -> None:
        """Out of memory: from here on half of what was tried, for these pictures and the rest."""
        way.queues.setdefault(form, deque()).extendleft(reversed(taken))
        self._land(way, 0)  # a picture that begins again must have nothing under way
        release_freed_memory(self._device)
        tried = len(taken) * self._need(form)
        self._limit = min(tried // 2, self._limit or tried)
        size = f"{len(taken)} x {form.width} x {form.height} pixels"
        log.warning("out of memory on %s at %s: going on with half of that", self._device, size)
        for job in dict.fromkeys(job for job, _ in taken):
            job.notes[f"out of memory at {size}: computed in smaller parts"] = None
        if len(taken) == 1 and taken[0] in way.queues.get(form, ()):
            self._cut_again(taken[0][0], form, way)

    def _cut_again(self, job: _Job[Key], form: _BatchKey, way: _StreamState[Key]) -> None:
        """Begin a picture again with smaller windows."""
        if self.cut(job.task)[0].shape == (form.height, form.width):
            raise DeviceError(
                f"--device {self._device}: its memory does not hold a window of"
                f" {form.width} x {form.height} pixels, the smallest there is"
            )
        others = [each for each in way.queues.pop(form) if each[0] is not job]
        if others:
            way.queues[form] = deque(others)
        for share, output_pixels in job.shares:
            way.advance(-share, -output_pixels)
        job.shares.clear()
        self._queue_windows(job, way)


def _open(task: Task[Key]) -> _Job[Key]:
    """A task with room for its results. Raises DeviceError if the main memory has none."""
    try:
        samples = torch.from_numpy(_stacked(task.picture)).permute(2, 0, 1)  # (C, H, W)
        channels, height, width = samples.shape
        outputs = {
            scale: torch.empty(
                (scale * height, scale * width, channels), dtype=samples.dtype
            ).permute(2, 0, 1)
            for scale in task.scales
        }
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        size = f"{task.picture.width} x {task.picture.height} pixels at {max(task.scales)}x"
        raise DeviceError(f"the main memory has no room for the result of {size}") from error
    return _Job(task, samples, outputs)


def _form(job: _Job[Key], tile: Tile) -> _BatchKey:
    return _BatchKey(
        job.task.model, *tile.shape, job.samples.shape[0], job.samples.dtype, job.task.scales
    )


def _stacked_windows(taken: _Windows[Key]) -> Tensor:
    """(B, C, H, W). Raises OutOfMemory if the main memory has no room."""
    try:
        return torch.stack(
            [job.samples[:, tile.rows.window, tile.columns.window] for job, tile in taken]
        )
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory from error


def _put_core(output: Tensor, window: Tensor, tile: Tile, scale: int) -> None:
    """Copy the core of an enlarged window (C, scale h, scale w) to its place in the output."""
    rows, columns = tile
    core = window[:, rows.core_in_window(scale), columns.core_in_window(scale)]
    output[:, rows.core(scale), columns.core(scale)] = core


def _stacked(picture: Picture) -> NDArray[np.uint8 | np.uint16]:
    """(H, W, C), alpha behind the colours; a copy."""
    parts = [np.atleast_3d(picture.pixels)]
    if picture.alpha is not None:
        parts.append(picture.alpha[..., None])
    return np.concatenate(parts, axis=-1)


def _to_picture(output: Tensor, *, alpha: bool) -> Picture:
    samples = output.permute(1, 2, 0).numpy()  # (H, W, C)
    colours = samples[..., :-1] if alpha else samples
    pixels = colours[..., 0] if colours.shape[2] == 1 else colours
    return Picture(pixels, samples[..., -1] if alpha else None)
