"""Numbers as text: significant digits and a suitable unit."""

from __future__ import annotations

import math

__all__ = ["decibels", "duration", "memory", "significant"]


def significant(value: float, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits and no exponent: 0.0123, 12.3, 12,300."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    return f"{rounded:,.{max(places, 0)}f}"


def duration(seconds: float) -> str:
    """Seconds as text: 850 µs, 12.3 ms, 1.23 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds * 1e6)} µs"


def memory(count: int) -> str:
    """Bytes as text: 512 MB, 1.23 GB (powers of ten)."""
    unit, size = ("GB", 1e9) if count >= 1e9 else ("MB", 1e6)
    return f"{significant(count / size)} {unit}"


def decibels(psnr: float) -> str:
    """PSNR with two decimal places, as in the papers' tables."""
    return f"{psnr:.2f}"
