"""XMP packets: updates the few values that are wrong for the new picture."""

from __future__ import annotations

import re
from bisect import bisect_left

__all__ = ["resized", "upright"]

_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)\d")
_THUMBNAILS = re.compile(rb"<(xmp|xap):Thumbnails\b")
_THUMBNAILS_END = re.compile(rb"</(xmp|xap):Thumbnails\s*>")
_WIDTH = re.compile(rb"((?:tiff:ImageWidth|exif:PixelXDimension)\s*(?:=\s*[\"']|>)\s*)\d+")
_HEIGHT = re.compile(rb"((?:tiff:ImageLength|exif:PixelYDimension)\s*(?:=\s*[\"']|>)\s*)\d+")


def upright(xmp: bytes) -> bytes:
    """The packet of the upright picture: orientation 1 if it has one, no thumbnails."""
    return _without_thumbnails(_ORIENTATION.sub(rb"\g<1>1", xmp))


def resized(xmp: bytes, height: int, width: int) -> bytes:
    """The packet with every recorded size set to the picture's, in pixels."""
    xmp = _HEIGHT.sub(rb"\g<1>%d" % height, xmp)
    return _WIDTH.sub(rb"\g<1>%d" % width, xmp)


def _without_thumbnails(xmp: bytes) -> bytes:
    """The packet without its thumbnails; an unclosed one is kept.

    Linear in the length: one expression for start and end would search the rest of the packet
    from every start.
    """
    ends: dict[bytes, list[int]] = {b"xmp": [], b"xap": []}
    for match in _THUMBNAILS_END.finditer(xmp):
        ends[match[1]].append(match.end())
    kept = bytearray()
    at = 0
    for match in _THUMBNAILS.finditer(xmp):
        later = ends[match[1]]
        number = bisect_left(later, match.end())
        if match.start() >= at and number < len(later):
            kept += xmp[at : match.start()]
            at = later[number]
    return bytes(kept + xmp[at:])
