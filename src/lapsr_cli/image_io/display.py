"""Pictures as a browser shows them: one frame, 8 bits, opaque, sRGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lapsr_cli.image_io.conversion import flatten, to_8_bits, to_srgb
from lapsr_cli.image_io.damage import as_unreadable
from lapsr_cli.image_io.reading import open_photo

__all__ = ["read_for_display"]

_WHITE = (255, 255, 255)


def read_for_display(path: Path) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The first frame of a file, (H, W) or (H, W, 3) uint8, opaque and in sRGB.

    Also returns a phrase for each conversion. A profile that cannot be used is ignored. Raises
    UnreadablePicture, naming the file.
    """
    photo = open_photo(path, strip_metadata=True)
    picture = photo.frames[0]
    notes: list[str] = []
    if len(photo.frames) > 1:
        notes.append(f"first of {len(photo.frames)} frames")
    if picture.depth == 16:
        picture = to_8_bits(picture)
        notes.append("reduced to 8 bits")
    if picture.alpha is not None:
        picture = flatten(picture, _WHITE)
        notes.append("on white")
    if photo.metadata.icc_profile is not None:
        with as_unreadable(path):
            picture = to_srgb(picture, photo.metadata.icc_profile)
        notes.append("converted to sRGB")
    return picture.pixels.astype(np.uint8, copy=False), tuple(notes)
