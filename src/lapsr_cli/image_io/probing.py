"""Opening files and asking what they hold, before anything is decoded.

What a file is, its content says.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io import exif, png, tiff
from lapsr_cli.image_io.ifd import Damaged
from lapsr_cli.image_io.photo import Header
from lapsr_cli.image_io.sniffing import form_of, regular
from lapsr_cli.text import one_line, printable

__all__ = ["frame_count", "named", "opened", "probe"]

# One limit and one way of telling: ours, for each call. Pillow's are for the whole process, and its
# warnings go to stderr between the lines of this program.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_HEAD = 1 << 16
_HEADED = {"JPEG", "PNG", "BMP"}
"""Formats whose header is all that ``probe`` asks for."""
_ANIMATED = {"PNG", "WEBP", "AVIF", "GIF"}


def probe(path: Path) -> Header:
    """What a file says it holds; no pixel is decoded. Raises UnreadablePicture.

    Of JPEG, PNG and BMP no more is read than the header; the others say what they hold at their
    end, or all over the file.
    """
    with named(path), regular(path) as file:
        data = file.read(_HEAD)
        if not data:
            raise UnreadablePicture("empty")
        form = form_of(data)
        if not _is_headed(form, data):
            data += file.read()
        if form == "TIFF":
            return _tiff_header(data)
        with opened(data, form, file if form in _HEADED else None) as image:
            return _header(image, data, form)


def _is_headed(form: str, data: bytes) -> bool:
    """Whether the beginning of a file tells all that is asked of it."""
    return form in _HEADED and (form != "PNG" or png.reaches_pixels(data))


def _tiff_header(data: bytes) -> Header:
    pages = tiff.pages(data)
    height, width = pages[0].size
    depth = 16 if pages[0].depth == 16 else 8
    return Header("TIFF", height, width, len(pages), pages[0].channels, depth)


def _header(image: Image.Image, data: bytes, form: str) -> Header:
    width, height = image.size
    if form != "HEIF" and _lies_on_its_side(image):
        width, height = height, width
    frames, _ = frame_count(image, form)
    channels = png.channels(data) if form == "PNG" else _channels(image)
    sixteen = form == "PNG" and data[24] == 16
    return Header(form, height, width, frames, channels, 16 if sixteen else 8)


def _lies_on_its_side(image: Image.Image) -> bool:
    """By its EXIF; what is wrong with that is for reading to say."""
    block = exif.bare(image.info.get("exif") or b"")
    with suppress(Damaged):
        return bool(block) and exif.orientation_of(block) >= 5
    return False


def _channels(image: Image.Image) -> int:
    clear = "transparency" in image.info
    colours = {"1": 1, "L": 1, "LA": 1, "I;16": 1}.get(image.mode, 3)
    return colours + (clear or image.mode in ("LA", "RGBA", "PA"))


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside becomes one UnreadablePicture of one line that names the file."""
    name = printable(path)
    try:
        yield
    except UnreadablePicture as error:
        raise UnreadablePicture(f"{name}: {one_line(error)}") from error
    except MemoryError as error:
        raise UnreadablePicture(f"{name}: more memory than there is would be needed") from error
    except Damaged as error:
        raise UnreadablePicture(f"{name}: damaged ({one_line(error)})") from error
    except OSError as error:
        raise UnreadablePicture(f"{name}: {error.strerror or one_line(error)}") from error
    # Decoders raise whatever a damaged file makes them trip over.
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise UnreadablePicture(f"{name}: damaged ({reason})") from error


def opened(data: bytes, form: str, file: IO[bytes] | None = None) -> Image.Image:
    """A file whose header is read: from its bytes, or from ``file``, of which ``data`` is the
    beginning. Raises UnreadablePicture."""
    if form == "HEIF":
        return _heif(data)
    if form == "WEBP":
        (size,) = struct.unpack_from("<I", data, 4)
        if size + 8 > len(data) + 1:
            raise UnreadablePicture(f"damaged (cut short: {len(data)} of {size + 8} bytes)")
    formats = ["JPEG", "MPO"] if form == "JPEG" else [form]
    try:
        return Image.open(file or io.BytesIO(data), formats=formats)
    except UnidentifiedImageError as error:
        raise UnreadablePicture(f"damaged (it begins as {form}, and does not go on so)") from error


def frame_count(image: Image.Image, form: str) -> tuple[int, int]:
    """How many frames there are, and which is the first: an APNG may have a picture before."""
    if form not in _ANIMATED:
        return 1, 0
    frames = int(getattr(image, "n_frames", 1))
    before = int(bool(getattr(image, "default_image", False))) if frames > 1 else 0
    return frames - before, before


def _heif(data: bytes) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnreadablePicture(
            "HEIC needs the extra heif: pip install 'lapsr-cli[heif]'"
        ) from error
    primary = pillow_heif.open_heif(io.BytesIO(data))
    info = dict(primary.info)
    image: Image.Image = primary.to_pillow()
    image.info = info
    return image
