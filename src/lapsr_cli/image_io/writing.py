"""Writing files: pictures are fitted to what the format supports, then encoded by its codec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from lapsr_cli.errors import UnwritablePicture
from lapsr_cli.files import atomic_write
from lapsr_cli.image_io import (
    avif,
    bmp,
    exif,
    exif_thumbnail,
    gif,
    jpeg,
    png,
    png_chunks,
    tiff,
    webp,
    xmp,
)
from lapsr_cli.image_io.conversion import flatten, to_8_bits, to_srgb
from lapsr_cli.image_io.damage import Damaged
from lapsr_cli.image_io.encoding import Encoding
from lapsr_cli.image_io.formats import FORMATS, check_size, format_of
from lapsr_cli.image_io.photo import Metadata, Photo
from lapsr_cli.image_io.pil import repeats
from lapsr_cli.pixels.picture import Picture
from lapsr_cli.text import counted, one_line, printable, typed

__all__ = ["losses", "write"]

_ENCODERS: dict[str, Callable[[Photo, Encoding, BinaryIO], None]] = {
    "JPEG": jpeg.encode,
    "PNG": png.encode,
    "WEBP": webp.encode,
    "TIFF": tiff.encode,
    "AVIF": avif.encode,
    "BMP": bmp.encode,
    "GIF": gif.encode,
}


def losses(photo: Photo, path: Path, encoding: Encoding | None = None) -> tuple[str, ...]:
    """What ``write`` would convert or drop, a short phrase each, without the path."""
    return tuple(_losses(photo, format_of(path), encoding or Encoding()))


def _losses(photo: Photo, form: str, encoding: Encoding) -> Iterator[str]:
    support, metadata = FORMATS[form], photo.metadata
    if not support.sixteen and any(frame.depth == 16 for frame in photo.frames):
        yield f"16-bit samples reduced to 8 bits, the most that {form} has"
    if any(frame.alpha is not None for frame in photo.frames):
        if not support.alpha:
            yield f"transparency flattened onto the background: {form} has no alpha"
        elif form == "GIF":
            yield "alpha reduced to 1 bit, the most that GIF has"
    if _needs_srgb(photo, form):
        yield f"colours converted to sRGB: {form} cannot hold the ICC profile"
    if photo.timing and len(photo.frames) > 1 and not support.animation:
        yield "animation frames written as pages, without their timing"
    if form == "WEBP" and (count := sum(repeats(photo.frames))):
        yield f"{counted(count, 'repeated frame')} merged into longer ones by the WebP encoder"
    if encoding.strip_metadata:
        return
    comment, texts = png_chunks.comment_among(metadata.png_texts)
    if texts and not support.texts:
        yield f"{counted(texts, 'PNG text')} dropped: {form} has none"
    comments = len(metadata.comments) + (comment is not None)
    if comments and not support.comments:
        yield f"{counted(comments, 'comment')} dropped: {form} has none"
    if metadata.iptc and not support.iptc:
        yield f"IPTC dropped: {form} does not support it"
    if (metadata.exif or metadata.xmp) and form in ("BMP", "GIF"):
        yield f"EXIF and XMP dropped: {form} does not support them"


def _needs_srgb(photo: Photo, form: str) -> bool:
    """Whether the format cannot hold the photo's profile: it holds none (BMP, GIF), has no grey
    (WebP), or has no grey with alpha (AVIF as Pillow writes it)."""
    if not photo.metadata.icc_profile:
        return False
    grey, alpha = photo.frames[0].pixels.ndim == 2, photo.frames[0].alpha is not None
    no_grey = form == "WEBP" or (form == "AVIF" and alpha)
    return not FORMATS[form].profile or (grey and no_grey)


def write(photo: Photo, path: Path, encoding: Encoding | None = None) -> None:
    """Write a photo in the format of the path's suffix, completely or not at all.

    16 bits become 8 in 8-bit formats, and alpha is flattened onto ``encoding.background`` in
    formats without alpha (``losses`` lists this in advance). Raises
    UnwritablePicture, in one line that names the file and the reason: alpha without a background,
    an animation or pages in a format for single pictures, EXIF or XMP too long for a JPEG, too many
    pixels per side, a full disk.
    """
    encoding = encoding or Encoding()
    form = format_of(path)
    for frame in photo.frames:
        check_size(path, frame.height, frame.width)
    try:
        fitted = _fitted(photo, form, encoding)
        with atomic_write(path) as file:
            _ENCODERS[form](fitted, encoding, file)
    except UnwritablePicture as error:
        raise UnwritablePicture(f"{printable(path)}: {error}") from error
    except OSError as error:
        raise UnwritablePicture(
            f"{printable(path)}: {error.strerror or one_line(error)}"
        ) from error
    except MemoryError as error:
        raise UnwritablePicture(f"{printable(path)}: not enough memory to encode it") from error
    # Encoders raise all kinds of exceptions; none of them concerns the other pictures.
    except Exception as error:
        raise UnwritablePicture(f"{printable(path)}: {typed(error)}") from error


def _fitted(photo: Photo, form: str, encoding: Encoding) -> Photo:
    """The photo converted to what the format supports. Raises UnwritablePicture."""
    support = FORMATS[form]
    if len(photo.frames) > 1 and not (support.pages or (photo.timing and support.animation)):
        several = "an animation; use -f webp" if photo.timing else "several pages; use -f tiff"
        raise UnwritablePicture(f"{form} cannot hold {several}")
    frames = tuple(_fitted_frame(frame, form, encoding) for frame in photo.frames)
    metadata = photo.metadata
    if encoding.strip_metadata:
        metadata = Metadata(icc_profile=metadata.icc_profile)
    if _needs_srgb(photo, form) and metadata.icc_profile:
        try:
            frames = tuple(to_srgb(frame, metadata.icc_profile) for frame in frames)
        except Damaged as error:
            raise UnwritablePicture(f"its ICC profile is damaged ({one_line(error)})") from error
        metadata = replace(metadata, icc_profile=None)
    if not support.texts:
        comment, _ = png_chunks.comment_among(metadata.png_texts)
        comments = metadata.comments if comment is None else (*metadata.comments, comment)
        metadata = replace(metadata, comments=comments, png_texts=b"")
    return replace(photo, frames=frames, metadata=_resized(metadata, frames[0], form))


def _fitted_frame(frame: Picture, form: str, encoding: Encoding) -> Picture:
    support = FORMATS[form]
    if frame.alpha is not None and not support.alpha:
        if encoding.background is None:
            raise UnwritablePicture(f"{form} cannot hold transparency; use --background or -f png")
        frame = flatten(frame, encoding.background)
    return frame if support.sixteen else to_8_bits(frame)


def _resized(metadata: Metadata, frame: Picture, form: str) -> Metadata:
    """The metadata with the size of the written picture."""
    block, packet = metadata.exif, metadata.xmp
    height, width = frame.height, frame.width
    try:
        if block:
            block = exif.resized(exif.without_prefix(block), height, width)
            block = exif_thumbnail.renewed(block, frame)
        if form == "AVIF" and block:
            block = exif.without_orientation(block)
    except Damaged as error:
        raise UnwritablePicture(f"its EXIF is damaged ({one_line(error)})") from error
    if block is None and metadata.dpi and form in ("WEBP", "AVIF"):
        block = exif.from_dpi(metadata.dpi)
    return replace(metadata, exif=block, xmp=xmp.resized(packet, height, width) if packet else None)
