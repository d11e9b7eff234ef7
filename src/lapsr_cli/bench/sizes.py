"""Picture sizes on the command line."""

from __future__ import annotations

from lapsr_cli.errors import UsageError
from lapsr_cli.image_io import MAX_PIXELS
from lapsr_cli.pixels.picture import Size

__all__ = ["parse_size"]

_NAMED = {
    "720p": Size(720, 1280),
    "1080p": Size(1080, 1920),
    "1440p": Size(1440, 2560),
    "4k": Size(2160, 3840),
}


def parse_size(text: str) -> Size:
    """ "256" (a square), "640x480" (width x height), "1080p", "4k", "12MP" (4:3: 4000 x 3000).

    Raises UsageError for anything else.
    """
    word = text.strip().lower()
    if word in _NAMED:
        return _NAMED[word]
    width, cross, height = word.partition("x")
    try:
        if word.endswith("mp"):
            pixels = float(word[:-2]) * 1e6
            size = Size(round((pixels * 3 / 4) ** 0.5), round((pixels * 4 / 3) ** 0.5))
        else:
            size = Size(int(height), int(width)) if cross else Size(int(word), int(word))
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--size {text}: must be a size such as 256, 640x480, 1080p or 12MP"
        ) from error
    if min(size.height, size.width) < 1:
        raise UsageError(f"--size {text}: has no pixels")
    if size.height * size.width > MAX_PIXELS:
        raise UsageError(f"--size {text}: must be at most {MAX_PIXELS} pixels")
    return size
