"""The thumbnail of an EXIF block: the second directory and a JPEG, replaced in place.

A thumbnail shows the picture before it was turned and enlarged. The new one takes the place of the
old one and is never longer, so that no offset changes and the block fits where it did.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from lapsr_cli.image_io.conversion import flatten, to_8_bits
from lapsr_cli.image_io.damage import Damaged
from lapsr_cli.image_io.exif_block import Block, parse, put, ranges_of
from lapsr_cli.image_io.ifd import Directory
from lapsr_cli.image_io.tiff_tags import HEIGHT, ORIENTATION, WIDTH
from lapsr_cli.pixels.picture import Picture

__all__ = ["blank", "renewed"]

_PLACE, _BYTES = 0x0201, 0x0202
_SIZES = ((160, 80), (160, 50), (80, 50), (40, 50))
"""Longer side, which Exif 2.32 wants to be 160, and quality of JPEG."""
_SAMPLED = 1024
"""Pixels of the longer side that are read, at most twice as many."""


@dataclass(frozen=True)
class _Thumbnail:
    block: Block
    directory: Directory
    start: int
    end: int


def blank(exif: bytes) -> bytes:
    """The block with zeros instead of its thumbnail, or without one that is no JPEG.

    Raises Damaged.
    """
    if not (block := parse(exif)).directories[0].next:
        return exif
    found = _find(exif, block)
    if found is None:
        return _removed(exif, block)
    return exif[: found.start] + bytes(found.end - found.start) + exif[found.end :]


def renewed(exif: bytes, picture: Picture) -> bytes:
    """The block with a thumbnail of ``picture`` if it had one. Raises Damaged."""
    if not (block := parse(exif)).directories[0].next:
        return exif
    found = _find(exif, block)
    drawn = _draw(picture, found.end - found.start) if found else None
    if found is None or drawn is None:
        return _removed(exif, block)
    jpeg, height, width = drawn
    changed = bytearray(exif)
    changed[found.start : found.end] = jpeg.ljust(found.end - found.start, b"\0")
    if found.end == len(changed):
        del changed[found.start + len(jpeg) :]
    values = {_BYTES: len(jpeg), HEIGHT: height, WIDTH: width, ORIENTATION: 1}
    for tag, value in values.items():
        if entry := found.directory.entries.get(tag):
            put(changed, block.layout, entry, value)
    return bytes(changed)


def _find(exif: bytes, block: Block) -> _Thumbnail | None:
    """The thumbnail, if it is one that can be replaced: nothing else is where it is."""
    try:
        directory = Directory.parse(exif, block.layout, block.directories[0].next, strict=False)
    except Damaged:
        return None
    start = directory.integer(_PLACE, block.layout)
    end = start + directory.integer(_BYTES, block.layout)
    used = [*block.ranges(), *ranges_of(directory)]
    if not start < end <= len(exif) or _overlap(start, end, used):
        return None
    return _Thumbnail(block, directory, start, end)


def _overlap(start: int, end: int, used: list[tuple[int, int]]) -> bool:
    return any(start < used_end and used_start < end for used_start, used_end in used)


def _draw(picture: Picture, longest: int) -> tuple[bytes, int, int] | None:
    """A JPEG of at most ``longest`` bytes, its height and width; None if there is none so small."""
    step = max(1, max(picture.height, picture.width) // _SAMPLED)
    alpha = None if picture.alpha is None else picture.alpha[::step, ::step]
    sampled = Picture(picture.pixels[::step, ::step], alpha)
    image = Image.fromarray(flatten(to_8_bits(sampled), (255, 255, 255)).pixels)
    for side, quality in _SIZES:
        image.thumbnail((side, side))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= longest:
            return file.getvalue(), image.height, image.width
    return None


def _removed(exif: bytes, block: Block) -> bytes:
    """The block without its second directory and what that points to, cut off or zeroed."""
    top = block.directories[0]
    changed = bytearray(exif)
    changed[top.next_at : top.next_at + 4] = bytes(4)
    try:
        second = Directory.parse(exif, block.layout, top.next, strict=False)
    except Damaged:
        return bytes(changed)  # nothing points to it any more
    place = second.integer(_PLACE, block.layout)
    thumbnail = (place, place + second.integer(_BYTES, block.layout))
    used = list(block.ranges())
    for start, end in (*ranges_of(second), thumbnail):
        if start < end <= len(exif) and not _overlap(start, end, used):
            changed[start:end] = bytes(end - start)
    last = max(end for _, end in used)
    if not any(changed[last:]):
        del changed[last:]
    return bytes(changed)
