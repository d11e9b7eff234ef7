"""Values of flags that several commands take."""

from __future__ import annotations

import re

from lapsr_cli.errors import UsageError

__all__ = ["bytes_of"]

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def bytes_of(flag: str, text: str) -> int:
    """ "4G", "500M" or a plain number, in bytes."""
    match = re.fullmatch(r"(\d+)([kmg]?)b?", text.strip().lower())
    if match is None or not int(match[1]):
        raise UsageError(f"{flag} {text}: must be a size such as 500M or 4G")
    return int(match[1]) * _UNITS[match[2]]
