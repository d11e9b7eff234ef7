"""Charts as one standalone SVG file.

Coordinates are plain numbers and colours are attributes, so that image viewers and converters show
the file as browsers do; a style sheet adds dark mode, which only browsers support.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

from lapsr_cli.html.chart import Chart, Series, Span, style_of
from lapsr_cli.html.document import render
from lapsr_cli.html.palette import DARK, LIGHT

__all__ = ["svg_document"]

WIDTH = 800
"""Width of the file in CSS pixels; a narrower window scales it down."""

_MARGIN = 24.0
_LEFT, _RIGHT = 80.0, WIDTH - _MARGIN
_TITLE_HEIGHT = 60.0
_LABEL_HEIGHT = 28.0
_PLOT_HEIGHT = 240.0
_TICKS_HEIGHT = 62.0
_ROW_HEIGHT = 22.0
_SYMBOL_WIDTH, _SYMBOL_GAP = 24.0, 10.0
_FONT_SIZE, _TITLE_SIZE = 14, 20
_GLYPH_WIDTH = 0.62
"""Estimated mean width of a glyph relative to the font size; East Asian ones are twice as wide."""


@dataclass(frozen=True)
class _Line:
    """A series in the coordinates of the file.

    ``kind``: its marker. ``points``: the attribute of a polyline. ``marks``: x, y and tooltip of
    each marker.
    """

    colour: int
    kind: int
    points: str
    marks: Sequence[tuple[float, float, str]]
    reference: float | None


@dataclass(frozen=True)
class _Entry:
    """A legend entry. ``label``: its text, shortened; ``title``: the whole text. ``style``: of its
    line, in the template's terms. ``colour`` and ``kind`` (marker): None if it is not a series."""

    x: float
    y: float
    label: str
    title: str
    style: str
    colour: int | None
    kind: int | None


@dataclass(frozen=True)
class _Panel:
    """A chart in the coordinates of the file.

    ``top`` and ``bottom``: edges of the plot area. ``end``: where the next panel starts.
    """

    chart: Chart
    top: float
    bottom: float
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    levels: Sequence[float]
    lines: Sequence[_Line]
    legend: Sequence[_Entry]
    end: float


def svg_document(title: str, charts: Sequence[Chart]) -> str:
    """The charts one below the other, with the same range of x, as valid UTF-8 text.

    A chart without points has empty axes. A legend with fewer than two entries is left out.
    """
    xs = [x for chart in charts for x in chart.xs]
    panels: list[_Panel] = []
    top = _TITLE_HEIGHT
    for chart in charts:
        panels.append(_panel(chart, top, xs))
        top = panels[-1].end
    values = {
        "title": title,
        "heading": _shortened(title, _RIGHT - _MARGIN, 1.2 * _TITLE_SIZE),  # bold is wider
        "panels": panels,
        "width": WIDTH,
        "height": round(top),
        "margin": _MARGIN,
        "left": _LEFT,
        "right": _RIGHT,
        "symbol_width": _SYMBOL_WIDTH,
        "symbol_gap": _SYMBOL_GAP,
        "font_size": _FONT_SIZE,
        "title_size": _TITLE_SIZE,
        "light": LIGHT,
        "dark": DARK,
    }
    return render("chart.svg", values)


def _panel(chart: Chart, start: float, xs: Sequence[float]) -> _Panel:
    top = start + _LABEL_HEIGHT
    bottom = top + _PLOT_HEIGHT
    x, y = Span(chart.x, xs), Span(chart.y, chart.ys)

    def across(percent: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * percent / 100

    def down(percent: float) -> float:
        return bottom - _PLOT_HEIGHT * percent / 100

    def line(index: int, series: Series) -> _Line:
        placed = [
            (across(x.percent(point.x)), down(y.percent(point.y)), point.text, marked)
            for point, marked in series.sorted_points
        ]
        return _Line(
            *style_of(index),
            points=" ".join(f"{px:.1f},{py:.1f}" for px, py, _, _ in placed if series.joined),
            marks=[(px, py, text) for px, py, text, marked in placed if marked],
            reference=None if series.reference is None else down(y.percent(series.reference)),
        )

    legend, end = _legend(chart, bottom + _TICKS_HEIGHT)
    return _Panel(
        chart=chart,
        top=top,
        bottom=bottom,
        x_ticks=[(across(percent), text) for percent, text in x.ticks],
        y_ticks=[(down(percent), text) for percent, text in y.ticks],
        levels=[down(y.percent(level)) for _, level in chart.levels],
        lines=[line(index, series) for index, series in enumerate(chart.series)],
        legend=legend,
        end=end + _ROW_HEIGHT,
    )


def _legend(chart: Chart, top: float) -> tuple[list[_Entry], float]:
    """The legend entries in as many columns as fit, row by row, and the y below the last row."""
    entries = list(_symbols(chart))
    if len(entries) < 2:
        return [], top - _ROW_HEIGHT
    widest = max(_text_width(label, _FONT_SIZE) for label, *_ in entries)
    symbol = _SYMBOL_WIDTH + _SYMBOL_GAP
    width = min(symbol + widest + 16, _RIGHT - _LEFT)
    columns = int((_RIGHT - _LEFT) / width)
    placed = [
        _Entry(
            _LEFT + width * (index % columns),
            top + _ROW_HEIGHT * (index // columns),
            _shortened(label, width - symbol, _FONT_SIZE),
            label,
            style,
            colour,
            kind,
        )
        for index, (label, style, colour, kind) in enumerate(entries)
    ]
    return placed, placed[-1].y + _ROW_HEIGHT


def _symbols(chart: Chart) -> Iterator[tuple[str, str, int | None, int | None]]:
    """Label, line style, colour and marker of each legend entry."""
    for index, series in enumerate(chart.series):
        colour, kind = style_of(index)
        yield series.label, "line" if series.joined else "", colour, kind
    for index, (label, _) in enumerate(chart.levels):
        yield label, f"level d{index % 2}", None, None
    if chart.reference:
        yield chart.reference, "reference", None, None


def _text_width(text: str, size: float) -> float:
    glyphs = sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
    return _GLYPH_WIDTH * size * glyphs


def _shortened(text: str, width: float, size: float) -> str:
    """``text`` if it fits ``width``, else both its ends with an ellipsis between them."""
    short, kept = text, len(text)
    while kept > 0 and _text_width(short, size) > width:
        kept -= 1
        short = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    return short
