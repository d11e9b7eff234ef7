"""PNG files: 8 bits and animations through Pillow, 16 bits through libvips."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from PIL import Image

from lapsr_cli.errors import UnreadablePicture, UnwritablePicture
from lapsr_cli.image_io import png_chunks, vips
from lapsr_cli.image_io.damage import Damaged
from lapsr_cli.image_io.decoded import Decoded, check_pixels
from lapsr_cli.image_io.encoding import Encoding
from lapsr_cli.image_io.photo import Metadata, Photo, Timing
from lapsr_cli.image_io.pil import repeats, split_channels
from lapsr_cli.image_io.pil_files import frame_count, open_image, read_frames, save
from lapsr_cli.pixels.picture import Picture
from lapsr_cli.text import one_line

__all__ = ["decode", "encode"]


def decode(data: bytes, max_pixels: int | None) -> Decoded:
    """Decode all frames. Raises Damaged, and UnreadablePicture for 16-bit animations."""
    png_chunks.check(data)
    bare = png_chunks.without_texts(data)
    with open_image(bare, "PNG") as image:
        frames: tuple[Picture, ...]
        timing: Timing | None = None
        if png_chunks.depth(data) == 16:
            frames = (_decode_16_bits(image, bare, max_pixels),)
        else:
            frames, timing = _decode_8_bits(image, max_pixels)
    metadata, faults = _metadata(data)
    gamma = "gamma (gAMA without a profile) is ignored"
    warnings = (gamma,) if png_chunks.has_unusual_gamma(data) else ()
    return Decoded(frames, False, metadata, timing, warnings=warnings, faults=faults)


def _decode_16_bits(image: Image.Image, data: bytes, max_pixels: int | None) -> Picture:
    frames, _ = frame_count(image)
    check_pixels(image.height, image.width, frames, max_pixels)
    if frames > 1:
        raise UnreadablePicture("16-bit animations are not supported")
    return split_channels(vips.decode(data))


def _decode_8_bits(
    image: Image.Image, max_pixels: int | None
) -> tuple[tuple[Picture, ...], Timing | None]:
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        image.info["transparency"] = transparent * _grey_scale(image)
    frames, durations = read_frames(image, max_pixels)
    loop = int(image.info.get("loop") or 0)
    return frames, Timing(durations, loop) if len(frames) > 1 else None


def _grey_scale(image: Image.Image) -> int:
    """What Pillow multiplies greys of 2 and 4 bits by, all but the transparent one."""
    modes = str(getattr(image, "tile", ""))
    return 85 if "L;2" in modes else 17 if "L;4" in modes else 1


def _metadata(data: bytes) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata, and what of it cannot be parsed."""
    try:
        return png_chunks.metadata_of(data), ()
    except Damaged as error:
        return Metadata(), (f"ICC profile is damaged ({one_line(error)})",)


def encode(photo: Photo, encoding: Encoding, file: BinaryIO) -> None:
    """Encode all frames. Raises UnwritablePicture for 16-bit animations."""
    frame = photo.frames[0]
    if frame.depth == 8:
        encoded = _encode_8_bits(photo, encoding)
    elif len(photo.frames) > 1:
        raise UnwritablePicture("16-bit animations are not supported")
    else:
        encoded = vips.encode_png(frame, encoding.compress)
    file.write(png_chunks.insert_metadata(encoded, photo.metadata))


def _encode_8_bits(photo: Photo, encoding: Encoding) -> bytes:
    options: dict[str, Any] = {"compress_level": encoding.compress}
    if photo.timing and len(photo.frames) > 1:
        # Each frame replaces the one before, so that transparent pixels stay transparent. Pillow
        # merges equal frames, unless the first is cleared before the second.
        cleared = [int(repeated) for repeated in (*repeats(photo.frames)[1:], False)]
        options |= {"loop": photo.timing.loop, "blend": 0, "disposal": cleared}
    encoded = io.BytesIO()
    save(photo, encoded, "PNG", **options)
    return encoded.getvalue()
