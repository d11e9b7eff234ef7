"""A line of stages at which several threads work, each with one core.

Threads that share every single operation wait for each other after each: on a strip of some rows,
and above all on a machine that has something else to do, the waiting takes longer than the work.
Here a thread that is free takes the item that has come furthest, and so mostly follows one from
stage to stage, while it is in this core's cache. A stage is given its items one at a time and in
their order, whichever threads bring them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch

__all__ = ["Stage", "run_stages"]

T = TypeVar("T")
Stage = Callable[[T], Iterable[T]]
"""From an item to those that the next stage is given."""

_WAITING = 2
"""Before a stage: if there are so many, none is added, so that memory stays bounded."""


def run_stages(source: Iterable[T], stages: Sequence[Stage[T]], threads: int) -> None:
    """Bring every item through all the stages; what the last one gives is dropped.

    ``threads``: this one included. What goes wrong in any of them is raised here, once all have
    stopped.
    """
    line = _Scheduler(iter(source), stages)
    others: list[threading.Thread] = []
    try:
        for _ in range(threads - 1):
            other = threading.Thread(target=line.work, daemon=True)
            other.start()
            others.append(other)
        line.work()
    finally:
        line.stop()
        for other in others:
            other.join()
    error, line.error = line.error, None
    try:
        if error is not None:
            raise error
    finally:
        del error  # whose traceback holds this frame: in a circle, all its items would stay


@contextmanager
def _one_core() -> Iterator[None]:
    """Operations of this thread are computed by it alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Scheduler(Generic[T]):
    """Stage 0 is the source; the others count from 1."""

    def __init__(self, source: Iterator[T], stages: Sequence[Stage[T]]) -> None:
        self.error: BaseException | None = None
        self._source = source
        self._stages: list[Stage[T] | None] = [None, *stages]
        self._waiting: list[deque[T]] = [deque() for _ in self._stages]
        self._is_busy = [False] * len(self._stages)
        self._has_more = True
        self._is_stopped = False
        self._changed = threading.Condition()

    def work(self) -> None:
        """Until nothing is left to do, or somebody failed."""
        with _one_core(), torch.inference_mode():
            while (number := self._taken()) is not None:
                try:
                    made = self._made(number)
                except BaseException as error:  # noqa: BLE001 (raised again where all is waited for)
                    self.error = error
                    self.stop()
                    return
                self._settle(number, made)

    def stop(self) -> None:
        """Nobody takes anything any more."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _made(self, number: int) -> list[T]:
        stage = self._stages[number]
        if stage is not None:
            return list(stage(self._waiting[number].popleft()))
        for item in self._source:
            return [item]
        self._has_more = False
        return []

    def _taken(self) -> int | None:
        """A stage that this thread has for itself now; None at the end."""
        with self._changed:
            while not self._is_stopped:
                number = self._ready()
                if number is not None:
                    self._is_busy[number] = True
                    return number
                if not any(self._is_busy):  # and so nothing will be
                    self._changed.notify_all()
                    return None
                self._changed.wait()
            return None

    def _ready(self) -> int | None:
        """The furthest stage that has something to do and room for what it makes."""
        last = len(self._stages) - 1
        for number in range(last, -1, -1):
            has_any = self._waiting[number] if number else self._has_more
            has_room = number == last or len(self._waiting[number + 1]) < _WAITING
            if has_any and has_room and not self._is_busy[number]:
                return number
        return None

    def _settle(self, number: int, made: list[T]) -> None:
        with self._changed:
            if number + 1 < len(self._stages):
                self._waiting[number + 1].extend(made)
            self._is_busy[number] = False
            # The stage itself, the next and the one before may be ready now, and one is for us.
            self._changed.notify(2)
