"""EXIF blocks (Exif 2.32): reading values and changing them in place.

A block is never rewritten: maker notes contain offsets from its beginning, and unknown tags may
have unknown types. Only values that are wrong for the new picture are overwritten, so that every
other byte and every offset stays the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lapsr_cli.image_io.damage import Damaged
from lapsr_cli.image_io.ifd import Directory, Entry, Layout, Tree, build, layout_of
from lapsr_cli.image_io.tiff_tags import DPI_UNIT, HEIGHT, ORIENTATION, WIDTH, X_DPI, Y_DPI

__all__ = [
    "dpi_in",
    "dpi_of",
    "from_dpi",
    "from_tiff",
    "orientation_of",
    "resized",
    "tree",
    "upright",
    "without_orientation",
    "without_prefix",
]

_PREFIX = b"Exif\0\0"
_EXIF, _GPS, _INTEROP = 0x8769, 0x8825, 0xA005
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202
_WIDTHS = ((_EXIF, 0xA002), (0, WIDTH))
_HEIGHTS = ((_EXIF, 0xA003), (0, HEIGHT))
_SHORT, _LONG, _RATIONAL = 3, 4, 5

_DESCRIPTIVE = {
    0x010D, 0x010E, 0x010F, 0x0110, ORIENTATION, X_DPI, Y_DPI, DPI_UNIT, 0x0131, 0x0132,
    0x013B, 0x013C, 0x4746, 0x4749, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F,
}  # fmt: skip
"""Tags of a TIFF's first directory that describe the picture, not its strips."""

_STRUCTURAL = {
    *range(0x00FE, 0x010B), 0x0111, *range(0x0115, 0x011A), *range(0x011C, 0x0126), 0x0129, 0x012D,
    *range(0x013D, 0x0146), 0x014A, *range(0x014C, 0x015C), *range(0x0200, 0x0215), 0x02BC, 0x83BB,
    0x8649, 0x8773, 0x935C, ORIENTATION,
}  # fmt: skip
"""Tags of a TIFF's first directory that describe its strips, or that are written separately."""


@dataclass(frozen=True)
class _Block:
    """A parsed block. ``directories``: by the tag that points to each; 0 for the first."""

    layout: Layout
    directories: dict[int, Directory]

    def entry(self, directory: int, tag: int) -> Entry | None:
        parsed = self.directories.get(directory)
        return parsed.entries.get(tag) if parsed else None

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Start and end of every part of the block that is in use."""
        yield 0, 8
        for directory in self.directories.values():
            yield from _ranges(directory)


def _ranges(directory: Directory) -> Iterator[tuple[int, int]]:
    entries = directory.entries.values()
    start = min((entry.at for entry in entries), default=directory.next_at) - 2
    yield start, directory.end
    for entry in entries:
        yield entry.value_at, entry.value_at + len(entry.value)


def _parse(exif: bytes) -> _Block:
    layout, first = layout_of(exif)
    if layout.big:
        raise Damaged("it is a BigTIFF")
    top = Directory.parse(exif, layout, first)
    return _Block(layout, {0: top} | _subdirectories(exif, layout, top))


def _subdirectories(data: bytes, layout: Layout, top: Directory) -> dict[int, Directory]:
    """The directories that the first one points to, and those they point to, by tag."""
    found: dict[int, Directory] = {}
    for parent, tag in ((0, _EXIF), (0, _GPS), (_EXIF, _INTEROP)):
        above = found.get(parent) if parent else top
        offset = above.integer(tag, layout) if above else 0
        if offset:
            found[tag] = Directory.parse(data, layout, offset)
    return found


def without_prefix(exif: bytes) -> bytes:
    """The block without the prefix that it has in a JPEG."""
    while exif.startswith(_PREFIX):
        exif = exif[len(_PREFIX) :]
    return exif


def orientation_of(exif: bytes) -> int:
    """The orientation, 1 to 8; 1 if there is none or it is invalid. Raises Damaged."""
    block = _parse(exif)
    value = block.directories[0].integer(ORIENTATION, block.layout, 1)
    return value if 1 <= value <= 8 else 1


def upright(exif: bytes) -> bytes:
    """The block of the upright picture: orientation 1 if it had one, no thumbnail.

    Raises Damaged.
    """
    block = _parse(exif)
    changed = bytearray(exif)
    entry = block.entry(0, ORIENTATION)
    if entry:
        _put(changed, block.layout, entry, 1)
    top = block.directories[0]
    if top.next:
        changed[top.next_at : top.next_at + 4] = bytes(4)
        _wipe_thumbnail(changed, exif, block)
    return bytes(changed)


def _wipe_thumbnail(changed: bytearray, exif: bytes, block: _Block) -> None:
    """Zero the second directory and its thumbnail; cut them off if they are at the end."""
    try:
        second = Directory.parse(exif, block.layout, block.directories[0].next, strict=False)
    except Damaged:
        return  # nothing points to it any longer
    thumbnail = second.integer(_THUMBNAIL, block.layout)
    thumbnail_end = thumbnail + second.integer(_THUMBNAIL_BYTES, block.layout)
    used = list(block.ranges())
    for start, end in [*_ranges(second), (thumbnail, thumbnail_end)]:
        unused = not any(start < used_end and used_start < end for used_start, used_end in used)
        if unused and start < end <= len(exif):
            changed[start:end] = bytes(end - start)
    last = max(end for _, end in used)
    if not any(changed[last:]):
        del changed[last:]


def _put(changed: bytearray, layout: Layout, entry: Entry, value: int) -> None:
    """Overwrite an integer; a SHORT becomes a LONG if the value does not fit."""
    if entry.count != 1 or entry.type not in (_SHORT, _LONG):
        return
    if entry.type == _SHORT and value <= 0xFFFF:
        changed[entry.value_at : entry.value_at + 2] = layout.pack("H", value)
    else:
        changed[entry.at + 2 : entry.at + 4] = layout.pack("H", _LONG)
        changed[entry.value_at : entry.value_at + 4] = layout.pack("I", value)


def resized(exif: bytes, height: int, width: int) -> bytes:
    """The block with every recorded size set to the picture's, in pixels. Raises Damaged."""
    block = _parse(exif)
    changed = bytearray(exif)
    for places, value in ((_HEIGHTS, height), (_WIDTHS, width)):
        for place in places:
            entry = block.entry(*place)
            if entry:
                _put(changed, block.layout, entry, value)
    return bytes(changed)


def without_orientation(exif: bytes) -> bytes:
    """The block without the orientation tag: later entries move up, values stay in place.

    Raises Damaged.
    """
    block = _parse(exif)
    top = block.directories[0]
    entry = top.entries.get(ORIENTATION)
    if entry is None:
        return exif
    first = layout_of(exif)[1]
    count = int.from_bytes(exif[first : first + 2], block.layout.name)
    rest = exif[entry.at + 12 : top.end]
    changed = bytearray(exif)
    changed[first : first + 2] = block.layout.pack("H", count - 1)
    changed[entry.at : top.end] = rest + bytes(top.end - entry.at - len(rest))
    return bytes(changed[: len(exif)])


def dpi_of(exif: bytes) -> tuple[float, float] | None:
    """Pixels per inch, horizontal and vertical; None if the block has none. Raises Damaged."""
    block = _parse(exif)
    return dpi_in(block.directories[0], block.layout)


def dpi_in(directory: Directory, layout: Layout) -> tuple[float, float] | None:
    """Pixels per inch, horizontal and vertical; None if the directory has none."""
    factor = {2: 1.0, 3: 2.54}.get(directory.integer(DPI_UNIT, layout, 2))
    found = [directory.entries.get(tag) for tag in (X_DPI, Y_DPI)]
    values = [value for entry in found if entry for value in entry.rationals(layout)[:1]]
    if factor is None or len(values) != 2:
        return None
    return values[0] * factor, values[1] * factor


def from_dpi(dpi: tuple[float, float]) -> bytes:
    """A block that contains only the resolution, in pixels per inch."""
    layout = Layout("<")
    entries = [
        Entry(tag, _RATIONAL, 1, layout.pack("II", round(value * 1000), 1000))
        for tag, value in zip((X_DPI, Y_DPI), dpi, strict=True)
    ]
    unit = Entry(DPI_UNIT, _SHORT, 1, layout.pack("H", 2))
    return _header(layout) + build(Tree([*entries, unit]), layout, 8)


def _header(layout: Layout) -> bytes:
    return (b"II" if layout.order == "<" else b"MM") + layout.pack("HI", 42, 8)


def from_tiff(data: bytes, layout: Layout, top: Directory) -> bytes | None:
    """The EXIF block of a TIFF file: the descriptive tags of its first directory, ``top``, and the
    EXIF, GPS and interoperability directories.

    None if it would hold only orientation and resolution. Raises Damaged.
    """
    subdirectories = _subdirectories(data, layout, top)
    entries = [entry for tag, entry in top.entries.items() if tag in _DESCRIPTIVE]
    basic = {ORIENTATION, X_DPI, Y_DPI, DPI_UNIT}
    if not subdirectories and {entry.tag for entry in entries} <= basic:
        return None
    small = Layout(layout.order)
    return _header(small) + build(_tree(entries, subdirectories), small, 8)


def _tree(entries: list[Entry], directories: dict[int, Directory]) -> Tree:
    """The tree to write, from the first directory's entries and the other directories by tag.

    BigTIFF's 8-byte types are left out: EXIF does not have them.
    """
    children: dict[int, Tree] = {}
    if _GPS in directories:
        children[_GPS] = Tree(list(directories[_GPS].entries.values()))
    if _EXIF in directories:
        inner = [e for e in directories[_EXIF].entries.values() if e.tag != _INTEROP]
        interop: dict[int, Tree] = {}
        if _INTEROP in directories:
            interop[_INTEROP] = Tree(list(directories[_INTEROP].entries.values()))
        children[_EXIF] = Tree(inner, interop)
    return Tree([e for e in entries if e.type < 16 and e.tag not in (_EXIF, _GPS)], children)


def tree(exif: bytes) -> tuple[Layout, Tree]:
    """A block's layout, and its tree for the first directory of a TIFF. Raises Damaged."""
    block = _parse(exif)
    entries = [e for tag, e in block.directories[0].entries.items() if tag not in _STRUCTURAL]
    return block.layout, _tree(entries, block.directories)
