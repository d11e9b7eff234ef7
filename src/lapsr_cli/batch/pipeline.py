"""Read, enlarge and write at the same time; one failure stops nothing.

    feeder ──> decoders ──> a thread for each device ──> encoders ──> outcomes
       └── a budget of bytes: taken before a picture is read, given back when it is written

Pictures are read in order and come out as they are finished. A device that finds no picture read
computes what it has instead of waiting for a full batch.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Semaphore, Thread

import torch

from lapsr_cli import image_io
from lapsr_cli.batch.budget import Budget
from lapsr_cli.batch.limits import Limits, check
from lapsr_cli.batch.planning import Selection, Work
from lapsr_cli.batch.report import Outcome, Output
from lapsr_cli.batch.targets import Target, enlargement
from lapsr_cli.device.memory import free_memory, is_out_of_memory
from lapsr_cli.errors import DiskFull, PictureError
from lapsr_cli.image_io import Photo
from lapsr_cli.inference.batching import Advance, Result, Task
from lapsr_cli.pixels.picture import Picture, Size
from lapsr_cli.pixels.resize import resized
from lapsr_cli.upscaler import Upscaler

__all__ = ["DECODERS", "run"]

DECODERS = 2
"""Threads that read."""
_AHEAD = 96
"""Pictures that may be read but not begun: more than the largest batch."""
_MEMORY_SHARE = 0.25
"""Of the free memory for pictures; on the CPU windows take 0.4."""


def run(
    works: Iterable[Work],
    upscalers: Sequence[Upscaler],
    selection: Selection,
    *,
    limits: Limits | None = None,
    advance: Advance = lambda share, output_pixels: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Enlarge every picture and give what became of each, as it becomes known.

    ``upscalers``: one for each device. ``advance`` is told how far the networks are, as
    Passes.stream says. Once ``stop`` says so, pictures that are not begun are left, and have no
    outcome. Raises DiskFull if the results find no room, DeviceError if a device fails.
    """
    pipeline = _Pipeline(works, upscalers, selection, limits or Limits(), advance, stop)
    closer = Thread(target=pipeline.work, name="pipeline", daemon=True)
    closer.start()
    try:
        while (outcome := pipeline.outcomes.get()) is not None:
            yield outcome
        if pipeline.failure is not None:
            raise pipeline.failure
    finally:
        pipeline.abandoned.set()
        # A run that came to its end has waited already; one that is given up does not wait.
        pipeline.encoders.shutdown(wait=False, cancel_futures=True)


class _Abandoned(Exception):
    """Somebody else failed, or nobody waits any longer."""


@dataclass(frozen=True)
class _Read:
    """A picture that is being read."""

    work: Work
    photo: Future[Photo]
    need: int
    began: float


@dataclass(eq=False)
class _Open:
    """A picture that was read: what is to be made of each frame, and what is there already."""

    read: _Read
    photo: Photo
    model: str
    enlargements: dict[Target, int]
    frames: list[dict[int, Picture]]
    waiting: int
    windows: int = 0
    notes: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True)
class _Frame:
    """Of an open picture: frame ``index``, of which ``base`` times the size goes in."""

    photo: _Open
    index: int
    base: int


class _Pipeline:
    def __init__(
        self,
        works: Iterable[Work],
        upscalers: Sequence[Upscaler],
        selection: Selection,
        limits: Limits,
        advance: Advance,
        stop: Callable[[], bool],
    ) -> None:
        self.works = works
        self.upscalers = upscalers
        self.selection = selection
        self.limits = limits
        self.advance = advance
        self.stop = stop
        memory = limits.memory
        if memory is None:
            memory = int(free_memory(torch.device("cpu")) * _MEMORY_SHARE)
        self.budget = Budget(memory)
        self.ahead = Semaphore(_AHEAD)
        self.ready: SimpleQueue[_Read | None] = SimpleQueue()
        self.outcomes: SimpleQueue[Outcome | None] = SimpleQueue()
        self.abandoned = Event()
        self.failure: BaseException | None = None
        self.encoders = ThreadPoolExecutor(os.cpu_count() or 2, "encode")

    def work(self) -> None:
        """Run everything and wait for it; the last outcome is None."""
        with (
            ThreadPoolExecutor(DECODERS, "decode") as decoders,
            ThreadPoolExecutor(1 + len(self.upscalers), "device") as others,
        ):
            running = [others.submit(self._feed, decoders)]
            running += [others.submit(self._serve, upscaler) for upscaler in self.upscalers]
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
            errors = [error for each in done if (error := each.exception()) is not None]
            if errors:
                self._fail(errors[0])
        self.encoders.shutdown()
        self.outcomes.put(None)

    def _fail(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self.abandoned.set()

    def _ends(self) -> bool:
        return self.abandoned.is_set() or self.stop()

    def _feed(self, decoders: ThreadPoolExecutor) -> None:
        """Have pictures read, in order, as far as the budget goes."""
        try:
            for work in self.works:
                if self._ends():
                    return
                began = time.monotonic()
                try:
                    header = image_io.probe(work.source.path)
                    need = check(work, header, self.upscalers[0].config.scales, self.limits)
                except PictureError as error:
                    self._settle_failed(work, str(error), began)
                    continue
                while not (ended := self._ends()) and not self.ahead.acquire(timeout=0.1):
                    pass
                if ended or not self.budget.take(need, self._ends):
                    return
                photo = decoders.submit(
                    image_io.read,
                    work.source.path,
                    max_pixels=self.limits.max_pixels,
                    strip_metadata=self.selection.encoding.strip_metadata,
                )
                self.ready.put(_Read(work, photo, need, began))
        finally:
            for _ in self.upscalers:
                self.ready.put(None)

    def _serve(self, upscaler: Upscaler) -> None:
        """One device: take what was read, give what is enlarged to the encoders."""
        again: deque[Task[_Frame]] = deque()
        tasks: Iterable[Task[_Frame] | None] = self._tasks(upscaler, again)
        while True:
            for result in upscaler.stream(tasks, self._advance):
                self._take_in(result, upscaler, again)
            if not again:
                return
            tasks = [again.popleft() for _ in range(len(again))]

    def _advance(self, share: float, output_pixels: int) -> None:
        if self.abandoned.is_set():
            raise _Abandoned
        self.advance(share, output_pixels)

    def _tasks(
        self, upscaler: Upscaler, again: deque[Task[_Frame]]
    ) -> Iterator[Task[_Frame] | None]:
        while True:
            if again:
                yield again.popleft()
                continue
            try:
                read = self.ready.get_nowait()
            except Empty:
                yield None
                if again:
                    continue
                read = self.ready.get()
            if read is None:
                return
            self.ahead.release()
            if not read.photo.done():
                yield None
            if self._ends():
                read.photo.cancel()
                self.budget.give(read.need)
                continue
            try:
                photo = read.photo.result()
            except PictureError as error:
                self._settle_failed(read.work, str(error), read.began)
                self.budget.give(read.need)
            else:
                yield from self._opened(read, photo, upscaler)

    def _opened(
        self, read: _Read, photo: Photo, upscaler: Upscaler
    ) -> Iterator[Task[_Frame] | None]:
        """The tasks of every frame; a picture that is only made smaller has none."""
        size = Size(photo.frames[0].height, photo.frames[0].width)
        scales = upscaler.config.scales
        enlargements = {t: enlargement(t.factor(size), scales) for t in read.work.outputs}
        frames: list[dict[int, Picture]] = [{1: frame} for frame in photo.frames]
        model = upscaler.model_for(lossy=photo.lossy)
        opened = _Open(read, photo, model, enlargements, frames, len(frames))
        for index, picture in enumerate(photo.frames):
            frame = _Frame(opened, index, 1)
            wanted = _wanted(frame, upscaler)
            if wanted:
                yield Task(frame, picture, wanted, model)
        if not wanted:
            self.encoders.submit(self._write, opened, upscaler)

    def _take_in(
        self, result: Result[_Frame], upscaler: Upscaler, again: deque[Task[_Frame]]
    ) -> None:
        frame, opened = result.key, result.key.photo
        opened.windows += result.windows
        opened.notes |= dict.fromkeys(result.notes)
        for scale, picture in result.pyramid.items():
            opened.frames[frame.index][frame.base * scale] = picture
        top = max(result.pyramid)
        following = _Frame(opened, frame.index, frame.base * top)
        wanted = _wanted(following, upscaler)
        if wanted:
            again.append(Task(following, result.pyramid[top], wanted, opened.model))
            return
        opened.waiting -= 1
        if not opened.waiting:
            self.encoders.submit(self._write, opened, upscaler)

    def _write(self, opened: _Open, upscaler: Upscaler) -> None:
        """In an encoder's thread: every output of a picture, and what became of it."""
        read = opened.read
        outputs: list[Output] = []
        losses: dict[str, None] = {}
        message = ""
        try:
            for target, path in read.work.outputs.items():
                if self.abandoned.is_set():
                    return
                outputs.append(self._write_one(opened, target, path))
                lost = image_io.losses(opened.photo, path, self.selection.encoding)
                losses |= dict.fromkeys(lost)
        except PictureError as error:
            if _is_full(error):
                self._fail(DiskFull(f"{error}; what is there so far is whole"))
            message = str(error)
        except Exception as error:
            if not is_out_of_memory(error):
                self._fail(error)  # a fault of ours ends the run; the future is not asked
                raise
            message = f"{read.work.source.path}: not enough memory for its results"
        finally:
            opened.frames.clear()
            self.budget.give(read.need)
        self.outcomes.put(
            Outcome(
                source=read.work.source.path,
                status="failed" if message else "done",
                outputs=tuple(outputs),
                message=message,
                warnings=(*read.work.notes, *opened.photo.warnings, *opened.notes, *losses),
                model=opened.model,
                device=str(upscaler.device.torch_device),
                precision=upscaler.device.precision,
                windows=opened.windows,
                seconds=time.monotonic() - read.began,
            )
        )

    def _write_one(self, opened: _Open, target: Target, path: Path) -> Output:
        sizes = [Size(frame.height, frame.width) for frame in opened.photo.frames]
        factor, base = target.factor(sizes[0]), opened.enlargements[target]
        frames = tuple(
            resized(frame[base], size.times(factor))
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

    def _settle_failed(self, work: Work, message: str, began: float) -> None:
        seconds = time.monotonic() - began
        self.outcomes.put(
            Outcome(source=work.source.path, status="failed", message=message, seconds=seconds)
        )


def _wanted(frame: _Frame, upscaler: Upscaler) -> tuple[int, ...]:
    """The scales of the network's next pass on a frame; none if it has what its outputs need."""
    left = {e // frame.base for e in frame.photo.enlargements.values() if e > frame.base}
    top = max(upscaler.config.scales)
    return tuple(sorted({min(each, top) for each in left}))


def _is_full(error: PictureError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
