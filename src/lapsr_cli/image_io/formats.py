"""Which formats there are, by what names, and what each can hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lapsr_cli.errors import UnwritablePicture
from lapsr_cli.text import printable

__all__ = [
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
"""What is written, by the suffix in lower case."""

SUFFIXES = WRITABLE
"""What is read and written."""

READABLE = WRITABLE | {".heic": "HEIF", ".heif": "HEIF"}
"""What is taken for a picture, whether or not the extra that HEIC needs is installed."""


@dataclass(frozen=True)
class Format:
    """What a format can hold. ``longest``: pixels a side."""

    longest: int
    alpha: bool = True
    sixteen: bool = False
    animation: bool = False
    pages: bool = False
    profile: bool = True
    iptc: bool = False


FORMATS = {
    "JPEG": Format(65_535, alpha=False, iptc=True),
    "PNG": Format(2**31 - 1, sixteen=True, animation=True, iptc=True),
    "WEBP": Format(16_383, animation=True),
    "TIFF": Format(2**31 - 1, sixteen=True, pages=True, iptc=True),
    "AVIF": Format(65_536, animation=True),
    "BMP": Format(2**31 - 1, alpha=False, profile=False),
    "GIF": Format(65_535, animation=True, profile=False),
}


def format_of(path: Path | str) -> str:
    """The format that a path, a name or a bare suffix asks for. Raises UnwritablePicture."""
    suffix = _suffix(path)
    if suffix not in WRITABLE:
        raise UnwritablePicture(f"{printable(path)}: cannot write {suffix or 'without a suffix'}")
    return WRITABLE[suffix]


def _suffix(path: Path | str) -> str:
    text = str(path).lower()
    return text if text in READABLE else Path(text).suffix


def suffix_for(suffix: str) -> str:
    """The suffix that "as the input" writes: the input's own, .jpg for .heic and .heif."""
    return ".jpg" if READABLE.get(suffix.lower()) == "HEIF" else suffix


def holds_alpha(path: Path | str) -> bool:
    """Whether the format of a path or suffix can hold transparency (GIF: one bit of it)."""
    return FORMATS[format_of(path)].alpha


def holds_depth(path: Path | str) -> bool:
    """Whether the format of a path or suffix can hold 16 bits a sample."""
    return FORMATS[format_of(path)].sixteen


def holds_frames(path: Path | str, *, timed: bool) -> bool:
    """Whether the format of a path or suffix can hold an animation (timed), or pages.

    The frames of an animation also go into a TIFF, as pages, and lose their timing.
    """
    form = FORMATS[format_of(path)]
    return form.pages or (timed and form.animation)


def check_size(path: Path, height: int, width: int) -> None:
    """Raise UnwritablePicture if the format of ``path`` cannot hold that many pixels a side."""
    form = format_of(path)
    longest = FORMATS[form].longest
    if max(height, width) > longest:
        raise UnwritablePicture(
            f"{printable(path)}: {width} x {height} pixels are more than {form} holds"
            f" ({longest} a side); give -f png"
        )
