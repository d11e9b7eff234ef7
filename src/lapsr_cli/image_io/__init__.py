"""Reading and writing pictures: formats, frames, depth, alpha and metadata.

``read`` and ``write`` convert between files and Photos, ``open_photo`` and ``Writer`` page by page;
``probe`` reads only the header; ``read_for_display`` returns what a browser would show. Colours are
not converted: the ICC profile is kept in every format that can hold one; for the others, the pixels
are converted to sRGB.
"""

from __future__ import annotations

from lapsr_cli.image_io.completeness import is_complete
from lapsr_cli.image_io.display import read_for_display
from lapsr_cli.image_io.encoding import Encoding
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
from lapsr_cli.image_io.jpeg import chroma_step
from lapsr_cli.image_io.photo import Header, Metadata, Photo, Timing
from lapsr_cli.image_io.pil import from_pil, to_pil
from lapsr_cli.image_io.pil_files import configure_pillow
from lapsr_cli.image_io.probing import is_transparent, probe
from lapsr_cli.image_io.reading import MAX_PIXELS, open_photo, read
from lapsr_cli.image_io.writing import Writer, losses, write

__all__ = [
    "MAX_PIXELS",
    "READABLE",
    "SUFFIXES",
    "WRITABLE",
    "Encoding",
    "Header",
    "Metadata",
    "Photo",
    "Timing",
    "Writer",
    "check_size",
    "chroma_step",
    "configure_pillow",
    "format_of",
    "from_pil",
    "holds_alpha",
    "holds_depth",
    "holds_frames",
    "is_complete",
    "is_transparent",
    "losses",
    "open_photo",
    "probe",
    "read",
    "read_for_display",
    "suffix_for",
    "to_pil",
    "write",
]
