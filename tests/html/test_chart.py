"""Charts in pages: styles of series, markers and lines across, in a real browser."""

from __future__ import annotations

from lapsr_cli.html.chart import Axis, Chart, Point, Series, charts, style_of
from lapsr_cli.html.document import Section, document
from tests.html.conftest import Open


def test_36_series_differ_in_colour_or_marker() -> None:
    assert len({style_of(index) for index in range(36)}) == 36
    assert [style_of(index) for index in range(6)] == [(index, index) for index in range(6)]


def test_markers_and_the_reference_line_are_those_of_the_series(opened: Open) -> None:
    points = [Point(float(x), float(x), f"at {x}") for x in (3, 1, 4, 2, 5)]
    content = Chart(
        title="a chart",
        x=Axis(label="x", tick=str),
        y=Axis(label="y", tick=str),
        series=[
            Series(label="all", points=points),
            Series(label="every second", points=points, mark_every=2, reference=9.0),
            Series(label="none", points=points, mark_every=0),
        ],
        reference="dotted",
    )
    page = opened("".join(document("", {}, [Section(title="", parts=[charts([content])])])))
    series = page.locator(".plot .series")
    assert series.count() == 3
    found = [series.nth(n).locator("title").all_text_contents() for n in range(3)]
    assert found == [[f"at {x}" for x in (1, 2, 3, 4, 5)], ["at 1", "at 3", "at 5"], []]
    (reference,) = page.locator(".plot .reference").all()
    marker = series.nth(1).locator(".mark").first
    stroke = reference.evaluate("line => getComputedStyle(line).stroke")
    assert stroke == marker.evaluate("mark => getComputedStyle(mark).fill")
    across, plot = reference.bounding_box(), page.locator(".plot > svg").bounding_box()
    assert across is not None
    assert plot is not None
    assert abs(across["width"] - plot["width"]) < 3  # its ends
    assert across["y"] < plot["y"] + 0.2 * plot["height"]  # 9 is the largest value
    entries = page.locator(".legend li").all_inner_texts()
    assert entries == ["all", "every second", "none", "dotted"]
