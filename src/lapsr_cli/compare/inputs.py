"""Pictures to compare: read as a browser shows them, and brought to one size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lapsr_cli.html.example import Pixels
from lapsr_cli.image_io import read_for_display
from lapsr_cli.pixels.picture import Picture, Size
from lapsr_cli.pixels.resize import resized

__all__ = ["ComparedPicture", "match_sizes", "read_picture"]

_LARGEST_SCALE = 8
"""Cropping to a multiple of a scale removes fewer pixels than this from each dimension."""


@dataclass(frozen=True)
class ComparedPicture:
    """``pixels``: uint8, (H, W) or (H, W, 3), sRGB. ``notes``: how they were converted."""

    pixels: Pixels
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        """Height and width in pixels."""
        return Size(self.pixels.shape[0], self.pixels.shape[1])


def read_picture(path: Path) -> ComparedPicture:
    """The first frame of a file. Raises UnreadablePicture, naming the file."""
    pixels, notes = read_for_display(path)
    return ComparedPicture(pixels, notes)


def match_sizes(pictures: list[ComparedPicture]) -> list[ComparedPicture]:
    """The pictures at one size, and in RGB if one is.

    Smaller ones are enlarged to the largest by MATLAB's bicubic. An original is often a few pixels
    larger than its enlargements, because it was cropped to a multiple of the scale before
    downscaling: then all are cropped in the same way, at the bottom and right, so nothing shifts.
    """
    if any(picture.pixels.ndim == 3 for picture in pictures):
        pictures = [replace(picture, pixels=_to_rgb(picture.pixels)) for picture in pictures]
    largest = Size(max(p.size.height for p in pictures), max(p.size.width for p in pictures))
    enlarged = [_enlarged(picture, _target(picture.size, largest)) for picture in pictures]
    common = Size(min(p.size.height for p in enlarged), min(p.size.width for p in enlarged))
    return [_cropped(picture, common) for picture in enlarged]


def _to_rgb(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _target(size: Size, largest: Size) -> Size:
    """The size to enlarge to: ``largest``, or a multiple of ``size`` that is slightly smaller."""
    scale = max(1, round(largest.height / size.height))
    multiple = Size(scale * size.height, scale * size.width)
    sides = ((multiple.height, largest.height), (multiple.width, largest.width))
    close = all(0 <= most - side < min(_LARGEST_SCALE, most / 8) for side, most in sides)
    return multiple if close else largest


def _enlarged(picture: ComparedPicture, size: Size) -> ComparedPicture:
    if picture.size == size:
        return picture
    # The same kernel downscales and enlarges; it is stretched only for downscaling.
    pixels = resized(Picture(picture.pixels), size).pixels.astype(np.uint8, copy=False)
    note = f"bicubic from {picture.size.width} x {picture.size.height}"
    return ComparedPicture(pixels, (*picture.notes, note))


def _cropped(picture: ComparedPicture, size: Size) -> ComparedPicture:
    if picture.size == size:
        return picture
    note = f"cropped to {size.width} x {size.height} at the bottom and right"
    return ComparedPicture(picture.pixels[: size.height, : size.width], (*picture.notes, note))
