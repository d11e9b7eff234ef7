"""One comparison: the pictures of a match, the region shown, and the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lapsr_cli.compare.inputs import ComparedPicture, match_sizes, read_picture
from lapsr_cli.compare.matching import Match
from lapsr_cli.errors import PictureError, UsageError
from lapsr_cli.html.example import LARGEST_SIDE, Example, Pixels
from lapsr_cli.html.table import Table
from lapsr_cli.metrics.protocol import Score, luma_of
from lapsr_cli.metrics.psnr import psnr
from lapsr_cli.metrics.ssim import ssim
from lapsr_cli.pixels.picture import Size

__all__ = ["Comparison", "View", "compare", "format_score"]


@dataclass(frozen=True, kw_only=True)
class View:
    """The region shown of a picture.

    ``crop``: left, top, width, height in pixels of the largest picture. ``max_side``: pixels per
    side; without ``crop``, only the centre of a longer side is shown. Raises UsageError, naming the
    flag.
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
                    f"--crop {left},{top},{width},{height}: X and Y must be at least 0, W and H"
                    f" from 1 to {LARGEST_SIDE}"
                )

    def box(self, size: Size, title: str) -> tuple[slice, slice]:
        """Rows and columns of a picture of ``size``. Raises PictureError, naming ``title``, if
        --crop exceeds it."""
        if self.crop is None:
            return _centre(size.height, self.max_side), _centre(size.width, self.max_side)
        left, top, width, height = self.crop
        if left + width > size.width or top + height > size.height:
            raise PictureError(
                f"{title}: --crop {left},{top},{width},{height} exceeds its"
                f" {size.width} x {size.height} pixels"
            )
        return slice(top, top + height), slice(left, left + width)


def _centre(side: int, max_side: int) -> slice:
    first = max(0, (side - max_side) // 2)
    return slice(first, first + min(side, max_side))


@dataclass(frozen=True)
class Comparison:
    """``scores``: against the original, by label; empty without one. ``cropped``: a sentence
    about the region shown; empty if that is the whole picture."""

    example: Example
    scores: dict[str, Score]
    cropped: str


def compare(match: Match, labels: Sequence[str], view: View) -> Comparison:
    """Read the pictures of a match, bring them to one size, and crop them to ``view``.

    A third picture is the original; the first two are scored against it, uncropped. Raises
    PictureError.
    """
    pictures = match_sizes([read_picture(path) for path in match.paths])
    by_label = dict(zip(labels, pictures, strict=True))
    scores: dict[str, Score] = {}
    if len(pictures) == 3:
        original = pictures[2].pixels
        scores = {label: _score(by_label[label].pixels, original) for label in labels[:2]}
    size = pictures[0].size
    rows, columns = view.box(size, match.title)
    cropped = _region(rows, columns, size)
    example = Example(
        title=match.title,
        pictures={label: picture.pixels[rows, columns] for label, picture in by_label.items()},
        remark=cropped,
        figures=_table(match, by_label, scores),
    )
    return Comparison(example, scores, cropped)


def _score(picture: Pixels, original: Pixels) -> Score:
    x, y = (_luma(pixels) for pixels in (picture, original))
    return Score(psnr(x, y), ssim(x, y))


def _luma(pixels: Pixels) -> torch.Tensor:
    """(H, W), float64 in [0, 1], rounded to 256 levels."""
    planes = np.atleast_3d(pixels).transpose(2, 0, 1)  # (C, H, W)
    return torch.round(luma_of(torch.from_numpy(planes.copy())) * 255) / 255  # (H, W)


def _region(rows: slice, columns: slice, size: Size) -> str:
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if (height, width) == (size.height, size.width):
        return ""
    return (
        f"Region shown: {width} x {height} of {size.width} x {size.height} pixels,"
        f" at {columns.start}, {rows.start}."
    )


def _table(match: Match, pictures: dict[str, ComparedPicture], scores: dict[str, Score]) -> Table:
    rows: list[tuple[str, ...]] = []
    for (label, picture), path in zip(pictures.items(), match.paths, strict=True):
        words = path.name, ", ".join(picture.notes) or "unchanged"
        figures = format_score(scores[label]) if label in scores else ("", "")
        rows.append((label, *figures, *words) if scores else (label, *words))
    if scores:
        headings = ("picture", "PSNR", "SSIM", "file", "shown")
        return Table(headings=headings, rows=rows, columns="lrrll")
    return Table(headings=("picture", "file", "shown"), rows=rows, columns="lll")


def format_score(score: Score) -> tuple[str, str]:
    """PSNR and SSIM as text for a table."""
    return ("∞" if score.psnr == float("inf") else f"{score.psnr:.2f}"), f"{score.ssim:.4f}"
