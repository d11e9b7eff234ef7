"""Bars: what several parts take, the longest one made plain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lapsr_cli.html.document import fill

__all__ = ["Bar", "Bars", "bars"]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """``value``: its length, from 0. ``text``: what stands behind it. ``strong``: it matters."""

    label: str
    value: float
    text: str
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Bars:
    """``remark``: a sentence below them."""

    title: str
    bars: Sequence[Bar]
    remark: str = ""


def bars(content: Bars) -> Markup:
    """HTML; the longest bar is as wide as there is room for."""
    longest = max((bar.value for bar in content.bars), default=0.0) or 1.0
    return fill("bars.html", {"bars": content, "longest": longest})
