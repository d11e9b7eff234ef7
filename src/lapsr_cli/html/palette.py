"""Colours of pages and SVG files, in light and in dark mode."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DARK", "LIGHT", "SERIES"]

SERIES = 6
"""Number of series colours, ``c0`` to ``c5``; charts with more series reuse them."""

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "panel": "#f5f5f3",
    "ink": "#1d1d1f",
    "quiet": "#5f6066",
    "rule": "#dedede",
    "accent": "#0b5cad",
    "c0": "#0b5cad",
    "c1": "#b8430a",
    "c2": "#18794e",
    "c3": "#7a3fb5",
    "c4": "#8a6100",
    "c5": "#0a7285",
}
"""``paper``: background. ``panel``: background of boxes. ``ink``: text. ``quiet``: secondary text
and axes. ``rule``: grid and borders. ``accent``: focus. All text has a contrast of 4.5 or more."""

DARK: Mapping[str, str] = {
    "paper": "#16171a",
    "panel": "#202226",
    "ink": "#e6e6e8",
    "quiet": "#a0a2a9",
    "rule": "#34363c",
    "accent": "#7ab4f5",
    "c0": "#7ab4f5",
    "c1": "#f29a6c",
    "c2": "#6fcf9e",
    "c3": "#c5a0f0",
    "c4": "#e3bf5d",
    "c5": "#68cbdd",
}
"""The same names with the colours of dark mode."""
