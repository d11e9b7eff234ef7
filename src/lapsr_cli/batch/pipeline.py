"""Reads, enlarges and writes pictures at the same time; no failure stops the others.

    feeder ──> decoders ──> one worker per device ──> encoders ──> outcomes
       └── a byte budget: taken before a part is read, returned once it is written

Pictures go through it in parts: the pages of a TIFF, or all frames of another file. Parts are read
in order, those of one picture are written in order, and pictures are reported as they finish. A
device for which no part is ready computes what it has instead of waiting for a full batch. Only
for a page that is being read, it waits, as for any frame of a picture that is read as a whole.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore, Thread

from lapsr_cli import image_io
from lapsr_cli.batch.budget import Budget
from lapsr_cli.batch.device_worker import DeviceWorker
from lapsr_cli.batch.limits import Limits, check
from lapsr_cli.batch.parts import OpenPicture, Part
from lapsr_cli.batch.planning import Job, Selection
from lapsr_cli.batch.report import Outcome
from lapsr_cli.batch.results import ResultWriter
from lapsr_cli.batch.run_state import Events, RunState
from lapsr_cli.device.memory import MemoryPolicy
from lapsr_cli.errors import PictureError, UnreadablePicture
from lapsr_cli.image_io import Photo
from lapsr_cli.inference.batching import Advance
from lapsr_cli.upscaler import Upscaler

__all__ = ["DECODERS", "ENCODERS", "Events", "run"]

DECODERS = 2
"""Number of reading threads."""
ENCODERS = os.cpu_count() or 2
"""Number of writing threads, each for a picture."""

_READ_AHEAD = 96
"""Parts read ahead of the devices: more than the largest batch."""


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
    After 1, only the writing is left. Once ``stop`` returns True, no further picture is
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
        if pipeline.state.failure is not None:
            raise pipeline.state.failure
    finally:
        pipeline.state.abandoned.set()
        # After a complete run the encoders are idle; an abandoned run does not wait for them.
        pipeline.encoders.shutdown(wait=False, cancel_futures=True)


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
        self.limits = limits
        self.strip_metadata = selection.encoding.strip_metadata
        memory = limits.memory
        if memory is None:
            devices = [upscaler.device.torch_device for upscaler in upscalers]
            memory = MemoryPolicy(devices).pictures()
        self.state = RunState(Budget(memory), stop, events)
        self.read_ahead = Semaphore(_READ_AHEAD)
        self.fed: SimpleQueue[Part | None] = SimpleQueue()
        self.encoders = ThreadPoolExecutor(ENCODERS, "encode")
        self.results = ResultWriter(self.state, selection.encoding, self.encoders)

    def run(self) -> None:
        """Run all threads and wait for them; puts None after the last event."""
        with (
            ThreadPoolExecutor(DECODERS, "decode") as decoders,
            ThreadPoolExecutor(1 + len(self.upscalers), "device") as others,
        ):
            running = [others.submit(self._feed, decoders)]
            running += [others.submit(self._enlarge, upscaler) for upscaler in self.upscalers]
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
            errors = [error for each in done if (error := each.exception()) is not None]
            if errors:
                self.state.fail(errors[0])
        self.encoders.shutdown()
        self.results.discard_open()
        self.state.events.put(None)

    def _enlarge(self, upscaler: Upscaler) -> None:
        DeviceWorker(self.state, upscaler, self.fed, self.read_ahead, self.results).run()

    def _feed(self, decoders: ThreadPoolExecutor) -> None:
        """Submit the parts of pictures to the decoders, in order, as the budget allows."""
        try:
            for job in self.jobs:
                if self.state.ends():
                    return
                picture = self._checked(job)
                for part in picture.parts() if picture else ():
                    if not self._feed_part(part, decoders):
                        return
        finally:
            for _ in self.upscalers:
                self.fed.put(None)

    def _checked(self, job: Job) -> OpenPicture | None:
        """The picture, by its header; None, after reporting it, if it cannot be enlarged."""
        started, config = time.monotonic(), self.upscalers[0].config
        try:
            header = image_io.probe(job.source.path)
            needs = check(job, header, config.scales, self.limits)
        except PictureError as error:
            seconds = time.monotonic() - started
            path, message = job.source.path, str(error)
            failed = Outcome(source=path, status="failed", message=message, seconds=seconds)
            self.state.events.put(failed)
            return None
        picture = OpenPicture(job, header, needs, config)
        picture.add_seconds(time.monotonic() - started)
        return picture

    def _feed_part(self, part: Part, decoders: ThreadPoolExecutor) -> bool:
        """Whether the part could be submitted before the run came to an end."""

        def is_dropped() -> bool:
            return self.state.drops(part.picture)

        while not (ended := is_dropped()) and not self.read_ahead.acquire(timeout=0.1):
            pass
        if ended or not self.state.budget.take(part.need, is_dropped):
            return False
        part.read = decoders.submit(self._read, part)
        self.fed.put(part)
        return True

    def _read(self, part: Part) -> None:
        picture = part.picture
        if picture.failure is not None or self.state.drops(picture):
            return
        try:
            with picture.opening:
                if picture.photo is None:
                    with picture.timed():
                        picture.photo = self._open(picture)
            with picture.timed():
                part.frames = [{1: frame} for frame in picture.photo.frames[part.where]]
        except PictureError as error:
            picture.failure = error

    def _open(self, picture: OpenPicture) -> Photo:
        """Raises UnreadablePicture."""
        path = picture.job.source.path
        photo = image_io.open_photo(
            path, max_pixels=self.limits.max_pixels, strip_metadata=self.strip_metadata
        )
        if len(photo.frames) != picture.header.frames:
            raise UnreadablePicture(f"{path}: the file was changed while it was read")
        return photo
