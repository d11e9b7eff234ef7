"""TIFF files: decoding through Pillow and libvips, and an encoder.

The encoder is our own because neither Pillow nor libvips copies EXIF completely into the first
directory, or writes 16-bit pages; deflate with the horizontal predictor is all it needs.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np
from PIL import Image

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io import exif, icc, tiff_tags, vips
from lapsr_cli.image_io.damage import Damaged, as_unreadable
from lapsr_cli.image_io.decoded import Decoded, check_pixels
from lapsr_cli.image_io.encoding import Encoding
from lapsr_cli.image_io.file_bytes import FileBytes
from lapsr_cli.image_io.ifd import Entry, Layout, Tree, build
from lapsr_cli.image_io.photo import Header, HeaderPart, Metadata
from lapsr_cli.image_io.pil import oriented, picture_of, split_channels
from lapsr_cli.image_io.pil_files import open_image
from lapsr_cli.image_io.sniffing import open_regular
from lapsr_cli.image_io.tiff_pages import Page, metadata_of, pages_of, single_page
from lapsr_cli.pixels.picture import Picture, Samples

__all__ = ["PageEncoder", "decode", "header"]

_BYTE, _SHORT, _LONG, _RATIONAL, _UNDEFINED, _LONG8 = 1, 3, 4, 5, 7, 16

_STRIP = 1 << 20
"""Approximate bytes of a strip before compression."""
_CLASSIC_LIMIT = 3_900_000_000
"""Bytes of pixels in a file with 32-bit offsets, with room for everything else."""


def header(data: FileBytes) -> Header:
    """The header of a file, from its directories. Raises Damaged."""
    pages = _pages_in(data)
    height, width = pages[0].size
    depth = 16 if pages[0].depth == 16 else 8
    parts = tuple(HeaderPart(1, page.pixels, page.bytes) for page in pages)
    return Header("TIFF", height, width, pages[0].channels, depth, parts)


def _pages_in(data: FileBytes) -> list[Page]:
    """The pages, each of which has pixels. Raises Damaged and UnreadablePicture."""
    pages = pages_of(data)
    for number, page in enumerate(pages, 1):
        if not page.pixels:
            raise Damaged(f"page {number} has no pixels")
    return pages


def decode(path: Path, file: BinaryIO, max_pixels: int | None) -> Decoded:
    """Read the directories of the open ``file``; the pages are decoded when they are indexed,
    upright, CMYK as RGB. Raises UnreadablePicture and Damaged."""
    data = FileBytes(file)
    pages = _pages_in(data)
    check_pixels(1, sum(page.pixels for page in pages), 1, max_pixels)
    for page in pages:
        page.check()
    metadata, faults = metadata_of(data, pages[0])
    profile, warnings = metadata.icc_profile, []
    if any(page.is_cmyk for page in pages):
        # All pages are converted in the same way: one pixel tells which.
        pixel = Image.new("CMYK", (1, 1))
        _, warning, profile_faults = icc.cmyk_to_rgb(pixel, profile)
        warnings.append(warning)
        faults += profile_faults
        metadata = replace(metadata, icc_profile=None)
    return Decoded(
        _Pages(path, _version(file), pages, profile),
        any(page.lossy for page in pages),
        metadata,
        orientation=1,
        warnings=tuple(warnings),
        faults=faults,
        is_grey=pages[0].channels < 3,
    )


def _version(file: BinaryIO) -> tuple[int, ...]:
    """What changes when a file is replaced or written to."""
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _Pages(Sequence[Picture]):
    """The pages of a file, decoded each time they are indexed."""

    def __init__(
        self, path: Path, version: tuple[int, ...], pages: Sequence[Page], profile: bytes | None
    ) -> None:
        self._path = path
        self._version = version
        self._pages = pages
        self._profile = profile

    def __len__(self) -> int:
        return len(self._pages)

    @overload
    def __getitem__(self, index: int) -> Picture: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Picture, ...]: ...

    def __getitem__(self, index: int | slice) -> Picture | tuple[Picture, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        page = self._pages[index]
        name = f"page {index % len(self) + 1}" if len(self) > 1 else ""
        with as_unreadable(self._path, name), open_regular(self._path) as file:
            if _version(file) != self._version:
                raise UnreadablePicture("the file was changed while it was read")
            return _decoded(single_page(file, page), page, self._profile)


def _decoded(file: BinaryIO, page: Page, icc_profile: bytes | None) -> Picture:
    if page.needs_vips:
        samples = vips.decode_file(file)[..., : page.channels]
        return oriented(split_channels(samples), page.orientation)
    with open_image(file, "TIFF") as image:
        image.load()  # also applies the orientation
        if image.mode == "CMYK":
            return picture_of(icc.cmyk_to_rgb(image, icc_profile)[0])
        return picture_of(image)


class PageEncoder:
    """Writes pages one after the other, deflate with predictor; the first has the metadata.

    The file has the byte order of the EXIF block, so that no value needs to be converted. Where
    the samples of all pages, ``sample_bytes``, are more than 3.9 GB, it is a BigTIFF.
    """

    def __init__(
        self, metadata: Metadata, encoding: Encoding, file: BinaryIO, sample_bytes: int
    ) -> None:
        layout, self._exif = exif.tree(metadata.exif) if metadata.exif else (Layout("<"), Tree())
        self._layout = layout = replace(layout, big=sample_bytes > _CLASSIC_LIMIT)
        self._metadata = metadata
        self._encoding = encoding
        self._file = file
        self._is_first = True
        mark = b"II" if layout.order == "<" else b"MM"
        head = mark + (layout.pack("HHHQ", 43, 8, 0, 0) if layout.big else layout.pack("HI", 42, 0))
        file.write(head)
        self._pointer = len(head) - layout.word_size  # to the next directory

    def append(self, frame: Picture) -> None:
        """Write a page."""
        layout, file = self._layout, self._file
        entries = [
            *_Strips(layout, frame).write(file, self._encoding.compress),
            *_metadata_entries(layout, self._metadata, first=self._is_first),
        ]
        tree = Tree(entries)
        if self._is_first:
            tree = Tree([*self._exif.entries, *entries], self._exif.children)
            self._is_first = False
        file.write(bytes(file.tell() % 2))
        start = file.tell()
        directory = build(tree, layout, start)
        file.write(directory)
        file.seek(self._pointer)
        file.write(layout.pack(layout.word, start))
        file.seek(0, 2)
        size = 20 if layout.big else 12
        count = int.from_bytes(directory[: 8 if layout.big else 2], layout.name)
        self._pointer = start + (8 if layout.big else 2) + size * count

    def finish(self) -> None:
        """Nothing is left to write: the last page points to no other."""


def _metadata_entries(layout: Layout, metadata: Metadata, *, first: bool) -> Iterator[Entry]:
    """The profile and the resolution go into every page, the rest into the first.

    A resolution that equals the one in EXIF is not written again, to keep its exact value.
    """
    in_exif = first and metadata.exif and exif.dpi_of(metadata.exif) == metadata.dpi
    x, y = (0.0, 0.0) if in_exif else metadata.dpi or (0.0, 0.0)
    if metadata.icc_profile:
        yield _bytes(tiff_tags.ICC_PROFILE, _UNDEFINED, metadata.icc_profile)
    if x > 0 and y > 0:
        yield Entry(tiff_tags.X_DPI, _RATIONAL, 1, layout.pack("II", round(x * 1000), 1000))
        yield Entry(tiff_tags.Y_DPI, _RATIONAL, 1, layout.pack("II", round(y * 1000), 1000))
        yield _shorts(layout, tiff_tags.DPI_UNIT, 2)
    if first and metadata.xmp:
        yield _bytes(tiff_tags.XMP, _BYTE, metadata.xmp)
    if first and metadata.iptc:
        yield _bytes(tiff_tags.IPTC, _UNDEFINED, metadata.iptc)
    if first and metadata.exif:
        yield _shorts(layout, tiff_tags.ORIENTATION, 1)


def _bytes(tag: int, kind: int, value: bytes) -> Entry:
    return Entry(tag, kind, len(value), value)


def _shorts(layout: Layout, tag: int, *values: int) -> Entry:
    return Entry(tag, _SHORT, len(values), layout.pack("H" * len(values), *values))


@dataclass(frozen=True)
class _Strips:
    layout: Layout
    frame: Picture

    def write(self, file: BinaryIO, compress: int) -> Iterator[Entry]:
        """Write the pixels, then yield the entries that describe them."""
        frame, layout = self.frame, self.layout
        colours = 3 if frame.pixels.ndim == 3 else 1
        channels = colours + (frame.alpha is not None)
        rows = max(1, _STRIP // (frame.width * channels * frame.depth // 8))
        offsets: list[int] = []
        sizes: list[int] = []
        for top in range(0, frame.height, rows):
            compressed = zlib.compress(self._differences(slice(top, top + rows)), compress)
            offsets.append(file.tell())
            sizes.append(len(compressed))
            file.write(compressed)
        for tag, value in (
            (tiff_tags.WIDTH, frame.width),
            (tiff_tags.HEIGHT, frame.height),
            (tiff_tags.ROWS_PER_STRIP, rows),
        ):
            yield Entry(tag, _LONG, 1, layout.pack("I", value))
        yield _shorts(layout, tiff_tags.BITS, *[frame.depth] * channels)
        yield _shorts(layout, tiff_tags.COMPRESSION, 8)
        yield _shorts(layout, tiff_tags.PHOTOMETRIC, 2 if colours == 3 else 1)
        yield _shorts(layout, tiff_tags.CHANNELS, channels)
        yield _shorts(layout, tiff_tags.PREDICTOR, 2)
        yield _shorts(layout, tiff_tags.SAMPLE_FORMAT, *[1] * channels)
        if frame.alpha is not None:
            yield _shorts(layout, tiff_tags.EXTRA_SAMPLES, 2)
        kind = _LONG8 if layout.big else _LONG
        for tag, numbers in (
            (tiff_tags.STRIP_OFFSETS, offsets),
            (tiff_tags.STRIP_BYTES, sizes),
        ):
            letters = layout.word * len(numbers)
            yield Entry(tag, kind, len(numbers), layout.pack(letters, *numbers))

    def _differences(self, rows: slice) -> bytes:
        """Each sample minus its left neighbour, in the file's byte order."""
        pixels = self.frame.pixels[rows]
        samples: Samples = pixels if pixels.ndim == 3 else pixels[..., None]  # (rows, W, 1 or 3)
        if self.frame.alpha is not None:
            samples = np.dstack([samples, self.frame.alpha[rows]])
        left = np.zeros_like(samples)
        left[:, 1:] = samples[:, :-1]
        return (samples - left).astype(samples.dtype.newbyteorder(self.layout.order)).tobytes()
