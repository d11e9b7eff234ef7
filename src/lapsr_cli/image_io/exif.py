"""EXIF blocks (Exif 2.32): what they say, and changes in place.

A block is never written anew: maker notes hold offsets from its beginning, and tags that nobody
knows have types that nobody knows. Only the values that are wrong after the work are overwritten,
so that every other byte, and every offset, stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lapsr_cli.image_io.ifd import Damaged, Directory, Entry, Layout, Tree, build, layout_of

__all__ = [
    "bare",
    "check",
    "dpi_in",
    "dpi_of",
    "of_directory",
    "of_dpi",
    "orientation_of",
    "resized",
    "tree",
    "upright",
    "without_orientation",
]

ORIENTATION = 0x0112
_PREFIX = b"Exif\0\0"
_X_DPI, _Y_DPI, _DPI_UNIT = 0x011A, 0x011B, 0x0128
_EXIF, _GPS, _INTEROP = 0x8769, 0x8825, 0xA005
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202
_WIDTHS = ((_EXIF, 0xA002), (0, 0x0100))
_HEIGHTS = ((_EXIF, 0xA003), (0, 0x0101))
_SHORT, _LONG = 3, 4

_DESCRIPTIVE = {
    0x010D, 0x010E, 0x010F, 0x0110, ORIENTATION, _X_DPI, _Y_DPI, _DPI_UNIT, 0x0131, 0x0132,
    0x013B, 0x013C, 0x4746, 0x4749, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F,
}  # fmt: skip
"""What a TIFF's first directory says about the picture, not about its strips."""

_STRUCTURAL = {
    *range(0x00FE, 0x010B), 0x0111, *range(0x0115, 0x011A), *range(0x011C, 0x0126), 0x0129, 0x012D,
    *range(0x013D, 0x0146), 0x014A, *range(0x014C, 0x015C), *range(0x0200, 0x0215), 0x02BC, 0x83BB,
    0x8649, 0x8773, 0x935C, ORIENTATION,
}  # fmt: skip
"""What a TIFF's first directory says about its strips, or what is written from elsewhere."""


@dataclass(frozen=True)
class _Block:
    """A parsed block; ``directories`` by the tag that points there, 0 for the first."""

    layout: Layout
    directories: dict[int, Directory]

    def entry(self, where: tuple[int, int]) -> Entry | None:
        directory = self.directories.get(where[0])
        return directory.entries.get(where[1]) if directory else None

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The bytes in use."""
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
    return _Block(layout, {0: top} | _below(exif, layout, top))


def _below(data: bytes, layout: Layout, top: Directory) -> dict[int, Directory]:
    """The directories that hang on the first one, by tag."""
    found: dict[int, Directory] = {}
    for parent, tag in ((0, _EXIF), (0, _GPS), (_EXIF, _INTEROP)):
        above = found.get(parent) if parent else top
        offset = above.integer(tag, layout) if above else 0
        if offset:
            found[tag] = Directory.parse(data, layout, offset)
    return found


def bare(exif: bytes) -> bytes:
    """A block without the prefix that JPEG puts before it."""
    while exif.startswith(_PREFIX):
        exif = exif[len(_PREFIX) :]
    return exif


def check(exif: bytes) -> None:
    """Raise Damaged, with the reason, for a block whose structure leads outside it."""
    _parse(exif)


def orientation_of(exif: bytes) -> int:
    """How the stored picture lies, 1 to 8; 1 if the block says nothing that has a meaning."""
    block = _parse(exif)
    value = block.directories[0].integer(ORIENTATION, block.layout, 1)
    return value if 1 <= value <= 8 else 1


def upright(exif: bytes) -> bytes:
    """The block for the picture turned upright: orientation 1 if it had one, no thumbnail."""
    block = _parse(exif)
    changed = bytearray(exif)
    entry = block.entry((0, ORIENTATION))
    if entry:
        _put(changed, block.layout, entry, 1)
    top = block.directories[0]
    if top.next:
        changed[top.next_at : top.next_at + 4] = bytes(4)
        _wipe_thumbnail(changed, exif, block)
    return bytes(changed)


def _wipe_thumbnail(changed: bytearray, exif: bytes, block: _Block) -> None:
    """Blank the second directory and its thumbnail; take them off where they end the block."""
    try:
        second = Directory.parse(exif, block.layout, block.directories[0].next, strict=False)
    except Damaged:
        return  # nothing points there any more
    start = second.integer(_THUMBNAIL, block.layout)
    stop = start + second.integer(_THUMBNAIL_BYTES, block.layout)
    used = list(block.ranges())
    for first, last in [*_ranges(second), (start, stop)]:
        free = not any(first < end and begin < last for begin, end in used)
        if free and first < last <= len(exif):
            changed[first:last] = bytes(last - first)
    end = max(stop for _, stop in used)
    if not any(changed[end:]):
        del changed[end:]


def _put(changed: bytearray, layout: Layout, entry: Entry, value: int) -> None:
    """Overwrite a single integer, as a LONG if it is too large for a SHORT."""
    if entry.count != 1 or entry.type not in (_SHORT, _LONG):
        return
    if entry.type == _SHORT and value <= 0xFFFF:
        changed[entry.value_at : entry.value_at + 2] = layout.pack("H", value)
    else:
        changed[entry.at + 2 : entry.at + 4] = layout.pack("H", _LONG)
        changed[entry.value_at : entry.value_at + 4] = layout.pack("I", value)


def resized(exif: bytes, height: int, width: int) -> bytes:
    """The block with the picture's size, in pixels, where it names one."""
    block = _parse(exif)
    changed = bytearray(exif)
    for places, value in ((_HEIGHTS, height), (_WIDTHS, width)):
        for place in places:
            entry = block.entry(place)
            if entry:
                _put(changed, block.layout, entry, value)
    return bytes(changed)


def without_orientation(exif: bytes) -> bytes:
    """The block without that tag: the entries behind it move up, their values stay in place."""
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
    """Pixels an inch, horizontally and vertically, if the block says so."""
    block = _parse(exif)
    return dpi_in(block.directories[0], block.layout)


def dpi_in(directory: Directory, layout: Layout) -> tuple[float, float] | None:
    """Pixels an inch, horizontally and vertically, if a directory says so."""
    factor = {2: 1.0, 3: 2.54}.get(directory.integer(_DPI_UNIT, layout, 2))
    found = [directory.entries.get(tag) for tag in (_X_DPI, _Y_DPI)]
    values = [value for entry in found if entry for value in entry.rationals(layout)[:1]]
    if factor is None or len(values) != 2:
        return None
    return values[0] * factor, values[1] * factor


def of_dpi(dpi: tuple[float, float]) -> bytes:
    """A block that says nothing but the resolution."""
    layout = Layout("<")
    entries = [
        Entry(tag, 5, 1, layout.pack("II", round(value * 1000), 1000))
        for tag, value in zip((_X_DPI, _Y_DPI), dpi, strict=True)
    ]
    unit = Entry(_DPI_UNIT, _SHORT, 1, layout.pack("H", 2))
    return _header(layout) + build(Tree([*entries, unit]), layout, 8)


def _header(layout: Layout) -> bytes:
    return (b"II" if layout.order == "<" else b"MM") + layout.pack("HI", 42, 8)


def of_directory(data: bytes, layout: Layout, top: Directory) -> bytes | None:
    """The block of a TIFF file: what its first directory says about the picture, and what hangs
    on that. None if there is nothing but orientation and resolution. Raises Damaged."""
    below = _below(data, layout, top)
    entries = [entry for tag, entry in top.entries.items() if tag in _DESCRIPTIVE]
    if not below and {entry.tag for entry in entries} <= {ORIENTATION, _X_DPI, _Y_DPI, _DPI_UNIT}:
        return None
    small = Layout(layout.order)
    return _header(small) + build(_grown(entries, below), small, 8)


def _grown(entries: list[Entry], below: dict[int, Directory]) -> Tree:
    children = {tag: Tree(list(below[tag].entries.values())) for tag in (_GPS,) if tag in below}
    if _EXIF in below:
        inner = list(below[_EXIF].entries.values())
        last = {_INTEROP: Tree(list(below[_INTEROP].entries.values()))} if _INTEROP in below else {}
        children[_EXIF] = Tree([e for e in inner if e.tag != _INTEROP], last)
    return Tree([e for e in entries if e.type < 16 and e.tag not in (_EXIF, _GPS)], children)


def tree(exif: bytes) -> tuple[Layout, Tree]:
    """A block's byte order, and what of it belongs into the first directory of a TIFF file."""
    block = _parse(exif)
    entries = [e for tag, e in block.directories[0].entries.items() if tag not in _STRUCTURAL]
    return block.layout, _grown(entries, block.directories)
