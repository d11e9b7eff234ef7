"""HEIC files, read through pillow-heif, the optional extra ``heif``."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io.decoded import Decoded, check_pixels
from lapsr_cli.image_io.photo import Header, HeaderPart
from lapsr_cli.image_io.pil import picture_of
from lapsr_cli.image_io.pil_files import metadata_of
from lapsr_cli.text import counted

if TYPE_CHECKING:
    from pillow_heif import HeifFile

__all__ = ["REDUCED_TO_8_BITS", "decode", "exceeds_8_bits", "header"]

REDUCED_TO_8_BITS = "10 or 12 bits per channel reduced to 8"
"""The warning for files with more than 8 bits per channel."""


def header(data: bytes) -> Header:
    """The header of a file's primary image, which is not decoded. Raises UnreadablePicture."""
    primary = _primary_image(data)
    width, height = primary.size
    channels = {"L": 1, "I;16": 1, "LA": 2, "RGBA": 4}.get(primary.mode, 3)
    part = HeaderPart(1, height * width, height * width * channels)
    return Header("HEIF", height, width, channels, 8, (part,))


def decode(data: bytes, max_pixels: int | None) -> Decoded:
    """Decode the primary image, upright, with 8 bits per channel. Raises UnreadablePicture."""
    primary = _primary_image(data)
    width, height = primary.size
    check_pixels(height, width, 1, max_pixels)
    info = dict(primary.info)
    image: Image.Image = primary.to_pillow()
    image.info = info
    warnings = [REDUCED_TO_8_BITS] if exceeds_8_bits(data) else []
    if len(primary) > 1:
        warnings.append(f"{counted(len(primary) - 1, 'further picture')} in it dropped")
    return Decoded(
        (picture_of(image),), True, metadata_of(image), orientation=1, warnings=tuple(warnings)
    )


def exceeds_8_bits(data: bytes) -> bool:
    """Whether the pixel information (ISO/IEC 23008-12, pixi) exceeds 8 bits per channel."""
    at = data.find(b"pixi", 0, 1 << 16)
    return at >= 0 and len(data) > at + 9 and data[at + 9] > 8


def _primary_image(data: bytes) -> HeifFile:
    """The primary image of a file; its pixels are decoded on first access."""
    try:
        import pillow_heif
    except ImportError as error:
        raise UnreadablePicture(
            "HEIC requires the extra heif: pip install 'lapsr-cli[heif]'"
        ) from error
    return pillow_heif.open_heif(io.BytesIO(data))
