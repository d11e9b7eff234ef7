"""TIFF files as pages (TIFF 6.0, BigTIFF): properties, validation and metadata."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io import exif, iptc, tiff_tags
from lapsr_cli.image_io.damage import Damaged
from lapsr_cli.image_io.file_bytes import Bytes
from lapsr_cli.image_io.ifd import Directory, Layout, layout_of
from lapsr_cli.image_io.photo import Metadata
from lapsr_cli.text import one_line

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Page", "metadata_of", "pages_of", "single_page"]

_MAX_PAGES = 65_536
_LONGEST = 64
"""Bytes of a value in pages after the first, of which only a few integers are needed."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a TIFF file, as its directory describes it.

    ``offset``: where the directory begins. ``next_at``: where the offset of the next one is stored;
    0 if there is none. ``stored``: rows and columns before orientation. ``samples``: per pixel.
    """

    layout: Layout
    offset: int
    next_at: int
    stored: tuple[int, int]
    orientation: int
    photometric: int
    samples: int
    extra: int
    depth: int
    compression: int
    sample_format: int

    @classmethod
    def of(cls, directory: Directory, layout: Layout, offset: int) -> Page:
        """The page whose directory begins at ``offset``.

        ``orientation`` is that of EXIF, 1 to 8. ``extra``: the first extra sample: 0 unspecified,
        1 premultiplied alpha, 2 straight alpha. ``depth``: bits per sample as stored.
        """

        def get(tag: int, default: int) -> int:
            return directory.integer(tag, layout, default)

        orientation = get(tiff_tags.ORIENTATION, 1)
        return cls(
            layout=layout,
            offset=offset,
            next_at=directory.next_at if directory.next else 0,
            stored=(get(tiff_tags.HEIGHT, 0), get(tiff_tags.WIDTH, 0)),
            orientation=orientation if 1 <= orientation <= 8 else 1,
            photometric=get(tiff_tags.PHOTOMETRIC, 1),
            samples=get(tiff_tags.CHANNELS, 1),
            extra=get(tiff_tags.EXTRA_SAMPLES, 2),
            depth=get(tiff_tags.BITS, 1),
            compression=get(tiff_tags.COMPRESSION, 1),
            sample_format=get(tiff_tags.SAMPLE_FORMAT, 1),
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width after orientation, in pixels."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored

    @property
    def pixels(self) -> int:
        """Their number."""
        return self.stored[0] * self.stored[1]

    @property
    def is_cmyk(self) -> bool:
        """Whether it is read as RGB that was converted."""
        return self.photometric == 5

    @property
    def channels(self) -> int:
        """Samples per pixel as read: 3 for a palette and CMYK; an unspecified extra sample is
        dropped."""
        if self.photometric == 3 or self.is_cmyk:
            return 3
        colours = 1 if self.photometric < 2 else 3
        return colours + (self.samples > colours and self.extra != 0)

    @property
    def bytes(self) -> int:
        """Of its samples as read."""
        return self.pixels * self.channels * (2 if self.depth == 16 else 1)

    @property
    def needs_vips(self) -> bool:
        """Whether libvips has to decode it: 16 bits, and compressed 8-bit RGB or grey, because
        Pillow's libtiff prints to stderr if strips are damaged."""
        is_compressed_8_bits = self.depth == 8 and self.photometric < 3 and self.compression != 1
        return self.depth == 16 or is_compressed_8_bits

    @property
    def lossy(self) -> bool:
        """Whether its strips have lossy compression, such as JPEG or WebP."""
        return self.compression in {6, 7, 34_892, 34_933, 50_001, 50_002}

    def check(self) -> None:
        """Raise UnreadablePicture, with the reason, for samples that a Picture cannot hold."""
        kind = self.sample_format
        if self.photometric in {8, 9, 10}:
            raise UnreadablePicture("CIELAB colours are not supported")
        if kind != 1:
            name = {2: "signed", 3: "floating-point"}.get(kind, "complex or undefined")
            raise UnreadablePicture(f"{name} samples are not supported")
        if self.depth not in {1, 2, 4, 8, 16}:
            raise UnreadablePicture(f"{self.depth}-bit samples are not supported")
        if self.depth == 16 and self.photometric not in {0, 1, 2}:
            raise UnreadablePicture("16-bit samples are supported in RGB and grey only")


def single_page(file: BinaryIO, page: Page) -> BinaryIO:
    """An open file, to be read as if one page was all that it has.

    libtiff and Pillow follow the directories from the first one whenever they open a file, so that
    the time for all pages would grow with the square of their number.
    """
    return io.BufferedReader(_PageFile(file, page))


class _PageFile(io.RawIOBase):
    def __init__(self, file: BinaryIO, page: Page) -> None:
        super().__init__()
        layout = page.layout
        self._file = file
        self._changes = [(8 if layout.big else 4, layout.pack(layout.word, page.offset))]
        if page.next_at:
            self._changes.append((page.next_at, bytes(layout.word_size)))
        file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        # Pillow's libtiff reads from it, unchanged, at the offset of the page's directory.
        return self._file.fileno()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        start = self._file.tell()
        data = self._file.read(len(view))
        end = start + len(data)
        view[: len(data)] = data
        for at, change in self._changes:
            first, last = max(start, at), min(end, at + len(change))
            if first < last:
                view[first - start : last - start] = change[first - at : last - at]
        return len(data)


def pages_of(data: Bytes) -> list[Page]:
    """The pages of a TIFF file, in order, without reduced copies of others.

    Raises Damaged, and UnreadablePicture for more pages than 65,536.
    """
    layout, offset = layout_of(data)
    found: list[Page] = []
    seen: set[int] = set()
    parsed = 0
    while offset and offset not in seen and len(seen) < _MAX_PAGES:
        longest = _LONGEST if seen else None
        directory = Directory.parse(data, layout, offset, strict=not seen, longest=longest)
        parsed += directory.next_at - offset
        if parsed > len(data):
            raise Damaged("its directories overlap")
        reduced = directory.integer(tiff_tags.SUBFILE_TYPE, layout) & 1
        if not (found and reduced):
            found.append(Page.of(directory, layout, offset))
        seen.add(offset)
        offset = directory.next
    if not found:
        raise Damaged("it has no page")
    if offset and offset not in seen:
        raise UnreadablePicture(f"more than {_MAX_PAGES} pages")
    return found


def metadata_of(data: Bytes, page: Page) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata of the first page, not validated, and what is wrong with unparsable parts.

    Raises Damaged.
    """
    directory = Directory.parse(data, page.layout, page.offset)
    entries = directory.entries
    iptc_tags = (tiff_tags.IPTC, tiff_tags.PHOTOSHOP)
    records = (iptc.records(entries[tag].value) for tag in iptc_tags if tag in entries)
    profile, xmp = entries.get(tiff_tags.ICC_PROFILE), entries.get(tiff_tags.XMP)
    metadata = Metadata(
        icc_profile=profile.value if profile else None,
        xmp=xmp.value if xmp else None,
        iptc=next((each for each in records if each), None),
        dpi=exif.dpi_in(directory, page.layout),
    )
    try:
        block = exif.from_tiff(data, page.layout, directory)
    except Damaged as error:
        return metadata, (f"EXIF is damaged ({one_line(error)})",)
    return replace(metadata, exif=block), ()
