"""Files through Pillow: opening, decoding frames, metadata, saving."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from typing import IO, Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io.decoded import check_pixels
from lapsr_cli.image_io.photo import Metadata, Photo
from lapsr_cli.image_io.pil import match_channels, picture_of, to_pil
from lapsr_cli.pixels.picture import Picture

__all__ = [
    "configure_pillow",
    "frame_count",
    "metadata_of",
    "open_image",
    "read_frames",
    "save",
]


def configure_pillow() -> None:
    """Remove Pillow's limit on pixels and silence its warnings and log, for the whole process.

    For programs, which have ``--max-pixels`` and keep stderr for their own messages. These settings
    are global, so the library leaves them alone: without this call, a file with more than twice
    ``PIL.Image.MAX_IMAGE_PIXELS`` raises an UnreadablePicture that says so.
    """
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs errors that it also raises


def open_image(source: bytes | IO[bytes], form: str) -> Image.Image:
    """Open a file of a format, from its bytes or an open file; only the header is read.

    Raises UnreadablePicture, and whatever Pillow raises for damaged files.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        return Image.open(file, formats=[form])
    except UnidentifiedImageError as error:
        raise UnreadablePicture(
            f"damaged (starts like a {form} file but cannot be parsed as one)"
        ) from error


def frame_count(image: Image.Image) -> tuple[int, int]:
    """The number of frames and the index of the first: an APNG may start with a default image."""
    frames = int(getattr(image, "n_frames", 1))
    before = int(bool(getattr(image, "default_image", False))) if frames > 1 else 0
    return frames - before, before


def read_frames(
    image: Image.Image, max_pixels: int | None
) -> tuple[tuple[Picture, ...], tuple[int, ...]]:
    """All frames of an image with the same channels, and their durations in milliseconds.

    Raises UnreadablePicture, before decoding any, if together they exceed ``max_pixels``.
    """
    frames, first = frame_count(image)
    check_pixels(image.height, image.width, frames, max_pixels)
    pictures: list[Picture] = []
    durations: list[int] = []
    for index in range(first, first + frames):
        image.seek(index)
        image.load()
        pictures.append(picture_of(image))
        durations.append(round(image.info.get("duration") or 0))
    return match_channels(pictures), tuple(durations)


def metadata_of(image: Image.Image) -> Metadata:
    """The ICC profile, EXIF and XMP that Pillow found, unchanged."""
    info = image.info
    return Metadata(
        icc_profile=info.get("icc_profile") or None,
        exif=info.get("exif") or None,
        xmp=info.get("xmp") or None,
    )


def save(
    photo: Photo,
    file: BinaryIO,
    form: str,
    *,
    convert: Callable[[Picture], Image.Image] = to_pil,
    **options: Any,
) -> None:
    """Encode a photo with Pillow: all frames of an animation, otherwise the first alone.

    ``convert``: makes a frame's PIL image. ``options``: of Pillow's encoder.
    """
    first, *others = photo.frames
    if others and photo.timing:
        options |= {
            "save_all": True,
            "append_images": [convert(frame) for frame in others],
            "duration": list(photo.timing.durations),
        }
    encoded = io.BytesIO()
    convert(first).save(encoded, form, **options)
    file.write(encoded.getbuffer())
