"""Image file directories, the structure of TIFF files and EXIF blocks: tagged values.

TIFF 6.0, section 2; BigTIFF is the same with 8-byte counts and offsets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lapsr_cli.image_io.damage import Damaged
from lapsr_cli.image_io.file_bytes import Bytes

__all__ = ["Directory", "Entry", "Layout", "Tree", "build", "layout_of"]

SIZES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
    16: 8, 17: 8, 18: 8,
}  # fmt: skip
"""Bytes per value, by type."""

_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class Layout:
    """How numbers are stored. ``order``: the byte order as in struct. ``big``: BigTIFF."""

    order: Literal["<", ">"]
    big: bool = False

    @property
    def word(self) -> str:
        """The struct format of an offset."""
        return "Q" if self.big else "I"

    @property
    def word_size(self) -> int:
        """Bytes of an offset, and of the largest value stored in the entry itself."""
        return 8 if self.big else 4

    @property
    def name(self) -> Literal["little", "big"]:
        """The byte order as in int.from_bytes."""
        return "little" if self.order == "<" else "big"

    def pack(self, letters: str, *values: int) -> bytes:
        """The bytes of numbers, by their struct formats."""
        return struct.pack(self.order + letters, *values)


@dataclass(frozen=True)
class Entry:
    """A tag and the bytes of its value. ``at``, ``value_at``: offsets of the entry and value."""

    tag: int
    type: int
    count: int
    value: bytes
    at: int = 0
    value_at: int = 0

    def integers(self, layout: Layout) -> tuple[int, ...]:
        """The value as unsigned integers; empty for other types."""
        letter = _INTEGERS.get(self.type)
        if letter is None:
            return ()
        count = len(self.value) // SIZES[self.type]
        return struct.unpack(f"{layout.order}{count}{letter}", self.value)

    def rationals(self, layout: Layout) -> tuple[float, ...]:
        """The value as quotients of unsigned integers; empty for other types."""
        if self.type != 5:
            return ()
        pairs = struct.iter_unpack(f"{layout.order}II", self.value)
        return tuple(n / denominator if denominator else 0.0 for n, denominator in pairs)


@dataclass(frozen=True)
class Directory:
    """Entries by tag.

    ``next``: offset of the next directory, 0 if there is none; ``next_at``: where that offset is
    stored. ``end``: offset of the end of the directory, without its values.
    """

    entries: Mapping[int, Entry]
    next: int = 0
    next_at: int = 0
    end: int = 0

    def integer(self, tag: int, layout: Layout, default: int = 0) -> int:
        """The first integer of a tag, or ``default``."""
        entry = self.entries.get(tag)
        values = entry.integers(layout) if entry else ()
        return values[0] if values else default

    @classmethod
    def parse(
        cls,
        data: Bytes,
        layout: Layout,
        offset: int,
        *,
        strict: bool = True,
        longest: int | None = None,
    ) -> Directory:
        """Parse the directory at ``offset``.

        Values of unknown types are left out, since their size is unknown, and so are those of more
        than ``longest`` bytes. Raises Damaged if the directory or a value is outside ``data``; if
        not ``strict``, such values are left out. Also raises Damaged if the values together are
        longer than ``data``: a small file must not become a large directory.
        """
        count_letter, count_size, size = ("Q", 8, 20) if layout.big else ("H", 2, 12)
        if not 0 < offset <= len(data) - count_size:
            raise Damaged(f"a directory at byte {offset} of {len(data)}")
        start = offset + count_size
        (count,) = struct.unpack(layout.order + count_letter, data[offset:start])
        end = start + size * count
        if end > len(data):
            raise Damaged(f"a directory of {count} entries is truncated")
        table = data[start : end + layout.word_size]
        entries: dict[int, Entry] = {}
        size_of_values = 0
        for at in range(0, end - start, size):
            entry = cls._entry(data, layout, table[at : at + size], start + at, longest)
            size_of_values += len(entry.value) if entry else 0
            if size_of_values > len(data):
                raise Damaged("the values of a directory overlap")
            if entry and len(entry.value) == entry.count * SIZES[entry.type]:
                entries.setdefault(entry.tag, entry)
            elif entry and strict:
                raise Damaged(f"tag 0x{entry.tag:04x} points outside the data")
        following = 0
        if end + layout.word_size <= len(data):
            (following,) = struct.unpack_from(layout.order + layout.word, table, end - start)
        return cls(entries, following, end, end + layout.word_size)

    @staticmethod
    def _entry(
        data: Bytes, layout: Layout, stored: bytes, at: int, longest: int | None
    ) -> Entry | None:
        """The entry ``stored`` at ``at``; None if it is left out."""
        tag, kind, count = struct.unpack_from(f"{layout.order}HH{layout.word}", stored)
        if kind not in SIZES:
            return None
        inner = 4 + layout.word_size
        size = count * SIZES[kind]
        if longest is not None and size > longest:
            return None
        if size <= layout.word_size:
            return Entry(tag, kind, count, stored[inner : inner + size], at, at + inner)
        (value_at,) = struct.unpack_from(layout.order + layout.word, stored, inner)
        value_at = min(value_at, len(data))
        value = data[value_at : value_at + size]
        return Entry(tag, kind, count, value, at, value_at)


def layout_of(data: Bytes) -> tuple[Layout, int]:
    """The layout of a TIFF structure, and the offset of its first directory. Raises Damaged."""
    orders: dict[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}
    head = data[:16]
    order = orders.get(head[:2])
    if order is None or len(head) < 8:
        raise Damaged("it does not begin with II or MM")
    magic, first = struct.unpack_from(order + "HI", head, 2)
    if magic == 43 and len(head) >= 16:
        return Layout(order, big=True), struct.unpack_from(order + "Q", head, 8)[0]
    if magic != 42:
        raise Damaged(f"its version is {magic} instead of 42")
    return Layout(order), first


@dataclass(frozen=True)
class Tree:
    """Entries to write, and child directories by the tag that points to each."""

    entries: Iterable[Entry] = ()
    children: Mapping[int, Tree] = field(default_factory=dict)


def build(tree: Tree, layout: Layout, start: int, following: int = 0) -> bytes:
    """The bytes of a directory at offset ``start``, followed by its values and its children.

    ``following``: the offset of the next directory.
    """
    entries = {entry.tag: entry for entry in tree.entries}
    pointer_type = 16 if layout.big else 4
    for tag in tree.children:
        entries[tag] = Entry(tag, pointer_type, 1, bytes(layout.word_size))
    count = layout.pack("Q" if layout.big else "H", len(entries))
    size = len(count) + len(entries) * (4 + 2 * layout.word_size) + layout.word_size
    head = bytearray(count)
    tail = bytearray()
    for tag, entry in sorted(entries.items()):
        value = entry.value
        if tag in tree.children:
            value = layout.pack(layout.word, start + size + len(tail))
            tail += build(tree.children[tag], layout, start + size + len(tail))
        elif len(value) > layout.word_size:
            value = layout.pack(layout.word, start + size + len(tail))
            tail += entry.value
        tail += bytes(len(tail) % 2)
        head += layout.pack(f"HH{layout.word}", tag, entry.type, entry.count)
        head += value.ljust(layout.word_size, b"\0")
    return bytes(head + layout.pack(layout.word, following) + tail)
