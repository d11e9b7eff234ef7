"""The files that a command's options name: which of them may be replaced, and how they are written.

A new file, an empty one, and an earlier one of the same kind are written under a temporary name and
renamed. A symbolic link stays, and its target is replaced. A character device or a FIFO is written
to. Everything else is refused before the command begins.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lapsr_cli.errors import UsageError
from lapsr_cli.files import atomic_write, sweep
from lapsr_cli.text import printable

__all__ = ["Kind", "check_output", "open_output", "prepare_folder"]


@dataclass(frozen=True)
class Kind:
    """A kind of file that lapsr writes.

    ``name``: in words, with its article. ``made_by_lapsr``: whether a file that is not empty is of
    this kind; it may raise OSError, and ValueError or RecursionError for one that is not.
    """

    name: str
    made_by_lapsr: Callable[[Path], bool]


def check_output(path: Path, flag: str, kind: Kind) -> None:
    """Create the folder of ``path`` and check that the file can be written there.

    Raises UsageError, naming ``flag``, for an existing file that is not of ``kind``, for folders,
    block devices and sockets, and for a folder that is not writable.
    """
    try:
        mode = _mode(path)
        if mode is not None and _is_written_through(path, mode):
            return
        if mode is not None and not stat.S_ISREG(mode):
            raise UsageError(f"{flag} {printable(path)}: is not a regular file")
        if mode is not None and not _is_replaceable(path, kind):
            raise UsageError(f"{flag} {printable(path)}: already exists and is not {kind.name}")
    except OSError as error:
        raise UsageError(f"{flag} {printable(path)}: {error.strerror or error}") from error
    folder = _target(path).parent
    prepare_folder(folder, flag)
    sweep([folder])


@contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Open the file that an option names; it is published as the module says.

    Opening a FIFO waits for its reader. Raises OSError, with ``path`` as its file name.
    """
    target = _target(path)
    try:
        with _open_through(path) or atomic_write(target) as file:
            yield file
    except OSError as error:
        if error.filename in (None, str(target)):
            error.filename = str(path)
        raise


def prepare_folder(folder: Path, flag: str) -> None:
    """Create the folder that ``flag`` names and check that it is writable, before computing.

    Raises UsageError if not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{flag} {printable(folder)}: {error.strerror or error}") from error


def _mode(path: Path) -> int | None:
    """Type and permissions of what is at ``path``, links followed; None if there is nothing."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _open_through(path: Path) -> BinaryIO | None:
    """The file if it is not to be replaced."""
    mode = _mode(path)
    if mode is None or not _is_written_through(path, mode):
        return None
    # Opened by its path, a file that stdout is redirected to would begin again at its start.
    number = _standard_stream(path)
    return open(number or path, "wb", closefd=number is None)


def _is_written_through(path: Path, mode: int) -> bool:
    """Whether there is nothing to replace: a character device, a FIFO, or where stdout goes."""
    special = stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)
    return special or _standard_stream(path) is not None


def _standard_stream(path: Path) -> int | None:
    """The descriptor of stdout or stderr if it is open on this very file, as /dev/stdout is."""
    found = path.stat()
    for number in (1, 2):
        try:
            if os.path.samestat(found, os.fstat(number)):
                return number
        except OSError:  # the stream is closed
            continue
    return None


def _target(path: Path) -> Path:
    """The file that is replaced: at the end of all links, if it is one."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _is_replaceable(path: Path, kind: Kind) -> bool:
    if not path.stat().st_size:
        return True
    try:
        return kind.made_by_lapsr(path)
    except (ValueError, RecursionError):
        return False
