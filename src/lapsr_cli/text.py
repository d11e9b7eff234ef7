"""Paths and other programs' messages on one line each."""

from __future__ import annotations

from pathlib import Path

__all__ = ["one_line", "printable"]


def printable(path: Path | str) -> str:
    """A path as it stands in a message: what does not print (newlines, stray bytes) is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


def one_line(error: BaseException) -> str:
    """What an exception says, without line breaks and runs of blanks."""
    return printable(" ".join(str(error).split())) or type(error).__name__
