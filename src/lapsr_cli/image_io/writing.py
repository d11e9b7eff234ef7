"""Writing files: pictures are fitted to what the format supports, then encoded by its codec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
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
    webp,
    xmp,
)
from lapsr_cli.image_io.conversion import flatten, to_8_bits, to_srgb
from lapsr_cli.image_io.damage import Damaged
from lapsr_cli.image_io.encoding import Encoding
from lapsr_cli.image_io.formats import FORMATS, check_size, format_of
from lapsr_cli.image_io.photo import Metadata, Photo
from lapsr_cli.image_io.pil import repeats
from lapsr_cli.image_io.tiff import PageEncoder
from lapsr_cli.pixels.picture import Picture
from lapsr_cli.text import counted, one_line, printable, typed

__all__ = ["Writer", "losses", "write"]

_ENCODERS: dict[str, Callable[[Photo, Encoding, BinaryIO], None]] = {
    "JPEG": jpeg.encode,
    "PNG": png.encode,
    "WEBP": webp.encode,
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
    if _needs_srgb(photo.frames[0], metadata.icc_profile, form):
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


def _needs_srgb(frame: Picture, icc_profile: bytes | None, form: str) -> bool:
    """Whether the format cannot hold the profile of a frame: it holds none (BMP, GIF), has no grey
    (WebP), or has no grey with alpha (AVIF as Pillow writes it)."""
    if not icc_profile:
        return False
    grey, alpha = frame.pixels.ndim == 2, frame.alpha is not None
    no_grey = form == "WEBP" or (form == "AVIF" and alpha)
    return not FORMATS[form].profile or (grey and no_grey)


def write(photo: Photo, path: Path, encoding: Encoding | None = None) -> None:
    """Write a photo in the format of the path's suffix, completely or not at all; see `Writer`."""
    sample_bytes = sum(frame.bytes for frame in photo.frames)
    writer = Writer(photo, path, encoding, sample_bytes=sample_bytes)
    try:
        for frame in photo.frames:
            writer.append(frame)
        writer.close()
    finally:
        writer.discard()


class Writer:
    """Writes a file frame by frame, in the format of the path's suffix. It appears there, complete,
    when it is closed, or never.

    Pages of a TIFF are written as they come; the frames of other formats are held until all are
    there. ``photo``: what is written, except for the frames, of which only the number counts.
    ``sample_bytes``: of all frames together, roughly.

    16 bits become 8 in 8-bit formats, and alpha is flattened onto ``encoding.background`` in
    formats without alpha (``losses`` lists this in advance). All methods raise UnwritablePicture,
    in one line that names the file and the reason: alpha without a background, an animation or
    pages in a format for single pictures, EXIF or XMP too long for a JPEG, too many pixels per
    side, a full disk.
    """

    def __init__(
        self,
        photo: Photo,
        path: Path,
        encoding: Encoding | None = None,
        *,
        sample_bytes: int,
    ) -> None:
        self.frames = 0
        self._photo = photo
        self._path = path
        self._encoding = encoding or Encoding()
        self._sample_bytes = sample_bytes
        self._form = format_of(path)
        self._file = ExitStack()
        self._encoder: PageEncoder | _WholeEncoder | None = None

    def append(self, frame: Picture) -> None:
        """Write a frame, or hold it."""
        check_size(self._path, frame.height, frame.width)
        with _as_unwritable(self._path):
            if self._encoder is None:
                _check_frames(self._photo, self._form)
            fitted = self._fitted(frame)
            if self._encoder is None:
                self._encoder = self._opened(frame, fitted)
            self._encoder.append(fitted)
            self.frames += 1

    def close(self) -> None:
        """Write what is held, and give the file its name."""
        encoder, self._encoder = self._encoder, None  # which may hold frames
        with _as_unwritable(self._path), self._file:
            if encoder is None:
                raise UnwritablePicture("it has no frames")
            encoder.finish()

    def discard(self) -> None:
        """Remove the file, unless it was closed."""
        with suppress(_Discarded, OSError), self._file:
            raise _Discarded

    def _fitted(self, frame: Picture) -> Picture:
        """A frame converted to what the format supports."""
        icc_profile = self._photo.metadata.icc_profile
        fitted = _fitted_frame(frame, self._form, self._encoding)
        if not icc_profile or not _needs_srgb(frame, icc_profile, self._form):
            return fitted
        try:
            return to_srgb(fitted, icc_profile)
        except Damaged as error:
            raise UnwritablePicture(f"its ICC profile is damaged ({one_line(error)})") from error

    def _opened(self, frame: Picture, fitted: Picture) -> PageEncoder | _WholeEncoder:
        """The encoder of a new file. ``frame``: the first, which becomes ``fitted``."""
        metadata = _fitted_metadata(self._photo.metadata, frame, self._form, self._encoding)
        metadata = _resized(metadata, fitted, self._form)
        encoding = self._encoding
        file = self._file.enter_context(atomic_write(self._path))
        if self._form == "TIFF":
            return PageEncoder(metadata, encoding, file, self._sample_bytes)
        photo, encode = replace(self._photo, metadata=metadata), _ENCODERS[self._form]
        return _WholeEncoder(lambda frames: encode(replace(photo, frames=frames), encoding, file))


class _Discarded(Exception):
    """Ends the writing of a file."""


class _WholeEncoder:
    """Holds frames until all are there, and has them encoded together by ``encode``."""

    def __init__(self, encode: Callable[[tuple[Picture, ...]], None]) -> None:
        self._encode = encode
        self._frames: list[Picture] = []

    def append(self, frame: Picture) -> None:
        self._frames.append(frame)

    def finish(self) -> None:
        self._encode(tuple(self._frames))


@contextmanager
def _as_unwritable(path: Path) -> Iterator[None]:
    """Turn every exception of the block into an UnwritablePicture: one line that names the file."""
    name = printable(path)
    try:
        yield
    except UnwritablePicture as error:
        raise UnwritablePicture(f"{name}: {error}") from error
    except OSError as error:
        raise UnwritablePicture(f"{name}: {error.strerror or one_line(error)}") from error
    except MemoryError as error:
        raise UnwritablePicture(f"{name}: not enough memory to encode it") from error
    # Encoders raise all kinds of exceptions; none of them concerns the other pictures.
    except Exception as error:
        raise UnwritablePicture(f"{name}: {typed(error)}") from error


def _check_frames(photo: Photo, form: str) -> None:
    """Raise UnwritablePicture for more frames than the format holds."""
    support = FORMATS[form]
    if len(photo.frames) > 1 and not (support.pages or (photo.timing and support.animation)):
        several = "an animation; use -f webp" if photo.timing else "several pages; use -f tiff"
        raise UnwritablePicture(f"{form} cannot hold {several}")


def _fitted_metadata(metadata: Metadata, first: Picture, form: str, encoding: Encoding) -> Metadata:
    """The metadata that the format can hold."""
    if encoding.strip_metadata:
        metadata = Metadata(icc_profile=metadata.icc_profile)
    if _needs_srgb(first, metadata.icc_profile, form):
        metadata = replace(metadata, icc_profile=None)
    if not FORMATS[form].texts:
        comment, _ = png_chunks.comment_among(metadata.png_texts)
        comments = metadata.comments if comment is None else (*metadata.comments, comment)
        metadata = replace(metadata, comments=comments, png_texts=b"")
    return metadata


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
