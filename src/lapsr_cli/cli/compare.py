"""lapsr compare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lapsr_cli.cli.params import GivenPath
from lapsr_cli.errors import PictureError, UsageError

if TYPE_CHECKING:
    from lapsr_cli.compare.comparison import Comparison, View
    from lapsr_cli.compare.matching import Matches


@click.command(short_help="Look at pictures under a moving boundary.")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.argument("hr", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o",
    "--output",
    required=True,
    type=GivenPath(dir_okay=False),
    metavar="FILE",
    help="The page; ends in .html. It needs no other file and no network.",
)
@click.option("--title", help="Of the page.  [default: the names of the inputs]")
@click.option(
    "--crop",
    metavar="X,Y,W,H",
    help="Show this part alone, in pixels of the largest picture.",
)
@click.option(
    "--max-side",
    default=2048,
    show_default=True,
    metavar="PIXELS",
    help="Of what is longer, without --crop, the middle is shown.",
)
def compare(**flags: Any) -> int:
    """Show A and B, and HR, over each other on one page, with a boundary to move and a zoom.

    Two or three pictures, or folders of them, whose pictures are matched by their names, an ending
    such as _x4 or not. HR is the original: PSNR and SSIM against it stand below. Smaller pictures
    are enlarged by bicubic.
    """
    return _compare(Wish(**flags))


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The flags as they were given."""

    a: Path
    b: Path
    hr: Path | None
    output: Path
    title: str | None
    crop: str | None
    max_side: int

    def __post_init__(self) -> None:
        if self.output.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"-o/--output {self.output}: must end in .html")

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Two or three."""
        return (self.a, self.b) if self.hr is None else (self.a, self.b, self.hr)

    def view(self) -> View:
        """What of the pictures is shown."""
        from lapsr_cli.compare.comparison import View

        return View(crop=self._box(), max_side=self.max_side)

    def _box(self) -> tuple[int, int, int, int] | None:
        if self.crop is None:
            return None
        try:
            left, top, width, height = map(int, self.crop.split(","))
        except ValueError as error:
            raise UsageError(f"--crop {self.crop}: must be X,Y,W,H, four whole numbers") from error
        return left, top, width, height


def _compare(wish: Wish) -> int:
    from lapsr_cli.batch.planning import prepare_folder
    from lapsr_cli.cli.console import say
    from lapsr_cli.compare.matching import labels, match
    from lapsr_cli.compare.page import gallery
    from lapsr_cli.files import atomic_write
    from lapsr_cli.text import printable

    view = wish.view()
    todo = match(wish.inputs)
    prepare_folder(wish.output.parent, "-o/--output")
    for problem in todo.problems:
        say(f"failed: {problem}")
    for path in todo.alone:
        say(f"no counterpart: {path}")
    names = labels(wish.inputs)
    run = _Run(todo, names, view)
    with atomic_write(wish.output) as file:
        title = wish.title or ", ".join(names)
        for piece in gallery(title, run.comparisons(), against_hr=wish.hr is not None):
            file.write(piece.encode())
    say(run.summary(wish.output.stat().st_size))
    click.echo(printable(wish.output))
    return 1 if run.failed or todo.problems else 0


class _Run:
    """The comparisons one by one; what fails is said and counted."""

    def __init__(self, todo: Matches, labels: tuple[str, ...], view: View) -> None:
        self.todo = todo
        self.labels = labels
        self.view = view
        self.done = 0
        self.failed = 0

    def comparisons(self) -> Iterator[Comparison]:
        """Raises PictureError if there is not a single one."""
        from lapsr_cli.cli.console import say
        from lapsr_cli.compare.comparison import compare as look

        for match in self.todo.found:
            try:
                comparison = look(match, self.labels, self.view)
            except PictureError as error:
                if len(self.todo.found) == 1:
                    raise
                say(f"failed: {error}")
                self.failed += 1
                continue
            if comparison.cropped:
                say(f"{match.title}: {comparison.cropped}")
            self.done += 1
            yield comparison
        if not self.done:
            raise PictureError(f"no page: all {self.failed} comparisons failed")

    def summary(self, size: int) -> str:
        """One line: "12 compared, 2 without counterpart, 1 failed, 8.41 MB"."""
        parts = [f"{self.done} compared"]
        if self.todo.alone:
            parts.append(f"{len(self.todo.alone)} without counterpart")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return ", ".join([*parts, f"{size / 1e6:.2f} MB"])
