"""Reads, enlarges and writes pictures at the same time; no failure stops the others.

    feeder ──> decoders ──> one worker per device ──> encoders ──> outcomes
       └── a byte budget: taken before a picture is read, returned once it is written

Pictures are read in order and reported as they finish. A device for which no picture is ready
computes what it has instead of waiting for a full batch.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Semaphore, Thread

from lapsr_cli import image_io
from lapsr_cli.batch.budget import Budget
from lapsr_cli.batch.limits import Limits, check
from lapsr_cli.batch.planning import Job, Selection
from lapsr_cli.batch.report import Outcome, Output
from lapsr_cli.batch.targets import Target, enlargement
from lapsr_cli.device.memory import MemoryPolicy, is_out_of_memory
from lapsr_cli.errors import DiskFull, PictureError
from lapsr_cli.image_io import Photo
from lapsr_cli.inference.batching import Advance, Pyramid, Result, Task
from lapsr_cli.pixels.picture import Picture, Size
from lapsr_cli.pixels.resize import resized
from lapsr_cli.upscaler import Upscaler

__all__ = ["DECODERS", "run"]

DECODERS = 2
"""Number of reading threads."""
_READ_AHEAD = 96
"""Pictures read ahead of the devices: more than the largest batch."""


def run(
    jobs: Iterable[Job],
    upscalers: Sequence[Upscaler],
    selection: Selection,
    *,
    limits: Limits | None = None,
    advance: Advance = lambda share, output_pixels: None,
    stop: Callable[[], bool] = lambda: False,
    finished: SimpleQueue[Outcome | None] | None = None,
) -> Generator[Outcome, None, None]:
    """Enlarge every picture and yield the outcome of each as it finishes.

    ``upscalers``: one per device. ``advance`` receives the progress of the networks (see `Stream`).
    Once ``stop`` returns True, no further picture is started; those left have no outcome.
    ``finished``: holds outcomes until they are yielded; after giving up, the rest is there.
    Raises DiskFull if there is no space for results, DeviceError if a device fails.
    """
    outcomes = SimpleQueue() if finished is None else finished
    pipeline = _Pipeline(jobs, upscalers, selection, limits or Limits(), advance, stop, outcomes)
    main = Thread(target=pipeline.run, name="pipeline", daemon=True)
    main.start()
    try:
        while (outcome := outcomes.get()) is not None:
            yield outcome
        main.join()  # it frees tensors at its end, which aborts an interpreter that exits
        if pipeline.failure is not None:
            raise pipeline.failure
    finally:
        pipeline.abandoned.set()
        # After a complete run the encoders are idle; an abandoned run does not wait for them.
        pipeline.encoders.shutdown(wait=False, cancel_futures=True)


class _Abandoned(Exception):
    """Another thread failed, or the caller stopped iterating."""


@dataclass(frozen=True)
class _Reading:
    """A picture being read. ``size``: the bytes it holds of the budget."""

    job: Job
    photo: Future[Photo]
    size: int
    started: float


@dataclass(eq=False)
class _OpenPhoto:
    """A decoded picture.

    ``enlargements``: for each target, the multiple of the input's size it is made from. ``frames``:
    for each frame, the pictures computed so far, by multiple. ``remaining``: unfinished frames.
    ``failure``: why the network gave no picture for one of them.
    """

    reading: _Reading
    photo: Photo
    model: str
    enlargements: dict[Target, int]
    frames: list[dict[int, Picture]]
    remaining: int
    windows: int = 0
    notes: dict[str, None] = field(default_factory=dict)
    failure: str = ""

    def missing(self, multiple: int, scales: Sequence[int]) -> tuple[int, ...]:
        """The scales of the network's next pass on a frame at ``multiple`` times the input's size;
        empty if nothing is missing."""
        missing = {e // multiple for e in self.enlargements.values() if e > multiple}
        return tuple(sorted({min(each, max(scales)) for each in missing}))


@dataclass(frozen=True)
class _Frame:
    """Frame ``index`` of a picture, at ``multiple`` times its size."""

    photo: _OpenPhoto
    index: int
    multiple: int


class _Pipeline:
    def __init__(
        self,
        jobs: Iterable[Job],
        upscalers: Sequence[Upscaler],
        selection: Selection,
        limits: Limits,
        advance: Advance,
        stop: Callable[[], bool],
        outcomes: SimpleQueue[Outcome | None],
    ) -> None:
        self.jobs = jobs
        self.upscalers = upscalers
        self.selection = selection
        self.limits = limits
        self.advance = advance
        self.stop = stop
        memory = limits.memory
        if memory is None:
            devices = [upscaler.device.torch_device for upscaler in upscalers]
            memory = MemoryPolicy(devices).pictures()
        self.budget = Budget(memory)
        self.read_ahead = Semaphore(_READ_AHEAD)
        self.readings: SimpleQueue[_Reading | None] = SimpleQueue()
        self.outcomes = outcomes
        self.abandoned = Event()
        self.failure: BaseException | None = None
        self.encoders = ThreadPoolExecutor(os.cpu_count() or 2, "encode")

    def run(self) -> None:
        """Run all threads and wait for them; puts None after the last outcome."""
        with (
            ThreadPoolExecutor(DECODERS, "decode") as decoders,
            ThreadPoolExecutor(1 + len(self.upscalers), "device") as others,
        ):
            running = [others.submit(self._feed, decoders)]
            running += [
                others.submit(_DeviceWorker(self, upscaler).run) for upscaler in self.upscalers
            ]
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
            errors = [error for each in done if (error := each.exception()) is not None]
            if errors:
                self.fail(errors[0])
        self.encoders.shutdown()
        self.outcomes.put(None)

    def fail(self, error: BaseException) -> None:
        """End the run with ``error``."""
        self.failure = self.failure or error
        self.abandoned.set()

    def ends(self) -> bool:
        """Whether no further picture may be started."""
        return self.abandoned.is_set() or self.stop()

    def report_progress(self, share: float, output_pixels: int) -> None:
        """Called by device threads; raises _Abandoned to end them if the run is abandoned."""
        if self.abandoned.is_set():
            raise _Abandoned
        self.advance(share, output_pixels)

    def report_unreadable(self, job: Job, error: PictureError, started: float) -> None:
        """Put the outcome of a picture that could not be read."""
        seconds = time.monotonic() - started
        path = job.source.path
        self.outcomes.put(
            Outcome(source=path, status="failed", message=str(error), seconds=seconds)
        )

    def _feed(self, decoders: ThreadPoolExecutor) -> None:
        """Submit pictures to the decoders, in order, as the budget allows."""
        try:
            for job in self.jobs:
                if self.ends():
                    return
                started = time.monotonic()
                try:
                    header = image_io.probe(job.source.path)
                    size = check(job, header, self.upscalers[0].config.scales, self.limits)
                except PictureError as error:
                    self.report_unreadable(job, error, started)
                    continue
                while not (ended := self.ends()) and not self.read_ahead.acquire(timeout=0.1):
                    pass
                if ended or not self.budget.take(size, self.ends):
                    return
                photo = decoders.submit(
                    image_io.read,
                    job.source.path,
                    max_pixels=self.limits.max_pixels,
                    strip_metadata=self.selection.encoding.strip_metadata,
                )
                self.readings.put(_Reading(job, photo, size, started))
        finally:
            for _ in self.upscalers:
                self.readings.put(None)

    def write(self, photo: _OpenPhoto, upscaler: Upscaler) -> None:
        """Submit the outputs of a picture to the encoders."""
        self.encoders.submit(self._write, photo, upscaler)

    def _write(self, opened: _OpenPhoto, upscaler: Upscaler) -> None:
        reading, path = opened.reading, opened.reading.job.source.path
        outputs: list[Output] = []
        losses: dict[str, None] = {}
        message = ""
        try:
            if opened.failure:
                raise PictureError(f"{path}: {opened.failure}")
            for target, place in reading.job.outputs.items():
                if self.abandoned.is_set():
                    return
                outputs.append(self._write_one(opened, target, place))
                lost = image_io.losses(opened.photo, place, self.selection.encoding)
                losses |= dict.fromkeys(lost)
        except PictureError as error:
            if _is_disk_full(error):
                self.fail(DiskFull(f"{error}; the files written so far are complete"))
            message = str(error)
        except Exception as error:
            if not is_out_of_memory(error):
                self.fail(error)  # a bug ends the run: nobody checks the future
                raise
            message = f"{path}: not enough memory for its results"
        finally:
            opened.frames.clear()
            self.budget.give(reading.size)
        self.outcomes.put(
            Outcome(
                source=path,
                status="failed" if message else "done",
                outputs=tuple(outputs),
                message=message,
                warnings=(*reading.job.notes, *opened.photo.warnings, *opened.notes, *losses),
                model=opened.model,
                device=str(upscaler.device.torch_device),
                precision=upscaler.device.precision,
                lossy=opened.photo.lossy,
                windows=opened.windows,
                seconds=time.monotonic() - reading.started,
            )
        )

    def _write_one(self, opened: _OpenPhoto, target: Target, path: Path) -> Output:
        sizes = [Size(frame.height, frame.width) for frame in opened.photo.frames]
        factor, multiple = target.factor(sizes[0]), opened.enlargements[target]
        frames = tuple(
            resized(frame[multiple], size.times(factor))
            for frame, size in zip(opened.frames, sizes, strict=True)
        )
        image_io.write(replace(opened.photo, frames=frames), path, self.selection.encoding)
        return Output(
            path=path,
            scale=target.label,
            width=frames[0].width,
            height=frames[0].height,
            frames=len(frames),
            bytes=path.stat().st_size,
        )


class _DeviceWorker:
    """Enlarges decoded pictures on one device and passes the results to the encoders."""

    def __init__(self, pipeline: _Pipeline, upscaler: Upscaler) -> None:
        self._pipeline = pipeline
        self._upscaler = upscaler
        self._stream = upscaler.open_stream(pipeline.report_progress)
        self._second_passes: deque[Task[_Frame]] = deque()  # of a cascade

    def run(self) -> None:
        """Process pictures until there are no more."""
        while (reading := self._next_reading()) is not None:
            if not reading.photo.done():
                self._flush()
            if self._pipeline.ends():
                reading.photo.cancel()
                self._pipeline.budget.give(reading.size)
                continue
            try:
                photo = reading.photo.result()
            except PictureError as error:
                self._pipeline.report_unreadable(reading.job, error, reading.started)
                self._pipeline.budget.give(reading.size)
            else:
                self._enlarge(reading, photo)
        self._flush()

    def _next_reading(self) -> _Reading | None:
        """The next picture, or None at the end; pending windows are computed before waiting."""
        try:
            reading = self._pipeline.readings.get_nowait()
        except Empty:
            self._flush()
            reading = self._pipeline.readings.get()
        if reading is not None:
            self._pipeline.read_ahead.release()
        return reading

    def _enlarge(self, reading: _Reading, photo: Photo) -> None:
        """Submit every frame; a picture that is only downscaled bypasses the network."""
        size = Size(photo.frames[0].height, photo.frames[0].width)
        scales = self._upscaler.config.scales
        opened = _OpenPhoto(
            reading,
            photo,
            self._upscaler.model_for(lossy=photo.lossy),
            {t: enlargement(t.factor(size), scales) for t in reading.job.outputs},
            [{1: frame} for frame in photo.frames],
            len(photo.frames),
        )
        missing = opened.missing(1, scales)
        if not missing:
            self._pipeline.write(opened, self._upscaler)
            return
        for index, picture in enumerate(photo.frames):
            self._submit(Task(_Frame(opened, index, 1), picture, missing, opened.model))

    def _submit(self, task: Task[_Frame]) -> None:
        self._take(self._stream.submit(task))
        while self._second_passes:
            self._take(self._stream.submit(self._second_passes.popleft()))

    def _flush(self) -> None:
        """Compute everything pending, including second passes."""
        self._take(self._stream.flush())
        while self._second_passes:
            self._submit(self._second_passes.popleft())
            self._take(self._stream.flush())

    def _take(self, results: Iterable[Result[_Frame]]) -> None:
        """Store the pictures of each result; write photos that are complete."""
        for result in results:
            frame, opened = result.key, result.key.photo
            opened.windows += result.windows
            opened.notes |= dict.fromkeys(result.notes)
            opened.failure = opened.failure or result.failure
            if not opened.failure and self._keep(frame, result.pyramid):
                continue
            opened.remaining -= 1
            if not opened.remaining:
                self._pipeline.write(opened, self._upscaler)

    def _keep(self, frame: _Frame, pyramid: Pyramid) -> bool:
        """Keep a frame's pictures; whether it needs another pass, which this queues."""
        opened = frame.photo
        for scale, picture in pyramid.items():
            opened.frames[frame.index][frame.multiple * scale] = picture
        top = max(pyramid)
        following = _Frame(opened, frame.index, frame.multiple * top)
        missing = opened.missing(following.multiple, self._upscaler.config.scales)
        if missing:
            self._second_passes.append(Task(following, pyramid[top], missing, opened.model))
        return bool(missing)


def _is_disk_full(error: PictureError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
