"""EXIF blocks (Exif 2.32): reading values and changing them in place.

A block is never rewritten: maker notes contain offsets from its beginning, and unknown tags may
have unknown types. Only values that are wrong for the new picture are overwritten, so that every
other byte and every offset stays the same.
"""

from __future__ import annotations

from lapsr_cli.image_io import exif_thumbnail
from lapsr_cli.image_io.exif_block import EXIF, GPS, INTEROP, parse, put, subdirectories
from lapsr_cli.image_io.file_bytes import Bytes
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
_WIDTHS = ((EXIF, 0xA002), (0, WIDTH))
_HEIGHTS = ((EXIF, 0xA003), (0, HEIGHT))
_SHORT, _RATIONAL = 3, 5

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


def without_prefix(exif: bytes) -> bytes:
    """The block without the prefix that it has in a JPEG."""
    while exif.startswith(_PREFIX):
        exif = exif[len(_PREFIX) :]
    return exif


def orientation_of(exif: bytes) -> int:
    """The orientation, 1 to 8; 1 if there is none or it is invalid. Raises Damaged."""
    block = parse(exif)
    value = block.directories[0].integer(ORIENTATION, block.layout, 1)
    return value if 1 <= value <= 8 else 1


def upright(exif: bytes) -> bytes:
    """The block of the upright picture: orientation 1 if it had one, and a blank thumbnail, whose
    place `exif_thumbnail.renewed` fills.

    Raises Damaged.
    """
    block = parse(exif)
    changed = bytearray(exif)
    entry = block.entry(0, ORIENTATION)
    if entry:
        put(changed, block.layout, entry, 1)
    return exif_thumbnail.blank(bytes(changed))


def resized(exif: bytes, height: int, width: int) -> bytes:
    """The block with every recorded size set to the picture's, in pixels. Raises Damaged."""
    block = parse(exif)
    changed = bytearray(exif)
    for places, value in ((_HEIGHTS, height), (_WIDTHS, width)):
        for place in places:
            entry = block.entry(*place)
            if entry:
                put(changed, block.layout, entry, value)
    return bytes(changed)


def without_orientation(exif: bytes) -> bytes:
    """The block without the orientation tag: later entries move up, values stay in place.

    Raises Damaged.
    """
    block = parse(exif)
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
    block = parse(exif)
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


def from_tiff(data: Bytes, layout: Layout, top: Directory) -> bytes | None:
    """The EXIF block of a TIFF file: the descriptive tags of its first directory, ``top``, and the
    EXIF, GPS and interoperability directories.

    None if it would hold only orientation and resolution. Raises Damaged.
    """
    inner = subdirectories(data, layout, top)
    entries = [entry for tag, entry in top.entries.items() if tag in _DESCRIPTIVE]
    basic = {ORIENTATION, X_DPI, Y_DPI, DPI_UNIT}
    if not inner and {entry.tag for entry in entries} <= basic:
        return None
    small = Layout(layout.order)
    return _header(small) + build(_tree(entries, inner), small, 8)


def _tree(entries: list[Entry], directories: dict[int, Directory]) -> Tree:
    """The tree to write, from the first directory's entries and the other directories by tag.

    BigTIFF's 8-byte types are left out: EXIF does not have them.
    """
    children: dict[int, Tree] = {}
    if GPS in directories:
        children[GPS] = Tree(list(directories[GPS].entries.values()))
    if EXIF in directories:
        inner = [e for e in directories[EXIF].entries.values() if e.tag != INTEROP]
        interop: dict[int, Tree] = {}
        if INTEROP in directories:
            interop[INTEROP] = Tree(list(directories[INTEROP].entries.values()))
        children[EXIF] = Tree(inner, interop)
    return Tree([e for e in entries if e.type < 16 and e.tag not in (EXIF, GPS)], children)


def tree(exif: bytes) -> tuple[Layout, Tree]:
    """A block's layout, and its tree for the first directory of a TIFF. Raises Damaged."""
    block = parse(exif)
    entries = [e for tag, e in block.directories[0].entries.items() if tag not in _STRUCTURAL]
    return block.layout, _tree(entries, block.directories)
