"""BMP files."""

from __future__ import annotations

from typing import BinaryIO

from lapsr_cli.image_io.decoded import Decoded
from lapsr_cli.image_io.encoding import Encoding
from lapsr_cli.image_io.photo import Metadata, Photo
from lapsr_cli.image_io.pil_files import open_image, read_frames, save

__all__ = ["decode", "encode"]


def decode(data: bytes, max_pixels: int | None) -> Decoded:
    """Decode a file. Raises UnreadablePicture."""
    with open_image(data, "BMP") as image:
        frames, _ = read_frames(image, max_pixels)
        return Decoded(frames, False, Metadata(dpi=image.info.get("dpi")))


def encode(photo: Photo, _: Encoding, file: BinaryIO) -> None:
    """Encode the first frame."""
    save(photo, file, "BMP", dpi=photo.metadata.dpi or (0, 0))
