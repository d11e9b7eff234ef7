"""Line and scatter charts as SVG embedded in a page.

Positions are percentages of the plot area and sizes are CSS pixels, so a chart adapts to the width
of the page while its text keeps the size of the page's text. `svg` draws the same charts as a
separate file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lapsr_cli.html.document import render
from lapsr_cli.html.palette import SERIES

__all__ = ["Axis", "Chart", "Point", "Series", "Span", "charts", "style_of", "ticks"]

_MARGIN = 0.06


@dataclass(frozen=True)
class Point:
    """A point in the units of the axes. ``text``: its tooltip."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points with one colour and one marker.

    ``joined``: connect the points by a line in the order of x. ``mark_every``: draw a marker at
    every n-th point, counted back from the last; 0 draws none. ``reference``: y of a dotted line
    across the plot in the colour of the series.
    """

    label: str
    points: Sequence[Point]
    joined: bool = True
    mark_every: int = 1
    reference: float | None = None

    @property
    def sorted_points(self) -> list[tuple[Point, bool]]:
        """The points in the order of x, each with whether it has a marker."""
        points = sorted(self.points, key=lambda point: point.x)
        last = len(points) - 1
        return [
            (point, self.mark_every > 0 and (last - index) % self.mark_every == 0)
            for index, point in enumerate(points)
        ]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis. ``tick``: formats the value of a tick. ``logarithmic``: all values are positive."""

    label: str
    tick: Callable[[float], str]
    logarithmic: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A plot with its legend.

    ``levels``: dashed lines across the plot, each a label and its y. ``reference``: legend
    entry of the dotted lines of the series.
    """

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    levels: Sequence[tuple[str, float]] = ()
    reference: str = ""

    @property
    def xs(self) -> list[float]:
        """All values on the x axis."""
        return [point.x for series in self.series for point in series.points]

    @property
    def ys(self) -> list[float]:
        """All values on the y axis, including those of horizontal lines."""
        points = [point.y for series in self.series for point in series.points]
        references = [s.reference for s in self.series if s.reference is not None]
        return points + references + [level for _, level in self.levels]


def charts(contents: Iterable[Chart]) -> Markup:
    """The charts as HTML, each with a legend, side by side if the page is wide enough.

    Each chart needs at least one point.
    """
    figures = Markup("\n").join(_figure(content) for content in contents)
    return Markup('<div class="charts">{}</div>').format(figures)


def _figure(content: Chart) -> Markup:
    values = {
        "chart": content,
        "x": Span(content.x, content.xs),
        "y": Span(content.y, content.ys),
        "styles": [style_of(index) for index in range(len(content.series))],
    }
    return render("chart.html", values)


def style_of(index: int) -> tuple[int, int]:
    """Colour and marker of a series, both from 0 to 5; 36 series look different."""
    return index % SERIES, (index + index // SERIES) % SERIES


class Span:
    """The visible range of an axis: all ``values`` and a margin of 6% at either end."""

    def __init__(self, axis: Axis, values: Sequence[float]) -> None:
        self.axis = axis
        self._has_values = bool(values)
        measures = [self._measure(value) for value in values] or [0.0]
        low, high = min(measures), max(measures)
        margin = _MARGIN * (high - low) or 0.05 * abs(high) or 1.0
        self.low, self.high = low - margin, high + margin

    def _measure(self, value: float) -> float:
        return math.log10(value) if self.axis.logarithmic else value

    def percent(self, value: float) -> float:
        """Position of a value: 0 at the low end of the axis, 100 at the high end."""
        return 100 * (self._measure(value) - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Position in percent and label of each tick; none without values."""
        if not self._has_values:
            return []
        low, high = self.low, self.high
        if self.axis.logarithmic:
            low, high = 10**low, 10**high
        found = ticks(low, high, logarithmic=self.axis.logarithmic)
        return [(self.percent(value), self.axis.tick(value)) for value in found]


def ticks(low: float, high: float, *, logarithmic: bool = False) -> list[float]:
    """At most six round values (1, 2 or 5 times a power of ten) between ``low`` and ``high``."""
    if logarithmic:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        for factors in ((1, 2, 5), (1,)):
            candidates = [f * 10.0**power for power in range(first, last + 1) for f in factors]
            found = [value for value in candidates if low <= value <= high]
            if 2 <= len(found) <= 6:
                return found
        if len(found) > 6:
            return found[:: math.ceil(len(found) / 6)]
    power = 10.0 ** math.floor(math.log10((high - low) / 6))
    step = next(f * power for f in (1, 2, 5, 10, 20) if (high - low) / (f * power) < 6)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
