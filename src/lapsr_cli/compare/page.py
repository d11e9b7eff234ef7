"""The HTML page of ``lapsr compare``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import fmean

from markupsafe import Markup

from lapsr_cli.compare.comparison import Comparison, format_score
from lapsr_cli.html.document import Section, document
from lapsr_cli.html.example import figure
from lapsr_cli.html.table import Table, table
from lapsr_cli.metrics.protocol import Score

__all__ = ["gallery"]


_AGAINST_HR = (
    "PSNR in dB and SSIM against HR: of the luma, rounded to 8 bits, of the whole picture including"
    " its borders."
)


def gallery(
    title: str, comparisons: Iterable[Comparison], *, against_hr: bool = False
) -> Iterator[str]:
    """The page in chunks of text, to be written in order.

    Comparisons are consumed one at a time, so that the pictures of only one are in memory.
    ``against_hr``: they have scores, and their means come last.
    """
    yield from document(title, {}, _sections(comparisons, _AGAINST_HR if against_hr else ""))


def _sections(comparisons: Iterable[Comparison], text: str) -> Iterator[Section]:
    scores: list[dict[str, Score]] = []
    yield Section(title="", text=text, parts=_figures(comparisons, scores))
    if len(scores) > 1:
        yield Section(title="Means", parts=[_means(scores)])


def _figures(comparisons: Iterable[Comparison], scores: list[dict[str, Score]]) -> Iterator[Markup]:
    """The figures; their scores are appended to ``scores``."""
    for comparison in comparisons:
        if comparison.scores:
            scores.append(comparison.scores)
        yield figure(comparison.example)


def _means(scores: list[dict[str, Score]]) -> Markup:
    rows = []
    for label in scores[0]:
        mean = Score(*(fmean(values) for values in zip(*(s[label] for s in scores), strict=True)))
        rows.append((label, *format_score(mean)))
    caption = f"Means of {len(scores)} pictures"
    return table(Table(caption=caption, headings=("", "PSNR", "SSIM"), rows=rows))
