"""Pictures in, pyramids out: windows of several pictures share one pass of the network."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from lapsr_cli.device.memory import is_out_of_memory
from lapsr_cli.errors import DeviceError, PictureError
from lapsr_cli.inference.runtime import OutOfMemory, PassResult, PendingResult, Runtime
from lapsr_cli.inference.tiler import Reach, TileOptions, Tiler
from lapsr_cli.inference.tiling import Tile
from lapsr_cli.pixels import chroma
from lapsr_cli.pixels.picture import Picture, Samples
from lapsr_cli.pixels.planes import FILL_REACH

__all__ = ["Advance", "BatchRunner", "Pyramid", "Result", "Stream", "Task"]

Key = TypeVar("Key")
Pyramid = dict[int, Picture]
Advance = Callable[[Key, float], None]
"""Called with a task's key and the share (0-1) of it that is done, whenever that has risen; finally
with exactly 1. The calls may come from any thread, but never two at a time; an exception ends the
stream."""

_OPEN_PICTURES = 16
_OPEN_BYTES = 512 << 20


@dataclass(frozen=True)
class Task(Generic[Key]):
    """A picture to enlarge to ``scales`` by the network called ``model``; ``key`` identifies the
    result. ``chroma_step``: of its file, as in Photo."""

    key: Key
    picture: Picture
    scales: tuple[int, ...]
    model: str
    chroma_step: float = 0.0


@dataclass(frozen=True)
class Result(Generic[Key]):
    """What became of a picture: the number of windows it was cut into, and notes for the user
    about fallbacks. ``seconds``: its share of the time of the passes that it had windows in.
    ``failure``: why it has no pyramid; empty if it has one."""

    key: Key
    outputs: Pyramid
    windows: int
    notes: tuple[str, ...]
    seconds: float
    failure: str = ""

    @property
    def pyramid(self) -> Pyramid:
        """Raises PictureError if there is none."""
        if self.failure:
            raise PictureError(self.failure)
        return self.outputs


class BatchRunner:
    """Networks on one device, fed with windows of as many pictures as fit into its memory.

    ``memory``: bytes that a pass may take; None: decided by the memory policy.
    """

    def __init__(
        self, runtimes: Mapping[str, Runtime], options: TileOptions, memory: int | None = None
    ) -> None:
        self.runtimes = dict(runtimes)
        self.tiler = Tiler(next(iter(self.runtimes.values())), options, memory)
        self._in_fp32: dict[str, Runtime] = {}

    def run(
        self,
        tasks: Iterable[Task[Key]],
        advance: Advance[Key] = lambda key, share: None,
    ) -> Iterator[Result[Key]]:
        """Enlarge pictures that are available without delay; see `Stream`."""
        stream: Stream[Key] = Stream(self, advance)
        for task in tasks:
            yield from stream.submit(task)
        yield from stream.flush()

    def cut(self, task: Task[Key]) -> list[Tile]:
        """The tiles of a picture."""
        picture, reach = task.picture, _reach_of(task)
        runtime, scale = self.runtimes[task.model], max(task.scales)
        return self.tiler.cut(runtime, picture.height, picture.width, scale, reach)

    def in_fp32(self, model: str) -> Runtime:
        """The network of that name in fp32; cached."""
        if model not in self._in_fp32:
            self._in_fp32[model] = self.runtimes[model].in_precision("fp32")
        return self._in_fp32[model]


class _BatchKey(NamedTuple):
    """What windows must have in common to share a pass of the network."""

    model: str
    height: int
    width: int
    channels: int
    dtype: torch.dtype
    scales: tuple[int, ...]
    chroma_step: float

    @property
    def window(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(eq=False)
class _Job(Generic[Key]):
    """A picture in progress: its input, its partial outputs, and the number of windows left.

    ``pixels``: of the input, in the cores of finished windows. ``share``: the progress reported; a
    picture that starts over stays there until it has come further.
    """

    task: Task[Key]
    samples: Tensor  # (C, H, W)
    outputs: dict[int, Tensor]  # (C, scale H, scale W)
    windows: int = 0
    remaining: int = 0
    pixels: int = 0
    share: float = 0.0
    seconds: float = 0.0
    notes: dict[str, None] = field(default_factory=dict)
    failure: str = ""

    def finish_window(self, tile: Tile, seconds: float) -> None:
        """Count a finished window and the time it took."""
        self.remaining -= 1
        self.pixels += tile.core_pixels
        self.seconds += seconds

    def report(self, advance: Advance[Key], under_way: float = 0.0) -> None:
        """Call ``advance`` if more is done than before. ``under_way``: computed pixels of the input
        in unfinished windows."""
        share = (self.pixels + under_way) / (self.task.picture.height * self.task.picture.width)
        if share > self.share:
            self.share = share
            advance(self.task.key, share)


_Windows = Sequence[tuple[_Job[Key], Tile]]


@dataclass(frozen=True)
class _InFlight(Generic[Key]):
    """A launched pass."""

    windows: _Windows[Key]
    key: _BatchKey
    pending: PendingResult
    started: float


class Stream(Generic[Key]):
    """Enlarges pictures as they are submitted; each result is returned as soon as it is complete.

    Windows of the same shape share a pass, whichever pictures they are from, so results may come
    out of order. At most 16 pictures, or outputs of 512 MiB, wait for windows of others. On a
    device that computes asynchronously, a pass is launched before the results of the previous one
    are stored. ``advance`` is called after each pass, on the CPU also after each strip of one.
    """

    def __init__(self, runner: BatchRunner, advance: Advance[Key]) -> None:
        self._runner = runner
        self._tiler = runner.tiler
        self._advance = advance
        self._jobs: deque[_Job[Key]] = deque()
        self._queues: dict[_BatchKey, deque[tuple[_Job[Key], Tile]]] = {}
        self._in_flight: deque[_InFlight[Key]] = deque()
        overlaps = next(iter(runner.runtimes.values())).transfer.overlaps
        self._most_in_flight = 1 if overlaps else 0
        self._landed = 0.0  # when the last pass was put in place

    def submit(self, task: Task[Key]) -> Iterator[Result[Key]]:
        """Add a picture, compute full batches, and yield what is complete.

        Raises DeviceError if there is no memory for its result or for the smallest window.
        """
        self._jobs.append(_open(task))
        self._queue_windows(self._jobs[-1], self._runner.cut(task))
        while (key := self._full_batch()) is not None:
            self._launch(key)
        while self._queues and self._is_crowded:
            self._launch(self._oldest_key)
            yield from self._complete()
        if self._is_crowded:
            self._land(0)
        yield from self._complete()

    def flush(self) -> Iterator[Result[Key]]:
        """Compute everything pending, in partial batches if need be."""
        while self._queues or self._in_flight:
            if self._queues:
                self._launch(self._oldest_key)
            else:
                self._land(0)  # queues windows again that ran out of memory
            yield from self._complete()

    @property
    def _is_crowded(self) -> bool:
        """Whether too much is waiting for windows that may never come."""
        waiting = [job for job in self._jobs if job.remaining]
        size = sum(output.nbytes for job in waiting for output in job.outputs.values())
        return bool(waiting) and (len(waiting) > _OPEN_PICTURES or size > _OPEN_BYTES)

    @property
    def _oldest_key(self) -> _BatchKey:
        """The key of the oldest picture with windows in a queue."""
        keys = {id(job): key for key, queue in self._queues.items() for job, _ in queue}
        return next(keys[id(job)] for job in self._jobs if id(job) in keys)

    def _full_batch(self) -> _BatchKey | None:
        """A key with a full batch in its queue."""
        return next((k for k, queue in self._queues.items() if len(queue) >= self._batch(k)), None)

    def _batch(self, key: _BatchKey) -> int:
        runtime = self._runner.runtimes[key.model]
        return self._tiler.batch_size(runtime, key.window, max(key.scales))

    def _queue_windows(self, job: _Job[Key], tiles: Sequence[Tile]) -> None:
        task = job.task
        job.windows = job.remaining = len(tiles)
        channels, dtype = job.samples.shape[0], job.samples.dtype
        for tile in tiles:
            key = _BatchKey(task.model, *tile.shape, channels, dtype, task.scales, task.chroma_step)
            self._queues.setdefault(key, deque()).append((job, tile))

    def _take(self, key: _BatchKey) -> _Windows[Key]:
        """Remove a batch of windows from the queue, oldest first."""
        queue = self._queues[key]
        taken = [queue.popleft() for _ in range(min(self._batch(key), len(queue)))]
        if not queue:
            del self._queues[key]
        return taken

    def _complete(self) -> Iterator[Result[Key]]:
        """Remove complete jobs and yield their pictures."""
        for job in [job for job in self._jobs if not job.remaining]:
            self._jobs.remove(job)
            has_alpha = job.task.picture.alpha is not None
            pyramid = {s: _to_picture(output, has_alpha) for s, output in job.outputs.items()}
            yield Result(
                job.task.key, pyramid, job.windows, tuple(job.notes), job.seconds, job.failure
            )

    def _launch(self, key: _BatchKey) -> None:
        """Launch one pass on a batch from the queue."""
        taken = self._take(key)
        started = time.monotonic()
        try:
            pending = self._runner.runtimes[key.model].launch(
                _stack_windows(taken),
                key.scales,
                partial(self._report_pass, taken),
                chroma_step=key.chroma_step,
            )
        except OutOfMemory:
            self._retry_smaller(taken, key)
            return
        self._in_flight.append(_InFlight(taken, key, pending, started))
        self._land(self._most_in_flight)

    def _report_pass(self, taken: _Windows[Key], share: float) -> None:
        """Report progress of the pictures in a pass, of which ``share`` is done."""
        under_way: dict[_Job[Key], int] = {}
        for job, tile in taken:
            under_way[job] = under_way.get(job, 0) + tile.core_pixels
        for job, pixels in under_way.items():
            job.report(self._advance, share * pixels)

    def _land(self, most: int) -> None:
        """Store the results of the oldest passes until at most ``most`` are in flight."""
        while len(self._in_flight) > most:
            landing = self._in_flight.popleft()
            try:
                result = self._result(landing)
            except OutOfMemory:
                self._retry_smaller(landing.windows, landing.key)
                continue
            for index, (job, tile) in enumerate(landing.windows):
                if not result.finite[index]:
                    job.failure = _not_finite(job.task.model)
                for scale, picture in result.pictures.items():
                    tile.put_core(job.outputs[scale], picture[index], scale)
            # The time in which the pass before this one was still computed belongs to that one.
            began, self._landed = max(landing.started, self._landed), time.monotonic()
            seconds = (self._landed - began) / len(landing.windows)
            for job, tile in landing.windows:
                job.finish_window(tile, seconds)
                job.report(self._advance)

    def _result(self, landing: _InFlight[Key]) -> PassResult:
        """The result of a pass; in fp32 if a lower precision overflowed. Raises OutOfMemory."""
        model = landing.key.model
        precision = self._runner.runtimes[model].device.precision
        result = landing.pending.result()
        if result.is_finite or precision == "fp32":
            return result
        for job, _ in landing.windows:
            job.notes[f"{precision} overflowed: computed again in fp32"] = None
        windows, key = _stack_windows(landing.windows), landing.key
        runtime = self._runner.in_fp32(model)
        return runtime.launch(windows, key.scales, chroma_step=key.chroma_step).result()

    def _retry_smaller(self, taken: _Windows[Key], key: _BatchKey) -> None:
        """Queue the windows of a pass that ran out of memory again: for smaller batches or, if it
        was one window, as smaller tiles. Raises DeviceError if it was the smallest."""
        self._queues.setdefault(key, deque()).extendleft(reversed(taken))
        self._land(0)  # a picture that starts over must have nothing in flight
        runtime, scale = self._runner.runtimes[key.model], max(key.scales)
        note = self._tiler.halve(runtime, key.window, len(taken), scale)
        for job in dict.fromkeys(job for job, _ in taken):
            job.notes[note] = None
        if len(taken) == 1 and taken[0] in self._queues.get(key, ()):
            self._restart(taken[0][0], key)

    def _restart(self, job: _Job[Key], key: _BatchKey) -> None:
        """Start a picture over with smaller tiles."""
        picture, scale = job.task.picture, max(job.task.scales)
        tiles = self._tiler.cut_smaller(
            self._runner.runtimes[key.model],
            picture.height,
            picture.width,
            scale,
            key.window,
            _reach_of(job.task),
        )
        others = [each for each in self._queues.pop(key) if each[0] is not job]
        if others:
            self._queues[key] = deque(others)
        job.pixels = 0
        self._queue_windows(job, tiles)


def _reach_of(task: Task[Key]) -> Reach:
    return Reach(
        colours=FILL_REACH if task.picture.alpha is not None else 0,
        chroma=chroma.REACH if task.chroma_step else 0,
    )


def _not_finite(model: str) -> str:
    name = f"model {model}" if model else "the model"
    return f"{name} gave values that are not finite (infinity or NaN): its weights are unusable"


def _open(task: Task[Key]) -> _Job[Key]:
    """Allocate a job and its results. Raises DeviceError if there is not enough memory."""
    try:
        samples = torch.from_numpy(_stack_channels(task.picture)).permute(2, 0, 1)  # (C, H, W)
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
        raise DeviceError(f"not enough main memory for the result of {size}") from error
    return _Job(task, samples, outputs)


def _stack_windows(taken: _Windows[Key]) -> Tensor:
    """(B, C, H, W). Raises OutOfMemory if they do not fit into the main memory."""
    try:
        return torch.stack(
            [job.samples[:, tile.rows.window, tile.columns.window] for job, tile in taken]
        )
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory from error


def _stack_channels(picture: Picture) -> Samples:
    """A copy as (H, W, C), alpha last."""
    parts = [np.atleast_3d(picture.pixels)]
    if picture.alpha is not None:
        parts.append(picture.alpha[..., None])
    return np.concatenate(parts, axis=-1)


def _to_picture(output: Tensor, has_alpha: bool) -> Picture:
    samples = output.permute(1, 2, 0).numpy()  # (H, W, C)
    colours = samples[..., :-1] if has_alpha else samples
    pixels = colours[..., 0] if colours.shape[2] == 1 else colours
    return Picture(pixels, samples[..., -1] if has_alpha else None)
