"""Parsers of option values, for several commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

import click

from lapsr_cli.errors import UsageError

__all__ = [
    "GivenPath",
    "GivenText",
    "bytes_of",
    "colour",
    "pixels_of",
    "positive_or_auto",
    "seconds_of",
]

_DIGITS = "[0-9]{1,15}"
"""Within the range of a float, even in the largest unit."""
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3}


class GivenPath(click.Path):
    """A path to write to, which must not be empty.

    An unset variable in ``-o "$OUT"`` gives "", which pathlib reads as the current folder.
    """

    def __init__(self, *, dir_okay: bool = True, file_okay: bool = True) -> None:
        super().__init__(path_type=Path, dir_okay=dir_okay, file_okay=file_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Like click.Path, but raises UsageError for an empty path."""
        _refuse_empty(value, param)
        return super().convert(value, param, ctx)


class GivenText(click.types.StringParamType):
    """Text that must not be empty, which would mean the default: ``-m "$MODEL"`` if unset."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Like a string, but raises UsageError for an empty one."""
        _refuse_empty(value, param)
        return super().convert(value, param, ctx)


def _refuse_empty(value: Any, param: click.Parameter | None) -> None:
    if value == "":
        flags = "/".join(param.opts) if param else "value"
        raise UsageError(f"{flags}: must not be empty")


def bytes_of(flag: str, text: str) -> int:
    """ "4G", "500M" or a plain number, in bytes. Raises UsageError, naming ``flag``."""
    return _multiple(text, "b", 1 << 10) or _refuse(flag, text, "a size, e.g. 500M or 4G")


def pixels_of(flag: str, text: str) -> int:
    """ "4M", "500k" or a plain number, in pixels. Raises UsageError, naming ``flag``."""
    return _multiple(text, "p", 1000) or _refuse(flag, text, "a number of pixels, e.g. 100M")


def _multiple(text: str, unit: str, kilo: int) -> int:
    """A number with an optional suffix k, M or G and an optional ``unit``; 0 for anything else."""
    match = re.fullmatch(rf"({_DIGITS})([kmg]?){unit}?", text.strip().lower())
    return int(match[1]) * kilo ** _POWERS[match[2]] if match else 0


def _refuse(flag: str, text: str, expected: str) -> NoReturn:
    raise UsageError(f"{flag} {text}: must be {expected}")


def seconds_of(flag: str, text: str) -> float:
    """ "9m", "1h30m", "45s" or plain seconds, in seconds. Raises UsageError, naming ``flag``."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text.strip())
    if not text.strip() or match is None:
        raise UsageError(f"{flag} {text}: must be a time, e.g. 9m, 1h30m or 45s")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def positive_or_auto(flag: str, text: str, keywords: str) -> int:
    """A positive integer; 0 for "auto". Raises UsageError, naming ``flag`` and its ``keywords``."""
    if text in ("auto", "0"):
        return 0
    if not re.fullmatch(_DIGITS, text):
        _refuse(flag, text, f"{keywords} or a positive integer")
    return int(text)


def colour(text: str | None) -> tuple[int, int, int] | None:
    """ "white" or "#ff8800" as red, green and blue (0-255). Raises UsageError."""
    from PIL import ImageColor

    if text is None:
        return None
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise UsageError(f"--background {text}: must be a colour, e.g. white or #ff8800") from error
    return red, green, blue
