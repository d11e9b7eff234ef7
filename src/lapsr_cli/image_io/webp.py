"""WebP files (RFC 9649)."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

from PIL import Image

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io.decoded import Decoded, check_pixels
from lapsr_cli.image_io.encoding import Encoding
from lapsr_cli.image_io.photo import Photo, Timing
from lapsr_cli.image_io.pil_files import metadata_of, open_image, read_frames, save

__all__ = ["decode", "encode", "open_webp"]


def open_webp(data: bytes) -> Image.Image:
    """Open a file. Raises UnreadablePicture for a truncated one, which libwebp would accept."""
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data) + 1:
        raise UnreadablePicture(f"damaged (truncated: {len(data)} of {size + 8} bytes)")
    return open_image(data, "WEBP")


def decode(data: bytes, max_pixels: int | None) -> Decoded:
    """Decode all frames. Raises UnreadablePicture."""
    # libwebp allocates the whole canvas when it opens a file.
    check_pixels(*_canvas_size(data), 1, max_pixels)
    with open_webp(data) as image:
        frames, durations = read_frames(image, max_pixels)
        loop = int(image.info.get("loop") or 0)
        timing = Timing(durations, loop) if len(frames) > 1 else None
        return Decoded(frames, _is_lossy(data), metadata_of(image), timing)


def _canvas_size(data: bytes) -> tuple[int, int]:
    """Height and width, from the first chunk."""
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    height, width = int.from_bytes(data[28:30], "little"), int.from_bytes(data[26:28], "little")
    return height & 0x3FFF, width & 0x3FFF


def _is_lossy(data: bytes) -> bool:
    """Whether any frame is VP8, which is lossy, rather than VP8L."""
    return b"VP8 " in _chunk_kinds(data, 12, len(data))


def _chunk_kinds(data: bytes, at: int, end: int) -> set[bytes]:
    kinds: set[bytes] = set()
    while at + 8 <= end:
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        kinds.add(kind)
        if kind == b"ANMF":  # 16 bytes of frame header, then the frame's own chunks
            kinds |= _chunk_kinds(data, at + 24, min(at + 8 + size, end))
        at += 8 + size + size % 2
    return kinds


def encode(photo: Photo, encoding: Encoding, file: BinaryIO) -> None:
    """Encode all frames."""
    metadata = photo.metadata
    loop: dict[str, Any] = {"loop": photo.timing.loop} if photo.timing else {}
    save(
        photo,
        file,
        "WEBP",
        quality=encoding.quality,
        lossless=encoding.lossless,
        exact=encoding.lossless,
        method=4,
        icc_profile=metadata.icc_profile,
        exif=metadata.exif or b"",
        xmp=metadata.xmp or b"",
        **loop,
    )
