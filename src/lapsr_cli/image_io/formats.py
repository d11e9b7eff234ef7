"""The formats: their suffixes and what each supports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lapsr_cli.errors import UnwritablePicture
from lapsr_cli.text import printable

__all__ = [
    "FORMATS",
    "READABLE",
    "SUFFIXES",
    "WRITABLE",
    "Format",
    "check_size",
    "format_of",
    "holds_alpha",
    "holds_depth",
    "holds_frames",
    "suffix_for",
]

WRITABLE = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".apng": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".gif": "GIF",
}
"""Formats that can be written, by suffix in lower case."""

SUFFIXES = WRITABLE
"""Formats that can be read and written."""

READABLE = WRITABLE | {".heic": "HEIF", ".heif": "HEIF"}
"""Formats that can be read, including HEIC, whether or not its extra is installed."""


@dataclass(frozen=True)
class Format:
    """What a format supports. ``longest``: pixels per side. ``sixteen``: 16 bits per sample.
    ``texts``: any of them, by keyword; ``comments``: those alone."""

    longest: int
    alpha: bool = True
    sixteen: bool = False
    animation: bool = False
    pages: bool = False
    profile: bool = True
    iptc: bool = False
    comments: bool = False
    texts: bool = False


FORMATS = {
    "JPEG": Format(65_535, alpha=False, iptc=True, comments=True),
    "PNG": Format(2**31 - 1, sixteen=True, animation=True, iptc=True, comments=True, texts=True),
    "WEBP": Format(16_383, animation=True),
    "TIFF": Format(2**31 - 1, sixteen=True, pages=True, iptc=True),
    "AVIF": Format(65_536, animation=True),
    "BMP": Format(2**31 - 1, alpha=False, profile=False),
    "GIF": Format(65_535, animation=True, profile=False, comments=True),
}
"""The writable formats, by name."""


def format_of(path: Path | str) -> str:
    """The format of a path, a name or a bare suffix. Raises UnwritablePicture if there is none."""
    suffix = _suffix(path)
    if suffix not in WRITABLE:
        raise UnwritablePicture(f"{printable(path)}: cannot write {suffix or 'without a suffix'}")
    return WRITABLE[suffix]


def _suffix(path: Path | str) -> str:
    text = str(path).lower()
    return text if text in READABLE else Path(text).suffix


def suffix_for(suffix: str) -> str:
    """The suffix for "same format as the input": the input's own, but .jpg for .heic and .heif."""
    return ".jpg" if READABLE.get(suffix.lower()) == "HEIF" else suffix


def holds_alpha(path: Path | str) -> bool:
    """Whether the format of a path or suffix supports transparency (GIF: 1 bit)."""
    return FORMATS[format_of(path)].alpha


def holds_depth(path: Path | str) -> bool:
    """Whether the format of a path or suffix supports 16 bits per sample."""
    return FORMATS[format_of(path)].sixteen


def holds_frames(path: Path | str, *, timed: bool) -> bool:
    """Whether the format of a path or suffix supports animations (``timed``), or pages.

    A TIFF can also hold the frames of an animation, as pages without their timing.
    """
    support = FORMATS[format_of(path)]
    return support.pages or (timed and support.animation)


def check_size(path: Path, height: int, width: int) -> None:
    """Raise UnwritablePicture if the picture is too large for the format of ``path``."""
    form = format_of(path)
    longest = FORMATS[form].longest
    if max(height, width) > longest:
        raise UnwritablePicture(
            f"{printable(path)}: {width} x {height} pixels exceed the limit of {form}"
            f" ({longest} per side); use -f png"
        )
