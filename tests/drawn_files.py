"""Files made by their specifications: what no library writes, and oracles for what they do."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

Entry = tuple[int, int, int, bytes]


def png(samples: NDArray[np.uint8 | np.uint16], *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG of (H, W, 1 to 4) samples; ``extra`` chunks go before the pixels."""
    height, width, channels = samples.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = samples.astype(samples.dtype.newbyteorder(">"))
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    return png_of(width, height, 8 * samples.dtype.itemsize, colour, raw, *extra)


def png_of(
    width: int, height: int, depth: int, colour: int, raw: bytes, *extra: tuple[bytes, bytes]
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def bmp(samples: NDArray[np.uint8]) -> bytes:
    """A BMP of (H, W, 4) samples, red first, with masks for all four (BITMAPV4HEADER)."""
    height, width, _ = samples.shape
    masks = struct.pack("<4I", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)
    size = (108).to_bytes(4, "little")
    header = size + struct.pack("<iiHHIIiiII", width, -height, 1, 32, 3, 0, 0, 0, 0, 0) + masks
    start = 14 + 108
    head = b"BM" + struct.pack("<IHHI", start + samples.nbytes, 0, 0, start)
    return head + header.ljust(108, b"\0") + samples.tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def ifd(order: str, start: int, entries: list[Entry], following: int = 0) -> bytes:
    """A directory at offset ``start``, followed by the values that do not fit into it."""
    size = 2 + 12 * len(entries) + 4
    head, tail = struct.pack(order + "H", len(entries)), b""
    for tag, kind, count, value in sorted(entries):
        head += struct.pack(order + "HHI", tag, kind, count)
        if len(value) > 4:
            head += struct.pack(order + "I", start + size + len(tail))
            tail += value + bytes(len(value) % 2)
        else:
            head += value.ljust(4, b"\0")
    return head + struct.pack(order + "I", following) + tail


MAKER_NOTE = bytes(range(256)) * 2 + b"odd"
THUMBNAIL = b"\xff\xd8\xff\xdb" + b"old thumbnail" * 20 + b"\xff\xd9"


def exif(order: str = "<", orientation: int = 6, *, thumbnail: bytes = THUMBNAIL) -> bytes:
    """An EXIF block as a camera writes it, with all its directories."""

    def short(value: int) -> bytes:
        return struct.pack(order + "H", value)

    def long(value: int) -> bytes:
        return struct.pack(order + "I", value)

    def rationals(*values: int) -> bytes:
        return struct.pack(f"{order}{2 * len(values)}I", *(n for v in values for n in (v, 1)))

    gps = [(1, 2, 2, b"N\0"), (2, 5, 3, rationals(47, 22, 11)), (0x1234, 7, 6, b"\1\2\3\4\5\6")]
    interop = [(1, 2, 4, b"R98\0"), (2, 7, 4, b"0100")]

    def inner(at: int) -> list[Entry]:
        return [
            (0x9000, 7, 4, b"0232"),
            (0x927C, 7, len(MAKER_NOTE), MAKER_NOTE),
            (0x9286, 7, 15, b"ASCII\0\0\0hello\0\0"),
            (0x9291, 2, 3, b"42\0"),
            (0xA002, 3, 1, short(40)),
            (0xA003, 3, 1, short(30)),
            (0xA005, 4, 1, long(at)),
            (0xFDE8, 99, 1, b"odd "),
        ]

    def top(exif_at: int, gps_at: int) -> list[Entry]:
        return [
            (0x010F, 2, 6, b"Maker\0"),
            (0x0110, 2, 4, b"One\0"),
            (0x0112, 3, 1, short(orientation)),
            (0x011A, 5, 1, rationals(300)),
            (0x011B, 5, 1, rationals(150)),
            (0x0128, 3, 1, short(2)),
            (0x9C9B, 1, 10, "Title".encode("utf-16-le")),
            (0x8769, 4, 1, long(exif_at)),
            (0x8825, 4, 1, long(gps_at)),
        ]

    exif_at = 8 + len(ifd(order, 8, top(0, 0)))
    interop_at = exif_at + len(ifd(order, exif_at, inner(0)))
    gps_at = interop_at + len(ifd(order, interop_at, interop))
    second_at = gps_at + len(ifd(order, gps_at, gps))
    block = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8)
    block += ifd(order, 8, top(exif_at, gps_at), second_at if thumbnail else 0)
    block += ifd(order, exif_at, inner(interop_at)) + ifd(order, interop_at, interop)
    block += ifd(order, gps_at, gps)
    if thumbnail:
        at = second_at + 2 + 24 + 4
        pointers = [(0x0201, 4, 1, long(at)), (0x0202, 4, 1, long(len(thumbnail)))]
        block += ifd(order, second_at, pointers) + thumbnail
    return block


def values(block: bytes) -> dict[tuple[int, int], bytes]:
    """Every value of an EXIF block by directory (0, 0x8769, 0x8825, 0xA005) and tag."""
    order = {b"II": "<", b"MM": ">"}[block[:2]]
    found: dict[tuple[int, int], bytes] = {}
    waiting = [(0, struct.unpack_from(order + "I", block, 4)[0])]
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 99: 4}
    while waiting:
        name, at = waiting.pop()
        (count,) = struct.unpack_from(order + "H", block, at)
        for number in range(count):
            place = at + 2 + 12 * number
            tag, kind, many = struct.unpack_from(order + "HHI", block, place)
            size = sizes[kind] * many
            start = place + 8
            if size > 4:
                (start,) = struct.unpack_from(order + "I", block, start)
            if tag in (0x8769, 0x8825, 0xA005):
                waiting.append((tag, struct.unpack_from(order + "I", block, start)[0]))
            else:
                found[name, tag] = block[start : start + size]
    return found


def icc(space: bytes = b"RGB ", *, gamma: float = 2.2) -> bytes:
    """A matrix profile with the primaries of Display P3, or a grey one (ICC.1:2001-04)."""

    def fixed(*numbers: float) -> bytes:
        return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)

    def xyz(*numbers: float) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(*numbers)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 3) + b"P3\0" + bytes(78) + b"\0"
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0CC0\0", b"wtpt": xyz(0.9642, 1.0, 0.8249)}
    if space == b"RGB ":
        tags |= {
            b"rXYZ": xyz(0.51512, 0.24120, -0.00105),
            b"gXYZ": xyz(0.29198, 0.69225, 0.04189),
            b"bXYZ": xyz(0.15710, 0.06657, 0.78407),
            b"rTRC": curve,
            b"gTRC": curve,
            b"bTRC": curve,
        }
    else:
        tags |= {b"kTRC": curve}
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI", at + len(body), b"lcms", 0x02400000) + b"mntr" + space + b"XYZ "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + table + body


def xmp(orientation: int = 6) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description'
        b' tiff:Orientation="%d" exif:PixelXDimension="40" dc:title="Z\xc3\xbcrich">'
        b"<exif:PixelYDimension>30</exif:PixelYDimension>"
        b"<xmp:Thumbnails><rdf:Alt>AAAA</rdf:Alt></xmp:Thumbnails>"
        b"</rdf:Description></rdf:RDF></x:xmpmeta>" % orientation
    )


IPTC = b"\x1c\x02\x19\x00\x05river\x1c\x02\x78\x00\x03The"
