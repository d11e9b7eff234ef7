"""GIF files as blocks (GIF89a): comments, and files put together from encoded frames.

Pillow's encoder merges equal frames, and takes what is black for transparent where the palettes of
two frames differ. So it encodes single frames, and the file is put together here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["TRAILER", "Encoded", "comment", "comment_of", "control", "loop"]

TRAILER = b";"
_EXTENSION, _IMAGE = b"!", b","
_COMMENT, _CONTROL, _APPLICATION = 0xFE, 0xF9, 0xFF
_HEADER = 13
_LONGEST = 255
"""Bytes of a sub-block."""


def comment_of(data: bytes) -> bytes:
    """All comments of a file, on a line each."""
    found = bytearray()
    at = _HEADER + _table_size(data[10:11])
    while (kind := data[at : at + 1]) in (_EXTENSION, _IMAGE) and len(data) > at + 9:
        if kind == _IMAGE:
            at += 10 + _table_size(data[at + 9 : at + 10]) + 1
            at = _end_of_sub_blocks(data, at)
            continue
        start, at = at + 2, _end_of_sub_blocks(data, at + 2)
        if data[start - 1] == _COMMENT:
            found += b"\n" * bool(found)
            for block in _sub_blocks(data[start:at]):
                found += block
    return bytes(found)


def _table_size(flags: bytes) -> int:
    """Bytes of the palette that follows, by the flags of a screen or an image."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _sub_blocks(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data) and data[at]:
        yield data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]


def _end_of_sub_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


@dataclass(frozen=True)
class Encoded:
    """A frame that Pillow encoded as a file of its own, without extensions."""

    data: bytes

    @property
    def _palette(self) -> bytes:
        return self.data[_HEADER : _HEADER + _table_size(self.data[10:11])]

    def screen(self) -> bytes:
        """The header of a file whose first frame this is, with its palette."""
        return b"GIF89a" + self.data[6:_HEADER] + self._palette

    def image(self, left: int, top: int) -> bytes:
        """The frame with its palette, at a place on the screen."""
        palette = self._palette
        image = self.data[_HEADER + len(palette) : -len(TRAILER)]
        place = left.to_bytes(2, "little") + top.to_bytes(2, "little")
        flags = image[9] & 0x40 | self.data[10] & 0x87
        return _IMAGE + place + image[5:9] + bytes([flags]) + palette + image[10:]


def control(duration: int, *, transparent: int | None) -> bytes:
    """What precedes a frame: its duration in milliseconds, rounded to hundredths of a second.

    ``transparent``: the palette entry, with which the screen is cleared before the next frame.
    """
    flags = 1 << 2 if transparent is None else 2 << 2 | 1
    hundredths = min(0xFFFF, round(duration / 10))
    values = bytes([flags]) + hundredths.to_bytes(2, "little") + bytes([transparent or 0])
    return _extension(_CONTROL, values)


def loop(repetitions: int) -> bytes:
    """How often the animation is repeated, 0 for endlessly."""
    count = min(0xFFFF, repetitions).to_bytes(2, "little")
    return _extension(_APPLICATION, b"NETSCAPE2.0", b"\1" + count)


def comment(text: bytes) -> bytes:
    """A comment."""
    cut = (text[at : at + _LONGEST] for at in range(0, len(text), _LONGEST))
    return _extension(_COMMENT, *cut)


def _extension(label: int, *blocks: bytes) -> bytes:
    """An extension of sub-blocks."""
    parts = b"".join(bytes([len(block)]) + block for block in blocks)
    return _EXTENSION + bytes([label]) + parts + b"\0"
