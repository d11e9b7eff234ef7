"""PNG files as chunks (W3C PNG, third edition): validation and metadata."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator

from lapsr_cli.image_io import exif, iptc, png_texts
from lapsr_cli.image_io.damage import Damaged
from lapsr_cli.image_io.photo import Metadata

__all__ = [
    "SIGNATURE",
    "channels",
    "check",
    "chunks",
    "comment_among",
    "depth",
    "has_unusual_gamma",
    "insert_metadata",
    "metadata_of",
    "reaches_pixels",
    "without_texts",
]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RAW = b"Raw profile type "
_READ = {png_texts.XMP, *(_RAW + name for name in (b"exif", b"APP1", b"iptc", b"8bim", b"xmp"))}
"""Keywords of the texts that are read; no other is decompressed, however many there are."""


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of every complete chunk; that of pixel data is left empty."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if at + 12 + size > len(data):
            return
        yield kind, b"" if kind in (b"IDAT", b"fdAT") else data[at + 8 : at + 8 + size]
        at += 12 + size


def check(data: bytes) -> None:
    """Raise Damaged for a truncated file, a missing palette, or a critical chunk whose checksum is
    wrong.

    Pillow does not verify the checksums of pixel data, and would decode something else.
    """
    at = len(SIGNATURE)
    view = memoryview(data)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + size
        if end + 4 > len(data):
            raise Damaged(f"truncated in its {kind.decode('latin-1')} chunk")
        (stated,) = struct.unpack_from(">I", data, end)
        critical = kind[:1].isupper()
        if critical and zlib.crc32(view[at + 4 : end]) != stated:
            raise Damaged(f"wrong checksum of its {kind.decode('latin-1')} chunk")
        if kind == b"IEND":
            break
        at = end + 4
    if data[25:26] == b"\3":
        _check_palette(data)


def _check_palette(data: bytes) -> None:
    """Raise Damaged if a picture of palette entries has no palette before its pixels."""
    before = itertools.takewhile(lambda chunk: chunk[0] != b"IDAT", chunks(data))
    entries, partial = divmod(len(dict(before).get(b"PLTE", b"")), 3)
    if not entries:
        raise Damaged("it has no palette")
    if partial or entries > 256:
        raise Damaged("its palette is not of 1 to 256 colours")


def reaches_pixels(data: bytes) -> bool:
    """Whether the beginning of a file contains every chunk before the pixel data."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            return True
        at += 12 + size
    return False


def depth(data: bytes) -> int:
    """Bits per sample as stored, by the header; 0 if the header is truncated."""
    return data[24] if len(data) > 24 else 0


def channels(data: bytes) -> int:
    """Samples per pixel as read, by the header and the presence of a transparent colour."""
    transparent = any(kind == b"tRNS" for kind, _ in chunks(data))
    return {0: 1, 4: 2, 6: 4}.get(data[25], 3) + transparent


def without_texts(data: bytes) -> bytes:
    """A file, or its beginning, without its texts, of which decoders refuse large ones."""
    view, kept = memoryview(data), bytearray()
    at, copied = len(SIGNATURE), 0
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if kind in png_texts.KINDS:
            kept += view[copied:at]
            copied = end
        at = end
    return bytes(kept + view[copied:]) if copied else data


def comment_among(texts: bytes) -> tuple[bytes | None, int]:
    """The first comment among text chunks, in UTF-8, and how many texts there are beside it."""
    comment, others = None, 0
    for kind, content in chunks(SIGNATURE + texts):
        if comment is None and (found := png_texts.comment_of(kind, content)) is not None:
            comment = found
        else:
            others += 1
    return comment, others


def metadata_of(data: bytes) -> Metadata:
    """The metadata in a PNG's chunks, not validated. Raises Damaged for a broken profile."""
    icc_profile: bytes | None = None
    block: bytes | None = None
    dpi: tuple[float, float] | None = None
    texts: dict[bytes, bytes] = {}
    kept = bytearray()
    for kind, content in chunks(data):
        if kind == b"iCCP":
            icc_profile = png_texts.decompressed(content.partition(b"\0")[2][1:], "the profile")
        elif kind == b"eXIf":
            block = content
        elif kind == b"pHYs" and len(content) == 9 and content[8] == 1:
            x, y = struct.unpack(">II", content[:8])
            dpi = x * 0.0254, y * 0.0254
        elif kind in png_texts.KINDS and png_texts.keyword_of(content) in _READ:
            texts |= _text(kind, content)
        elif kind in png_texts.KINDS:
            kept += _chunk(kind, content)
    block = block or _raw_profile(texts, b"exif") or _raw_profile(texts, b"APP1")
    records = _raw_profile(texts, b"iptc") or _raw_profile(texts, b"8bim")
    return Metadata(
        icc_profile=icc_profile,
        exif=block,
        xmp=texts.get(png_texts.XMP) or _raw_profile(texts, b"xmp"),
        iptc=iptc.records(records) if records else None,
        dpi=dpi,
        png_texts=bytes(kept),
    )


def _text(kind: bytes, content: bytes) -> dict[bytes, bytes]:
    """A text by its keyword; nothing for what cannot be decompressed."""
    try:
        return {png_texts.keyword_of(content): png_texts.value_of(kind, content)}
    except Damaged:
        return {}


def _raw_profile(texts: dict[bytes, bytes], name: bytes) -> bytes | None:
    """What ImageMagick writes as a text: a name, a length, and the bytes in hexadecimal."""
    lines = texts.get(_RAW + name, b"").split()
    try:
        return bytes.fromhex(b"".join(lines[2:]).decode("ascii")) or None
    except ValueError:
        return None


def has_unusual_gamma(data: bytes) -> bool:
    """Whether gAMA alone defines the pixel values, and its gamma is not that of sRGB."""
    found = dict(chunks(data))
    if {b"iCCP", b"sRGB", b"cICP"} & found.keys() or len(found.get(b"gAMA", b"")) != 4:
        return False
    return not 44_000 <= struct.unpack(">I", found[b"gAMA"])[0] <= 46_000


def insert_metadata(encoded: bytes, metadata: Metadata) -> bytes:
    """An encoded PNG with chunks for the metadata inserted before the pixel data."""
    after_header = len(SIGNATURE) + 25
    at = after_header
    while encoded[at + 4 : at + 8] == b"pHYs":  # libvips writes 1 pixel per mm if there is no value
        at += 12 + struct.unpack_from(">I", encoded, at)[0]
    inserted = b"".join(_chunk(kind, content) for kind, content in _metadata_chunks(metadata))
    return encoded[:after_header] + inserted + metadata.png_texts + encoded[at:]


def _metadata_chunks(metadata: Metadata) -> Iterable[tuple[bytes, bytes]]:
    if metadata.icc_profile:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc_profile)
    if metadata.dpi:
        x, y = (round(value / 0.0254) for value in metadata.dpi)
        yield b"pHYs", struct.pack(">IIB", x, y, 1)
    if metadata.exif:
        yield b"eXIf", exif.without_prefix(metadata.exif)
    if metadata.xmp:
        yield b"iTXt", png_texts.XMP + b"\0\0\0\0\0" + metadata.xmp
    if metadata.iptc:
        block = iptc.resource_block(metadata.iptc)
        digits = block.hex()
        lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
        text = f"\niptc\n{len(block):8}\n{lines}\n".encode("ascii")
        yield b"zTXt", _RAW + b"iptc\0\0" + zlib.compress(text)
    for comment in metadata.comments:
        yield png_texts.from_comment(comment)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum
