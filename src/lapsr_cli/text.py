"""Text for messages: paths and exceptions on one line, counts."""

from __future__ import annotations

from pathlib import Path

__all__ = ["counted", "one_line", "printable", "typed"]


def printable(path: Path | str) -> str:
    """A path as text for a message, with unprintable characters (newlines, stray bytes) escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


def one_line(error: BaseException) -> str:
    """The message of an exception on one line, or its type if there is none."""
    return printable(" ".join(str(error).split())) or type(error).__name__


def typed(error: BaseException) -> str:
    """The type and the message of an exception on one line: "KeyError: 'a'"."""
    name, message = type(error).__name__, one_line(error)
    return f"{name} without a message" if message == name else f"{name}: {message}"


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 file", "12 files"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
