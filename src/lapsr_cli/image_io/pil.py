"""PIL images to pictures and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import ExifTags, Image

from lapsr_cli.errors import UnreadablePicture, UnwritablePicture
from lapsr_cli.pixels.picture import Picture, Samples

__all__ = ["alike", "from_pil", "picture_of", "split", "to_pil", "turned"]

_DEEP = {"I;16", "I;16L", "I;16B", "I;16N"}
_DIRECT = {"L", "RGB", "LA", "RGBA"}
_WITH_ALPHA = {"1": "LA", "L": "LA", "RGB": "RGBA"}
_CONVERTED = {"1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB"}


def from_pil(image: Image.Image) -> Picture:
    """A Picture of a PIL image, turned as its EXIF says.

    Palettes and 1-bit images become RGB and grey, which is exact; alpha stays, but a palette
    without a clear colour has none. Raises UnreadablePicture for what a Picture cannot hold: CMYK,
    CIELAB, floating point, 32-bit integers.
    """
    picture = picture_of(image)
    return turned(picture, image.getexif().get(ExifTags.Base.Orientation, 1))


def picture_of(image: Image.Image) -> Picture:
    """The same without regard to EXIF."""
    if image.mode in _DEEP:
        deep = np.asarray(image).astype(np.uint16)
        clear = image.info.get("transparency")
        if not isinstance(clear, int):
            return Picture(deep)
        return Picture(deep, np.where(deep == clear, 0, 65_535).astype(np.uint16))
    if image.mode in ("P", "PA"):
        return _of_palette(image)
    mode = _CONVERTED.get(image.mode, image.mode)
    if "transparency" in image.info:
        mode = _WITH_ALPHA.get(image.mode, mode)
    if mode not in _DIRECT:
        raise UnreadablePicture(f"pixel mode {image.mode} is not supported")
    return split(np.asarray(image if mode == image.mode else image.convert(mode)))


def _of_palette(image: Image.Image) -> Picture:
    if not image.has_transparency_data:
        return split(np.asarray(image.convert("RGB")))
    picture = split(np.asarray(image.convert("RGBA")))
    if image.mode == "P" and picture.alpha is not None and picture.alpha.min() == 255:
        return Picture(picture.pixels)
    return picture


def split(samples: Samples) -> Picture:
    """A picture of (H, W) or (H, W, 1 to 4) samples, alpha last."""
    if samples.ndim == 2:
        return Picture(samples)
    channels = samples.shape[2]
    alpha = np.ascontiguousarray(samples[..., -1]) if channels in (2, 4) else None
    if channels < 3:
        return Picture(np.ascontiguousarray(samples[..., 0]), alpha)
    return Picture(np.ascontiguousarray(samples[..., :3]), alpha)


def turned(picture: Picture, orientation: int) -> Picture:
    """A stored picture made upright, by its EXIF orientation, 1 to 8."""
    if not 2 <= orientation <= 8:
        return picture
    alpha = None if picture.alpha is None else _turned(picture.alpha, orientation)
    return Picture(_turned(picture.pixels, orientation), alpha)


def _turned(samples: Samples, orientation: int) -> Samples:
    """Exif 2.32, tag 0x0112: from 5 on, rows and columns change places."""
    if orientation >= 5:
        samples = np.swapaxes(samples, 0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def alike(frames: Sequence[Picture]) -> tuple[Picture, ...]:
    """The frames of an animation with alpha in all if in one, and with colour likewise.

    Pillow gives the first frame of a GIF as a palette and the others as what they need.
    """
    with_alpha = any(frame.alpha is not None for frame in frames)
    with_colour = any(frame.pixels.ndim == 3 for frame in frames)
    return tuple(_like(frame, with_alpha, with_colour) for frame in frames)


def _like(frame: Picture, with_alpha: bool, with_colour: bool) -> Picture:
    pixels, alpha = frame.pixels, frame.alpha
    if with_colour and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if with_alpha and alpha is None:
        alpha = np.full(pixels.shape[:2], frame.full, pixels.dtype)
    return Picture(pixels, alpha)


def to_pil(picture: Picture) -> Image.Image:
    """The PIL image of a Picture: L, LA, RGB, RGBA, or I;16 for 16-bit grey.

    Raises UnwritablePicture for other 16-bit pictures, which Pillow cannot hold.
    """
    if picture.depth == 16 and (picture.pixels.ndim == 3 or picture.alpha is not None):
        raise UnwritablePicture("Pillow holds no 16 bits a channel but in grey without alpha")
    if picture.alpha is None:
        return Image.fromarray(picture.pixels)
    return Image.fromarray(np.dstack([picture.pixels, picture.alpha]))
