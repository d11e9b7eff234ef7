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
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from lapsr_cli.text import printable

if TYPE_CHECKING:
    from typing import Self

    from lapsr_cli.batch.progress import RunProgress
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


class _Words(ProgressColumn):
    """Fields of a task in a line, which is cut off where the terminal is too narrow."""

    def __init__(self, form: str) -> None:
        super().__init__(table_column=Column())  # rich narrows what may wrap
        self._form = form

    def render(self, task: Task) -> Text:
        """As one line, which does not wrap."""
        return Text(self._form.format(task=task), no_wrap=True, overflow="ellipsis")


class _TimeLeft(TimeRemainingColumn):
    """The time left, which is never cut off.

    It is the field "ends", by the clock of `time.monotonic`, if a task has it, None being unknown;
    otherwise rich's estimate.
    """

    def __init__(self) -> None:
        super().__init__(compact=True, table_column=Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        """As "0:00:42"."""
        if "ends" not in task.fields:
            return super().render(task)
        ends = task.fields["ends"]
        left = "-:--:--" if ends is None else _clock(max(0.0, ends - time.monotonic()))
        return Text(left, style="progress.remaining")


def _is_wide() -> bool:
    return console.width >= _WIDE


def _progress(count: ProgressColumn, details: ProgressColumn) -> Progress:
    """What is done, a bar if the terminal is wide enough, the time left, and details."""
    bar = [BarColumn(bar_width=20)] if _is_wide() else []
    return Progress(
        count,
        *bar,
        _TimeLeft(),
        details,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=600,
    )


class PictureBar(_Bar):
    """Progress of a batch: pictures done, share of the work, time left, megapixels per second."""

    def __init__(self, pictures: int) -> None:
        count = f"{{task.fields[done]}}/{pictures}" + (" pictures" if _is_wide() else "")
        super().__init__(
            _progress(_Words(count + " {task.percentage:.0f} %"), _Words("{task.fields[details]}"))
        )
        self._task = self._progress.add_task("", total=1.0, done=0, ends=None, details="")

    def show(self, progress: RunProgress) -> None:
        """Draw the state of a run."""
        left, rate = progress.seconds_left, progress.megapixels_per_second
        writing = f", writing {progress.writing}" if progress.is_only_writing else ""
        self._progress.update(
            self._task,
            completed=progress.share,
            done=progress.done,
            ends=None if left is None else time.monotonic() + left,
            details=f"{rate:.2f} MP/s{writing}",
        )


class ByteBar(_Bar):
    """Progress of one download of ``size`` bytes."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__(_progress(_Words("{task.description}"), DownloadColumn()))
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
        count, details = "{task.completed:.0f}/{task.total:.0f}", "{task.fields[details]}"
        super().__init__(_progress(_Words(count), _Words(details)))
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
        if console.is_terminal and _is_wide():
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
