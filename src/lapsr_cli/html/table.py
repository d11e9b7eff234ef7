"""Tables: words on the left, figures aligned on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lapsr_cli.html.document import fill

__all__ = ["Table", "table"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """``columns``: "l" for each that holds words, "r" for each that holds figures, as in LaTeX;
    without it the first holds words and the others figures. A row that is shorter than
    ``headings`` ends in a sentence over the columns that are left."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str = ""
    columns: str = ""


def table(content: Table, *, folded: str = "") -> Markup:
    """HTML; ``folded``: the line that opens the table, which is closed at first."""
    columns = content.columns or "l" + "r" * (len(content.headings) - 1)
    return fill("table.html", {"table": content, "columns": columns, "folded": folded})
