"""How files are written."""

from __future__ import annotations

from dataclasses import dataclass

from lapsr_cli.errors import UsageError

__all__ = ["Encoding"]


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Encoder options.

    ``quality``: of JPEG, WebP and AVIF, 1 to 100, passed to each encoder as it is. ``compress``:
    zlib level of PNG and TIFF, 0 to 9. ``lossless``: for WebP and AVIF. ``background``: RGB, 0 to
    255, behind transparent pixels in formats without alpha. ``strip_metadata``: write no metadata
    except the ICC profile, without which the colours would change. Raises UsageError, naming the
    flag, for a value out of range.
    """

    quality: int = 95
    compress: int = 6
    lossless: bool = False
    background: tuple[int, int, int] | None = None
    strip_metadata: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UsageError(f"--quality {self.quality}: must be from 1 to 100")
        if not 0 <= self.compress <= 9:
            raise UsageError(f"--compress {self.compress}: must be from 0 to 9")
        given = self.background
        if given is not None and (len(given) != 3 or not all(0 <= each <= 255 for each in given)):
            raise UsageError(f"--background {given}: must be three numbers from 0 to 255")
