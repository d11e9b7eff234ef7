"""Messages and progress bars on stderr. One console draws both, so that they never mix."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from lapsr_cli.text import printable

if TYPE_CHECKING:
    from typing import Self

    from lapsr_cli.batch.report import Outcome
    from lapsr_cli.train.loop import Event, Step, Validated

__all__ = ["ByteBar", "PictureBar", "TrainingView", "be_quiet", "say", "show_log"]

_WIDE = 64
"""Columns that a terminal must have for progress bars and tables to be drawn."""

console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(message: str) -> None:
    """Print one line to stderr, with unprintable characters (newlines, invalid bytes) escaped."""
    console.print(printable(message))


def be_quiet() -> None:
    """Print nothing from now on: another process reports for this one."""
    console.quiet = True


class _Lines(logging.Handler):
    """One line per record, however long: RichHandler wraps at the width of the console."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


def show_log() -> None:
    """Print the package's log records as lines on stderr."""
    handler = _Lines()
    log = logging.getLogger("lapsr_cli")
    log.handlers = [handler]
    log.setLevel(logging.INFO)


class _Bar:
    """A progress bar, drawn on terminals only and removed when its ``with`` block ends."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()


class _Details(ProgressColumn):
    """The field "details" of a task, cut off where a narrow terminal ends.

    Without it rich shortens every column, the time left included.
    """

    def __init__(self) -> None:
        super().__init__(table_column=Column())

    def render(self, task: Task) -> Text:
        """As one line."""
        return Text(task.fields["details"], no_wrap=True, overflow="ellipsis")


def _progress(count: ProgressColumn, *details: ProgressColumn) -> Progress:
    """What is done, a bar if the terminal is wide enough, the time left, and details."""
    bar = [BarColumn(bar_width=20)] if console.width >= _WIDE else []
    return Progress(
        count,
        *bar,
        TimeRemainingColumn(compact=True),
        *details,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=600,
    )


class PictureBar(_Bar):
    """Progress of a batch: pictures done, output megapixels per second, time left."""

    def __init__(self, total: int) -> None:
        super().__init__(
            _progress(TextColumn("{task.fields[done]}/{task.total:.0f} pictures"), _Details())
        )
        self._task = self._progress.add_task("", total=total, done=0, details="")
        self._start = time.monotonic()
        self._done = 0
        self._megapixels = 0.0

    def advance(self, share: float, output_pixels: int) -> None:
        """Add a finished pass: the ``share`` (0-1) of a picture in it, and its output pixels."""
        self._megapixels += output_pixels / 1e6
        rate = self._megapixels / (time.monotonic() - self._start)
        self._progress.update(self._task, advance=share, details=f"{rate:.2f} MP/s")

    def settle(self, outcome: Outcome) -> None:
        """Count a picture that was written or has failed."""
        self._done += outcome.status == "done"
        self._progress.update(self._task, done=self._done)
        if outcome.status == "failed":
            self._progress.update(self._task, advance=1)


class ByteBar(_Bar):
    """Progress of one download of ``size`` bytes."""

    def __init__(self, name: str, size: int) -> None:
        title = TextColumn("{task.description}", markup=False)
        super().__init__(_progress(title, DownloadColumn()))
        self._task = self._progress.add_task(name, total=size)

    def advance(self, done: int) -> None:
        """Set the number of bytes received so far."""
        self._progress.update(self._task, completed=done)


class TrainingView(_Bar):
    """Progress of a training run: a live line, and a table at each validation.

    If stderr is not a terminal: a line per line of metrics, and one per validated dataset. A
    narrow terminal gets lines instead of tables.
    """

    def __init__(self, done: int, total: int) -> None:
        super().__init__(_progress(TextColumn("{task.completed:.0f}/{task.total:.0f}"), _Details()))
        self._task = self._progress.add_task("", total=total, completed=done, details="")
        self._total = total
        self._psnr = ""

    def show(self, event: Event) -> None:
        """Show an event of the run; a final `Stopped` shows nothing."""
        from lapsr_cli.train.loop import Step, Validated

        if isinstance(event, Step):
            self._show_step(event)
        elif isinstance(event, Validated):
            self._show_validated(event)

    def _show_step(self, step: Step) -> None:
        speed = f"{step.patches_per_second:.1f} patches/s"
        details = f"loss {step.loss:.5f}{self._psnr}  {speed}"
        self._progress.update(self._task, completed=step.iteration, details=details)
        if step.logged and not console.is_terminal:
            left = self._progress.tasks[0].time_remaining
            rest = "" if left is None else f", {_clock(left)} left"
            say(
                f"iteration {step.iteration}/{self._total}, loss {step.loss:.5f},"
                f" lr {step.rate:.2e}, {speed}{rest}"
            )

    def _show_validated(self, event: Validated) -> None:
        best = ", best so far" if event.best else ""
        name, scales = next(iter(event.scores.items()))
        scale = 4 if 4 in scales else max(scales)
        self._psnr = f"  {name} {scale}x {scales[scale][0]:.2f} dB"
        if console.is_terminal and console.width >= _WIDE:
            console.print(_table(event, f"iteration {event.iteration}{best}"))
            return
        for name, scales in event.scores.items():
            gains = (
                f"{scale}x {psnr:.2f} dB ({psnr - event.bicubic[name][scale][0]:+.2f})"
                for scale, (psnr, _) in scales.items()
            )
            say(f"iteration {event.iteration}, {name}: {', '.join(gains)}{best}")


def _table(event: Validated, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("", "scale", "PSNR dB", "bicubic", "gain", "SSIM", "bicubic"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, scales in event.scores.items():
        for scale, (psnr, ssim) in scales.items():
            base_psnr, base_ssim = event.bicubic[name][scale]
            figures = [f"{psnr:.2f}", f"{base_psnr:.2f}", f"{psnr - base_psnr:+.2f}"]
            table.add_row(name, f"{scale}x", *figures, f"{ssim:.4f}", f"{base_ssim:.4f}")
    return table


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"
