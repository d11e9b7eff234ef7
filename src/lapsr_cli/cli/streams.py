"""stdout and stderr, whose readers may go away before a command ends."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["OutputClosed", "guard_streams", "watch_readers"]


class OutputClosed(BaseException):
    """Nobody reads the pipe that stdout or stderr goes to, as after `| head`.

    Like KeyboardInterrupt, it is no Exception: nothing but the end of the command handles it.
    """


@dataclass
class _Readers:
    """``gone``: whether nobody reads one of the pipes. ``watched``: whether somebody asks that."""

    gone: bool = False
    watched: bool = False


_readers = _Readers()


class _Output(io.FileIO):
    """A pipe or a terminal. What is written after its reader has gone is dropped."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Raises OutputClosed when a pipe is found closed, unless that is watched."""
        try:
            return super().write(data)
        except BrokenPipeError:
            known, _readers.gone = _readers.gone, True
            if not (known or _readers.watched):
                raise OutputClosed from None
        except OSError as error:
            # A terminal that was closed: SIGHUP stops what is to stop.
            if error.errno != errno.EIO:
                raise
        return memoryview(data).nbytes


def guard_streams() -> None:
    """From now on, a closed pipe raises OutputClosed once, and a closed terminal nothing.

    BrokenPipeError would be raised again by every later write, in whichever thread, by flushing at
    exit too, and click and rich end the process with it.
    """
    sys.stdout = _guarded(sys.stdout, "backslashreplace")
    sys.stderr = _guarded(sys.stderr, "backslashreplace")


def _guarded(stream: TextIO | None, errors: str) -> TextIO:
    """The same stream, unless it goes to a file. ``errors``: for what its encoding lacks."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # type: ignore[return-value] # None without a console
    stream.reconfigure(errors=errors)
    mode = os.fstat(stream.fileno()).st_mode
    if os.name == "nt" or stat.S_ISREG(mode):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


@contextmanager
def watch_readers() -> Iterator[Callable[[], bool]]:
    """A function that tells whether nobody reads stdout or stderr any longer.

    Inside the block, a pipe that is closed raises nothing.
    """
    _readers.watched = True
    try:
        yield lambda: _readers.gone
    finally:
        _readers.watched = False
