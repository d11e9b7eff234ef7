"""The bytes of a file, and what they are by their first bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lapsr_cli.errors import UnreadablePicture

__all__ = ["form_of", "load", "regular", "webp_is_lossy", "webp_size"]

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
def regular(path: Path) -> Iterator[BinaryIO]:
    """A regular file to read. Others are refused before they are opened: a pipe would wait.

    Raises UnreadablePicture and OSError.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnreadablePicture("not a regular file")
    # The file may have become another since: a pipe must not make this wait all the same.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 (of a descriptor)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UnreadablePicture("not a regular file")
        yield file


def load(path: Path) -> bytes:
    """The bytes of a regular file. Raises UnreadablePicture and OSError."""
    with regular(path) as file:
        data = file.read()
    if not data:
        raise UnreadablePicture("empty")
    return data


def form_of(data: bytes) -> str:
    """The format of a file, by its content. Raises UnreadablePicture for anything else."""
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
    return min(int.from_bytes(data[:4], "big"), len(data), 256)


def webp_size(data: bytes) -> tuple[int, int]:
    """Height and width of a WebP, before libwebp makes room for them (RFC 9649)."""
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    height, width = int.from_bytes(data[28:30], "little"), int.from_bytes(data[26:28], "little")
    return height & 0x3FFF, width & 0x3FFF


def webp_is_lossy(data: bytes) -> bool:
    """Whether any frame is VP8, which is lossy, and not VP8L."""
    return b"VP8 " in _webp_chunks(data, 12, len(data))


def _webp_chunks(data: bytes, at: int, end: int) -> set[bytes]:
    kinds: set[bytes] = set()
    while at + 8 <= end:
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        kinds.add(kind)
        if kind == b"ANMF":  # 16 bytes of frame header, then chunks of its own
            kinds |= _webp_chunks(data, at + 24, min(at + 8 + size, end))
        at += 8 + size + size % 2
    return kinds
