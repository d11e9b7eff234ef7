"""PNG files as chunks (W3C PNG, third edition): what they say beside the pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from lapsr_cli.image_io import exif, iptc
from lapsr_cli.image_io.ifd import Damaged
from lapsr_cli.image_io.photo import Metadata

__all__ = [
    "SIGNATURE",
    "channels",
    "check",
    "chunks",
    "described",
    "found",
    "odd_gamma",
    "reaches_pixels",
]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp"
_RAW = b"Raw profile type "
_LARGEST_TEXT = 64 << 20


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of every whole chunk but the pixels, whose content is left out."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if at + 12 + size > len(data):
            return
        yield kind, b"" if kind in (b"IDAT", b"fdAT") else data[at + 8 : at + 8 + size]
        at += 12 + size


def check(data: bytes) -> None:
    """Raise Damaged for a chunk that matters (an upper-case one) whose checksum is wrong.

    Pillow does not look at those of the pixels, and shows something else instead.
    """
    at = len(SIGNATURE)
    view = memoryview(data)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + size
        if end + 4 > len(data):
            raise Damaged(f"cut short in its chunk {kind.decode('latin-1')}")
        (stated,) = struct.unpack_from(">I", data, end)
        if kind[:1].isupper() and zlib.crc32(view[at + 4 : end]) != stated:
            raise Damaged(f"the checksum of its chunk {kind.decode('latin-1')} is wrong")
        if kind == b"IEND":
            return
        at = end + 4


def reaches_pixels(data: bytes) -> bool:
    """Whether the beginning of a file holds every chunk before the pixels."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            return True
        at += 12 + size
    return False


def channels(data: bytes) -> int:
    """Samples a pixel as read, by the header and by whether some colour is clear."""
    clear = any(kind == b"tRNS" for kind, _ in chunks(data))
    return {0: 1, 4: 2, 6: 4}.get(data[25], 3) + clear


def found(data: bytes) -> Metadata:
    """What the chunks of a PNG say, as it stands there. Raises Damaged for a broken profile."""
    icc_profile: bytes | None = None
    block: bytes | None = None
    dpi: tuple[float, float] | None = None
    texts: dict[bytes, bytes] = {}
    for kind, content in chunks(data):
        if kind == b"iCCP":
            icc_profile = _inflated(content.partition(b"\0")[2][1:], b"the profile")
        elif kind == b"eXIf":
            block = content
        elif kind == b"pHYs" and len(content) == 9 and content[8] == 1:
            x, y = struct.unpack(">II", content[:8])
            dpi = x * 0.0254, y * 0.0254
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            texts |= _text(kind, content)
    block = block or _raw(texts, b"exif") or _raw(texts, b"APP1")
    records = _raw(texts, b"iptc") or _raw(texts, b"8bim")
    return Metadata(
        icc_profile=icc_profile,
        exif=block,
        xmp=texts.get(_XMP) or _raw(texts, b"xmp"),
        iptc=iptc.records(records) if records else None,
        dpi=dpi,
    )


def _inflated(packed: bytes, what: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _LARGEST_TEXT)
    except zlib.error as error:
        raise Damaged(f"{what.decode('latin-1')}: {error}") from error


def _text(kind: bytes, content: bytes) -> dict[bytes, bytes]:
    """A text by its keyword; none if it is not what matters here, or cannot be unpacked."""
    key, _, value = content.partition(b"\0")
    if key != _XMP and not key.startswith(_RAW):
        return {}
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed = value[:1] == b"\1"
        value = b"\0".join(value[2:].split(b"\0", 2)[2:])
    elif packed:
        value = value[1:]
    try:
        return {key: _inflated(value, key) if packed else value}
    except Damaged:
        return {}


def _raw(texts: dict[bytes, bytes], name: bytes) -> bytes | None:
    """What ImageMagick puts into a text: a name, a length, and the bytes in hexadecimal."""
    lines = texts.get(_RAW + name, b"").split()
    try:
        return bytes.fromhex(b"".join(lines[2:]).decode("ascii")) or None
    except ValueError:
        return None


def odd_gamma(data: bytes) -> bool:
    """Whether the meaning of the pixel values is said by gAMA alone, and is not that of sRGB."""
    found = dict(chunks(data))
    if {b"iCCP", b"sRGB", b"cICP"} & found.keys() or len(found.get(b"gAMA", b"")) != 4:
        return False
    return not 44_000 <= struct.unpack(">I", found[b"gAMA"])[0] <= 46_000


def described(encoded: bytes, metadata: Metadata) -> bytes:
    """An encoded PNG with what is said about it put in front of the pixels."""
    after_header = len(SIGNATURE) + 25
    at = after_header
    while encoded[at + 4 : at + 8] == b"pHYs":  # libvips says 1 mm a pixel where nobody did
        at += 12 + struct.unpack_from(">I", encoded, at)[0]
    said = b"".join(_chunk(kind, content) for kind, content in _said(metadata))
    return encoded[:after_header] + said + encoded[at:]


def _said(metadata: Metadata) -> Iterable[tuple[bytes, bytes]]:
    if metadata.icc_profile:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc_profile)
    if metadata.dpi:
        x, y = (round(value / 0.0254) for value in metadata.dpi)
        yield b"pHYs", struct.pack(">IIB", x, y, 1)
    if metadata.exif:
        yield b"eXIf", exif.bare(metadata.exif)
    if metadata.xmp:
        yield b"iTXt", _XMP + b"\0\0\0\0\0" + metadata.xmp
    if metadata.iptc:
        block = iptc.blocked(metadata.iptc)
        digits = block.hex()
        lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
        text = f"\niptc\n{len(block):8}\n{lines}\n".encode("ascii")
        yield b"zTXt", _RAW + b"iptc\0\0" + zlib.compress(text)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )
