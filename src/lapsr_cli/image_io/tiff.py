"""TIFF files: decoding through Pillow and libvips, and an encoder.

The encoder is our own because neither Pillow nor libvips copies EXIF completely into the first
directory, or writes 16-bit pages; deflate with the horizontal predictor is all it needs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from PIL import Image

from lapsr_cli.image_io import exif, icc, tiff_tags, vips
from lapsr_cli.image_io.decoded import Decoded, check_pixels
from lapsr_cli.image_io.encoding import Encoding
from lapsr_cli.image_io.ifd import Entry, Layout, Tree, build
from lapsr_cli.image_io.photo import Header, Metadata, Photo
from lapsr_cli.image_io.pil import oriented, picture_of, split_channels
from lapsr_cli.image_io.pil_files import open_image
from lapsr_cli.image_io.tiff_pages import SinglePages, metadata_of, pages_of
from lapsr_cli.pixels.picture import Picture, Samples

__all__ = ["decode", "encode", "header"]

_BYTE, _SHORT, _LONG, _RATIONAL, _UNDEFINED, _LONG8 = 1, 3, 4, 5, 7, 16

_STRIP = 1 << 20
"""Approximate bytes of a strip before compression."""
_CLASSIC_LIMIT = 3_900_000_000
"""Bytes of pixels in a file with 32-bit offsets, with room for everything else."""


def header(data: bytes) -> Header:
    """The header of a file, from its directories. Raises Damaged."""
    pages = pages_of(data)
    height, width = pages[0].size
    depth = 16 if pages[0].depth == 16 else 8
    size = sum(page.bytes for page in pages)
    return Header("TIFF", height, width, len(pages), pages[0].channels, depth, size)


def decode(data: bytes, max_pixels: int | None) -> Decoded:
    """Decode all pages, upright; CMYK becomes RGB. Raises UnreadablePicture and Damaged."""
    pages = pages_of(data)
    check_pixels(1, sum(page.size[0] * page.size[1] for page in pages), 1, max_pixels)
    metadata, faults = metadata_of(data, pages[0])
    warnings: list[str] = []
    frames: list[Picture] = []
    single = SinglePages(data, pages)
    with ExitStack() as stack:
        image: Image.Image | None = None
        for page in pages:
            page.check()
            if page.needs_vips:
                samples = vips.decode(single.only(page))[..., : page.channels]
                frames.append(oriented(split_channels(samples), page.orientation))
                continue
            image = image or stack.enter_context(open_image(data, "TIFF"))
            image.seek(page.index)
            image.load()  # also applies the orientation
            picture = image
            if image.mode == "CMYK":
                picture, warning, profile_faults = icc.cmyk_to_rgb(image, metadata.icc_profile)
                warnings.append(warning)
                faults += profile_faults
            frames.append(picture_of(picture))
    if warnings:
        metadata = replace(metadata, icc_profile=None)
    return Decoded(
        tuple(frames),
        any(page.lossy for page in pages),
        metadata,
        orientation=1,
        warnings=tuple(dict.fromkeys(warnings)),
        faults=tuple(dict.fromkeys(faults)),
    )


def encode(photo: Photo, encoding: Encoding, file: BinaryIO) -> None:
    """Encode the frames as pages, deflate with predictor; the first has the metadata.

    The file has the byte order of the EXIF block, so that no value needs to be converted. Above
    3.9 GB of pixels, it is a BigTIFF.
    """
    metadata = photo.metadata
    layout, exif_tree = exif.tree(metadata.exif) if metadata.exif else (Layout("<"), Tree())
    layout = Layout(layout.order, big=_bytes_of(photo.frames) > _CLASSIC_LIMIT)
    mark = b"II" if layout.order == "<" else b"MM"
    head = mark + (layout.pack("HHHQ", 43, 8, 0, 0) if layout.big else layout.pack("HI", 42, 0))
    file.write(head)
    pointer = len(head) - layout.word_size
    for number, frame in enumerate(photo.frames):
        strips = _Strips(layout, frame)
        entries = [
            *strips.write(file, encoding.compress),
            *_metadata_entries(layout, metadata, first=number == 0),
        ]
        tree = Tree(entries)
        if number == 0:
            tree = Tree([*exif_tree.entries, *entries], exif_tree.children)
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


def _bytes_of(frames: tuple[Picture, ...]) -> int:
    return sum(f.pixels.nbytes + (0 if f.alpha is None else f.alpha.nbytes) for f in frames)


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
