"""Reading and writing pictures: formats, frames, depth, alpha, and what files say beside pixels.

``read`` and ``write`` are the doors; ``probe`` looks through the keyhole. Colours stay what they
were: the ICC profile goes along wherever the format can hold one, and else the pixels become sRGB.
"""

from __future__ import annotations

from lapsr_cli.image_io.formats import (
    READABLE,
    SUFFIXES,
    WRITABLE,
    check_size,
    format_of,
    holds_alpha,
    holds_depth,
    holds_frames,
    suffix_for,
)
from lapsr_cli.image_io.photo import Header, Metadata, Photo, Timing
from lapsr_cli.image_io.pil import from_pil, to_pil
from lapsr_cli.image_io.probing import probe
from lapsr_cli.image_io.reading import MAX_PIXELS, read
from lapsr_cli.image_io.writing import Encoding, losses, write
from lapsr_cli.pixels.picture import Picture, Samples

__all__ = [
    "MAX_PIXELS",
    "READABLE",
    "SUFFIXES",
    "WRITABLE",
    "Encoding",
    "Header",
    "Metadata",
    "Photo",
    "Picture",
    "Samples",
    "Timing",
    "check_size",
    "format_of",
    "from_pil",
    "holds_alpha",
    "holds_depth",
    "holds_frames",
    "losses",
    "probe",
    "read",
    "suffix_for",
    "to_pil",
    "write",
]
