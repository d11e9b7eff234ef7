"""One motif from several files: what is shown of it, and how near it is to the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lapsr_cli.compare.inputs import Shot, alike, read_shot
from lapsr_cli.compare.matching import Match
from lapsr_cli.errors import PictureError, UsageError
from lapsr_cli.html.example import LARGEST_SIDE, Example, Pixels
from lapsr_cli.html.table import Table
from lapsr_cli.metrics.protocol import Score, luma_of
from lapsr_cli.metrics.psnr import psnr
from lapsr_cli.metrics.ssim import ssim
from lapsr_cli.pixels.picture import Size

__all__ = ["Comparison", "View", "compare", "in_words"]


@dataclass(frozen=True, kw_only=True)
class View:
    """What of a picture is shown.

    ``crop``: left, top, width, height in pixels of the largest picture. ``max_side``: in pixels;
    without ``crop`` the middle of what is longer is shown. Raises UsageError, naming the flag.
    """

    crop: tuple[int, int, int, int] | None = None
    max_side: int = 2048

    def __post_init__(self) -> None:
        if not 1 <= self.max_side <= LARGEST_SIDE:
            raise UsageError(f"--max-side {self.max_side}: must be from 1 to {LARGEST_SIDE}")
        if self.crop is not None:
            left, top, width, height = self.crop
            if (
                min(left, top) < 0
                or not 1 <= min(width, height) <= max(width, height) <= LARGEST_SIDE
            ):
                raise UsageError(
                    f"--crop {left},{top},{width},{height}: X and Y must be from 0, W and H from 1"
                    f" to {LARGEST_SIDE}"
                )

    def box(self, size: Size, title: str) -> tuple[slice, slice]:
        """Rows and columns of a picture of ``size``. Raises PictureError if --crop reaches beyond
        it."""
        if self.crop is None:
            return _middle(size.height, self.max_side), _middle(size.width, self.max_side)
        left, top, width, height = self.crop
        if left + width > size.width or top + height > size.height:
            raise PictureError(
                f"{title}: --crop {left},{top},{width},{height} reaches beyond its"
                f" {size.width} x {size.height} pixels"
            )
        return slice(top, top + height), slice(left, left + width)


def _middle(side: int, most: int) -> slice:
    first = max(0, (side - most) // 2)
    return slice(first, first + min(side, most))


@dataclass(frozen=True)
class Comparison:
    """``scores``: against the original, by label; empty where there is none. ``cropped``: what is
    shown of how much, in words, or nothing."""

    example: Example
    scores: dict[str, Score]
    cropped: str


def compare(match: Match, labels: Sequence[str], view: View) -> Comparison:
    """Read the pictures of a match, of which a third one is the original, make them alike, score
    them whole, and cut out what ``view`` shows. Raises PictureError."""
    shots = alike([read_shot(path) for path in match.paths])
    by_label = dict(zip(labels, shots, strict=True))
    scores: dict[str, Score] = {}
    if len(shots) == 3:
        scores = {label: _score(by_label[label].pixels, shots[2].pixels) for label in labels[:2]}
    size = shots[0].size
    rows, columns = view.box(size, match.title)
    cropped = _cut(rows, columns, size)
    example = Example(
        title=match.title,
        pictures={label: shot.pixels[rows, columns] for label, shot in by_label.items()},
        remark=cropped,
        figures=_figures(match, by_label, scores),
    )
    return Comparison(example, scores, cropped)


def _score(picture: Pixels, original: Pixels) -> Score:
    x, y = (_luma(pixels) for pixels in (picture, original))
    return Score(psnr(x, y), ssim(x, y))


def _luma(pixels: Pixels) -> torch.Tensor:
    """(H, W), float64 in [0, 1], of 256 levels."""
    planes = np.atleast_3d(pixels).transpose(2, 0, 1)  # (C, H, W)
    return torch.round(luma_of(torch.from_numpy(planes.copy())) * 255) / 255


def _cut(rows: slice, columns: slice, size: Size) -> str:
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if (height, width) == (size.height, size.width):
        return ""
    return (
        f"Shown: {width} x {height} of {size.width} x {size.height} pixels,"
        f" from {columns.start}, {rows.start}."
    )


def _figures(match: Match, shots: dict[str, Shot], scores: dict[str, Score]) -> Table:
    rows: list[tuple[str, ...]] = []
    for (label, shot), path in zip(shots.items(), match.paths, strict=True):
        words = path.name, ", ".join(shot.notes) or "as it is"
        figures = in_words(scores[label]) if label in scores else ("", "")
        rows.append((label, *figures, *words) if scores else (label, *words))
    if scores:
        headings = ("picture", "PSNR", "SSIM", "file", "shown")
        return Table(headings=headings, rows=rows, columns="lrrll")
    return Table(headings=("picture", "file", "shown"), rows=rows, columns="lll")


def in_words(score: Score) -> tuple[str, str]:
    """PSNR and SSIM as tables have them."""
    return ("∞" if score.psnr == float("inf") else f"{score.psnr:.2f}"), f"{score.ssim:.4f}"
