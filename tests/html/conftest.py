"""A real browser for the tests of pages and SVG files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Open = Callable[..., "Page"]

TEXTS = """all => all.filter(each => [...each.childNodes].some(
    node => node.nodeType === 3 && node.textContent.trim()) && each.getClientRects().length
).map(each => {
    const style = getComputedStyle(each);
    const scale = each.getScreenCTM ? each.getScreenCTM().a : 1;
    const ink = each instanceof SVGElement ? style.fill : style.color;
    const behind = part => getComputedStyle(part).backgroundColor;
    let paper = each;
    while (behind(paper) === "rgba(0, 0, 0, 0)") paper = paper.parentElement;
    return [each.textContent.trim(), scale * parseFloat(style.fontSize), ink, behind(paper)];
})"""
"""Text, font size in CSS pixels as seen, colour and background of every element with text."""


def luminance(colour: str) -> float:
    """Relative luminance of a CSS colour, 0 to 1, as WCAG 2.2 defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two CSS colours, 1 to 21, as WCAG 2.2 defines it."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Chromium or Chrome; the test is skipped without either."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs a browser: neither chromium nor google-chrome is on PATH")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
        " --disable-background-networking --disable-component-update --disable-sync"
    )
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=flags.split())
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open a page in the browser. It must log nothing and request nothing but itself."""
    logged: list[str] = []
    contexts = []

    def open_page(content: str | Path, *, width: int = 1280, height: int = 900, **how: Any) -> Page:
        path = content if isinstance(content, Path) else tmp_path / "page.html"
        if isinstance(content, str):
            path.write_bytes(content.encode())
        context = chromium.new_context(viewport={"width": width, "height": height}, **how)
        contexts.append(context)
        page = context.new_page()

        def note_request(url: str) -> None:
            if not url.startswith("data:") and url != path.as_uri():
                logged.append(f"request: {url}")

        page.on("request", lambda request: note_request(request.url))
        page.on("console", lambda message: logged.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: logged.append(f"error: {error}"))
        page.on("dialog", lambda dialog: logged.append(f"dialog: {dialog.message}"))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert logged == []
