"""Headers: size, frames, channels and depth of a file, without decoding it."""

from __future__ import annotations

import statistics
from contextlib import suppress
from pathlib import Path

from PIL import Image

from lapsr_cli.image_io import exif, heif, png_chunks, tiff, webp
from lapsr_cli.image_io.damage import Damaged, as_unreadable
from lapsr_cli.image_io.file_bytes import FileBytes
from lapsr_cli.image_io.formats import FORMATS
from lapsr_cli.image_io.photo import Header, HeaderPart
from lapsr_cli.image_io.pil_files import frame_count, open_image
from lapsr_cli.image_io.sniffing import MAGIC_BYTES, form_of, open_regular

__all__ = ["is_transparent", "probe"]

_BEGINNING = 1 << 16
"""Bytes read at first."""
_HEADER_FIRST = {"JPEG", "PNG", "BMP"}
"""Formats whose header tells everything; in the others, parts are elsewhere in the file."""


def probe(path: Path) -> Header:
    """Read a file's header without decoding pixels. Raises UnreadablePicture.

    Only the header of JPEG, PNG and BMP files is read, and of a TIFF, the directories; other files
    are read completely.
    """
    with as_unreadable(path), open_regular(path) as file:
        data = file.read(_BEGINNING)
        form = form_of(data)
        if form == "TIFF":
            return tiff.header(FileBytes(file))
        if form not in _HEADER_FIRST or (form == "PNG" and not png_chunks.reaches_pixels(data)):
            data += file.read()
        if form == "HEIF":
            return heif.header(data)
        if form == "WEBP":
            image = webp.open_webp(data)
        elif form == "PNG":
            image = open_image(png_chunks.without_texts(data), form)
        else:
            image = open_image(file if form in _HEADER_FIRST else data, form)
        with image:
            return _header(image, data, form)


def is_transparent(path: Path) -> bool:
    """Whether a file has alpha, by its header. Raises UnreadablePicture."""
    with as_unreadable(path), open_regular(path) as file:
        form = form_of(file.read(MAGIC_BYTES))
    return form != "JPEG" and probe(path).channels in (2, 4)


def _header(image: Image.Image, data: bytes, form: str) -> Header:
    width, height = image.size
    if _is_transposed(image):
        width, height = height, width
    frames = frame_count(image)[0] if FORMATS[form].animation else 1
    channels = png_chunks.channels(data) if form == "PNG" else _channels(image)
    depth = 16 if form == "PNG" and png_chunks.depth(data) == 16 else 8
    pixels = height * width * frames
    part = HeaderPart(frames, pixels, pixels * channels * (depth // 8))
    return Header(form, height, width, channels, depth, (part,), _quantization(image))


def _quantization(image: Image.Image) -> float:
    """The mean of a JPEG's first table (ITU-T T.81, B.2.4.1), which is that of luma."""
    tables = getattr(image, "quantization", None) or {}
    return statistics.fmean(next(iter(tables.values()))) if tables else 0.0


def _is_transposed(image: Image.Image) -> bool:
    """Whether the EXIF orientation swaps height and width; damaged EXIF is reported by ``read``."""
    block = exif.without_prefix(image.info.get("exif") or b"")
    with suppress(Damaged):
        return bool(block) and exif.orientation_of(block) >= 5
    return False


def _channels(image: Image.Image) -> int:
    transparent = "transparency" in image.info
    colours = {"1": 1, "L": 1, "LA": 1, "I;16": 1}.get(image.mode, 3)
    return colours + (transparent or image.mode in ("LA", "RGBA", "PA"))
