"""A chain of iterators shared by threads, each of which computes with one core.

Threads that share every single operation wait for each other after each: on a strip of some rows,
and above all on a machine that has something else to do, the waiting takes longer than the work.
Here each thread has some of the layers and hands on what it made.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

__all__ = ["one_core", "relayed"]

T = TypeVar("T")

_AHEAD = 2
"""Items that a thread may be ahead of the one that takes them."""


@contextmanager
def one_core() -> Iterator[None]:
    """Operations of this thread are computed by it alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def relayed(items: Iterable[T]) -> Iterator[T]:
    """The same items, made by a thread of their own with one core, at most two ahead.

    What goes wrong there is raised here. The thread ends when the items do, or when nobody takes
    them any more.
    """
    made: queue.Queue[T | _End] = queue.Queue(_AHEAD)
    abandoned = threading.Event()
    thread = threading.Thread(target=_make, args=(items, made, abandoned), daemon=True)
    thread.start()
    try:
        while not isinstance(item := made.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        abandoned.set()
        while thread.is_alive():
            _empty(made)
            thread.join(0.01)


class _End:
    """After the last item: what went wrong, if anything."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def _make(items: Iterable[T], made: queue.Queue[T | _End], abandoned: threading.Event) -> None:
    end = _End()
    try:
        torch.set_num_threads(1)
        with torch.inference_mode():
            for item in items:
                made.put(item)
                if abandoned.is_set():
                    break
    except BaseException as error:  # noqa: BLE001 (raised again where the items are taken)
        end = _End(error)
    made.put(end)


def _empty(made: queue.Queue[T | _End]) -> None:
    try:
        while True:
            made.get_nowait()
    except queue.Empty:
        return
