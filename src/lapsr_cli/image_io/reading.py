"""Reading files: guarded first, then decoded, then turned upright and described.

Pillow decodes 8 bits, libvips 16 (``deep``) and compressed TIFF, pillow-heif HEIC. What a file is,
its content says.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io import exif, iptc, png, tiff, xmp
from lapsr_cli.image_io import icc as profile
from lapsr_cli.image_io import vips as deep
from lapsr_cli.image_io.formats import READABLE
from lapsr_cli.image_io.ifd import Damaged
from lapsr_cli.image_io.photo import Metadata, Photo, Timing
from lapsr_cli.image_io.pil import alike, picture_of, split, turned
from lapsr_cli.image_io.probing import frame_count, named, opened
from lapsr_cli.image_io.sniffing import form_of, load, webp_is_lossy, webp_size
from lapsr_cli.pixels.picture import Picture
from lapsr_cli.text import one_line

__all__ = ["MAX_PIXELS", "read"]

MAX_PIXELS = 1 << 29
"""Pixels of all frames of a file that are decoded unless the caller says otherwise: 537 million."""

_STRIP = "--strip-metadata leaves it out"


@dataclass(frozen=True)
class _Stored:
    """Frames as they are stored, and what the file says about them, unchecked."""

    frames: tuple[Picture, ...]
    lossy: bool
    found: Metadata
    timing: Timing | None = None
    orientation: int | None = None  # None: what EXIF says; 1: the decoder saw to it
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()  # of metadata that could not be read at all


def read(path: Path, *, max_pixels: int | None = MAX_PIXELS, strip_metadata: bool = False) -> Photo:
    """Read everything a file holds, upright.

    ``max_pixels``: more of them, all frames together, are refused before they are decoded; None
    is no limit. ``strip_metadata``: of the metadata only the ICC profile is kept, without which
    the colours would be others; and damaged metadata do not matter.

    A picture in CMYK comes as sRGB; of a JPEG with several (MPO) and of a HEIC the first or
    primary one comes alone. Raises UnreadablePicture, naming the file and why in one line.
    """
    with named(path):
        data = load(path)
        form = form_of(data)
        stored = _decoded(data, form, max_pixels)
        photo = _described(stored, form, strip_metadata)
        asked = READABLE.get(path.suffix.lower())
        if asked and asked != form:
            said = f"its name says {asked}, but it is {form}"
            photo = replace(photo, warnings=(said, *photo.warnings))
        return photo


def _check_pixels(height: int, width: int, frames: int, most: int | None) -> None:
    pixels = height * width * frames
    if most is not None and pixels > most:
        of = f" x {frames} frames" if frames > 1 else ""
        raise UnreadablePicture(
            f"{width} x {height}{of} are {pixels} pixels, more than --max-pixels {most}"
        )


def _decoded(data: bytes, form: str, most: int | None) -> _Stored:
    if form == "TIFF":
        return _read_tiff(data, most)
    if form == "PNG":
        png.check(data)
    if form == "PNG" and data[24:25] == b"\x10":
        return _read_deep_png(data, most)
    if form == "HEIF":
        return _read_heif(data, most)
    return _read_pillow(data, form, most)


def _read_pillow(data: bytes, form: str, most: int | None) -> _Stored:
    if form == "WEBP":
        _check_pixels(*webp_size(data), 1, most)
    with opened(data, form) as image:
        width, height = image.size
        frames, first = frame_count(image, form)
        _check_pixels(height, width, frames, most)
        scale = _grey_scale(image)
        if frames == 1:
            image.seek(first)
            image.load()
            said, faults = _said(image, data, form)
            return _one(image, form, data, said, faults, scale)
        pictures: list[Picture] = []
        durations: list[int] = []
        for number in range(first, first + frames):
            image.seek(number)
            image.load()
            pictures.append(picture_of(image))
            durations.append(round(image.info.get("duration") or 0))
        said, faults = _said(image, data, form)
        timing = Timing(tuple(durations), _plays(image, form))
        lossy = form == "AVIF" or (form == "WEBP" and webp_is_lossy(data))
        return _Stored(alike(pictures), lossy, said, timing, faults=faults)


def _grey_scale(image: Image.Image) -> int:
    """What Pillow multiplies greys of 2 and 4 bits with; it leaves the clear one as it is."""
    modes = str(getattr(image, "tile", ""))
    return 85 if "L;2" in modes else 17 if "L;4" in modes else 1


def _plays(image: Image.Image, form: str) -> int:
    """How often an animation plays, 0 for ever."""
    loop = image.info.get("loop")
    if form == "GIF":  # repetitions, and without that extension there are none
        return 1 if loop is None else loop + 1 if loop else 0
    return int(loop or 0)


def _one(
    image: Image.Image, form: str, data: bytes, said: Metadata, faults: tuple[str, ...], scale: int
) -> _Stored:
    notes: list[str] = []
    clear = image.info.get("transparency")
    if scale > 1 and isinstance(clear, int):
        image.info["transparency"] = clear * scale
    if image.mode == "CMYK":
        image, said, faults, note = _in_srgb(image, said, faults)
        notes.append(note)
    lossy = form in ("JPEG", "AVIF") or (form == "WEBP" and webp_is_lossy(data))
    if form == "AVIF" and _deep_heif(data):
        notes.append("its 10 or 12 bits a channel were read as 8")
    if form == "PNG" and png.odd_gamma(data):
        notes.append("its gamma (gAMA without a profile) is not carried over")
    if form == "JPEG" and any(
        content.startswith(b"http://ns.adobe.com/xmp/extension/")
        for _, content in getattr(image, "applist", ())
    ):
        notes.append("the extended part of its XMP was left out")
    return _Stored((picture_of(image),), lossy, said, warnings=tuple(notes), faults=faults)


def _deep_heif(data: bytes) -> bool:
    """Whether the pixel information (ISO/IEC 23008-12, pixi) names more than 8 bits."""
    at = data.find(b"pixi", 0, 1 << 16)
    return at >= 0 and len(data) > at + 9 and data[at + 9] > 8


def _in_srgb(
    image: Image.Image, said: Metadata, faults: tuple[str, ...]
) -> tuple[Image.Image, Metadata, tuple[str, ...], str]:
    """A CMYK picture in sRGB, without its profile; the last is the sentence about it."""
    without = replace(said, icc_profile=None)
    if said.icc_profile is None:
        note = "CMYK without a profile became RGB by the plain formula"
        return image.convert("RGB"), without, faults, note
    try:
        converted = profile.to_srgb(image, said.icc_profile)
    except Damaged as error:
        fault = f"ICC profile is damaged ({one_line(error)})"
        note = "CMYK became RGB by the plain formula"
        return image.convert("RGB"), without, (*faults, fault), note
    return converted, without, faults, "CMYK became sRGB by its profile"


def _said(image: Image.Image, data: bytes, form: str) -> tuple[Metadata, tuple[str, ...]]:
    """What a file says beside its pixels, as it stands there, and what of it cannot be read."""
    if form == "PNG":
        try:
            return png.found(data), ()
        except Damaged as error:
            return Metadata(), (f"ICC profile is damaged ({one_line(error)})",)
    if form == "GIF":
        return Metadata(), ()
    info = image.info
    faults: tuple[str, ...] = ()
    segments = getattr(image, "applist", ())
    if not info.get("icc_profile") and any(c.startswith(b"ICC_PROFILE\0") for _, c in segments):
        faults = ("ICC profile is damaged (a part of it is missing)",)
    resources = info.get("photoshop")
    records = resources.get(0x0404) if isinstance(resources, dict) else None
    dpi = info.get("dpi") if form == "BMP" else _jfif_dpi(info)
    found = Metadata(
        icc_profile=info.get("icc_profile") or None,
        exif=info.get("exif") or None,
        xmp=info.get("xmp") or None,
        iptc=iptc.records(records) if isinstance(records, bytes) else None,
        dpi=dpi,
    )
    return found, faults


def _jfif_dpi(info: dict[Any, Any]) -> tuple[float, float] | None:
    """The resolution in a JPEG's own header; Pillow's "dpi" may come from EXIF, or be made up."""
    factor = {1: 1.0, 2: 2.54}.get(info.get("jfif_unit", 0))
    if factor is None:
        return None
    x, y = info["jfif_density"]
    return x * factor, y * factor


def _read_deep_png(data: bytes, most: int | None) -> _Stored:
    with opened(data, "PNG") as image:
        width, height = image.size
        frames, _ = frame_count(image, "PNG")
        _check_pixels(height, width, frames, most)
        if frames > 1:
            raise UnreadablePicture("an animation of 16 bits a sample is not supported")
        said, faults = _said(image, data, "PNG")
    odd = ("its gamma (gAMA without a profile) is not carried over",) if png.odd_gamma(data) else ()
    return _Stored((split(deep.decode(data)),), False, said, warnings=odd, faults=faults)


def _read_tiff(data: bytes, most: int | None) -> _Stored:
    pages = tiff.pages(data)
    _check_pixels(1, sum(page.size[0] * page.size[1] for page in pages), 1, most)
    said = tiff.found(pages[0])
    faults: tuple[str, ...] = ()
    try:
        top = pages[0].directory
        said = replace(said, exif=exif.of_directory(data, pages[0].layout, top))
    except Damaged as error:
        faults = (f"EXIF is damaged ({one_line(error)})",)
    notes: list[str] = []
    frames: list[Picture] = []
    with ExitStack() as stack:
        image: Image.Image | None = None
        for page in pages:
            page.check()
            if page.depth == 16 or page.plain_but_packed:
                samples = deep.decode(data, page=page.index)[..., : page.channels]
                frames.append(turned(split(samples), page.orientation))
                continue
            image = image or stack.enter_context(opened(data, "TIFF"))
            image.seek(page.index)
            image.load()  # which also turns it upright
            if image.mode == "CMYK":
                in_srgb, _, faults, note = _in_srgb(image, said, faults)
                notes.append(note)
                frames.append(picture_of(in_srgb))
            else:
                frames.append(picture_of(image))
    if notes:
        said = replace(said, icc_profile=None)
    lossy = any(page.with_loss for page in pages)
    unique = tuple(dict.fromkeys(notes))
    return _Stored(tuple(frames), lossy, said, orientation=1, warnings=unique, faults=faults)


def _read_heif(data: bytes, most: int | None) -> _Stored:
    with opened(data, "HEIF") as image:
        width, height = image.size
        _check_pixels(height, width, 1, most)
        image.load()
        said, faults = _said(image, data, "HEIF")
        notes = ("its 10 or 12 bits a channel were read as 8",) if _deep_heif(data) else ()
        return _Stored(
            (picture_of(image),), True, said, orientation=1, warnings=notes, faults=faults
        )


def _described(stored: _Stored, form: str, strip: bool) -> Photo:
    """The frames upright, and the metadata that go with them checked."""
    said, faults = stored.found, list(stored.faults)
    block = exif.bare(said.exif) if said.exif else None
    orientation = stored.orientation or 1
    if block:
        try:
            orientation = stored.orientation or exif.orientation_of(block)
            said = replace(said, dpi=said.dpi or exif.dpi_of(block))
            block = exif.upright(block)
        except Damaged as error:
            faults.append(f"EXIF is damaged ({one_line(error)})")
            block = None
    notes = list(stored.warnings)
    icc_profile = said.icc_profile
    if icc_profile:
        mode = "RGB" if stored.frames[0].pixels.ndim == 3 else "L"
        try:
            icc_profile = _fitting(icc_profile, mode, notes)
        except Damaged as error:
            faults.append(f"ICC profile is damaged ({one_line(error)})")
            icc_profile = None
    if faults and not strip:
        raise UnreadablePicture(f"its {'; its '.join(faults)}; {_STRIP}")
    notes += [f"its {fault} and was left out" for fault in faults]
    metadata = Metadata(
        icc_profile=icc_profile,
        exif=block,
        xmp=xmp.upright(said.xmp) if said.xmp else None,
        iptc=said.iptc,
        dpi=_sane(said.dpi),
    )
    if strip:
        metadata = Metadata(icc_profile=icc_profile)
    frames = tuple(turned(frame, orientation) for frame in stored.frames)
    return Photo(frames, form, stored.lossy, metadata, stored.timing, tuple(notes))


def _fitting(icc_profile: bytes, mode: str, notes: list[str]) -> bytes | None:
    """The profile, or None for one of RGB on grey pixels, which programs ignore. Raises Damaged."""
    if mode == "L" and profile.space_of(icc_profile) == "RGB":
        notes.append("its ICC profile is for RGB, the picture is grey: the profile was left out")
        return None
    profile.check(icc_profile, mode)
    return icc_profile


def _sane(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    if dpi is None or not all(0 < float(value) < 1e6 for value in dpi):
        return None
    return float(dpi[0]), float(dpi[1])
