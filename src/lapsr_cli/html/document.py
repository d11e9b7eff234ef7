"""One HTML file from sections, with everything it needs inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lapsr_cli.text import printable

__all__ = ["Section", "document", "fill"]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, a sentence or two below it, and what there is to see.

    ``parts`` are taken one by one while the page is written, so that they need not all be in
    memory at the same time.
    """

    title: str
    parts: Iterable[Markup]
    text: str = ""


def document(
    title: str, facts: Mapping[str, str], sections: Iterable[Section], *, command: str = ""
) -> Iterator[str]:
    """The page, piece by piece; all of it is valid UTF-8.

    ``facts``: words and what they are, listed at the top, ``command`` behind them. The page's own
    Content-Security-Policy forbids every request and every script but its own.
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
            style=Markup(_asset("page.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def fill(template: str, values: Mapping[str, object]) -> Markup:
    """A template of this room with ``values`` in it, all text escaped."""
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
    """Names may hold line breaks and bytes that are not UTF-8; escaping HTML leaves those."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    """With line feeds alone, as the browser hashes it."""
    return files("lapsr_cli.html").joinpath("templates").joinpath(name).read_text(encoding="utf-8")
