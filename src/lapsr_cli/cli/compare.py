"""lapsr compare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lapsr_cli.cli.help_groups import GroupedCommand, examples
from lapsr_cli.cli.params import GivenPath
from lapsr_cli.errors import PictureError, UsageError

if TYPE_CHECKING:
    from lapsr_cli.compare.comparison import Comparison, View
    from lapsr_cli.compare.matching import Matches


@click.command(
    cls=GroupedCommand,
    short_help="Compare pictures on an HTML page.",
    epilog=examples(
        "lapsr compare photos large -o look.html",
        "lapsr compare before.png after.png -o look.html --crop 400,300,256,256",
        "lapsr compare large-classic large-d5r8 originals -o look.html",
    ),
)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.argument("hr", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o",
    "--output",
    required=True,
    type=GivenPath(dir_okay=False),
    metavar="FILE",
    help="HTML page to write, ending in .html. It needs no other file and no network.",
)
@click.option("--title", help="Title of the page.  [default: the names of the inputs]")
@click.option(
    "--crop",
    metavar="X,Y,W,H",
    help="Show only this region, in pixels of the largest picture.",
)
@click.option(
    "--max-side",
    default=2048,
    show_default=True,
    metavar="PIXELS",
    help="Show only the centre of pictures longer than this, unless --crop is given.",
)
def compare(**values: Any) -> int:
    """Write a page that shows A and B, and HR if given, on top of each other, with a movable
    divider and a zoom.

    A, B and HR are pictures, or folders whose pictures are matched by name; an ending such as _x4
    is ignored. HR is the original: PSNR and SSIM are measured against it. Smaller pictures are
    enlarged to the size of the largest by bicubic interpolation.
    """
    return _compare(CompareOptions(**values))


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The values as given on the command line. Raises UsageError, naming the option."""

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
        """Two or three paths."""
        return (self.a, self.b) if self.hr is None else (self.a, self.b, self.hr)

    def view(self) -> View:
        """The part of the pictures to show."""
        from lapsr_cli.compare.comparison import View

        return View(crop=self._box(), max_side=self.max_side)

    def _box(self) -> tuple[int, int, int, int] | None:
        if self.crop is None:
            return None
        try:
            left, top, width, height = map(int, self.crop.split(","))
        except ValueError as error:
            raise UsageError(f"--crop {self.crop}: must be four integers X,Y,W,H") from error
        return left, top, width, height


def _compare(options: CompareOptions) -> int:
    """Match the pictures and write the page. Returns the exit code."""
    from lapsr_cli.cli.console import say, show_log
    from lapsr_cli.compare.matching import labels, match
    from lapsr_cli.compare.page import gallery
    from lapsr_cli.html.document import PAGE
    from lapsr_cli.image_io import configure_pillow
    from lapsr_cli.outputs import check_output, open_output
    from lapsr_cli.text import printable

    configure_pillow()
    show_log()
    view = options.view()
    todo = match(options.inputs)
    check_output(options.output, "-o/--output", PAGE)
    for problem in todo.problems:
        say(f"failed: {problem}")
    for path in todo.alone:
        say(f"no counterpart: {path}")
    names = labels(options.inputs)
    run = _Run(todo, names, view)
    size = 0
    with open_output(options.output) as file:
        title = options.title or ", ".join(names)
        for piece in gallery(title, run.comparisons(), against_hr=options.hr is not None):
            size += file.write(piece.encode())
    say(run.summary(size))
    click.echo(printable(options.output))
    return 1 if run.failed or todo.problems else 0


class _Run:
    """Makes the comparisons one by one; reports and counts failures."""

    def __init__(self, todo: Matches, labels: tuple[str, ...], view: View) -> None:
        self.todo = todo
        self.labels = labels
        self.view = view
        self.done = 0
        self.failed = 0

    def comparisons(self) -> Iterator[Comparison]:
        """Raises PictureError if none succeeds."""
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
            raise PictureError(f"no page written: all {self.failed} comparisons failed")

    def summary(self, size: int) -> str:
        """One line: "12 compared, 2 without counterpart, 1 failed, 8.41 MB"."""
        parts = [f"{self.done} compared"]
        if self.todo.alone:
            parts.append(f"{len(self.todo.alone)} without counterpart")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return ", ".join([*parts, f"{size / 1e6:.2f} MB"])
