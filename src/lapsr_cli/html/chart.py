"""Charts as SVG: lines, points and text, no library.

Every position is a percentage of the plot's width and every size is in CSS pixels, so a chart is as
wide as the page lets it be and its text is as large as the page's. Colours are the page's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lapsr_cli.html.document import fill

__all__ = ["Axis", "Chart", "Point", "Series", "charts", "ticks"]

COLOURS = 6
"""How many series page.css has a colour and this module a mark for; then they begin again."""

_MARGIN = 0.06


@dataclass(frozen=True)
class Point:
    """``text``: what it is, in words and figures."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one kind. ``joined``: by a line, in the order of x."""

    label: str
    points: Sequence[Point]
    joined: bool = True


@dataclass(frozen=True, kw_only=True)
class Axis:
    """``tick``: a value as it is written at the axis. Values of a logarithmic one are above 0."""

    label: str
    tick: Callable[[float], str]
    logarithmic: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """``levels``: lines across, each a label and its y."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    levels: Sequence[tuple[str, float]] = ()


def charts(contents: Iterable[Chart]) -> Markup:
    """HTML: beside each other where there is room, each with the meaning of its colours."""
    figures = Markup("\n").join(_figure(content) for content in contents)
    return Markup('<div class="charts">{}</div>').format(figures)


def _figure(content: Chart) -> Markup:
    points = [point for series in content.series for point in series.points]
    x = _Span(content.x, [point.x for point in points])
    y = _Span(content.y, [point.y for point in points] + [level for _, level in content.levels])
    values = {
        "chart": content,
        "x": x,
        "y": y,
        "colours": COLOURS,
        "series": [sorted(s.points, key=lambda point: point.x) for s in content.series],
    }
    return fill("chart.html", values)


class _Span:
    """The part of an axis that is shown: its ticks, and where on it a value lies."""

    def __init__(self, axis: Axis, values: Sequence[float]) -> None:
        self.axis = axis
        low, high = self._measure(min(values)), self._measure(max(values))
        room = _MARGIN * (high - low) or 0.05 * abs(high) or 1.0
        self.low, self.high = low - room, high + room

    def _measure(self, value: float) -> float:
        return math.log10(value) if self.axis.logarithmic else value

    def share(self, value: float) -> float:
        """Percent of the way from the least to the greatest."""
        return 100 * (self._measure(value) - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Shares and what is written there."""
        low, high = self.low, self.high
        if self.axis.logarithmic:
            low, high = 10**low, 10**high
        found = ticks(low, high, logarithmic=self.axis.logarithmic)
        return [(self.share(value), self.axis.tick(value)) for value in found]


def ticks(low: float, high: float, *, logarithmic: bool = False) -> list[float]:
    """At most six round values (1, 2 or 5 times a power of ten) from ``low`` to ``high``."""
    if logarithmic:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        for factors in ((1, 2, 5), (1,)):
            round_ones = [f * 10.0**power for power in range(first, last + 1) for f in factors]
            found = [value for value in round_ones if low <= value <= high]
            if 2 <= len(found) <= 6:
                return found
        if len(found) > 6:
            return found[:: math.ceil(len(found) / 6)]
    power = 10.0 ** math.floor(math.log10((high - low) / 6))
    step = next(f * power for f in (1, 2, 5, 10, 20) if (high - low) / (f * power) < 6)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
