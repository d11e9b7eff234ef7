"""Ctrl-C and SIGTERM as a question that the work asks when it can stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["stop_signal"]


@contextmanager
def stop_signal(answer: str = "") -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came; a second one acts at once, and those after it do not disturb
    what it does. The first is told ``answer``."""
    arrived: list[int] = []

    def note(number: int, _frame: object) -> None:
        arrived.append(number)
        if len(arrived) == 2:
            raise KeyboardInterrupt
        if len(arrived) == 1 and answer:
            # Past every lock and buffer: this may come in the middle of a print.
            os.write(2, f"{answer}\n".encode())

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(arrived)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
