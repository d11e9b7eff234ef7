"""PIL images to pictures and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import ExifTags, Image

from lapsr_cli.errors import UnreadablePicture, UnwritablePicture
from lapsr_cli.pixels.picture import Picture, Samples

__all__ = [
    "from_pil",
    "match_channels",
    "oriented",
    "picture_of",
    "repeats",
    "split_channels",
    "to_pil",
]

_16_BIT = {"I;16", "I;16L", "I;16B", "I;16N"}
_DIRECT = {"L", "RGB", "LA", "RGBA"}
_WITH_ALPHA = {"1": "LA", "L": "LA", "RGB": "RGBA"}
_CONVERTED = {"1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB"}


def from_pil(image: Image.Image) -> Picture:
    """The Picture of a PIL image, with the orientation of its EXIF applied.

    Palettes become RGB and 1-bit images grey, which is exact. Alpha is kept; a palette has alpha
    only if it has a transparent entry. Raises UnreadablePicture for what a Picture cannot hold:
    CMYK, CIELAB, floating point, 32-bit integers.
    """
    picture = picture_of(image)
    return oriented(picture, image.getexif().get(ExifTags.Base.Orientation, 1))


def picture_of(image: Image.Image) -> Picture:
    """The Picture of a PIL image as stored: like ``from_pil``, but without its EXIF orientation."""
    if image.mode in _16_BIT:
        grey = np.asarray(image).astype(np.uint16)
        transparent = image.info.get("transparency")
        if not isinstance(transparent, int):
            return Picture(grey)
        return Picture(grey, np.where(grey == transparent, 0, 65_535).astype(np.uint16))
    if image.mode in ("P", "PA"):
        return _from_palette(image)
    mode = _CONVERTED.get(image.mode, image.mode)
    if "transparency" in image.info:
        mode = _WITH_ALPHA.get(image.mode, mode)
    if mode not in _DIRECT:
        raise UnreadablePicture(f"pixel mode {image.mode} is not supported")
    return split_channels(np.asarray(image if mode == image.mode else image.convert(mode)))


def _from_palette(image: Image.Image) -> Picture:
    if not image.has_transparency_data:
        return split_channels(np.asarray(image.convert("RGB")))
    picture = split_channels(np.asarray(image.convert("RGBA")))
    if image.mode == "P" and picture.alpha is not None and picture.alpha.min() == 255:
        return Picture(picture.pixels)
    return picture


def split_channels(samples: Samples) -> Picture:
    """The picture of (H, W) or (H, W, 1 to 4) samples, alpha last."""
    if samples.ndim == 2:
        return Picture(samples)
    channels = samples.shape[2]
    alpha = np.ascontiguousarray(samples[..., -1]) if channels in (2, 4) else None
    if channels < 3:
        return Picture(np.ascontiguousarray(samples[..., 0]), alpha)
    return Picture(np.ascontiguousarray(samples[..., :3]), alpha)


def oriented(picture: Picture, orientation: int) -> Picture:
    """A stored picture turned upright by its EXIF orientation, 1 to 8; others are ignored."""
    if not 2 <= orientation <= 8:
        return picture
    alpha = None if picture.alpha is None else _oriented(picture.alpha, orientation)
    return Picture(_oriented(picture.pixels, orientation), alpha)


def _oriented(samples: Samples, orientation: int) -> Samples:
    """Exif 2.32, tag 0x0112: from 5 on, rows and columns are swapped."""
    if orientation >= 5:
        samples = np.swapaxes(samples, 0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def match_channels(frames: Sequence[Picture]) -> tuple[Picture, ...]:
    """The frames of an animation with the same channels: alpha and RGB if any frame has them.

    Pillow returns the first frame of a GIF as a palette, and later ones in whatever mode they need.
    """
    alpha = any(frame.alpha is not None for frame in frames)
    rgb = any(frame.pixels.ndim == 3 for frame in frames)
    return tuple(_with_channels(frame, alpha=alpha, rgb=rgb) for frame in frames)


def _with_channels(frame: Picture, *, alpha: bool, rgb: bool) -> Picture:
    pixels, mask = frame.pixels, frame.alpha
    if rgb and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if alpha and mask is None:
        mask = np.full(pixels.shape[:2], frame.full, pixels.dtype)
    return Picture(pixels, mask)


def repeats(frames: Sequence[Picture]) -> list[bool]:
    """Whether each frame is equal to the one before it."""
    return [False, *(_are_equal(*pair) for pair in pairwise(frames))]


def _are_equal(one: Picture, other: Picture) -> bool:
    if not np.array_equal(one.pixels, other.pixels):
        return False
    if one.alpha is None or other.alpha is None:
        return one.alpha is other.alpha
    return np.array_equal(one.alpha, other.alpha)


def to_pil(picture: Picture) -> Image.Image:
    """The PIL image of a Picture: L, LA, RGB, RGBA, or I;16 for 16-bit grey.

    Raises UnwritablePicture for 16-bit RGB or alpha, which Pillow does not support.
    """
    if picture.depth == 16 and (picture.pixels.ndim == 3 or picture.alpha is not None):
        raise UnwritablePicture("Pillow supports 16 bits per channel only for grey without alpha")
    if picture.alpha is None:
        return Image.fromarray(picture.pixels)
    return Image.fromarray(np.dstack([picture.pixels, picture.alpha]))
