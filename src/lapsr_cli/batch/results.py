"""Writes the results of pictures, part by part and in order, and reports what became of them."""

from __future__ import annotations

import errno
import math
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path

from lapsr_cli import image_io
from lapsr_cli.batch.parts import OpenPicture, Part
from lapsr_cli.batch.report import Outcome, Output
from lapsr_cli.batch.run_state import Abandoned, RunState
from lapsr_cli.batch.targets import Target
from lapsr_cli.device.memory import is_out_of_memory
from lapsr_cli.errors import DiskFull, PictureError, UnreadablePicture
from lapsr_cli.image_io import Encoding, Writer
from lapsr_cli.pixels.picture import Size
from lapsr_cli.pixels.resize import resized

__all__ = ["ResultWriter"]


@dataclass(eq=False)
class _Results:
    """Of a picture. ``waiting``: parts that are enlarged, by number; ``written``: parts that are
    through; ``is_busy``: whether a thread is writing some. ``settled``: whether the outcome was
    reported."""

    waiting: dict[int, Part] = field(default_factory=dict)
    written: int = 0
    is_busy: bool = False
    settled: bool = False
    writers: dict[Target, Writer] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    losses: dict[str, None] = field(default_factory=dict)


class ResultWriter:
    """Has the threads of ``encoders`` write results, one at a time for each picture."""

    def __init__(self, state: RunState, encoding: Encoding, encoders: Executor) -> None:
        self._state = state
        self._encoding = encoding
        self._encoders = encoders
        self._open: dict[OpenPicture, _Results] = {}

    def submit(self, part: Part) -> None:
        """Write a part, as soon as those before it are written."""
        picture = part.picture
        with picture.lock:
            results = self._open.setdefault(picture, _Results())
            results.waiting[part.number] = part
            if results.is_busy:
                return
            results.is_busy = True
        self._encoders.submit(self._write_waiting, picture, results)

    def discard_open(self) -> None:
        """Remove the files of pictures that are not finished, once no thread writes any more."""
        for results in self._open.values():
            for writer in results.writers.values():
                writer.discard()

    def _write_waiting(self, picture: OpenPicture, results: _Results) -> None:
        """Write the parts that are next, as long as there are any."""
        while True:
            with picture.lock:
                part = results.waiting.pop(results.written, None)
                results.is_busy = part is not None
            if part is None:
                return
            self._pass(part, results)
            results.written += 1
            if part.is_last:
                del self._open[picture]

    def _pass(self, part: Part, results: _Results) -> None:
        """Write a part unless its picture has failed, give back its memory, and report the outcome
        if it is known by then."""
        picture = part.picture
        try:
            if picture.failure is None:
                self._write(part, results)
        except Abandoned:
            return
        except PictureError as error:
            if _is_disk_full(error):
                self._state.fail(DiskFull(f"{error}; the files written so far are complete"))
            picture.failure = error
        except Exception as error:
            if not is_out_of_memory(error):
                self._state.fail(error)  # a bug ends the run: nobody checks the future
                raise
            path = picture.job.source.path
            picture.failure = PictureError(f"{path}: not enough memory for its results")
        finally:
            part.frames.clear()
            self._state.budget.give(part.need)
        if (picture.failure or part.is_last) and not results.settled:
            for writer in results.writers.values():
                writer.discard()
            self._settle(picture, results)

    def _settle(self, picture: OpenPicture, results: _Results) -> None:
        """Report the outcome."""
        results.settled = True
        outcome = _outcome(picture, results)
        with picture.lock:  # no progress is reported after it
            self._state.events.put(outcome)

    def _write(self, part: Part, results: _Results) -> None:
        """Append a part to every file; after the last part, finish each file before the next.

        Raises PictureError, and Abandoned between files.
        """
        picture = part.picture
        photo = replace(picture.opened, frames=tuple(frame[1] for frame in part.frames))
        for target, path in picture.job.outputs.items():
            if self._state.abandoned.is_set():
                raise Abandoned
            if target not in results.writers:
                results.writers[target] = self._new_writer(picture, target, path)
            writer = results.writers[target]
            with picture.timed():
                _append(part, target, writer)
                if part.is_last:
                    writer.close()
                    results.outputs.append(_output(picture, target, path, writer.frames))
            results.losses |= dict.fromkeys(image_io.losses(photo, path, self._encoding))

    def _new_writer(self, picture: OpenPicture, target: Target, path: Path) -> Writer:
        size = math.ceil(picture.header.bytes * target.factor(picture.size) ** 2)
        return Writer(picture.opened, path, self._encoding, sample_bytes=size)


def _append(part: Part, target: Target, writer: Writer) -> None:
    picture = part.picture
    factor, multiple = target.factor(picture.size), picture.enlargements[target]
    for frame in part.frames:
        size = Size(frame[1].height, frame[1].width)
        writer.append(resized(frame[multiple], size.times(factor)))


def _output(picture: OpenPicture, target: Target, path: Path, frames: int) -> Output:
    size = target.size(picture.size)
    return Output(
        path=path,
        scale=target.label,
        width=size.width,
        height=size.height,
        frames=frames,
        bytes=path.stat().st_size,
    )


def _outcome(picture: OpenPicture, results: _Results) -> Outcome:
    """Of a picture that is written or has failed."""
    path, failure = picture.job.source.path, picture.failure
    message = str(failure or "")
    if isinstance(failure, UnreadablePicture):
        return Outcome(source=path, status="failed", message=message, seconds=picture.seconds)
    photo = picture.opened
    return Outcome(
        source=path,
        status="failed" if failure else "done",
        outputs=tuple(results.outputs),
        message=message,
        warnings=(*picture.job.notes, *photo.warnings, *picture.notes, *results.losses),
        model=picture.model,
        device=", ".join(picture.devices),
        precision=", ".join(picture.precisions),
        lossy=photo.lossy,
        windows=picture.windows,
        seconds=picture.seconds,
    )


def _is_disk_full(error: PictureError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
