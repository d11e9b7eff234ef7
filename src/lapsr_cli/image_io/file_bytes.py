"""The bytes of a file that is not read as a whole."""

from __future__ import annotations

import os
from typing import BinaryIO, Protocol

__all__ = ["Bytes", "FileBytes"]


class Bytes(Protocol):
    """Bytes that can be sliced: in memory, mapped, or in a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


class FileBytes:
    """The bytes of an open file; a slice is read when it is asked for. Not for several threads.

    A file that is cut off meanwhile gives shorter slices; if it was mapped, the process would end.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))
