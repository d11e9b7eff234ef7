"""What all commands say on stderr, and how: one console, so that a bar and a line never mix."""

from __future__ import annotations

import logging
import time
import warnings
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from typing_extensions import Self

    from lapsr_cli.report import Outcome

__all__ = ["ByteBar", "PictureBar", "say", "show_log"]

console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(message: str) -> None:
    """One line on stderr."""
    console.print(message)


class _Lines(logging.Handler):
    """Each record one line, however long: RichHandler breaks it at the width of the console."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


def show_log(*, verbose: bool = False) -> None:
    """Let the package's log records come out as lines on stderr, and Pillow's warnings not.

    What Pillow warns of (odd tags, many pixels) either fails the picture, by name, or does not
    matter; its lines name no file.
    """
    if not verbose:
        warnings.filterwarnings("ignore", module="PIL")
    handler = _Lines()
    log = logging.getLogger("lapsr_cli")
    log.handlers = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.INFO)


class _Bar:
    """A progress bar that is drawn on a terminal only, and gone when its block ends."""

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


def _progress(*columns: ProgressColumn) -> Progress:
    return Progress(
        *columns,
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=600,
    )


class PictureBar(_Bar):
    """One bar for a whole batch: pictures done, output megapixels per second, time left."""

    def __init__(self, total: int) -> None:
        super().__init__(
            _progress(
                TextColumn("{task.fields[done]}/{task.total:.0f} pictures"),
                BarColumn(),
                TextColumn("{task.percentage:3.0f} %  {task.fields[rate]:.2f} MP/s"),
            )
        )
        self._task = self._progress.add_task("", total=total, done=0, rate=0.0)
        self._start = time.monotonic()
        self._done = 0
        self._megapixels = 0.0

    def advance(self, share: float, output_pixels: int) -> None:
        """A pass of the network did ``share`` of a picture, which gave ``output_pixels``."""
        self._megapixels += output_pixels / 1e6
        rate = self._megapixels / (time.monotonic() - self._start)
        self._progress.update(self._task, advance=share, rate=rate)

    def settle(self, outcome: Outcome) -> None:
        """A picture is on disk, or failed."""
        self._done += outcome.status == "done"
        self._progress.update(self._task, done=self._done)
        if outcome.status == "failed":
            self._progress.update(self._task, advance=1)


class ByteBar(_Bar):
    """The progress of one download."""

    def __init__(self, name: str, size: int) -> None:
        title = TextColumn("{task.description}", markup=False)
        super().__init__(_progress(title, BarColumn(), DownloadColumn()))
        self._task = self._progress.add_task(name, total=size)

    def advance(self, done: int) -> None:
        """``done`` bytes are there."""
        self._progress.update(self._task, completed=done)
