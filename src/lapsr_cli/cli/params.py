"""Parsers of option values, for several commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from lapsr_cli.errors import UsageError

__all__ = ["GivenPath", "bytes_of", "colour", "positive_or_auto"]

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class GivenPath(click.Path):
    """A path to write to, which must not be empty.

    An unset variable in ``-o "$OUT"`` gives "", which pathlib reads as the current folder.
    """

    def __init__(self, *, dir_okay: bool = True, file_okay: bool = True) -> None:
        super().__init__(path_type=Path, dir_okay=dir_okay, file_okay=file_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Like click.Path, but raises UsageError for an empty path."""
        if value == "":
            flags = "/".join(param.opts) if param else "path"
            raise UsageError(f"{flags}: must not be empty")
        return super().convert(value, param, ctx)


def bytes_of(flag: str, text: str) -> int:
    """ "4G", "500M" or a plain number, in bytes. Raises UsageError, naming ``flag``."""
    match = re.fullmatch(r"(\d+)([kmg]?)b?", text.strip().lower())
    if match is None or not int(match[1]):
        raise UsageError(f"{flag} {text}: must be a size, e.g. 500M or 4G")
    return int(match[1]) * _UNITS[match[2]]


def positive_or_auto(flag: str, text: str, keywords: str) -> int:
    """A positive integer; 0 for "auto". Raises UsageError, naming ``flag`` and its ``keywords``."""
    if text in ("auto", "0"):
        return 0
    if not text.isdecimal():
        raise UsageError(f"{flag} {text}: must be {keywords} or a positive integer")
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
