"""Ctrl-C and SIGTERM as a flag that a run checks when it can stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["stop_signal"]


@contextmanager
def stop_signal(message: str = "") -> Iterator[Callable[[], bool]]:
    """A function that tells whether Ctrl-C or SIGTERM has arrived.

    The first one prints ``message`` to stderr, the second raises KeyboardInterrupt, and later ones
    are ignored, so that they do not disturb the cleanup.
    """
    arrived: list[int] = []

    def note(number: int, _frame: object) -> None:
        arrived.append(number)
        if len(arrived) == 2:
            raise KeyboardInterrupt
        if len(arrived) == 1 and message:
            # Unbuffered and without locks: the signal may arrive in the middle of a print.
            os.write(2, f"{message}\n".encode())

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(arrived)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
