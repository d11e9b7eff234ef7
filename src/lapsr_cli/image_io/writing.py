"""Writing files: fitted to what the format holds, encoded, described, and renamed into view."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from lapsr_cli.errors import UnwritablePicture, UsageError
from lapsr_cli.files import atomic_write
from lapsr_cli.image_io import exif, iptc, png, tiff, xmp
from lapsr_cli.image_io import icc as profile
from lapsr_cli.image_io import vips as deep
from lapsr_cli.image_io.formats import FORMATS, check_size, format_of
from lapsr_cli.image_io.ifd import Damaged
from lapsr_cli.image_io.photo import Metadata, Photo
from lapsr_cli.image_io.pil import split, to_pil
from lapsr_cli.pixels.picture import Picture, Samples
from lapsr_cli.text import one_line, printable

__all__ = ["Encoding", "losses", "write"]

_SEGMENT = 65_533
"""Bytes of a JPEG segment, its length not counted."""
_BAND = 1 << 22
"""Samples that are flattened or reduced at a time: what is between needs four times the memory."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How files are written.

    ``quality``: of JPEG, WebP and AVIF, 1 to 100, handed to each encoder as it is. ``compress``:
    zlib level of PNG and TIFF, 0 to 9. ``lossless``: of WebP and AVIF. ``background``: RGB, 0 to
    255, under what is transparent where the format holds no alpha. ``strip_metadata``: write no
    metadata but the ICC profile, without which the colours would be others.
    """

    quality: int = 95
    compress: int = 6
    lossless: bool = False
    background: tuple[int, int, int] | None = None
    strip_metadata: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UsageError(f"--quality {self.quality}: must be from 1 to 100")
        if not 0 <= self.compress <= 9:
            raise UsageError(f"--compress {self.compress}: must be from 0 to 9")
        given = self.background
        if given is not None and (len(given) != 3 or not all(0 <= each <= 255 for each in given)):
            raise UsageError(f"--background {given}: must be three numbers from 0 to 255")


def losses(photo: Photo, path: Path, encoding: Encoding | None = None) -> tuple[str, ...]:
    """What ``write`` would decide for the user, a short sentence each, without the path."""
    return tuple(_losses(photo, format_of(path), encoding or Encoding()))


def _losses(photo: Photo, name: str, encoding: Encoding) -> Iterator[str]:
    form, said = FORMATS[name], photo.metadata
    if not form.sixteen and any(frame.depth == 16 for frame in photo.frames):
        yield f"16 bits a sample became 8, which is what {name} holds"
    if any(frame.alpha is not None for frame in photo.frames):
        if not form.alpha:
            yield f"what was transparent got a background: {name} holds no alpha"
        elif name == "GIF":
            yield "alpha became clear or opaque, which is what GIF holds"
    if _must_convert(photo, name):
        yield f"the colours became sRGB: {name} cannot hold the ICC profile"
    if photo.timing and len(photo.frames) > 1 and not form.animation:
        yield "the frames of the animation became pages, without their timing"
    if encoding.strip_metadata:
        return
    if said.iptc and not form.iptc:
        yield f"IPTC was left out: {name} holds none"
    if (said.exif or said.xmp) and name in ("BMP", "GIF"):
        yield f"EXIF and XMP were left out: {name} holds none"


def _must_convert(photo: Photo, name: str) -> bool:
    """Whether the format cannot hold the profile: none at all, or one of grey where there is no
    grey (WebP), or none with alpha (AVIF as Pillow writes it)."""
    if not photo.metadata.icc_profile:
        return False
    grey, alpha = photo.frames[0].pixels.ndim == 2, photo.frames[0].alpha is not None
    no_grey = name == "WEBP" or (name == "AVIF" and alpha)
    return not FORMATS[name].profile or (grey and no_grey)


def write(photo: Photo, path: Path, encoding: Encoding | None = None) -> None:
    """Write a photo in the format of the path's suffix, whole or not at all.

    16 bits become 8 where the format holds no more, and alpha is flattened onto
    ``encoding.background`` where it holds none (``losses`` says so beforehand). Raises
    UnwritablePicture, naming the file and why in one line: alpha without a background, an
    animation or pages for a format of one picture, EXIF or XMP too long for a JPEG, sides too
    long, a disk that is full.
    """
    encoding = encoding or Encoding()
    form = format_of(path)
    for frame in photo.frames:
        check_size(path, frame.height, frame.width)
    try:
        fitted = _fitted(photo, form, encoding)
        with atomic_write(path) as file:
            _encode(fitted, form, encoding, file)
    except UnwritablePicture as error:
        raise UnwritablePicture(f"{printable(path)}: {error}") from error
    except OSError as error:
        raise UnwritablePicture(
            f"{printable(path)}: {error.strerror or one_line(error)}"
        ) from error
    except MemoryError as error:
        raise UnwritablePicture(f"{printable(path)}: not enough memory to encode it") from error
    # Encoders raise many things; none of them concerns the other pictures.
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise UnwritablePicture(f"{printable(path)}: {reason}") from error


def _fitted(photo: Photo, name: str, encoding: Encoding) -> Photo:
    """The photo as the format can hold it."""
    form = FORMATS[name]
    if len(photo.frames) > 1 and not (form.pages or (photo.timing and form.animation)):
        what = "an animation; give -f webp" if photo.timing else "several pages; give -f tiff"
        raise UnwritablePicture(f"{name} cannot hold {what}")
    frames = tuple(_fitted_frame(frame, name, encoding) for frame in photo.frames)
    metadata = photo.metadata
    if encoding.strip_metadata:
        metadata = Metadata(icc_profile=metadata.icc_profile)
    if _must_convert(photo, name) and metadata.icc_profile:
        frames = tuple(_in_srgb(frame, metadata.icc_profile) for frame in frames)
        metadata = replace(metadata, icc_profile=None)
    return replace(photo, frames=frames, metadata=_resized(metadata, frames[0], name))


def _fitted_frame(frame: Picture, name: str, encoding: Encoding) -> Picture:
    form = FORMATS[name]
    if frame.alpha is not None and not form.alpha:
        if encoding.background is None:
            raise UnwritablePicture(
                f"{name} cannot hold transparency; give --background, or -f png"
            )
        frame = _flattened(frame, encoding.background)
    return frame if form.sixteen else _in_8_bits(frame)


def _flattened(frame: Picture, background: tuple[int, int, int]) -> Picture:
    """A picture over a colour, rounded; grey stays grey if the colour is."""
    assert frame.alpha is not None
    pixels = frame.pixels
    if pixels.ndim == 2 and len(set(background)) > 1:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    full = frame.full
    under = np.array(background, np.uint32) * (full // 255)
    if pixels.ndim == 2:
        under = under[:1]
    result = np.empty_like(pixels)
    for rows in _bands(pixels):
        alpha = frame.alpha[rows, :, None].astype(np.uint32)
        over = pixels[rows].reshape(*alpha.shape[:2], -1).astype(np.uint32)
        mixed = (over * alpha + under * (full - alpha) + full // 2) // full
        result[rows] = mixed.reshape(result[rows].shape)
    return Picture(result)


def _bands(samples: Samples) -> Iterator[slice]:
    rows = max(1, _BAND // max(1, samples[0].size))
    return (slice(top, top + rows) for top in range(0, len(samples), rows))


def _in_8_bits(frame: Picture) -> Picture:
    if frame.depth == 8:
        return frame
    return Picture(_reduced(frame.pixels), None if frame.alpha is None else _reduced(frame.alpha))


def _reduced(samples: Samples) -> Samples:
    """x / 257 rounded, which makes 65535 255."""
    result = np.empty(samples.shape, np.uint8)
    for rows in _bands(samples):
        result[rows] = (samples[rows].astype(np.uint32) + 128) // 257
    return result


def _in_srgb(frame: Picture, icc_profile: bytes) -> Picture:
    """An 8-bit picture in sRGB."""
    try:
        converted = profile.to_srgb(Image.fromarray(frame.pixels), icc_profile)
    except Damaged as error:
        raise UnwritablePicture(f"its ICC profile is damaged ({one_line(error)})") from error
    return Picture(split(np.asarray(converted)).pixels, frame.alpha)


def _resized(metadata: Metadata, frame: Picture, name: str) -> Metadata:
    """The metadata with the size of what is written."""
    block, packet = metadata.exif, metadata.xmp
    height, width = frame.height, frame.width
    try:
        block = exif.resized(exif.bare(block), height, width) if block else None
        if name == "AVIF" and block:
            block = exif.without_orientation(block)
    except Damaged as error:
        raise UnwritablePicture(f"its EXIF is damaged ({one_line(error)})") from error
    if block is None and metadata.dpi and name in ("WEBP", "AVIF"):
        block = exif.of_dpi(metadata.dpi)
    return replace(metadata, exif=block, xmp=xmp.resized(packet, height, width) if packet else None)


def _encode(photo: Photo, form: str, encoding: Encoding, file: BinaryIO) -> None:
    if form == "TIFF":
        tiff.write(photo.frames, photo.metadata, file, encoding.compress)
    elif form == "PNG":
        file.write(png.described(_png(photo, encoding), photo.metadata))
    else:
        encoded = io.BytesIO()
        options = _OPTIONS[form](photo, encoding)
        _save(photo, encoded, form, options)
        file.write(encoded.getbuffer())


def _png(photo: Photo, encoding: Encoding) -> bytes:
    frame = photo.frames[0]
    if frame.depth == 16:
        if len(photo.frames) > 1:
            raise UnwritablePicture("an animation of 16 bits a sample is not supported")
        return deep.encode_png(frame, encoding.compress)
    encoded = io.BytesIO()
    # Frames that replace what was there, so that clear pixels stay clear.
    options = {"compress_level": encoding.compress}
    if photo.timing and len(photo.frames) > 1:
        options |= {"loop": photo.timing.loop, "blend": 0, "disposal": 0}
    _save(photo, encoded, "PNG", options)
    return encoded.getvalue()


def _save(photo: Photo, encoded: io.BytesIO, form: str, options: dict[str, Any]) -> None:
    """Have Pillow encode all frames."""
    image = _gif_image if form == "GIF" else to_pil
    first, *others = photo.frames
    if others and photo.timing:
        options |= {
            "save_all": True,
            "append_images": [image(frame) for frame in others],
            "duration": list(photo.timing.durations),
        }
    image(first).save(encoded, form, **options)


def _jpeg(photo: Photo, encoding: Encoding) -> dict[str, Any]:
    said = photo.metadata
    options: dict[str, Any] = {"quality": encoding.quality, "subsampling": "4:4:4"}
    if said.exif:
        _check_segment("EXIF", len(said.exif) + 6)
        options["exif"] = b"Exif\0\0" + said.exif
    if said.xmp:
        _check_segment("XMP", len(said.xmp) + 29)
        options["xmp"] = said.xmp
    if said.iptc:
        block = b"Photoshop 3.0\0" + iptc.blocked(said.iptc)
        _check_segment("IPTC", len(block))
        options["extra"] = b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block
    if said.dpi:
        options["dpi"] = tuple(min(65_535, value) for value in said.dpi)
    return options | {"icc_profile": said.icc_profile}


def _check_segment(what: str, size: int) -> None:
    if size > _SEGMENT:
        raise UnwritablePicture(
            f"its {what} of {size} bytes is more than a JPEG holds ({_SEGMENT});"
            " give -f png, or --strip-metadata"
        )


def _webp(photo: Photo, encoding: Encoding) -> dict[str, Any]:
    said = photo.metadata
    options = {
        "quality": encoding.quality,
        "lossless": encoding.lossless,
        "exact": encoding.lossless,
        "method": 4,
        "icc_profile": said.icc_profile,
        "exif": said.exif or b"",
        "xmp": said.xmp or b"",
    }
    return options | ({"loop": photo.timing.loop} if photo.timing else {})


def _avif(photo: Photo, encoding: Encoding) -> dict[str, Any]:
    grey = all(frame.pixels.ndim == 2 and frame.alpha is None for frame in photo.frames)
    if encoding.lossless and not grey:
        # Pillow's encoder goes through YCbCr of 8 bits, which costs up to 3 levels.
        raise UnwritablePicture("--lossless: AVIF in colour is not exact here; give -f webp or png")
    said = photo.metadata
    options: dict[str, Any] = {
        "quality": 100 if encoding.lossless else encoding.quality,
        "speed": 6,
        "icc_profile": said.icc_profile,
        "exif": said.exif or b"",
        "xmp": said.xmp or b"",
    }
    return options | ({} if grey else {"subsampling": "4:4:4"})


def _bmp(photo: Photo, _: Encoding) -> dict[str, Any]:
    return {"dpi": photo.metadata.dpi or (0, 0)}


def _gif(photo: Photo, _: Encoding) -> dict[str, Any]:
    options: dict[str, Any] = {"optimize": False}
    if any(frame.alpha is not None for frame in photo.frames):
        options |= {"transparency": 255, "disposal": 2}
    if photo.timing and photo.timing.loop != 1:
        options["loop"] = max(0, photo.timing.loop - 1)
    return options


def _gif_image(frame: Picture) -> Image.Image:
    """A palette of its own for every frame, dithered; colour 255 is the clear one if any is."""
    image = to_pil(Picture(frame.pixels)).convert("RGB")
    if frame.alpha is None:
        return image.quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    # What is clear must take no part in choosing the colours.
    solid = frame.alpha >= 128
    colours = np.where(solid[..., None], np.asarray(image), 0).astype(np.uint8)
    palette = Image.fromarray(colours).quantize(255)
    indices = np.array(Image.fromarray(colours).quantize(palette=palette))
    indices[~solid] = 255
    result = Image.frombytes("P", image.size, indices.tobytes())
    chosen = palette.getpalette() or []
    result.putpalette([*(chosen + [0] * 768)[:765], 0, 0, 0])
    return result


_OPTIONS = {"JPEG": _jpeg, "WEBP": _webp, "AVIF": _avif, "BMP": _bmp, "GIF": _gif}
