"""TIFF files: their pages and what those say, and writing them.

Written here, and not by Pillow, because neither Pillow nor libvips carries EXIF into the first
directory whole, nor writes 16 bits with pages; deflate with the predictor is all that takes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io import exif, iptc
from lapsr_cli.image_io.ifd import Damaged, Directory, Entry, Layout, Tree, build, layout_of
from lapsr_cli.image_io.photo import Metadata
from lapsr_cli.pixels.picture import Picture, Samples

__all__ = ["Page", "found", "pages", "write"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 0x0100, 0x0101, 0x0102, 0x0103, 0x0106
_STRIPS, _CHANNELS, _ROWS_PER_STRIP, _STRIP_BYTES = 0x0111, 0x0115, 0x0116, 0x0117
_X_DPI, _Y_DPI, _DPI_UNIT, _PREDICTOR = 0x011A, 0x011B, 0x0128, 0x013D
_EXTRA, _SAMPLE_FORMAT, _KIND = 0x0152, 0x0153, 0x00FE
_XMP, _IPTC, _PHOTOSHOP, _ICC = 0x02BC, 0x83BB, 0x8649, 0x8773
_BYTE, _SHORT, _LONG, _RATIONAL, _UNDEFINED, _LONG8 = 1, 3, 4, 5, 7, 16

_STRIP = 1 << 20
"""Bytes of a strip before it is compressed, about."""
_CLASSIC = 3_900_000_000
"""Bytes that offsets of 32 bits reach, with room for what is not pixels."""
_MOST_PAGES = 65_536


@dataclass(frozen=True)
class Page:
    """A page of a TIFF file; ``index``: its number among the file's directories."""

    index: int
    layout: Layout
    directory: Directory

    def _get(self, tag: int, default: int) -> int:
        return self.directory.integer(tag, self.layout, default)

    @property
    def orientation(self) -> int:
        """How the page is stored, 1 to 8."""
        value = self._get(exif.ORIENTATION, 1)
        return value if 1 <= value <= 8 else 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, upright."""
        height, width = self._get(_HEIGHT, 0), self._get(_WIDTH, 0)
        return (width, height) if self.orientation >= 5 else (height, width)

    @property
    def channels(self) -> int:
        """Samples a pixel as read: a palette makes 3, a sample that means nothing none."""
        if self._get(_PHOTOMETRIC, 1) == 3:
            return 3
        colours = 1 if self._get(_PHOTOMETRIC, 1) < 2 else 3
        return colours + (self._get(_CHANNELS, 1) > colours and self.extra != 0)

    @property
    def extra(self) -> int:
        """What the first sample after the colours is: 0 nothing, 1 multiplied alpha, 2 alpha."""
        return self._get(_EXTRA, 2)

    @property
    def depth(self) -> int:
        """Bits a sample as stored."""
        return self._get(_BITS, 1)

    @property
    def plain_but_packed(self) -> bool:
        """Whether it is RGB or grey of 8 bits, compressed: libtiff as Pillow has it prints to
        stderr when such strips are damaged."""
        return (
            self.depth == 8 and self._get(_PHOTOMETRIC, 1) < 3 and self._get(_COMPRESSION, 1) != 1
        )

    @property
    def with_loss(self) -> bool:
        """Whether its strips are JPEG, WebP or the like."""
        return self._get(_COMPRESSION, 1) in {6, 7, 34_892, 34_933, 50_001, 50_002}

    def check(self) -> None:
        """Raise UnreadablePicture, by name, for samples that a Picture cannot hold."""
        photometric = self._get(_PHOTOMETRIC, 1)
        kind = self._get(_SAMPLE_FORMAT, 1)
        if photometric in {8, 9, 10}:
            raise UnreadablePicture("CIELAB colours are not supported")
        if kind != 1:
            name = {2: "signed", 3: "floating-point"}.get(kind, "complex or unnamed")
            raise UnreadablePicture(f"{name} samples are not supported")
        if self.depth not in {1, 2, 4, 8, 16}:
            raise UnreadablePicture(f"{self.depth} bits a sample are not supported")
        if self.depth == 16 and photometric not in {0, 1, 2}:
            raise UnreadablePicture("16 bits a sample are supported in RGB and grey only")


def pages(data: bytes) -> list[Page]:
    """The pages of a TIFF file, in order, but for smaller copies of others. Raises Damaged."""
    layout, offset = layout_of(data)
    found: list[Page] = []
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < _MOST_PAGES:
        directory = Directory.parse(data, layout, offset, strict=not seen)
        reduced = directory.integer(_KIND, layout) & 1
        if not (found and reduced):
            found.append(Page(len(seen), layout, directory))
        seen.add(offset)
        offset = directory.next
    if not found:
        raise Damaged("it has no page")
    return found


def found(page: Page) -> Metadata:
    """What a page says beside its pixels, as it stands there; its EXIF may be damaged."""
    entries = page.directory.entries
    records = (iptc.records(entries[tag].value) for tag in (_IPTC, _PHOTOSHOP) if tag in entries)
    profile, xmp = entries.get(_ICC), entries.get(_XMP)
    return Metadata(
        icc_profile=profile.value if profile else None,
        xmp=xmp.value if xmp else None,
        iptc=next((each for each in records if each), None),
        dpi=exif.dpi_in(page.directory, page.layout),
    )


def write(frames: tuple[Picture, ...], metadata: Metadata, file: BinaryIO, compress: int) -> None:
    """Write pictures as the pages of a TIFF, deflate with predictor, metadata with the first.

    The byte order is that of the EXIF block, so that nothing in it has to be turned.
    """
    layout, described = exif.tree(metadata.exif) if metadata.exif else (Layout("<"), Tree())
    large = sum(f.pixels.nbytes + (0 if f.alpha is None else f.alpha.nbytes) for f in frames)
    layout = Layout(layout.order, big=large > _CLASSIC)
    mark = b"II" if layout.order == "<" else b"MM"
    head = mark + (layout.pack("HHHQ", 43, 8, 0, 0) if layout.big else layout.pack("HI", 42, 0))
    file.write(head)
    pointer = len(head) - layout.word_size
    for number, frame in enumerate(frames):
        strips = _Strips(layout, frame)
        entries = [*strips.write(file, compress), *_said(layout, metadata, first=number == 0)]
        tree = Tree(entries)
        if number == 0:
            tree = Tree([*described.entries, *entries], described.children)
        file.write(bytes(file.tell() % 2))
        start = file.tell()
        directory = build(tree, layout, start)
        file.write(directory)
        file.seek(pointer)
        file.write(layout.pack(layout.word, start))
        file.seek(0, 2)
        size = 20 if layout.big else 12
        count = int.from_bytes(directory[: 8 if layout.big else 2], layout.name)
        pointer = start + (8 if layout.big else 2) + size * count


def _said(layout: Layout, metadata: Metadata, *, first: bool) -> Iterator[Entry]:
    """The profile and the resolution belong to every page, the rest to the first.

    A resolution that EXIF gives stays as EXIF has it.
    """
    agreed = first and metadata.exif and exif.dpi_of(metadata.exif) == metadata.dpi
    x, y = (0.0, 0.0) if agreed else metadata.dpi or (0.0, 0.0)
    if metadata.icc_profile:
        yield Entry(_ICC, _UNDEFINED, len(metadata.icc_profile), metadata.icc_profile)
    if x > 0 and y > 0:
        yield Entry(_X_DPI, _RATIONAL, 1, layout.pack("II", round(x * 1000), 1000))
        yield Entry(_Y_DPI, _RATIONAL, 1, layout.pack("II", round(y * 1000), 1000))
        yield _number(layout, _DPI_UNIT, 2)
    if first and metadata.xmp:
        yield Entry(_XMP, _BYTE, len(metadata.xmp), metadata.xmp)
    if first and metadata.iptc:
        yield Entry(_IPTC, _UNDEFINED, len(metadata.iptc), metadata.iptc)
    if first and metadata.exif:
        yield _number(layout, exif.ORIENTATION, 1)


def _number(layout: Layout, tag: int, *values: int) -> Entry:
    return Entry(tag, _SHORT, len(values), layout.pack("H" * len(values), *values))


@dataclass(frozen=True)
class _Strips:
    layout: Layout
    frame: Picture

    def write(self, file: BinaryIO, compress: int) -> Iterator[Entry]:
        """Write the pixels, then give the entries that describe them."""
        frame, layout = self.frame, self.layout
        colours = 3 if frame.pixels.ndim == 3 else 1
        channels = colours + (frame.alpha is not None)
        rows = max(1, _STRIP // (frame.width * channels * frame.depth // 8))
        offsets: list[int] = []
        sizes: list[int] = []
        for top in range(0, frame.height, rows):
            packed = zlib.compress(self._predicted(slice(top, top + rows)), compress)
            offsets.append(file.tell())
            sizes.append(len(packed))
            file.write(packed)
        for tag, value in ((_WIDTH, frame.width), (_HEIGHT, frame.height), (_ROWS_PER_STRIP, rows)):
            yield Entry(tag, _LONG, 1, layout.pack("I", value))
        yield _number(layout, _BITS, *[frame.depth] * channels)
        yield _number(layout, _COMPRESSION, 8)
        yield _number(layout, _PHOTOMETRIC, 2 if colours == 3 else 1)
        yield _number(layout, _CHANNELS, channels)
        yield _number(layout, _PREDICTOR, 2)
        yield _number(layout, _SAMPLE_FORMAT, *[1] * channels)
        if frame.alpha is not None:
            yield _number(layout, _EXTRA, 2)
        kind = _LONG8 if layout.big else _LONG
        for tag, numbers in ((_STRIPS, offsets), (_STRIP_BYTES, sizes)):
            letters = layout.word * len(numbers)
            yield Entry(tag, kind, len(numbers), layout.pack(letters, *numbers))

    def _predicted(self, rows: slice) -> bytes:
        """Each sample less the one to its left, in the file's byte order."""
        pixels = self.frame.pixels[rows]
        samples: Samples = pixels if pixels.ndim == 3 else pixels[..., None]
        if self.frame.alpha is not None:
            samples = np.dstack([samples, self.frame.alpha[rows]])
        left = np.zeros_like(samples)
        left[:, 1:] = samples[:, :-1]
        return (samples - left).astype(samples.dtype.newbyteorder(self.layout.order)).tobytes()
