"""Damaged data, and how failures to read a file are reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.text import one_line, printable, typed

__all__ = ["Damaged", "as_unreadable"]


class Damaged(ValueError):
    """Malformed data, or a structure that points outside its data. The message says how."""


@contextmanager
def as_unreadable(path: Path, part: str = "") -> Iterator[None]:
    """Turn every exception of the block into an UnreadablePicture: one line that names the file.

    ``part``: what of the file is read, if it is not the whole.
    """
    name = f"{printable(path)}: {part}" if part else printable(path)
    try:
        yield
    except UnreadablePicture as error:
        raise UnreadablePicture(f"{name}: {one_line(error)}") from error
    except MemoryError as error:
        raise UnreadablePicture(f"{name}: not enough memory to read it") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = f"refused by PIL.Image.MAX_IMAGE_PIXELS ({one_line(error)})"
        raise UnreadablePicture(f"{name}: {reason}") from error
    except Damaged as error:
        raise UnreadablePicture(f"{name}: damaged ({one_line(error)})") from error
    except OSError as error:
        # The system's errors have a strerror; Pillow's, for truncated files, have none.
        reason = error.strerror or f"damaged ({one_line(error)})"
        raise UnreadablePicture(f"{name}: {reason}") from error
    # Decoders raise all kinds of exceptions for damaged files.
    except Exception as error:
        raise UnreadablePicture(f"{name}: damaged ({typed(error)})") from error
