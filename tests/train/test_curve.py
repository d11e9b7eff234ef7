"""The training curve, read back from the SVG by its axes, and drawn by an independent renderer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray

from lapsr_cli.train import curve

SVG = "{http://www.w3.org/2000/svg}"
Values = list[tuple[float, float]]


def loss_record(iteration: int) -> dict[str, Any]:
    return {"iteration": iteration, "loss": 1 / iteration, "rate": 1e-3, "seconds": 1.0}


def scores_record(iteration: int, *names: str) -> dict[str, Any]:
    """Every set and scale has another PSNR, 1 dB above bicubic and rising."""
    bicubic = {
        name: {scale: (30.0 - scale + number / 2, 0.8) for scale in (2, 4)}
        for number, name in enumerate(names)
    }
    scores = {
        name: {scale: (psnr + 1 + iteration / 100, 0.9) for scale, (psnr, _) in each.items()}
        for name, each in bicubic.items()
    }
    return {"iteration": iteration, "scores": scores, "bicubic": bicubic}


RECORDS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "losses": [loss_record(i) for i in (1, 2, 3)],
    "one loss": [loss_record(1)],
    "validations": [scores_record(i, "Set5") for i in (1, 2, 3)],
    "both": [r for i in (1, 2, 3) for r in (loss_record(i), scores_record(i, "Set5", "Set14"))],
    "sets that come": [scores_record(1, "Set5"), scores_record(2, "Set5", "Set14")],
    "sets that go": [scores_record(1, "Set5", "Set14"), scores_record(2, "Set14")],
}


def svg_of(records: Sequence[dict[str, Any]], title: str = "run") -> bytes:
    return curve.draw([json.loads(json.dumps(record)) for record in records], title=title)


def panels(svg: bytes) -> tuple[ET.Element, ET.Element]:
    """The charts of the loss and of the PSNR."""
    loss, psnr = ET.fromstring(svg).findall(f"{SVG}g[@class='chart']")
    return loss, psnr


def scale_of(ticks: Values, *, logarithmic: bool = False) -> Callable[[float], float]:
    """The value at a position, from the positions and labels of the ticks."""
    positions, labels = np.array(ticks).T
    values = np.log10(labels) if logarithmic else labels
    slope, intercept = np.polyfit(positions, values, 1)
    return lambda at: float(
        10 ** (slope * at + intercept) if logarithmic else slope * at + intercept
    )


def scales_of(panel: ET.Element) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """What the two axes say about a position."""
    texts = [text for text in panel.findall(f".//{SVG}text") if "text-anchor" in text.attrib]
    numbers = [(text, (text.text or "").replace(",", "")) for text in texts]
    x = [
        (float(text.attrib["x"]), float(number))
        for text, number in numbers
        if text.attrib["text-anchor"] == "middle"
    ]
    y = [
        (float(text.attrib["y"]) - 5, float(number))
        for text, number in numbers
        if text.attrib["text-anchor"] == "end" and number != "Iteration"
    ]
    return scale_of(x), scale_of(y, logarithmic="Loss" in panel.attrib["aria-label"])


def lines(panel: ET.Element) -> list[Values]:
    """The points of each series in the units of the axes; of a single point, its marker."""
    x, y = scales_of(panel)
    found = []
    for series in panel.iterfind(f"{SVG}g[@class='series']"):
        (polyline,) = series.iter(f"{SVG}polyline")
        positions = [point.split(",") for point in polyline.attrib["points"].split()]
        if len(positions) == 1:
            assert marks(series)
        found.append([(x(float(at)), y(float(height))) for at, height in positions])
    return found


def marks(series: ET.Element) -> list[str]:
    """The tooltips of the markers of a series."""
    return [title.text or "" for title in series.iter(f"{SVG}title")]


def references(panel: ET.Element) -> list[float]:
    """The values of the dotted lines across."""
    _, y = scales_of(panel)
    dotted = panel.iterfind(f"{SVG}g[@class='series']//{SVG}line[@stroke-dasharray]")
    return [y(float(line.attrib["y1"])) for line in dotted]


def legend(panel: ET.Element) -> list[str]:
    entries = panel.findall(f"{SVG}g[@class='entry']")
    return [entry.findtext(f"{SVG}text") or "" for entry in entries]


@pytest.mark.parametrize("kind", RECORDS)
def test_the_curve_shows_what_was_recorded(kind: str) -> None:
    """Within the 0.1 pixel to which positions are written."""
    loss, psnr = panels(svg_of(RECORDS[kind]))
    losses = [(r["iteration"], r["loss"]) for r in RECORDS[kind] if "loss" in r]
    validations = [r for r in RECORDS[kind] if "scores" in r]
    if losses:
        (line,) = lines(loss)
        np.testing.assert_allclose(line, losses, rtol=1e-3)
    else:
        assert not list(loss.iter(f"{SVG}polyline"))
    expected: dict[str, Values] = {}
    bicubic = {}
    for record in validations:
        for name, scales in record["scores"].items():
            for scale, (value, _) in scales.items():
                expected.setdefault(f"{name} {scale}x", []).append((record["iteration"], value))
                bicubic[f"{name} {scale}x"] = record["bicubic"][name][scale][0]
    assert legend(psnr) == [*expected, "bicubic"] if validations else not legend(psnr)
    if validations:
        for line, values in zip(lines(psnr), expected.values(), strict=True):
            np.testing.assert_allclose(line, values, rtol=1e-3)
        np.testing.assert_allclose(references(psnr), list(bicubic.values()), rtol=1e-3)


def drawn(svg: bytes) -> NDArray[np.uint8]:
    """What librsvg makes of it, (H, W, 3)."""
    image = pyvips.Image.svgload_buffer(svg)
    assert (image.width, image.bands) == (800, 4)
    pixels: NDArray[np.uint8] = image.numpy()
    assert (pixels[..., 3] == 255).all()  # the background is opaque
    return pixels[..., :3]


@pytest.mark.parametrize("names", [("Set5",), ("Set5", "Set14")])
def test_every_set_and_scale_has_a_colour_of_its_own(names: tuple[str, ...]) -> None:
    svg = svg_of([scores_record(i, *names) for i in (1, 2, 3)])
    groups = panels(svg)[1].findall(f"{SVG}g[@class='series']/{SVG}g")
    colours = [group.attrib["color"] for group in groups]
    assert len(set(colours)) == len(colours) == 2 * len(names)
    pixels = drawn(svg).astype(int)
    for colour in colours:
        rgb = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
        assert (abs(pixels - rgb).max(axis=-1) < 8).sum() > 500


def test_36_series_differ_in_colour_or_marker() -> None:
    names = [f"set {number}" for number in range(18)]
    _, psnr = panels(svg_of([scores_record(1, *names)]))
    looks = set()
    for series in psnr.iterfind(f"{SVG}g[@class='series']/{SVG}g"):
        (marker,) = series.findall(f"{SVG}g")
        looks.add((series.attrib["class"], ET.tostring(marker[1])))
    assert len(looks) == 36


def test_a_long_run_has_few_markers_and_one_at_its_end() -> None:
    _, psnr = panels(svg_of([scores_record(i, "Set5") for i in range(1, 301)]))
    for series, line in zip(psnr.iterfind(f"{SVG}g[@class='series']"), lines(psnr), strict=True):
        assert len(line) == 300
        found = marks(series)
        assert 15 <= len(found) <= 20
        iterations = [int(text.split("iteration ")[1].split(":")[0]) for text in found]
        assert iterations[-1] == 300
        assert len({after - before for before, after in pairwise(iterations)}) == 1


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_values_that_are_not_finite_are_left_out(value: float) -> None:
    """The PSNR of a picture that bicubic restores exactly is infinite."""
    records = [loss_record(1), {**loss_record(2), "loss": 0.0}, loss_record(3)]
    records += [{**loss_record(4), "loss": value}]
    records += [scores_record(iteration, "Set5") for iteration in (1, 2)]
    records[-1]["scores"]["Set5"][2] = (value, 1.0)
    for record in records[-2:]:
        record["bicubic"]["Set5"][4] = (value, 1.0)
    loss, psnr = panels(svg_of(records))
    assert [round(x) for x, _ in lines(loss)[0]] == [1, 3]
    assert [[round(x) for x, _ in line] for line in lines(psnr)] == [[1], [1, 2]]
    assert len(references(psnr)) == 1


NASTY = "<script>&\"'\n\0\udcff]]>{{ 7 }}"
SHOWN = NASTY.replace("\n", "\\n").replace("\0", "\\x00").replace("\udcff", "\\udcff")


def test_any_name_is_shown_as_text() -> None:
    svg = svg_of([scores_record(1, NASTY)], title=NASTY)
    root = ET.fromstring(svg)
    assert root.findtext(f"{SVG}title") == SHOWN
    assert root.findtext(f"{SVG}text") == SHOWN
    assert legend(panels(svg)[1]) == [f"{SHOWN} 2x", f"{SHOWN} 4x", "bicubic"]
    assert not list(root.iter(f"{SVG}script"))


def test_a_long_name_keeps_both_its_ends() -> None:
    name = "photographs/" + "x" * 200 + "/held-back"
    svg = svg_of([scores_record(1, name)], title=name)
    heading = ET.fromstring(svg).findtext(f"{SVG}text") or ""
    for text in (heading + " 2x", *legend(panels(svg)[1])[:1]):
        assert text.startswith("photographs/")
        assert text.endswith("/held-back 2x")
        assert len(text) < 90
    assert ET.fromstring(svg).findtext(f"{SVG}title") == name
