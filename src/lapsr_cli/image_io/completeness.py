"""Whether a file is a complete picture, by its beginning and its end: nothing is decoded."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io.damage import Damaged, as_unreadable
from lapsr_cli.image_io.sniffing import MAGIC_BYTES, form_of, open_regular
from lapsr_cli.image_io.tiff_pages import pages_of

__all__ = ["is_complete"]

_ENDING = 64
"""Bytes at the end that have to contain the last marker: padding may follow it."""


def is_complete(path: Path) -> bool:
    """Whether a file is a picture of a format that can be read, down to its last byte.

    False for an empty file, for one that was cut off, and for content that is no picture. Raises
    UnreadablePicture for a path that is not a regular file or cannot be opened.
    """
    with as_unreadable(path), open_regular(path) as file:
        if not os.fstat(file.fileno()).st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _CHECKS[form_of(data[:MAGIC_BYTES])](data)
            except (Damaged, UnreadablePicture):
                return False


def _has_scan(data: mmap.mmap) -> bool:
    """Of a JPEG, with the end marker behind it: a thumbnail in the EXIF block has one too."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"\xda", b"\xff"):
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data.rfind(b"\xff\xd9", max(at, len(data) - _ENDING)) >= 0


def _has_directories(data: mmap.mmap) -> bool:
    """Of a TIFF, with their values, which lapsr writes behind the pixels. Raises Damaged."""
    return bool(pages_of(data))


def _has_boxes(data: mmap.mmap) -> bool:
    """Of an AVIF or HEIC file (ISO/IEC 14496-12, section 4.2), those with the pixels among them."""
    at, kinds = 0, set()
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        kinds.add(kind)
        if size == 0:  # up to the end of the file
            size = len(data) - at
        elif size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        at += max(size, 8)
    return at == len(data) and b"mdat" in kinds


_CHECKS: dict[str, Callable[[mmap.mmap], bool]] = {
    "JPEG": _has_scan,
    "PNG": lambda data: b"IEND\xaeB`\x82" in data[-_ENDING:],
    "GIF": lambda data: data[-_ENDING:].rstrip(b"\0").endswith(b"\0;"),
    "BMP": lambda data: 6 <= len(data) >= int.from_bytes(data[2:6], "little"),
    # An odd last byte may lack its padding.
    "WEBP": lambda data: 8 <= len(data) >= int.from_bytes(data[4:8], "little") + 7,
    "TIFF": _has_directories,
    "AVIF": _has_boxes,
    "HEIF": _has_boxes,
}
