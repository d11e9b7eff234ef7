"""What the threads of a run share: its memory, what it reports, and whether it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from lapsr_cli.batch.budget import Budget
from lapsr_cli.batch.parts import Frame, OpenPicture
from lapsr_cli.batch.report import Outcome

__all__ = ["Abandoned", "Events", "RunState"]

Events = SimpleQueue[Outcome | tuple[Path, float] | None]
"""What a run reports: outcomes, and paths of pictures with the share of their work that is done."""


class Abandoned(Exception):
    """Another thread failed, or the caller stopped iterating."""


class RunState:
    """``stop``: whether no further picture is to be started; True for good."""

    def __init__(self, budget: Budget, stop: Callable[[], bool], events: Events) -> None:
        self.budget = budget
        self.events = events
        self.abandoned = Event()
        self.failure: BaseException | None = None
        self._stop = stop

    def fail(self, error: BaseException) -> None:
        """End the run with ``error``."""
        self.failure = self.failure or error
        self.abandoned.set()

    def ends(self) -> bool:
        """Whether no further picture may be started."""
        return self.abandoned.is_set() or self._stop()

    def begins(self, picture: OpenPicture) -> bool:
        """Whether a part of a picture may be enlarged: one that has begun is finished. If so, it
        has begun."""
        with picture.lock:
            picture.has_begun = picture.has_begun or not self._stop()
            return picture.has_begun and not self.abandoned.is_set()

    def drops(self, picture: OpenPicture) -> bool:
        """Whether no part of a picture is to be read any more."""
        with picture.lock:
            return self.abandoned.is_set() or (not picture.has_begun and self._stop())

    def report_progress(self, frame: Frame, share: float) -> None:
        """Called by device threads; raises Abandoned to end them if the run is abandoned."""
        if self.abandoned.is_set():
            raise Abandoned
        picture = frame.part.picture
        with picture.lock:
            whole = picture.advance(frame, share)
            if picture.failure is None:
                self.events.put((picture.job.source.path, whole))
