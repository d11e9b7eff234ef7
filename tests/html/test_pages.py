"""Pages in a real browser: what they show and how they react to mouse, touch and keyboard."""

from __future__ import annotations

import base64
import io
import math
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from lapsr_cli.bench.page import report_page
from lapsr_cli.bench.results import (
    AblationRow,
    EndToEnd,
    Machine,
    Published,
    Quality,
    Results,
    RuntimeSpeed,
    Speed,
    Timing,
)
from lapsr_cli.bench.units import duration, significant
from lapsr_cli.errors import UsageError
from lapsr_cli.html.chart import ticks
from lapsr_cli.html.document import Section, document
from lapsr_cli.html.example import Example, Pixels, figure
from tests.conftest import Ran, draw
from tests.html.conftest import TEXTS, Open, contrast, luminance

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

RED, BLUE, GREEN = (220, 20, 20), (20, 20, 220), (20, 160, 20)
HANDLE = 24
"""Pixels on either side of the divider that the handle may cover."""

SIZES = (64, 256, 1024)
SECONDS = {64: 0.1, 256: 1.0, 1024: 10.0}


def timing(seconds: float) -> Timing:
    return Timing(median=seconds, least=0.9 * seconds, most=1.2 * seconds, runs=5)


def speed(size: int, *, precision: str = "fp32", factor: float = 1.0) -> Speed:
    return Speed(
        model="lapsr-classic",
        title="MS-LapSRN D5R2",
        device="cpu",
        precision=precision,
        scale=4,
        width=size,
        height=size,
        batch=1,
        content="random",
        seconds=timing(factor * SECONDS[size]),
        output_megapixels_per_second=1.5,
        teraflops=0.2,
        roofline=0.4,
        work_ratio=1.25,
        peak_bytes=512_000_000,
        joules=None,
    )


def quality(method: str, picture: str, psnr: float, seconds: float | None) -> Quality:
    return Quality(
        method=method,
        dataset="Set5",
        picture=picture,
        scale=4,
        psnr=psnr,
        ssim=0.85,
        ifc=None if picture == "small.png" else 3.5,
        seconds=seconds,
    )


EMPTY = Results(
    machine=Machine(
        processor="a processor",
        cpu_level="avx512",
        cores=2,
        threads=2,
        memory_bytes=24_000_000_000,
        system="Linux",
        python="3.11",
        torch="2.13",
        gpus=("a card",),
    ),
    command="lapsr bench --html page.html",
    version="1.2.3",
    date="2026-11-25T02:31:00Z",
)

PEER = RuntimeSpeed(
    peer="lapsr", version="1.2.3", model="m", device="cpu", scale=4, width=64, height=64
)

FULL = replace(
    EMPTY,
    speeds=tuple(
        speed(size, precision=precision, factor=factor)
        for precision, factor in (("fp32", 1.0), ("bf16", 0.5))
        for size in SIZES
    ),
    peers=(
        replace(PEER, seconds=timing(2), ratio=1.0, difference=2e-7),
        replace(PEER, peer="another", seconds=timing(3), ratio=1.5, difference=0.0),
        replace(PEER, peer="a third", version="", problem="it is not installed here"),
    ),
    stages=(
        EndToEnd(
            folder="holiday",
            model="m",
            device="cpu",
            precision="fp32",
            scale=4,
            pictures=3,
            input_megapixels=3,
            output_megapixels=48,
            seconds={"decode": 1.0, "network": 20.0, "encode": 5.0},
            total_seconds=22.0,
            bottleneck="network",
            precisions={"fp32": 0.25, "int8": 0.2},
            advice="Another precision would help.",
        ),
    ),
    qualities=(
        quality("bicubic", "one.png", 28.0, None),
        quality("bicubic", "small.png", 29.0, None),
        quality("lapsr-classic", "one.png", 31.0, 0.5),
        quality("lapsr-classic", "small.png", 32.5, 1.5),
        quality("mslapsrn-d5r8", "one.png", 31.5, 5.0),
        quality("mslapsrn-d5r8", "small.png", 32.5, 5.0),
    ),
    published=(
        Published(
            method="MS-LapSRN",
            dataset="Set5",
            scale=4,
            psnr=31.74,
            ssim=0.8893,
            ifc=None,
            sources=("one paper, table 5", "another, table 2"),
        ),
    ),
    studies=(
        AblationRow(
            study="depth",
            title="D5R8",
            parameters=222_000,
            layers=84,
            scale=4,
            seconds=timing(6.6),
            teraflops=0.2,
            psnr={4: 31.72},
        ),
    ),
)

SECTIONS = [
    "Time by input size",
    "Quality against time",
    "End to end",
    "Other runtimes",
    "Quality",
    "Ablations",
    "Pictures",
]


def plain(colour: tuple[int, int, int], width: int = 300, height: int = 120) -> Pixels:
    return np.full((height, width, 3), colour, np.uint8)


def example(*colours: tuple[int, int, int], title: str = "a picture") -> Example:
    labels = ("A", "B", "HR")
    pictures = {label: plain(colour) for label, colour in zip(labels, colours, strict=False)}
    return Example(title=title, pictures=pictures)


def seen(locator: Locator) -> NDArray[np.uint8]:
    """A screenshot of an element, uint8 (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB"))


def assert_cut_at(page: Page, share: float, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    pixels = seen(page.locator(".frame"))
    cut = round(share * pixels.shape[1])
    expected = np.empty_like(pixels)
    expected[:, :cut], expected[:, cut:] = left, right
    # Corners are round, and the handle covers the divider.
    columns = np.arange(pixels.shape[1])
    free = (abs(columns - cut) > HANDLE) & (columns > 4) & (columns < pixels.shape[1] - 4)
    assert free.any()
    assert (pixels[5:-5, free] == expected[5:-5, free]).all()
    if 0 < share < 1:  # the handle covers nothing else
        assert (
            pixels[5:30, abs(columns - cut) == 4] == expected[5:30, abs(columns - cut) == 4]
        ).all()


def two(*colours: tuple[int, int, int]) -> str:
    section = Section(title="Pictures", parts=[figure(example(*colours))])
    return "".join(document("a page", {}, [section]))


# Content


@pytest.mark.parametrize("how", [{}, {"java_script_enabled": False}, {"color_scheme": "dark"}])
def test_every_section_is_seen_and_every_picture_decoded(opened: Open, how: dict[str, Any]) -> None:
    page = opened(report_page(FULL, [example(RED, BLUE, GREEN)]), **how)
    headings = page.locator("h2")
    assert headings.all_text_contents() == SECTIONS
    for heading in headings.all():
        assert heading.is_visible()
    widths = page.locator("img").evaluate_all("all => all.map(each => each.naturalWidth)")
    assert widths == [300, 300, 300]
    for figure_of in page.locator("figure").all():
        box = figure_of.bounding_box()
        assert box is not None
        assert box["height"] > 60


def test_what_was_not_measured_is_left_out() -> None:
    page = report_page(replace(EMPTY, studies=FULL.studies), [])
    assert re.findall("<h2>(.*)</h2>", page) == ["Ablations"]
    assert "<figure" not in page


def test_figures_are_those_that_were_measured(opened: Open) -> None:
    page = opened(report_page(FULL, []))
    rows = [
        [cell.strip() for cell in row.inner_text().split("\t")]
        for row in page.locator("section:has-text('Set5') tr").all()
    ]
    assert ["bicubic", "28.50 / .8500 / –"] in rows
    assert ["lapsr-classic", "31.75 / .8500 / –"] in rows
    assert ["MS-LapSRN, published", "31.74 / .8893 / –"] in rows
    peers = page.locator("section:has(h2:text-is('Other runtimes')) tbody tr")
    assert peers.all_inner_texts() == [
        "lapsr\t1.2.3\t2.00 s\t1.00 x\t2.0e-07",
        "another\t1.2.3\t3.00 s\t1.50 x\t0",
        "a third\t\tit is not installed here",
    ]


def test_points_lie_where_the_axes_say(opened: Open) -> None:
    """Times are 0.1, 1 and 10 s, and each size is 16 times the one before: equal steps on
    logarithmic axes. The marker of 1 s is as high as the tick "1 s"."""
    page = opened(report_page(replace(EMPTY, speeds=FULL.speeds), []))
    chart = page.locator(".chart")

    def centres(selector: str) -> list[tuple[float, float]]:
        boxes = [each.bounding_box() for each in chart.locator(selector).all()]
        return [(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes if b]

    fp32 = centres(".plot .c1 .mark circle, .plot .c1 .mark rect")
    assert len(fp32) == 3
    (x0, y0), (x1, y1), (x2, y2) = fp32
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.6)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.6)
    (tick,) = centres(".plot text:text-is('1 s')")
    assert tick[1] == pytest.approx(y1, abs=2)
    (bf16,) = {round(y - y1) for _, y in centres(".plot .c0 .mark circle")[1:2]}
    assert bf16 == pytest.approx((y0 - y1) * math.log10(2), abs=1)


def test_bars_are_as_long_as_what_they_stand_for(opened: Open) -> None:
    page = opened(report_page(replace(EMPTY, stages=FULL.stages), []))
    boxes = [bar.bounding_box() for bar in page.locator(".bar").all()]
    widths = [box["width"] for box in boxes if box]
    assert np.array(widths) / widths[-1] == pytest.approx(np.array([1, 20, 5, 22]) / 22, abs=0.005)
    assert page.locator(".strong .word").all_text_contents() == ["network"]


# Legibility


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
def test_text_is_large_enough_and_stands_out(
    opened: Open, scheme: str, width: int, height: int
) -> None:
    content = report_page(FULL, [example(RED, BLUE, GREEN)])
    page = opened(content, width=width, height=height, color_scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    texts = page.locator("body *:not(script)").evaluate_all(TEXTS)
    assert len(texts) > 100
    for text, size, ink, paper in texts:
        assert size >= 12, text
        assert contrast(ink, paper) >= 4.5, (text, ink, paper)
    dark_paper = luminance(
        page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
    )
    assert (dark_paper < 0.05) == (scheme == "dark")


@pytest.mark.parametrize("script", [True, False])
def test_a_phone_scrolls_down_only(opened: Open, script: bool) -> None:
    wide = Example(title="x" * 90, pictures={"a" * 80: plain(RED, 900), "b": plain(BLUE, 900)})
    content = report_page(replace(FULL, command="lapsr " + "y" * 200), [wide])
    page = opened(content, width=390, height=844, java_script_enabled=script)
    page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_in_print_all_pictures_stand_side_by_side(opened: Open) -> None:
    page = opened(two(RED, BLUE, GREEN))
    page.emulate_media(media="print")
    assert not page.locator(".controls").is_visible()
    assert not page.locator(".handle").is_visible()
    middles = [seen(picture)[60, 150].tolist() for picture in page.locator("img").all()]
    assert middles == [list(RED), list(BLUE), list(GREEN)]


def test_without_a_script_all_pictures_are_seen(opened: Open) -> None:
    page = opened(two(RED, BLUE, GREEN), java_script_enabled=False)
    middles = [seen(picture)[60, 150].tolist() for picture in page.locator("img").all()]
    assert middles == [list(RED), list(BLUE), list(GREEN)]
    assert page.locator(".picture p").all_inner_texts() == ["A", "B", "HR"]


# Interaction


def test_the_mouse_drags_the_divider(opened: Open) -> None:
    page = opened(two(RED, BLUE))
    assert_cut_at(page, 0.5, RED, BLUE)
    box = page.locator(".frame").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    for share in (0.25, 0.8):
        at = page.locator(".handle").evaluate("handle => handle.value / 100")
        page.mouse.move(box["x"] + at * box["width"], middle)
        page.mouse.down()
        page.mouse.move(box["x"] + share * box["width"], middle, steps=5)
        page.mouse.up()
        assert_cut_at(page, share, RED, BLUE)


def test_a_finger_drags_the_divider(opened: Open) -> None:
    page = opened(two(RED, BLUE), width=390, height=844, has_touch=True, is_mobile=True)
    box = page.locator(".frame").bounding_box()
    assert box is not None
    touch = page.context.new_cdp_session(page)
    y = box["y"] + box["height"] / 2
    for kind, share in (("touchStart", 0.5), ("touchMove", 0.6), ("touchMove", 0.75)):
        point = {"x": box["x"] + share * box["width"], "y": y}
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert_cut_at(page, 0.75, RED, BLUE)


def test_keys_move_the_divider_and_the_focus_is_visible(opened: Open) -> None:
    page = opened(two(RED, BLUE))
    before = seen(page.locator(".frame"))
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "handle":
            break
    handle = page.get_by_role("slider", name="Divider between the pictures")
    assert handle.evaluate("handle => handle === document.activeElement")
    assert (seen(page.locator(".frame")) != before).any()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert_cut_at(page, 0.3, RED, BLUE)
    assert handle.get_attribute("aria-valuetext") == "30 % from the left"
    page.keyboard.press("Home")
    assert_cut_at(page, 0, RED, BLUE)
    page.keyboard.press("End")
    assert_cut_at(page, 1, RED, BLUE)


def test_of_three_pictures_any_two_are_compared(opened: Open) -> None:
    page = opened(two(RED, BLUE, GREEN))
    left, right = page.get_by_label("left picture"), page.get_by_label("right picture")
    assert_cut_at(page, 0.5, RED, BLUE)
    right.select_option(label="HR")
    assert_cut_at(page, 0.5, RED, GREEN)
    left.select_option(label="B")
    assert_cut_at(page, 0.5, BLUE, GREEN)
    left.select_option(label="HR")  # shown on the right already: the sides are swapped
    assert_cut_at(page, 0.5, GREEN, BLUE)
    assert right.locator("option:checked").inner_text() == "B"


def coordinates(blue: int) -> Pixels:
    """Pixels whose red is the column and whose green is the row."""
    rows, columns = np.mgrid[:250, :256]
    return np.stack([columns, rows, np.full_like(rows, blue)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("by", ["mouse", "keys"])
def test_enlarged_pixels_are_squares_and_both_pictures_move_together(opened: Open, by: str) -> None:
    """The colour of every pixel says where it comes from and from which picture."""
    pair = Example(title="", pictures={"A": coordinates(0), "B": coordinates(255)})
    section = Section(title="", parts=[figure(pair)])
    page = opened("".join(document("zoom", {}, [section])), width=600, height=800)
    page.get_by_role("radio", name="4x").check()
    view = page.locator(".view")
    box = view.bounding_box()
    assert box is not None

    def origin() -> tuple[int, int]:
        """The zoomed pixel at the upper left of the view, from which all others follow."""
        pixels = seen(page.locator(".frame")).astype(int)
        height, width = pixels.shape[:2]
        rows, columns = np.mgrid[:height, :width]
        free = (abs(columns - width / 2) > HANDLE) & (rows > 5) & (rows < height - 5)
        free &= (columns > 5) & (columns < width - 5)
        # The offsets that one row and one column allow; then all pixels have to agree.
        across, down = columns[50][free[50]], rows[:, 10][free[:, 10]]
        left = [x for x in range(1024) if ((x + across) // 4 == pixels[50, free[50], 0]).all()]
        top = [y for y in range(1000) if ((y + down) // 4 == pixels[free[:, 10], 10, 1]).all()]
        assert len(left) == len(top) == 1
        assert ((left[0] + columns) // 4 == pixels[..., 0])[free].all()
        assert ((top[0] + rows) // 4 == pixels[..., 1])[free].all()
        assert (pixels[..., 2][free] == 255 * (columns > width / 2)[free]).all()
        return left[0], top[0]

    before = origin()
    if by == "mouse":
        page.mouse.move(box["x"] + 60, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + 10, box["y"] + 90, steps=4)
        page.mouse.up()
        moved = (50, -30)
    else:
        view.focus()
        for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
            page.keyboard.press(key)
        moved = (80, -40)
    assert origin() == (before[0] + moved[0], before[1] + moved[1])
    for _ in range(30):
        view.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
    assert origin() == (1024 - round(box["width"]), 1000 - round(box["height"]))


@pytest.mark.parametrize(("name", "width"), [("1x", 700), ("fit", 558)])
def test_a_large_picture_fits_or_has_its_own_pixels(opened: Open, name: str, width: int) -> None:
    pair = Example(title="", pictures={"A": plain(RED, 700, 140), "B": plain(BLUE, 700, 140)})
    page = opened("".join(document("", {}, [Section(title="", parts=[figure(pair)])])), width=590)
    page.get_by_role("radio", name=name).check()
    box = page.locator("img").first.bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) == pytest.approx((width, width / 5), abs=0.1)
    assert_cut_at(page, 0.5, RED, BLUE)


# Hostile names

NASTY = (
    "<script>window.hacked = 1</script>\"'><img src=x onerror='window.hacked = 1'>\udcff\n{{ 7 }}"
)
SHOWN = NASTY.replace("\udcff", "\\udcff").replace("\n", "\\n")


def test_hostile_names_are_shown_as_text(opened: Open) -> None:
    results = replace(
        FULL,
        command=NASTY,
        machine=replace(FULL.machine, processor=NASTY),
        speeds=tuple(replace(s, model=NASTY, title=NASTY) for s in FULL.speeds),
        stages=tuple(replace(s, folder=NASTY, advice=NASTY) for s in FULL.stages),
        qualities=tuple(replace(q, picture=NASTY, dataset=NASTY) for q in FULL.qualities),
        peers=tuple(replace(p, peer=NASTY, problem=NASTY) for p in FULL.peers),
    )
    pictures = {NASTY: plain(RED), "b": plain(BLUE), "c": plain(GREEN)}
    page = opened(report_page(results, [Example(title=NASTY, pictures=pictures, remark=NASTY)]))
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 1
    assert page.locator("h3").text_content() == SHOWN
    assert page.locator("header code").text_content() == SHOWN
    assert page.locator("option").first.text_content() == SHOWN
    assert page.locator("img").first.get_attribute("alt") == f"{SHOWN}: {SHOWN}"


def test_the_pages_policy_stops_what_is_not_its_own(chromium: Browser, tmp_path: Path) -> None:
    """Even if markup were not escaped, no script would run and nothing would be fetched."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        foreign = Markup(
            "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
            f"<img src='http://127.0.0.1:{server.getsockname()[1]}/picture'>"
        )
        path = tmp_path / "page.html"
        path.write_text("".join(document("", {}, [Section(title="", parts=[foreign])])))
        page = chromium.new_page()
        page.goto(path.as_uri(), wait_until="commit")
        page.wait_for_timeout(300)
        assert page.evaluate("window.hacked") is None
        page.close()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_pages_of_compare_are_seen(
    opened: Open, lapsr: Callable[..., Ran], tmp_path: Path
) -> None:
    pictures = [tmp_path / f"{name}.png" for name in ("red", "blue")]
    for path, colour in zip(pictures, (RED, BLUE), strict=True):
        Image.new("RGB", (300, 120), colour).save(path)
    page = tmp_path / "page.html"
    assert lapsr("compare", *pictures, "-o", page).code == 0
    assert_cut_at(opened(page), 0.5, RED, BLUE)


# Without a browser


@pytest.mark.parametrize("grey", [True, False])
def test_pictures_are_embedded_without_loss(tmp_path: Path, grey: bool) -> None:
    picture = np.asarray(Image.open(draw(tmp_path / "a.png", 37, 23, "L" if grey else "RGB")))
    html = figure(Example(title="", pictures={"a": picture, "b": 255 - picture}))
    found = re.findall('src="data:image/webp;base64,([^"]+)"', html)
    for data, expected in zip(found, (picture, 255 - picture), strict=True):
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert (np.asarray(image.convert("L" if grey else "RGB")) == expected).all()


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ({"a": plain(RED)}, "at least two pictures"),
        ({"a": plain(RED), "b": plain(RED, 10, 20)}, "a has 300 x 120 pixels, b has 10 x 20"),
        ({"a": plain(RED), "b": plain(RED).astype(np.uint16)}, "b is not 8-bit grey or RGB"),
        ({"a": plain(RED), "b": plain(RED)[..., :2]}, "b is not 8-bit grey or RGB"),
        ({"a": plain(RED, 16_384, 1), "b": plain(RED, 16_384, 1)}, "wider or taller than 16383"),
    ],
)
def test_pictures_that_cannot_be_compared_are_refused(
    pictures: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Example(title="t", pictures=pictures)


@given(
    low=st.floats(1e-6, 1e6),
    ratio=st.floats(1.001, 1e9),
    logarithmic=st.booleans(),
)
def test_ticks_are_few_and_round(low: float, ratio: float, logarithmic: bool) -> None:
    high = low * ratio
    found = ticks(low, high, logarithmic=logarithmic)
    assert 1 <= len(found) <= 6
    assert found == sorted(set(found))
    slack = 1e-9 * high
    assert low - slack <= found[0] <= found[-1] <= high + slack
    steps = [b - a for a, b in pairwise(found)]
    assert all(map(is_round, found)) or (
        all(map(is_round, steps)) and not (logarithmic and ratio > 100)
    )


def is_round(value: float) -> bool:
    return f"{value:.6e}"[:8] in {"1.000000", "2.000000", "5.000000"}


@given(st.floats(1e-6, 1e6))
def test_durations_say_what_they_are(seconds: float) -> None:
    figure_, unit = duration(seconds).split()
    value = float(figure_.replace(",", "")) * {"s": 1, "ms": 1e-3, "µs": 1e-6}[unit]
    assert value == pytest.approx(seconds, rel=0.005)
    assert "e" not in figure_


@pytest.mark.parametrize(
    ("value", "words"), [(0.01234, "0.0123"), (12.34, "12.3"), (123_456, "123,000"), (0, "0")]
)
def test_three_digits_are_written(value: float, words: str) -> None:
    assert significant(value) == words
