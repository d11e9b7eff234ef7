"""A picture as a browser shows it: 8 bits, opaque, sRGB."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.html.example import Pixels
from lapsr_cli.image_io import read
from lapsr_cli.image_io.icc import to_srgb
from lapsr_cli.image_io.ifd import Damaged
from lapsr_cli.pixels.picture import Picture, Size
from lapsr_cli.pixels.resize import resized
from lapsr_cli.text import one_line, printable

__all__ = ["Shot", "alike", "read_shot"]

_LARGEST_SCALE = 8
"""A picture cropped to a multiple of it has lost less than so many pixels a side."""


@dataclass(frozen=True)
class Shot:
    """``pixels``: uint8, (H, W) or (H, W, 3). ``notes``: what was done to show it so."""

    pixels: Pixels
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        """In pixels."""
        return Size(self.pixels.shape[0], self.pixels.shape[1])


def read_shot(path: Path) -> Shot:
    """The first frame of a file. Raises UnreadablePicture, naming it."""
    photo = read(path, strip_metadata=True)
    picture, notes = photo.frames[0], []
    if len(photo.frames) > 1:
        notes.append(f"the first of {len(photo.frames)} frames")
    if picture.depth == 16:
        picture = _in_8_bits(picture)
        notes.append("16 bits as 8")
    if picture.alpha is not None:
        picture = _over_white(picture)
        notes.append("over white")
    pixels = picture.pixels.astype(np.uint8, copy=False)
    if photo.metadata.icc_profile is not None:
        try:
            pixels = np.asarray(to_srgb(Image.fromarray(pixels), photo.metadata.icc_profile))
        except Damaged as error:
            raise UnreadablePicture(f"{printable(path)}: ICC profile: {one_line(error)}") from error
        notes.append("in sRGB by its profile")
    return Shot(pixels, tuple(notes))


def _in_8_bits(picture: Picture) -> Picture:
    pixels, alpha = (
        None if samples is None else np.round(samples / 257).astype(np.uint8)
        for samples in (picture.pixels, picture.alpha)
    )
    assert pixels is not None
    return Picture(pixels, alpha)


def _over_white(picture: Picture) -> Picture:
    assert picture.alpha is not None
    opacity = picture.alpha / 255
    colours = picture.pixels
    if colours.ndim == 3:
        opacity = opacity[..., None]
    mixed = colours * opacity + 255 * (1 - opacity)
    return Picture(np.round(mixed).astype(np.uint8))


def alike(shots: list[Shot]) -> list[Shot]:
    """All of one size, and in colour if one is.

    The smaller ones are enlarged to the largest by MATLAB's bicubic. An original is often larger
    than its enlargements by a few pixels, since it was cropped to a multiple of the scale before it
    was shrunk: then all are cropped so, at the bottom and right, and nothing is shifted.
    """
    if any(shot.pixels.ndim == 3 for shot in shots):
        shots = [replace(shot, pixels=_in_colour(shot.pixels)) for shot in shots]
    largest = Size(max(s.size.height for s in shots), max(s.size.width for s in shots))
    grown = [_enlarged(shot, _reach(shot.size, largest)) for shot in shots]
    common = Size(min(s.size.height for s in grown), min(s.size.width for s in grown))
    return [_cropped(shot, common) for shot in grown]


def _in_colour(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _reach(size: Size, largest: Size) -> Size:
    """What a picture is enlarged to: ``largest``, or a multiple of its size that is nearly that."""
    scale = max(1, round(largest.height / size.height))
    multiple = Size(scale * size.height, scale * size.width)
    sides = ((multiple.height, largest.height), (multiple.width, largest.width))
    near = all(0 <= most - side < min(_LARGEST_SCALE, most / 8) for side, most in sides)
    return multiple if near else largest


def _enlarged(shot: Shot, size: Size) -> Shot:
    if shot.size == size:
        return shot
    # The kernel that shrinks is that which enlarges: it is stretched only for the former.
    pixels = resized(Picture(shot.pixels), size).pixels.astype(np.uint8, copy=False)
    note = f"bicubic from {shot.size.width} x {shot.size.height}"
    return Shot(pixels, (*shot.notes, note))


def _cropped(shot: Shot, size: Size) -> Shot:
    if shot.size == size:
        return shot
    note = f"{size.width} x {size.height} from the upper left"
    return Shot(shot.pixels[: size.height, : size.width], (*shot.notes, note))
