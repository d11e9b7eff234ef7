"""Opens regular files and recognises their format by the first bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lapsr_cli.errors import UnreadablePicture

__all__ = ["MAGIC_BYTES", "form_of", "open_regular"]

MAGIC_BYTES = 256
"""Bytes that tell the format."""

_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading. Others are refused first: opening a pipe would block.

    Raises UnreadablePicture and OSError.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnreadablePicture("not a regular file")
    # The file may have been replaced since; with O_NONBLOCK, opening a pipe does not block.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 (of a descriptor)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UnreadablePicture("not a regular file")
        yield file


def form_of(data: bytes) -> str:
    """The format of a file, by its first bytes, `MAGIC_BYTES` of them if there are so many.

    Raises UnreadablePicture if it is empty or not supported.
    """
    if not data:
        raise UnreadablePicture("empty file")
    for magic, form in _MAGIC.items():
        if data.startswith(magic):
            return form
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, _ftyp_end(data), 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    raise UnreadablePicture("not a JPEG, PNG, WebP, TIFF, AVIF, BMP, GIF or HEIC picture")


def _ftyp_end(data: bytes) -> int:
    return min(int.from_bytes(data[:4], "big"), len(data), MAGIC_BYTES)
