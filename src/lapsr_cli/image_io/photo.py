"""What a file of pictures holds: frames, their timing, and what is said about them."""

from __future__ import annotations

from dataclasses import dataclass, field

from lapsr_cli.pixels.picture import Picture

__all__ = ["Header", "Metadata", "Photo", "Timing"]


@dataclass(frozen=True)
class Metadata:
    """What a file says about its pictures. Every field may be None; orientation is applied already.

    ``icc_profile``: the ICC profile that the pixel values mean. ``exif``: a TIFF structure without
    the ``Exif\\0\\0`` prefix, orientation 1 if it has that tag, no thumbnail. ``xmp``: the packet.
    ``iptc``: bare IPTC-IIM records (1C 02 ...), not the Photoshop block around them, whose other
    resources (thumbnail, paths, print settings) are about the old pixels. ``dpi``: pixels an inch,
    horizontally and vertically.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True)
class Timing:
    """How an animation plays.

    ``durations``: milliseconds, one a frame. ``loop``: how often it plays, 0 for ever (what Pillow
    calls loop in WebP and APNG; a GIF counts repetitions, so 1 more).
    """

    durations: tuple[int, ...]
    loop: int = 0


@dataclass(frozen=True)
class Photo:
    """What a file holds.

    ``form``: "JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "GIF" or "HEIF", by content. ``lossy``:
    compressed with loss. Several ``frames`` with ``timing`` are an animation, without it the pages
    of a TIFF. ``warnings``: what was decided for the user, a sentence each, without the path.
    """

    frames: tuple[Picture, ...]
    form: str
    lossy: bool
    metadata: Metadata = field(default_factory=Metadata)
    timing: Timing | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Header:
    """What a file says it holds.

    ``height``, ``width``: of the first picture, upright. ``channels``: 1 to 4, alpha counted; of a
    GIF or a palette 4 if a colour may be clear. ``depth``: bits a sample as read, 8 or 16.
    """

    form: str
    height: int
    width: int
    frames: int
    channels: int
    depth: int
