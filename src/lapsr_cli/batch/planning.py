"""Which pictures to enlarge, to which sizes, and where the results go: decided beforehand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lapsr_cli import image_io
from lapsr_cli.batch.naming import Naming, name_outputs
from lapsr_cli.batch.report import Outcome
from lapsr_cli.batch.targets import Target
from lapsr_cli.errors import NothingMatched, PictureError, UnwritablePicture, UsageError
from lapsr_cli.files import Source, find
from lapsr_cli.image_io import SUFFIXES, Encoding

__all__ = ["IfExists", "Job", "Plan", "Selection", "plan"]

IfExists = Literal["skip", "overwrite", "error"]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which pictures to enlarge, to which sizes, and where the results go.

    ``inputs``: files, folders and glob patterns. ``form``: "auto" keeps each input's format, else a
    format's usual suffix without its dot. ``if_exists``: what to do about an existing output.
    ``name``: None is "{stem}_x{scale}", or "{stem}_{scale}" for sizes in pixels. ``recursive``:
    search subfolders.
    """

    inputs: tuple[str, ...]
    output: Path
    targets: tuple[Target, ...]
    form: str = "auto"
    encoding: Encoding = field(default_factory=Encoding)
    name: str | None = None
    recursive: bool = True
    if_exists: IfExists = "skip"

    def __post_init__(self) -> None:
        if not self.inputs:
            raise UsageError("INPUT is missing: name files, folders or patterns")
        if not all(self.inputs):  # an unset variable of a shell, not the current folder
            raise UsageError("INPUT '' is empty: name files, folders or patterns")
        if not self.targets:
            raise UsageError("-s/--scale: name at least one scale")
        if self.form != "auto" and f".{self.form}" not in SUFFIXES:
            known = ", ".join(suffix[1:] for suffix in SUFFIXES)
            raise UsageError(f"-f/--format {self.form}: must be auto, {known}")

    @property
    def naming(self) -> Naming:
        """The rule for the names of the outputs."""
        scaled = all(target.scale for target in self.targets)
        pattern = self.name or ("{stem}_x{scale}" if scaled else "{stem}_{scale}")
        labels = tuple(target.label for target in self.targets)
        return Naming(folder=self.output, scales=labels, pattern=pattern)


@dataclass(frozen=True)
class Job:
    """One picture to read, the outputs to write, and notes for the user about them."""

    source: Source
    outputs: Mapping[Target, Path]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The pictures to enlarge, and the outcomes that are known beforehand: skipped or failed.

    ``kept``: by the path of each picture, its results that exist already and stay. ``folders``: of
    all results, whether they exist or not.
    """

    jobs: list[Job]
    settled: list[Outcome]
    kept: Mapping[Path, Mapping[Target, Path]]
    folders: set[Path]


def plan(selection: Selection) -> Plan:
    """Find the pictures, name their outputs, and see which of those exist.

    Raises NothingMatched if no picture is found.
    """
    naming = selection.naming
    found = find(
        selection.inputs, image_io.READABLE, selection.output, recursive=selection.recursive
    )
    settled = [
        Outcome(source=Path(path), status="failed", message=f"{path}: {reason}")
        for path, reason in found.problems.items()
    ]
    if not found.sources:
        if settled:
            raise NothingMatched("; ".join(outcome.message for outcome in settled))
        inputs = ", ".join(selection.inputs)
        raise NothingMatched(f"{inputs}: no pictures ({', '.join(image_io.READABLE)}) in it")
    endings = {source: _ending(source, selection) for source in found.sources}
    named = name_outputs({source: suffix for source, (suffix, _) in endings.items()}, naming)
    settled += [_failed(s, f"{s.path}: {reason}") for s, reason in named.clashes.items()]
    jobs: list[Job] = []
    kept: dict[Path, Mapping[Target, Path]] = {}
    for source, outputs in named.outputs.items():
        wanted = {target: outputs[target.label] for target in selection.targets}
        try:
            job, existing = _job(source, wanted, *endings[source], selection.if_exists)
        except PictureError as error:
            settled.append(_failed(source, str(error)))
            continue
        if existing:
            kept[source.path] = existing
        if job.outputs:
            jobs.append(job)
        else:
            settled.append(Outcome(source=source.path, status="skipped", message="outputs exist"))
    folders = {path.parent for outputs in named.outputs.values() for path in outputs.values()}
    return Plan(jobs, settled, kept, folders)


def _job(
    source: Source,
    wanted: Mapping[Target, Path],
    suffix: str,
    notes: tuple[str, ...],
    if_exists: IfExists,
) -> tuple[Job, Mapping[Target, Path]]:
    """What is to be made of a picture, and which of its results exist and stay.

    Raises PictureError, naming the picture, if its results cannot be written.
    """
    if suffix.lower() not in SUFFIXES:
        image_io.probe(source.path)  # the content is told first, if that is no picture
        unknown = suffix or "a file without suffix"
        raise UnwritablePicture(f"{source.path}: cannot write {unknown}; give -f")
    existing = {target: path for target, path in wanted.items() if os.path.lexists(path)}
    if existing and if_exists == "error":
        there = next(iter(existing.values()))
        raise UnwritablePicture(f"{source.path}: {there} exists already")
    if if_exists == "overwrite":
        return Job(source, wanted, notes), {}
    kept = {target: path for target, path in existing.items() if image_io.is_complete(path)}
    broken = [path.name for target, path in existing.items() if target not in kept]
    notes += tuple(f"{name} was there, but is no complete picture: made again" for name in broken)
    return Job(source, {t: p for t, p in wanted.items() if t not in kept}, notes), kept


def _ending(source: Source, selection: Selection) -> tuple[str, tuple[str, ...]]:
    """The suffix of a picture's outputs, and why it is not what was asked for."""
    asked = f".{selection.form}"
    if selection.form == "auto":
        asked = image_io.suffix_for(source.relative.suffix)
    form = SUFFIXES.get(asked.lower())
    if form is None or image_io.holds_alpha(asked) or selection.encoding.background is not None:
        return asked, ()
    try:
        transparent = image_io.is_transparent(source.path)
    except PictureError:
        return asked, ()  # reading it says what is wrong
    if not transparent:
        return asked, ()
    return ".png", (f"transparent: written as PNG, not {form} (or give --background)",)


def _failed(source: Source, message: str) -> Outcome:
    return Outcome(source=source.path, status="failed", message=message)
