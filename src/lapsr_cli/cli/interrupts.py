"""What ends a run early, as a flag that the run checks when it can stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lapsr_cli.cli.streams import watch_readers
from lapsr_cli.errors import INTERRUPTED, OUTPUT_CLOSED

__all__ = ["Stop", "stop_signal"]


class Stop:
    """Whether a run is to stop: a signal has arrived, or nobody reads its output any longer."""

    def __init__(self, message: str, output_closed: Callable[[], bool]) -> None:
        self._message = message
        self._output_closed = output_closed
        self._arrived: list[int] = []

    def __call__(self) -> bool:
        """Whether it is."""
        return bool(self._arrived) or self._output_closed()

    @property
    def exit_code(self) -> int:
        """Of a run that was stopped."""
        return INTERRUPTED if self._arrived else OUTPUT_CLOSED

    def note(self, number: int, _frame: object) -> None:
        """The handler of the signals."""
        if self._arrived and number == getattr(signal, "SIGHUP", None):
            return  # a shell that loses its terminal passes one on, and the system sends another
        self._arrived.append(number)
        if len(self._arrived) == 2:
            raise KeyboardInterrupt
        if len(self._arrived) == 1 and self._message:
            # Unbuffered and without locks: the signal may arrive in the middle of a print.
            with suppress(OSError):
                os.write(2, f"{self._message}\n".encode())


@contextmanager
def stop_signal(message: str = "") -> Iterator[Stop]:
    """A flag for Ctrl-C, SIGTERM, SIGHUP, SIGQUIT and a closed pipe on stdout or stderr.

    The first signal prints ``message`` to stderr, the second raises KeyboardInterrupt, and later
    ones are ignored, so that they do not disturb the cleanup. SIGHUP and SIGQUIT stay ignored if
    they are, as under nohup.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    for name in ("SIGHUP", "SIGQUIT"):
        number = getattr(signal, name, None)  # absent on Windows
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            numbers.append(number)
    with watch_readers() as output_closed:
        stop = Stop(message, output_closed)
        before = {number: signal.signal(number, stop.note) for number in numbers}
        try:
            yield stop
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
