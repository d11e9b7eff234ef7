"""TIFF files as pages (TIFF 6.0, BigTIFF): properties, validation and metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from mmap import mmap

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io import exif, iptc, tiff_tags
from lapsr_cli.image_io.damage import Damaged
from lapsr_cli.image_io.ifd import Directory, Layout, layout_of
from lapsr_cli.image_io.photo import Metadata
from lapsr_cli.text import one_line

__all__ = ["Page", "SinglePages", "metadata_of", "pages_of"]

_MAX_PAGES = 65_536
_LONGEST = 64
"""Bytes of a value in pages after the first, of which only a few integers are needed."""


@dataclass(frozen=True)
class Page:
    """A page of a TIFF file. ``index``: its number among the file's directories. ``offset``: where
    its own begins."""

    index: int
    offset: int
    layout: Layout
    directory: Directory

    def _get(self, tag: int, default: int) -> int:
        return self.directory.integer(tag, self.layout, default)

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1 to 8."""
        value = self._get(tiff_tags.ORIENTATION, 1)
        return value if 1 <= value <= 8 else 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width after orientation, in pixels."""
        height, width = self._get(tiff_tags.HEIGHT, 0), self._get(tiff_tags.WIDTH, 0)
        return (width, height) if self.orientation >= 5 else (height, width)

    @property
    def channels(self) -> int:
        """Samples per pixel as read: 3 for a palette; an unspecified extra sample is dropped."""
        if self._get(tiff_tags.PHOTOMETRIC, 1) == 3:
            return 3
        colours = 1 if self._get(tiff_tags.PHOTOMETRIC, 1) < 2 else 3
        return colours + (self._get(tiff_tags.CHANNELS, 1) > colours and self.extra != 0)

    @property
    def extra(self) -> int:
        """The first extra sample: 0 unspecified, 1 premultiplied alpha, 2 straight alpha."""
        return self._get(tiff_tags.EXTRA_SAMPLES, 2)

    @property
    def depth(self) -> int:
        """Bits per sample as stored."""
        return self._get(tiff_tags.BITS, 1)

    @property
    def bytes(self) -> int:
        """Of its samples as read."""
        height, width = self.size
        return height * width * self.channels * (2 if self.depth == 16 else 1)

    @property
    def needs_vips(self) -> bool:
        """Whether libvips has to decode it: 16 bits, and compressed 8-bit RGB or grey, because
        Pillow's libtiff prints to stderr if strips are damaged."""
        compressed = self._get(tiff_tags.COMPRESSION, 1) != 1
        rgb_or_grey = self._get(tiff_tags.PHOTOMETRIC, 1) < 3
        return self.depth == 16 or (self.depth == 8 and rgb_or_grey and compressed)

    @property
    def lossy(self) -> bool:
        """Whether its strips have lossy compression, such as JPEG or WebP."""
        return self._get(tiff_tags.COMPRESSION, 1) in {6, 7, 34_892, 34_933, 50_001, 50_002}

    def check(self) -> None:
        """Raise UnreadablePicture, with the reason, for samples that a Picture cannot hold."""
        photometric = self._get(tiff_tags.PHOTOMETRIC, 1)
        kind = self._get(tiff_tags.SAMPLE_FORMAT, 1)
        if photometric in {8, 9, 10}:
            raise UnreadablePicture("CIELAB colours are not supported")
        if kind != 1:
            name = {2: "signed", 3: "floating-point"}.get(kind, "complex or undefined")
            raise UnreadablePicture(f"{name} samples are not supported")
        if self.depth not in {1, 2, 4, 8, 16}:
            raise UnreadablePicture(f"{self.depth}-bit samples are not supported")
        if self.depth == 16 and photometric not in {0, 1, 2}:
            raise UnreadablePicture("16-bit samples are supported in RGB and grey only")


class SinglePages:
    """A file of which any page can be made the only one.

    libtiff follows the directories from the first one whenever it opens a file, so that the time
    for all pages would grow with the square of their number.
    """

    def __init__(self, data: bytes, pages: Sequence[Page]) -> None:
        self._data = bytearray(data)
        for page in pages:
            at, size = page.directory.next_at, page.layout.word_size
            if page.directory.next:
                self._data[at : at + size] = bytes(size)

    def only(self, page: Page) -> bytearray:
        """The file with one page, until this is called again."""
        layout = page.layout
        at = 8 if layout.big else 4
        self._data[at : at + layout.word_size] = layout.pack(layout.word, page.offset)
        return self._data


def pages_of(data: bytes | mmap) -> list[Page]:
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
            found.append(Page(len(seen), offset, layout, directory))
        seen.add(offset)
        offset = directory.next
    if not found:
        raise Damaged("it has no page")
    if offset and offset not in seen:
        raise UnreadablePicture(f"more than {_MAX_PAGES} pages")
    return found


def metadata_of(data: bytes, page: Page) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata of the first page, not validated, and what is wrong with unparsable parts."""
    entries = page.directory.entries
    iptc_tags = (tiff_tags.IPTC, tiff_tags.PHOTOSHOP)
    records = (iptc.records(entries[tag].value) for tag in iptc_tags if tag in entries)
    profile, xmp = entries.get(tiff_tags.ICC_PROFILE), entries.get(tiff_tags.XMP)
    metadata = Metadata(
        icc_profile=profile.value if profile else None,
        xmp=xmp.value if xmp else None,
        iptc=next((each for each in records if each), None),
        dpi=exif.dpi_in(page.directory, page.layout),
    )
    try:
        block = exif.from_tiff(data, page.layout, page.directory)
    except Damaged as error:
        return metadata, (f"EXIF is damaged ({one_line(error)})",)
    return replace(metadata, exif=block), ()
