"""Bar charts: one horizontal bar per part, important ones highlighted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lapsr_cli.html.document import render

__all__ = ["Bar", "Bars", "bars"]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar.

    ``value``: its length, at least 0, in any unit. ``text``: the value, printed after the bar.
    ``strong``: whether the bar is highlighted.
    """

    label: str
    value: float
    text: str
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A bar chart. ``remark``: a sentence printed below it."""

    title: str
    bars: Sequence[Bar]
    remark: str = ""


def bars(content: Bars) -> Markup:
    """The chart as HTML. Lengths are relative to the longest bar, which has the full width."""
    longest = max((bar.value for bar in content.bars), default=0.0) or 1.0
    return render("bars.html", {"bars": content, "longest": longest})
