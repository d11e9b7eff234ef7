"""HTML tables: text aligned to the left, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lapsr_cli.html.document import render

__all__ = ["Table", "table"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    ``columns``: one letter per column, "l" for text and "r" for numbers, as in LaTeX. By default
    the first column is text and the others are numbers. The last cell of a row with fewer cells
    than ``headings`` spans the remaining columns.
    """

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str = ""
    columns: str = ""


def table(content: Table, *, folded: str = "") -> Markup:
    """The table as HTML. With ``folded``, it is collapsed at first and ``folded`` is the label that
    expands it."""
    columns = content.columns or "l" + "r" * (len(content.headings) - 1)
    return render("table.html", {"table": content, "columns": columns, "folded": folded})
