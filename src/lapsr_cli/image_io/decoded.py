"""What a codec's ``decode`` returns, and the limit on pixels that each one applies first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io.photo import Metadata, Timing
from lapsr_cli.pixels.picture import Picture

__all__ = ["Decoded", "check_pixels"]


@dataclass(frozen=True)
class Decoded:
    """Frames as stored in a file, and its metadata, not yet validated.

    ``orientation``: None if that of the EXIF block still has to be applied, 1 if the decoder
    applied it. ``warnings``: decisions made on the user's behalf. ``faults``: metadata that could
    not be parsed at all. ``is_grey``: the first frame; None if it is to be seen there, because
    ``frames`` are in memory. ``chroma_step``: as in Photo.
    """

    frames: Sequence[Picture]
    lossy: bool
    metadata: Metadata
    timing: Timing | None = None
    orientation: int | None = None
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    is_grey: bool | None = None
    chroma_step: float = 0.0


def check_pixels(height: int, width: int, frames: int, max_pixels: int | None) -> None:
    """Raise UnreadablePicture if the pixels exceed ``max_pixels``; None: no limit."""
    pixels = height * width * frames
    if max_pixels is not None and pixels > max_pixels:
        times = f" x {frames} frames" if frames > 1 else ""
        raise UnreadablePicture(
            f"{width} x {height}{times} = {pixels} pixels, more than --max-pixels {max_pixels}"
        )
