"""Pictures in progress, and the parts of them that are in memory.

A part is what is read, enlarged and written at a time: a page of a TIFF, or all frames of another
file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from lapsr_cli.batch.planning import Job
from lapsr_cli.batch.targets import Pass, Target, enlargement, passes
from lapsr_cli.errors import PictureError
from lapsr_cli.image_io import Header, Photo
from lapsr_cli.inference.batching import Result
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.pixels.picture import Picture, Size

__all__ = ["Frame", "OpenPicture", "Part"]


class OpenPicture:
    """A picture that is being read, enlarged and written, part by part, by several threads.

    ``needs``: for each part, the bytes that it holds of the budget. ``size``: of the first frame.
    ``enlargements``: for each target, the multiple of the input's size it is made from.
    ``passes``: those that each frame needs. ``photo``: its frames may be read when they are
    indexed; None until it is opened. ``model``, ``devices``, ``precisions``: those used.
    ``failure``: why there will be no results. ``seconds``: spent on it so far, by any thread.
    ``opening``: the lock of the thread that opens it; ``lock``: for what several threads change,
    not to be held for long.
    """

    def __init__(
        self, job: Job, header: Header, needs: tuple[int, ...], config: PyramidConfig
    ) -> None:
        self.job = job
        self.header = header
        self.needs = needs
        self.size = Size(header.height, header.width)
        self.enlargements: dict[Target, int] = {
            target: enlargement(target.factor(self.size), config.scales) for target in job.outputs
        }
        self.passes = passes(self.enlargements.values(), config.scales)
        self.lock = Lock()
        self.opening = Lock()
        self.photo: Photo | None = None
        self.model = ""
        self.devices: dict[str, None] = {}
        self.precisions: dict[str, None] = {}
        self.windows = 0
        self.notes: dict[str, None] = {}
        self.failure: PictureError | None = None
        self.seconds = 0.0
        self.has_begun = False
        self._operations = [each.operations(config) for each in self.passes]
        self._work = header.pixels * sum(self._operations)
        self._done = 0
        self._under_way: dict[Frame, float] = {}

    def parts(self) -> Iterator[Part]:
        """All of them, in order."""
        first = 0
        for number, (part, need) in enumerate(zip(self.header.parts, self.needs, strict=True)):
            yield Part(self, number, slice(first, first + part.frames), need)
            first += part.frames

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time of the block."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.add_seconds(time.monotonic() - started)

    def add_seconds(self, seconds: float) -> None:
        """Count time that was spent on it."""
        with self.lock:
            self.seconds += seconds

    def count(self, result: Result[Frame]) -> None:
        """Count what a pass on one of its frames took."""
        self.add_seconds(result.seconds)
        with self.lock:
            self.windows += result.windows
            self.notes |= dict.fromkeys(result.notes)

    @property
    def opened(self) -> Photo:
        """``photo``, of a picture that has frames in memory."""
        assert self.photo is not None
        return self.photo

    def work(self, picture: Picture, number: int) -> int:
        """Operations of the network in pass ``number`` on a frame, which ``picture`` is."""
        return picture.height * picture.width * self._operations[number]

    def advance(self, frame: Frame, share: float) -> float:
        """Count ``share`` of a pass as done. Returns the share of the picture's work, of all passes
        on all frames. To be called with the lock."""
        if share < 1:
            self._under_way[frame] = share * frame.work
        else:
            self._under_way.pop(frame, None)
            self._done += frame.work
        return (self._done + sum(self._under_way.values())) / self._work


@dataclass(eq=False)
class Part:
    """Some frames of a picture.

    ``where``: their place among all. ``need``: the bytes they hold of the budget. ``read``: done
    when they are decoded. ``frames``: for each, the pictures there are so far, by multiple of the
    input's size; empty if the picture has failed. ``remaining``: unfinished frames.
    """

    picture: OpenPicture
    number: int
    where: slice
    need: int
    read: Future[None] = field(default_factory=Future)
    frames: list[dict[int, Picture]] = field(default_factory=list)
    remaining: int = 0

    @property
    def is_last(self) -> bool:
        """Whether no other follows."""
        return self.number + 1 == len(self.picture.needs)


@dataclass(frozen=True)
class Frame:
    """Frame ``index`` of a part in the pass of that ``number``, which takes ``work`` operations of
    the network."""

    part: Part
    index: int
    number: int
    work: int

    @property
    def in_pass(self) -> Pass:
        """The pass of that number."""
        return self.part.picture.passes[self.number]
