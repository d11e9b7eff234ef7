"""JPEG files as streams of markers (ITU-T T.81, annex B): where a picture ends, what follows it.

Phones and cameras append to a JPEG what its readers do not look for: the other pictures of an MPO
(CIPA DC-007), an HDR gain map, the video of a motion photo.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lapsr_cli.text import counted

__all__ = ["dropped_after", "end_of"]

_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
"""A marker in coded data, where 00 stands for a byte FF and D0 to D7 are restarts."""
_START, _END, _SCAN = b"\xff\xd8\xff", 0xD9, 0xDA
_VIDEO = re.compile(rb"\0\0..ftyp", re.DOTALL)
"""The first box of an MP4 or QuickTime file (ISO/IEC 14496-12)."""
_PADDING = b"\0\xff\r\n\t "


def end_of(data: bytes, start: int = 0) -> int:
    """Where the picture that starts at ``start`` ends; the end of the data if it is truncated."""
    at, in_scan = start + 2, False
    while (found := _MARKER.search(data, at)) and (in_scan or found.start() == at):
        kind, at = data[found.end() - 1], found.end()
        if kind == _END:
            return at
        at += int.from_bytes(data[at : at + 2], "big")
        in_scan = kind == _SCAN
    return len(data)


def dropped_after(data: bytes) -> Iterator[str]:
    """What follows the first picture of a file, none of which is read: a phrase each."""
    end = end_of(data)
    video = _VIDEO.search(data, end)
    pictures = _count_pictures(data[end : video.start() if video else len(data)])
    if pictures:
        yield f"{counted(pictures, 'further picture')} in it (MPO or HDR gain map) dropped"
    if video:
        yield "the video in it (motion photo) dropped"
    if not pictures and not video and (rest := data[end:].strip(_PADDING)):
        yield f"{counted(len(rest), 'byte')} after the end of the picture dropped"


def _count_pictures(data: bytes) -> int:
    count, at = 0, data.find(_START)
    while at >= 0:
        count, at = count + 1, data.find(_START, end_of(data, at))
    return count
