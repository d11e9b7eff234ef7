"""A pipeline of stages, run by several threads of one core each.

Threads that share every operation wait for each other after every operation: on a strip of a few
rows, and above all on a machine that is busy otherwise, they wait longer than they compute. Here, a
free thread takes the item that has come furthest, and so mostly follows one item from stage to
stage while it is in the cache of that core. A stage processes one item at a time, in order,
whichever thread runs it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import torch

__all__ = ["Stage", "run_stages"]

T = TypeVar("T")
Stage = Callable[[T], Iterable[T]]
"""Turns an item into the items, none or several, for the next stage."""

_QUEUE_LIMIT = 2
"""Items in the queue of a stage from which the stage before it pauses, so that memory stays
bounded."""


def run_stages(source: Iterable[T], stages: Sequence[Stage[T]], threads: int) -> None:
    """Process every item of ``source`` by all stages; the output of the last one is discarded.

    ``threads``: including the calling one. An error in any thread is raised here, after all of them
    have stopped.
    """
    scheduler = _Scheduler(iter(source), stages)
    workers: list[threading.Thread] = []
    torch_threads = torch.get_num_threads()
    try:
        for _ in range(threads - 1):
            worker = threading.Thread(target=scheduler.run_worker, daemon=True)
            worker.start()
            workers.append(worker)
        scheduler.run_worker()
    finally:
        scheduler.stop()
        for worker in workers:
            worker.join()
        torch.set_num_threads(torch_threads)  # of this thread, and of those that start later
    error, scheduler.error = scheduler.error, None
    try:
        if error is not None:
            raise error
    finally:
        del error  # its traceback refers to this frame: a cycle would keep all items alive


class _Scheduler(Generic[T]):
    """Decides which stage a free thread runs next. Stage 0 is the source."""

    def __init__(self, source: Iterator[T], stages: Sequence[Stage[T]]) -> None:
        self.error: BaseException | None = None
        self._source = source
        self._stages: list[Stage[T] | None] = [None, *stages]
        self._queues: list[deque[T]] = [deque() for _ in self._stages]
        self._is_running = [False] * len(self._stages)
        self._source_has_more = True
        self._is_stopped = False
        self._changed = threading.Condition()

    def run_worker(self) -> None:
        """Run stages until all items are processed or any thread has failed. torch then computes
        the operations of this thread on one core."""
        torch.set_num_threads(1)
        with torch.inference_mode():
            while (number := self._next_stage()) is not None:
                try:
                    output = self._run_stage(number)
                except BaseException as error:  # noqa: BLE001 (raised again by run_stages)
                    self.error = error
                    self.stop()
                    return
                self._finish_stage(number, output)

    def stop(self) -> None:
        """Let every thread end after the stage that it runs."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _next_stage(self) -> int | None:
        """Reserve a stage for this thread, waiting until one can run; None at the end."""
        with self._changed:
            while not self._is_stopped:
                number = self._runnable_stage()
                if number is not None:
                    self._is_running[number] = True
                    return number
                if not any(self._is_running):  # and so none will become runnable
                    self._changed.notify_all()
                    return None
                self._changed.wait()
            return None

    def _runnable_stage(self) -> int | None:
        """The last stage that has an item, is not running, and has space for its output."""
        last = len(self._stages) - 1
        for number in range(last, -1, -1):
            has_item = self._queues[number] if number else self._source_has_more
            has_space = number == last or len(self._queues[number + 1]) < _QUEUE_LIMIT
            if has_item and has_space and not self._is_running[number]:
                return number
        return None

    def _run_stage(self, number: int) -> list[T]:
        """Process the oldest item of a reserved stage; no lock is held."""
        stage = self._stages[number]
        if stage is not None:
            return list(stage(self._queues[number].popleft()))
        for item in self._source:
            return [item]
        self._source_has_more = False
        return []

    def _finish_stage(self, number: int, output: list[T]) -> None:
        """Pass ``output`` on, and release the stage."""
        with self._changed:
            if number + 1 < len(self._stages):
                self._queues[number + 1].extend(output)
            self._is_running[number] = False
            # This stage, the next and the one before may have become runnable; this thread takes
            # one of them.
            self._changed.notify(2)
