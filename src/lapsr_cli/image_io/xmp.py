"""XMP packets: the few values that are wrong after the work."""

from __future__ import annotations

import re

__all__ = ["resized", "upright"]

_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)\d")
_THUMBNAILS = re.compile(rb"<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails\s*>", re.DOTALL)
_WIDTH = re.compile(rb"((?:tiff:ImageWidth|exif:PixelXDimension)\s*(?:=\s*[\"']|>)\s*)\d+")
_HEIGHT = re.compile(rb"((?:tiff:ImageLength|exif:PixelYDimension)\s*(?:=\s*[\"']|>)\s*)\d+")


def upright(xmp: bytes) -> bytes:
    """The packet for the picture turned upright, without thumbnails."""
    return _THUMBNAILS.sub(b"", _ORIENTATION.sub(rb"\g<1>1", xmp))


def resized(xmp: bytes, height: int, width: int) -> bytes:
    """The packet with the picture's size, in pixels, where it names one."""
    xmp = _HEIGHT.sub(rb"\g<1>%d" % height, xmp)
    return _WIDTH.sub(rb"\g<1>%d" % width, xmp)
