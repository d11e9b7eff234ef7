"""SVG files of charts in a real browser: legible, in light and dark mode, wide and narrow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from lapsr_cli.html.chart import Axis, Chart, Point, Series
from lapsr_cli.html.svg import svg_document
from tests.html.conftest import TEXTS, Open, contrast, luminance

if TYPE_CHECKING:
    from playwright.sync_api import Locator

LONG = "/home/Somebody/Photographs/" + "A Holiday in Norway/" * 8 + "DSC04711.JPG"
LABELS = [*(f"series {number}" for number in range(7)), "写真写真写真", LONG]


def chart(labels: Sequence[str], *, joined: bool = True) -> Chart:
    return Chart(
        title="a chart",
        x=Axis(label="time", tick="{:g} s".format, logarithmic=True),
        y=Axis(label="quality", tick="{:g} dB".format),
        series=[
            Series(
                label=label,
                points=[Point(10.0**at, at + number, f"{label} at {at}") for at in range(4)],
                joined=joined,
                reference=number / 2,
            )
            for number, label in enumerate(labels)
        ],
        levels=[("a level", 5.0), ("another", 6.0)],
        reference="dotted",
    )


def saved(path: Path, *charts: Chart) -> Path:
    path.write_text(svg_document("a title", charts), encoding="utf-8")
    return path


def boxes(locator: Locator) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each element in CSS pixels."""
    found = [each.bounding_box() for each in locator.all()]
    return [(b["x"], b["y"], b["x"] + b["width"], b["y"] + b["height"]) for b in found if b]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_stand_out(opened: Open, tmp_path: Path, scheme: str) -> None:
    path = saved(tmp_path / "chart.svg", chart(LABELS), chart(["one"], joined=False))
    page = opened(path, color_scheme=scheme)
    texts = page.locator("text").evaluate_all(TEXTS)
    assert len(texts) > 30
    for text, size, ink, paper in texts:
        assert size >= 12, text
        assert contrast(ink, paper) >= 4.5, (text, ink, paper)
    root = page.locator("svg").first.evaluate("root => getComputedStyle(root).backgroundColor")
    assert (luminance(root) < 0.05) == (scheme == "dark")
    paper = page.locator("rect.paper").evaluate("each => getComputedStyle(each).fill")
    assert paper == root
    lines = page.locator("polyline")
    assert lines.count() == len(LABELS)
    strokes = lines.evaluate_all("all => all.map(each => getComputedStyle(each).stroke)")
    assert all(contrast(stroke, paper) >= 3 for stroke in strokes)
    assert len(set(strokes)) == 6


@pytest.mark.parametrize(("width", "scale"), [(1280, 1.0), (400, 0.5)])
def test_a_narrow_window_scales_it_down_and_nothing_overlaps(
    opened: Open, tmp_path: Path, width: int, scale: float
) -> None:
    path = saved(tmp_path / "chart.svg", chart(LABELS), chart(LABELS[:7]))
    page = opened(path, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ((left, top, right, bottom),) = boxes(page.locator("rect.paper"))
    assert (left, top, right) == pytest.approx((0, 0, 800 * scale))
    entries = page.locator("g.entry")
    assert entries.count() == len(LABELS) + 7 + 2 * 3
    texts = boxes(page.locator("text"))
    for box in texts:
        assert 0 <= box[0] < box[2] <= right
        assert 0 <= box[1] < box[3] <= bottom
    for number, one in enumerate(texts):
        for other in texts[:number]:
            apart = one[2] <= other[0] or other[2] <= one[0]
            assert apart or one[3] <= other[1] + 1 or other[3] <= one[1] + 1


def test_markers_lie_where_the_axes_say(opened: Open, tmp_path: Path) -> None:
    page = opened(saved(tmp_path / "chart.svg", chart(["a"]), chart(["b"], joined=False)))
    for number, name in enumerate("ab"):
        panel = page.locator("g.chart").nth(number)
        centres = [
            ((left + right) / 2, (top + bottom) / 2)
            for left, top, right, bottom in boxes(panel.locator("g.series circle"))
        ]
        assert len(centres) == 4
        titles = panel.locator("g.series title").all_text_contents()
        assert titles == [f"{name} at {at}" for at in range(4)]
        for at, (x, y) in enumerate(centres):
            (tick,) = boxes(panel.locator(f"text:text-is('{10**at} s')"))
            assert x == pytest.approx((tick[0] + tick[2]) / 2, abs=1)
            if at % 2 == 0:
                (tick,) = boxes(panel.locator(f"text:text-is('{at} dB')"))
                assert y == pytest.approx((tick[1] + tick[3]) / 2, abs=2)
        assert panel.locator("polyline").count() == (1 if name == "a" else 0)


def test_a_chart_without_points_has_axes_and_no_ticks() -> None:
    empty = Chart(
        title="",
        x=Axis(label="x", tick=str),
        y=Axis(label="y", tick=str, logarithmic=True),
        series=[],
    )
    root = ET.fromstring(svg_document("nothing", [empty]))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["nothing", "y", "x"]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}line"))) == 1
