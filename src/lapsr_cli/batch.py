"""Folders of pictures: decode, enlarge and encode at the same time; one failure stops nothing."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lapsr_cli import image_io
from lapsr_cli.device import free_memory
from lapsr_cli.errors import (
    NothingMatched,
    PictureError,
    UnreadablePicture,
    UnwritablePicture,
    UsageError,
)
from lapsr_cli.files import Naming, Source, find, name_outputs
from lapsr_cli.image_io import SUFFIXES, Encoding, Metadata, Photo, Picture
from lapsr_cli.report import Outcome
from lapsr_cli.upscaler import Advance, Pyramid, Task, Upscaler

__all__ = ["IfExists", "Plan", "Selection", "Work", "plan", "prepare_folder", "run"]

IfExists = Literal["skip", "overwrite", "error"]

_DECODERS = 2
_DECODED_AHEAD = 4
_ENCODERS = 2
_ENCODING = 4


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which pictures to enlarge, to which scales, and where the results go.

    ``inputs``: files, folders and glob patterns. ``form``: "auto" keeps each input's format, else
    jpg, png, webp or tiff. ``quality``: of JPEG and WebP, 1 to 100. ``if_exists``: what to do
    about an output that is there already.
    """

    inputs: tuple[str, ...]
    output: Path
    scales: tuple[int, ...]
    form: str = "auto"
    quality: int = 95
    name: str = "{stem}_x{scale}"
    if_exists: IfExists = "skip"

    def __post_init__(self) -> None:
        if not self.inputs:
            raise UsageError("INPUT is missing: name files, folders or patterns")
        if not self.scales:
            raise UsageError("-s/--scale: name at least one scale")
        if self.form not in {"auto", "jpg", "jpeg", "png", "webp", "tif", "tiff"}:
            raise UsageError(f"-f/--format {self.form}: must be auto, jpg, png, webp or tiff")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"--quality {self.quality}: must be from 1 to 100")

    @property
    def naming(self) -> Naming:
        """The rule for the names of the outputs."""
        suffix = None if self.form == "auto" else f".{self.form}"
        return Naming(folder=self.output, scales=self.scales, pattern=self.name, suffix=suffix)


@dataclass(frozen=True)
class Work:
    """One picture to read, and the outputs to write from it."""

    source: Source
    outputs: Mapping[int, Path]


@dataclass(frozen=True)
class Plan:
    """The pictures to enlarge, and those whose fate is known beforehand."""

    works: list[Work]
    settled: list[Outcome]


def plan(selection: Selection) -> Plan:
    """Find the pictures, name their outputs, and see which of those are there already.

    Raises NothingMatched if no picture is found.
    """
    naming = selection.naming
    found = find(selection.inputs, SUFFIXES, selection.output)
    settled = [
        Outcome(source=Path(path), status="failed", message=f"{path}: {reason}")
        for path, reason in found.problems.items()
    ]
    if not found.sources:
        if settled:
            raise NothingMatched("; ".join(outcome.message for outcome in settled))
        inputs = ", ".join(selection.inputs)
        raise NothingMatched(f"{inputs}: no pictures ({', '.join(SUFFIXES)}) in it")
    named = name_outputs(found.sources, naming)
    settled += [_failed(s, f"{s.path}: {reason}") for s, reason in named.clashes.items()]
    works: list[Work] = []
    for source, outputs in named.outputs.items():
        unsupported = _unsupported(outputs)
        existing = [path for path in outputs.values() if os.path.exists(path)]
        if unsupported:
            settled.append(_failed(source, f"{source.path}: cannot write {unsupported}; give -f"))
        elif existing and selection.if_exists == "error":
            settled.append(_failed(source, f"{source.path}: {existing[0]} exists already"))
        elif len(existing) == len(outputs) and selection.if_exists == "skip":
            settled.append(Outcome(source=source.path, status="skipped", message="outputs exist"))
        else:
            keep = existing if selection.if_exists == "skip" else ()
            works.append(Work(source, {s: p for s, p in outputs.items() if p not in keep}))
    return Plan(works, settled)


def run(
    works: Iterable[Work],
    upscaler: Upscaler,
    selection: Selection,
    advance: Advance = lambda share, output_pixels: None,
) -> Iterator[Outcome]:
    """Enlarge every picture and give what became of each, as it becomes known.

    ``advance`` is told how far the network is, as Upscaler.stream says.
    """
    failures: deque[Outcome] = deque()
    writing: deque[Future[Outcome]] = deque()
    with (
        ThreadPoolExecutor(_DECODERS, "decode") as decoders,
        ThreadPoolExecutor(_ENCODERS, "encode") as encoders,
    ):
        tasks = _decoded(works, decoders, failures)
        for (work, metadata), pyramid in upscaler.stream(tasks, advance):
            job = encoders.submit(_write, work, pyramid, metadata, selection.quality)
            writing.append(job)
            while len(writing) > _ENCODING or (writing and writing[0].done()):
                yield writing.popleft().result()
            while failures:
                yield failures.popleft()
        for future in writing:
            yield future.result()
        yield from failures


def _decoded(
    works: Iterable[Work], decoders: ThreadPoolExecutor, failures: deque[Outcome]
) -> Iterator[Task[tuple[Work, Metadata]]]:
    """Pictures in order, read a few ahead; what cannot be read goes to ``failures``."""
    ahead: deque[tuple[Work, Future[Photo]]] = deque()
    remaining = iter(works)
    while True:
        while len(ahead) < _DECODED_AHEAD and (work := next(remaining, None)) is not None:
            ahead.append((work, decoders.submit(image_io.read, work.source.path)))
        if not ahead:
            return
        work, future = ahead.popleft()
        try:
            photo = future.result()
            picture = _plain(work, photo)
            _check_results(work, picture)
        except PictureError as error:
            failures.append(_failed(work.source, str(error)))
        else:
            yield Task((work, photo.metadata), picture, tuple(work.outputs))


def _plain(work: Work, photo: Photo) -> Picture:
    """The one picture that can be enlarged, until alpha, 16 bits and frames can."""
    first = photo.frames[0]
    if len(photo.frames) > 1 or first.alpha is not None or first.depth != 8:
        raise UnreadablePicture(
            f"{work.source.path}: transparency, 16 bits and several frames are not supported yet"
        )
    return first


def _check_results(work: Work, picture: Picture) -> None:
    """Refuse before the work what could not be held or written after it."""
    need = picture.pixels.nbytes * sum(scale**2 for scale in work.outputs)
    if need > free_memory(torch.device("cpu")):
        raise UnwritablePicture(
            f"{work.source.path}: its results need {need / 1e9:.1f} GB, more memory than is free"
        )
    for scale, path in work.outputs.items():
        image_io.check_size(path, scale * picture.height, scale * picture.width)


def _write(work: Work, pyramid: Pyramid, metadata: Metadata, quality: int) -> Outcome:
    try:
        for scale, picture in pyramid.items():
            photo = Photo((picture,), "PNG", lossy=False, metadata=metadata)
            image_io.write(photo, work.outputs[scale], Encoding(quality=quality))
    except PictureError as error:
        return _failed(work.source, str(error))
    pixels = sum(picture.height * picture.width for picture in pyramid.values())
    return Outcome(
        source=work.source.path,
        status="done",
        outputs=tuple(work.outputs.values()),
        megapixels=pixels / 1e6,
    )


def _failed(source: Source, message: str) -> Outcome:
    return Outcome(source=source.path, status="failed", message=message)


def _unsupported(outputs: Mapping[int, Path]) -> str:
    """The suffix of the outputs if no format goes by it (a named file may have any)."""
    suffix = next(iter(outputs.values())).suffix
    return "" if suffix.lower() in SUFFIXES else suffix or "a file without suffix"


def prepare_folder(folder: Path) -> None:
    """Make the output folder and see that it can be written, before any work is done.

    Raises UsageError if not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"-o/--output {folder}: {error.strerror or error}") from error
