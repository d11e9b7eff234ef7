"""EXIF blocks (Exif 2.32) as directories, and changes of single values in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lapsr_cli.image_io.damage import Damaged
from lapsr_cli.image_io.file_bytes import Bytes
from lapsr_cli.image_io.ifd import Directory, Entry, Layout, layout_of

__all__ = ["EXIF", "GPS", "INTEROP", "Block", "parse", "put", "ranges_of", "subdirectories"]

EXIF, GPS, INTEROP = 0x8769, 0x8825, 0xA005
_SHORT, _LONG = 3, 4


@dataclass(frozen=True)
class Block:
    """A parsed block. ``directories``: by the tag that points to each, 0 for the first."""

    layout: Layout
    directories: dict[int, Directory]

    def entry(self, directory: int, tag: int) -> Entry | None:
        """The entry of a tag in the directory of another, 0 for the first."""
        parsed = self.directories.get(directory)
        return parsed.entries.get(tag) if parsed else None

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Start and end of every part of the block that is in use."""
        yield 0, 8
        for directory in self.directories.values():
            yield from ranges_of(directory)


def ranges_of(directory: Directory) -> Iterator[tuple[int, int]]:
    """Start and end of a directory, and of every value of it."""
    entries = directory.entries.values()
    start = min((entry.at for entry in entries), default=directory.next_at) - 2
    yield start, directory.end
    for entry in entries:
        yield entry.value_at, entry.value_at + len(entry.value)


def parse(exif: bytes) -> Block:
    """The directories of a block, except that of the thumbnail. Raises Damaged."""
    layout, first = layout_of(exif)
    if layout.big:
        raise Damaged("it is a BigTIFF")
    top = Directory.parse(exif, layout, first)
    return Block(layout, {0: top} | subdirectories(exif, layout, top))


def subdirectories(data: Bytes, layout: Layout, top: Directory) -> dict[int, Directory]:
    """The directories that the first one points to, and theirs, by tag. Raises Damaged."""
    found: dict[int, Directory] = {}
    for parent, tag in ((0, EXIF), (0, GPS), (EXIF, INTEROP)):
        above = found.get(parent) if parent else top
        offset = above.integer(tag, layout) if above else 0
        if offset:
            found[tag] = Directory.parse(data, layout, offset)
    return found


def put(changed: bytearray, layout: Layout, entry: Entry, value: int) -> None:
    """Overwrite an integer; a SHORT becomes a LONG if the value needs it."""
    if entry.count != 1 or entry.type not in (_SHORT, _LONG):
        return
    if entry.type == _SHORT and value <= 0xFFFF:
        changed[entry.value_at : entry.value_at + 2] = layout.pack("H", value)
    else:
        changed[entry.at + 2 : entry.at + 4] = layout.pack("H", _LONG)
        changed[entry.value_at : entry.value_at + 4] = layout.pack("I", value)
