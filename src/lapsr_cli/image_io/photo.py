"""The contents of a picture file: frames, timing and metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lapsr_cli.pixels.picture import Picture

__all__ = ["Header", "HeaderPart", "Metadata", "Photo", "Timing"]


@dataclass(frozen=True)
class Metadata:
    """A file's metadata. Every field may be None; the orientation has been applied to the pixels.

    ``icc_profile``: the ICC profile of the pixel values. ``exif``: a TIFF structure without the
    ``Exif\\0\\0`` prefix, with orientation 1 if it has that tag, and zeros for a thumbnail, which
    is made anew when the picture is written. ``xmp``: the packet. ``iptc``: bare IPTC-IIM records
    (1C 02 ...), not the Photoshop block around them, whose other resources (thumbnail, paths, print
    settings) describe the old pixels. ``dpi``: pixels per inch, horizontal and vertical.
    ``comments``: of a JPEG or GIF. ``png_texts``: the text chunks of a PNG as stored, except those
    whose content is in another field.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    comments: tuple[bytes, ...] = ()
    png_texts: bytes = b""


@dataclass(frozen=True)
class Timing:
    """How an animation plays.

    ``durations``: milliseconds, one per frame. ``loop``: how many times it plays; 0: forever
    (Pillow's ``loop`` of WebP and APNG; a GIF stores repetitions, one less).
    """

    durations: tuple[int, ...]
    loop: int = 0


@dataclass(frozen=True)
class Photo:
    """The contents of a file.

    ``form``: the format, by content: "JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "GIF" or
    "HEIF". ``lossy``: whether the compression is. Several ``frames`` are an animation with
    ``timing``, and the pages of a TIFF without. Pages may be read from the file each time they are
    indexed (`open_photo`). ``warnings``: decisions made on the user's behalf, a phrase each,
    without the path. ``chroma_step``: the mean step by which a JPEG quantized the coefficients of
    chroma, in levels, if it has fewer samples of chroma than of luma; else 0.
    """

    frames: Sequence[Picture]
    form: str
    lossy: bool
    metadata: Metadata = field(default_factory=Metadata)
    timing: Timing | None = None
    warnings: tuple[str, ...] = ()
    chroma_step: float = 0.0


class HeaderPart(NamedTuple):
    """Frames that are read together: their number, and the pixels and bytes of their samples."""

    frames: int
    pixels: int
    bytes: int


@dataclass(frozen=True)
class Header:
    """The contents of a file's header.

    ``form``: the format, as in Photo. ``height``, ``width``: of the first frame, after orientation,
    in pixels. ``channels``: 1 to 4 including alpha; a palette with a transparent entry has 4.
    ``depth``: bits per sample as read, 8 or 16. ``parts``: the pages of a TIFF, which may differ;
    in other formats, all frames are one part. ``quantization``: mean step of a JPEG's luma, 1 to
    255 in 8-bit files; 0 for other formats.
    """

    form: str
    height: int
    width: int
    channels: int
    depth: int
    parts: tuple[HeaderPart, ...]
    quantization: float = 0.0

    @property
    def frames(self) -> int:
        """Of all parts."""
        return sum(part.frames for part in self.parts)

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return sum(part.pixels for part in self.parts)

    @property
    def bytes(self) -> int:
        """Of the samples of all frames."""
        return sum(part.bytes for part in self.parts)
