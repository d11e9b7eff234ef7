"""AVIF files."""

from __future__ import annotations

from typing import Any, BinaryIO

from lapsr_cli.errors import UnwritablePicture
from lapsr_cli.image_io.decoded import Decoded
from lapsr_cli.image_io.encoding import Encoding
from lapsr_cli.image_io.heif import REDUCED_TO_8_BITS, exceeds_8_bits
from lapsr_cli.image_io.photo import Photo, Timing
from lapsr_cli.image_io.pil_files import metadata_of, open_image, read_frames, save

__all__ = ["decode", "encode"]


def decode(data: bytes, max_pixels: int | None) -> Decoded:
    """Decode all frames, with 8 bits per channel. Raises UnreadablePicture."""
    with open_image(data, "AVIF") as image:
        frames, durations = read_frames(image, max_pixels)
        loop = int(image.info.get("loop") or 0)
        timing = Timing(durations, loop) if len(frames) > 1 else None
        warnings = (REDUCED_TO_8_BITS,) if exceeds_8_bits(data) else ()
        return Decoded(frames, True, metadata_of(image), timing, warnings=warnings)


def encode(photo: Photo, encoding: Encoding, file: BinaryIO) -> None:
    """Encode all frames, colour at 4:4:4.

    Raises UnwritablePicture for lossless colour: Pillow's encoder converts to 8-bit YCbCr, which
    costs up to 3 levels.
    """
    grey = all(frame.pixels.ndim == 2 and frame.alpha is None for frame in photo.frames)
    if encoding.lossless and not grey:
        raise UnwritablePicture("--lossless: not supported for colour AVIF; use -f webp or -f png")
    metadata = photo.metadata
    subsampling: dict[str, Any] = {} if grey else {"subsampling": "4:4:4"}
    save(
        photo,
        file,
        "AVIF",
        quality=100 if encoding.lossless else encoding.quality,
        speed=6,
        icc_profile=metadata.icc_profile,
        exif=metadata.exif or b"",
        xmp=metadata.xmp or b"",
        **subsampling,
    )
