"""One HTML file from sections, with styles, scripts and pictures embedded."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lapsr_cli.html.palette import DARK, LIGHT
from lapsr_cli.outputs import Kind
from lapsr_cli.text import printable

__all__ = ["PAGE", "Section", "document", "render"]

_MARK = b'<meta name="generator" content="lapsr">'
"""In the head of every page."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, introductory text and content.

    ``parts`` is consumed one element at a time while the page is written, so a generator keeps only
    one part in memory.
    """

    title: str
    parts: Iterable[Markup]
    text: str = ""


def document(
    title: str, facts: Mapping[str, str], sections: Iterable[Section], *, command: str = ""
) -> Iterator[str]:
    """The page in chunks of valid UTF-8 text, to be written in order.

    ``facts``: label -> value, listed below the title. ``command``: a command line, printed below
    the facts. The page's Content-Security-Policy blocks every network request, and every script
    except the page's own.
    """
    script = _asset("page.js")
    yield from (
        _environment()
        .get_template("document.html")
        .generate(
            title=title,
            facts=facts,
            command=command,
            sections=sections,
            light=LIGHT,
            dark=DARK,
            style=Markup(_asset("page.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARK in file.read(1024)


PAGE = Kind("a page of lapsr", _is_page)


def render(template: str, values: Mapping[str, object]) -> Markup:
    """Render a template of this package; all text in ``values`` is escaped."""
    return Markup(_environment().get_template(template).render(values))


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("lapsr_cli.html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _printable(value: object) -> object:
    """File names may contain line breaks and invalid UTF-8, which HTML escaping does not change."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    """Text with LF line ends: browsers normalize CRLF before they hash a script."""
    return files("lapsr_cli.html").joinpath("templates").joinpath(name).read_text(encoding="utf-8")
