"""Reading files: sniffed, decoded by their codec, oriented, and their metadata validated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io import avif, bmp, exif, gif, heif, icc, jpeg, png, tiff, webp, xmp
from lapsr_cli.image_io.damage import Damaged, as_unreadable
from lapsr_cli.image_io.decoded import Decoded
from lapsr_cli.image_io.formats import READABLE
from lapsr_cli.image_io.photo import Metadata, Photo
from lapsr_cli.image_io.pil import oriented
from lapsr_cli.image_io.sniffing import MAGIC_BYTES, form_of, open_regular
from lapsr_cli.text import one_line

__all__ = ["MAX_PIXELS", "open_photo", "read"]

MAX_PIXELS = 1 << 29
"""Default limit on the pixels of all frames of a file, 537 million."""

_DECODERS: dict[str, Callable[[bytes, int | None], Decoded]] = {
    "JPEG": jpeg.decode,
    "PNG": png.decode,
    "WEBP": webp.decode,
    "AVIF": avif.decode,
    "BMP": bmp.decode,
    "GIF": gif.decode,
    "HEIF": heif.decode,
}


def read(path: Path, *, max_pixels: int | None = MAX_PIXELS, strip_metadata: bool = False) -> Photo:
    """Read a file: all frames, upright, and the metadata.

    ``max_pixels``: a file whose frames together have more pixels is refused before it is decoded;
    None: no limit. ``strip_metadata``: drop all metadata except the ICC profile, without which
    the colours would change, and ignore damaged metadata.

    CMYK becomes sRGB. Only the first image of an MPO and the primary one of a HEIC are read. Raises
    UnreadablePicture: one line that names the file and the reason.
    """
    photo = open_photo(path, max_pixels=max_pixels, strip_metadata=strip_metadata)
    return replace(photo, frames=tuple(photo.frames))


def open_photo(
    path: Path, *, max_pixels: int | None = MAX_PIXELS, strip_metadata: bool = False
) -> Photo:
    """Read a file like ``read``, except that the pages of a TIFF are decoded only when they are
    indexed, each time anew: whoever goes through them has one in memory at a time.

    They can be indexed from any thread, which raises UnreadablePicture for a damaged page, and for
    a file that has changed since.
    """
    with as_unreadable(path), open_regular(path) as file:
        form = form_of(file.read(MAGIC_BYTES))
        file.seek(0)
        if form == "TIFF":
            decoded = tiff.decode(path, file, max_pixels)
        else:
            decoded = _DECODERS[form](file.read(), max_pixels)
        photo = _validated(decoded, form, strip_metadata)
        expected = READABLE.get(path.suffix.lower())
        if expected and expected != form:
            warning = f"its suffix says {expected}, but its content is {form}"
            photo = replace(photo, warnings=(warning, *photo.warnings))
        return photo


def _validated(decoded: Decoded, form: str, strip_metadata: bool) -> Photo:
    """The frames upright, with valid metadata. Raises UnreadablePicture for damaged metadata;
    with ``strip_metadata``, that is a warning."""
    metadata, faults, warnings = decoded.metadata, list(decoded.faults), list(decoded.warnings)
    exif_block, orientation, dpi = None, decoded.orientation or 1, metadata.dpi
    if metadata.exif:
        try:
            block = exif.without_prefix(metadata.exif)
            orientation = decoded.orientation or exif.orientation_of(block)
            dpi = dpi or exif.dpi_of(block)
            exif_block = exif.upright(block)
        except Damaged as error:
            faults.append(f"EXIF is damaged ({one_line(error)})")
    icc_profile = metadata.icc_profile
    if icc_profile:
        is_grey = decoded.is_grey
        if is_grey is None:
            is_grey = decoded.frames[0].pixels.ndim == 2
        try:
            icc_profile = _usable_profile(icc_profile, "L" if is_grey else "RGB", warnings)
        except Damaged as error:
            faults.append(f"ICC profile is damaged ({one_line(error)})")
            icc_profile = None
    if faults and not strip_metadata:
        raise UnreadablePicture(f"its {'; its '.join(faults)}; use --strip-metadata to drop it")
    warnings += [f"its {fault}: dropped" for fault in faults]
    valid = Metadata(
        icc_profile=icc_profile,
        exif=exif_block,
        xmp=xmp.upright(metadata.xmp) if metadata.xmp else None,
        iptc=metadata.iptc,
        dpi=_plausible(dpi),
        comments=metadata.comments,
        png_texts=metadata.png_texts,
    )
    if strip_metadata:
        valid = Metadata(icc_profile=icc_profile)
    frames = decoded.frames
    if orientation != 1:
        frames = tuple(oriented(frame, orientation) for frame in frames)
    return Photo(
        frames, form, decoded.lossy, valid, decoded.timing, tuple(warnings), decoded.chroma_step
    )


def _usable_profile(icc_profile: bytes, mode: str, warnings: list[str]) -> bytes | None:
    """The profile, or None for an RGB profile of grey pixels, which other programs ignore.

    Raises Damaged.
    """
    if mode == "L" and icc.color_space(icc_profile) == "RGB":
        warnings.append("its ICC profile is for RGB, but the picture is grey: profile dropped")
        return None
    icc.check(icc_profile, mode)
    return icc_profile


def _plausible(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    if dpi is None or not all(0 < float(value) < 1e6 for value in dpi):
        return None
    return float(dpi[0]), float(dpi[1])
