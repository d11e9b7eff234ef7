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
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Semaphore, Thread

from lapsr_cli import image_io
from lapsr_cli.batch.budget import Budget
from lapsr_cli.batch.limits import Limits, check
from lapsr_cli.batch.planning import Job, Selection
from lapsr_cli.batch.report import Outcome, Output
from lapsr_cli.batch.targets import Pass, Target, enlargement, passes
from lapsr_cli.device.memory import MemoryPolicy, is_out_of_memory
from lapsr_cli.errors import DiskFull, PictureError
from lapsr_cli.image_io import Photo
from lapsr_cli.inference.batching import Advance, Pyramid, Result, Task
from lapsr_cli.pixels.picture import Picture, Size
from lapsr_cli.pixels.resize import resized
from lapsr_cli.upscaler import Upscaler

__all__ = ["DECODERS", "ENCODERS", "Events", "run"]

DECODERS = 2
"""Number of reading threads."""
ENCODERS = os.cpu_count() or 2
"""Number of writing threads, each for a picture."""
Events = SimpleQueue[Outcome | tuple[Path, float] | None]
"""What a run reports: outcomes, and paths of pictures with the share of their work that is done."""

_READ_AHEAD = 96
"""Pictures read ahead of the devices: more than the largest batch."""


def run(
    jobs: Iterable[Job],
    upscalers: Sequence[Upscaler],
    selection: Selection,
    *,
    limits: Limits | None = None,
    advance: Advance[Path] = lambda source, share: None,
    stop: Callable[[], bool] = lambda: False,
    events: Events | None = None,
) -> Generator[Outcome, None, None]:
    """Enlarge every picture and yield the outcome of each as it finishes.

    ``upscalers``: one per device. ``advance`` is called, in this thread, with the path of a picture
    and the share (0-1, rising) of the network's work on it that is done: all frames, all passes.
    After 1, the picture is being written. Once ``stop`` returns True, no further picture is
    started; those left have no outcome. ``events``: holds outcomes and arguments of ``advance``
    until they are yielded or passed on; after giving up, the rest is there.
    Raises DiskFull if there is no space for results, DeviceError if a device fails.
    """
    events = SimpleQueue() if events is None else events
    pipeline = _Pipeline(jobs, upscalers, selection, limits or Limits(), stop, events)
    main = Thread(target=pipeline.run, name="pipeline", daemon=True)
    main.start()
    try:
        while (event := events.get()) is not None:
            if isinstance(event, Outcome):
                yield event
            else:
                advance(*event)
        main.join()  # it frees tensors at its end, which aborts an interpreter that exits
        if pipeline.failure is not None:
            raise pipeline.failure
    finally:
        pipeline.abandoned.set()
        # After a complete run the encoders are idle; an abandoned run does not wait for them.
        pipeline.encoders.shutdown(wait=False, cancel_futures=True)


class _Abandoned(Exception):
    """Another thread failed, or the caller stopped iterating."""


@dataclass(eq=False)
class _Reading:
    """A picture being read. ``size``: the bytes it holds of the budget. ``seconds``: spent on it so
    far, by any thread."""

    job: Job
    size: int
    seconds: float
    photo: Future[Photo] = field(default_factory=Future)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time of the block."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started


@dataclass(eq=False)
class _OpenPhoto:
    """A decoded picture.

    ``enlargements``: for each target, the multiple of the input's size it is made from.
    ``passes``: those that each frame needs. ``frames``: for each frame, the pictures computed so
    far, by multiple. ``remaining``: unfinished frames. ``work``: of all passes on all frames, in
    operations of the network; ``done``: of finished passes; ``under_way``: of others, so far.
    ``failure``: why the network gave no picture for one of them.
    """

    reading: _Reading
    photo: Photo
    model: str
    enlargements: dict[Target, int]
    passes: tuple[Pass, ...]
    frames: list[dict[int, Picture]]
    remaining: int
    work: int
    done: int = 0
    under_way: dict[_Frame, float] = field(default_factory=dict)
    windows: int = 0
    notes: dict[str, None] = field(default_factory=dict)
    failure: str = ""

    def advance(self, frame: _Frame, share: float) -> float:
        """Count ``share`` of a pass as done. Returns the share of the picture's work."""
        if share < 1:
            self.under_way[frame] = share * frame.work
        else:
            self.under_way.pop(frame, None)
            self.done += frame.work
        return (self.done + sum(self.under_way.values())) / self.work


@dataclass(frozen=True)
class _Frame:
    """Frame ``index`` of a picture in the pass of that ``number``, which takes ``work`` operations
    of the network."""

    photo: _OpenPhoto
    index: int
    number: int
    work: int

    @property
    def in_pass(self) -> Pass:
        """The pass of that number."""
        return self.photo.passes[self.number]


class _Pipeline:
    def __init__(
        self,
        jobs: Iterable[Job],
        upscalers: Sequence[Upscaler],
        selection: Selection,
        limits: Limits,
        stop: Callable[[], bool],
        events: Events,
    ) -> None:
        self.jobs = jobs
        self.upscalers = upscalers
        self.selection = selection
        self.limits = limits
        self.stop = stop
        memory = limits.memory
        if memory is None:
            devices = [upscaler.device.torch_device for upscaler in upscalers]
            memory = MemoryPolicy(devices).pictures()
        self.budget = Budget(memory)
        self.read_ahead = Semaphore(_READ_AHEAD)
        self.readings: SimpleQueue[_Reading | None] = SimpleQueue()
        self.events = events
        self.abandoned = Event()
        self.failure: BaseException | None = None
        self.encoders = ThreadPoolExecutor(ENCODERS, "encode")

    def run(self) -> None:
        """Run all threads and wait for them; puts None after the last event."""
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
        self.events.put(None)

    def fail(self, error: BaseException) -> None:
        """End the run with ``error``."""
        self.failure = self.failure or error
        self.abandoned.set()

    def ends(self) -> bool:
        """Whether no further picture may be started."""
        return self.abandoned.is_set() or self.stop()

    def report_progress(self, frame: _Frame, share: float) -> None:
        """Called by device threads; raises _Abandoned to end them if the run is abandoned."""
        if self.abandoned.is_set():
            raise _Abandoned
        photo = frame.photo
        self.events.put((photo.reading.job.source.path, photo.advance(frame, share)))

    def report_unreadable(self, job: Job, error: PictureError, seconds: float) -> None:
        """Put the outcome of a picture that could not be read."""
        path = job.source.path
        self.events.put(Outcome(source=path, status="failed", message=str(error), seconds=seconds))

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
                    self.report_unreadable(job, error, time.monotonic() - started)
                    continue
                reading = _Reading(job, size, time.monotonic() - started)
                while not (ended := self.ends()) and not self.read_ahead.acquire(timeout=0.1):
                    pass
                if ended or not self.budget.take(size, self.ends):
                    return
                reading.photo = decoders.submit(self._read, reading)
                self.readings.put(reading)
        finally:
            for _ in self.upscalers:
                self.readings.put(None)

    def _read(self, reading: _Reading) -> Photo:
        with reading.timed():
            return image_io.read(
                reading.job.source.path,
                max_pixels=self.limits.max_pixels,
                strip_metadata=self.selection.encoding.strip_metadata,
            )

    def write(self, photo: _OpenPhoto, upscaler: Upscaler) -> None:
        """Submit the outputs of a picture to the encoders."""
        if not photo.passes:
            self.events.put((photo.reading.job.source.path, 1.0))
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
                with reading.timed():
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
        self.events.put(
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
                seconds=reading.seconds,
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
                self._pipeline.report_unreadable(reading.job, error, reading.seconds)
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
        config = self._upscaler.config
        enlargements = {t: enlargement(t.factor(size), config.scales) for t in reading.job.outputs}
        needed = passes(enlargements.values(), config.scales)
        pixels = sum(frame.height * frame.width for frame in photo.frames)
        opened = _OpenPhoto(
            reading,
            photo,
            self._upscaler.model_for(lossy=photo.lossy),
            enlargements,
            needed,
            [{1: frame} for frame in photo.frames],
            len(photo.frames),
            pixels * sum(each.operations(config) for each in needed),
        )
        if not needed:
            self._pipeline.write(opened, self._upscaler)
            return
        for index in range(len(photo.frames)):
            self._submit(self._task(opened, index, 0))

    def _task(self, opened: _OpenPhoto, index: int, number: int) -> Task[_Frame]:
        """Pass ``number`` on a frame, for which the passes before it have made the picture."""
        needed, original = opened.passes[number], opened.photo.frames[index]
        work = original.height * original.width * needed.operations(self._upscaler.config)
        picture = opened.frames[index][needed.multiple]
        step = 0.0 if number else opened.photo.chroma_step  # the first pass has restored it
        return Task(_Frame(opened, index, number, work), picture, needed.scales, opened.model, step)

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
            opened.reading.seconds += result.seconds
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
            opened.frames[frame.index][frame.in_pass.multiple * scale] = picture
        is_last = frame.number + 1 == len(opened.passes)
        if not is_last:
            self._second_passes.append(self._task(opened, frame.index, frame.number + 1))
        return not is_last


def _is_disk_full(error: PictureError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
