"""Which pictures of two or three folders show the same."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lapsr_cli.errors import NothingMatched, UsageError
from lapsr_cli.files import Source, find
from lapsr_cli.image_io import READABLE
from lapsr_cli.text import printable

__all__ = ["Match", "Matches", "labels", "match"]

_ENDING = re.compile(r"[_@-](?:[xX](\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)[xX]|([whe]\d+(?:h\d+)?))$")
"""What `lapsr upscale` adds to a name ("_x4", "_w1920"), and what other programs do ("@2x")."""


@dataclass(frozen=True)
class Match:
    """One picture from each input, in their order. ``title``: what they have in common."""

    title: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Matches:
    """``alone``: pictures that no other input has. ``problems``: folders that cannot be read, and
    why."""

    found: list[Match]
    alone: list[Path]
    problems: list[str]


def match(inputs: Sequence[Path]) -> Matches:
    """Match two or three pictures, or the pictures below two or three folders.

    In folders pictures belong together that have the same path below them, suffixes apart, or
    would have it without an ending such as "_x4". Raises NothingMatched where there is no such
    input or no two pictures match, UsageError for files among folders.
    """
    for path in inputs:
        if not os.path.exists(path):
            raise NothingMatched(f"{printable(path)}: no such file or folder")
    folders = [os.path.isdir(path) for path in inputs]
    if not any(folders):
        return Matches([Match(inputs[0].stem, tuple(inputs))], [], [])
    if not all(folders):
        file = inputs[folders.index(False)]
        raise UsageError(f"{printable(file)}: is a file, others are folders: give files or folders")
    return _match_folders(inputs)


def _match_folders(folders: Sequence[Path]) -> Matches:
    problems: list[str] = []
    groups: dict[str, list[dict[str, Path]]] = {}
    for number, folder in enumerate(folders):
        found = find([str(folder)], READABLE)
        problems += [f"{printable(path)}: {reason}" for path, reason in found.problems.items()]
        for (motif, ending), path in _named(found.sources).items():
            groups.setdefault(motif, [{} for _ in folders])[number][ending] = path
    matches = [
        Match(f"{motif} {ending}".rstrip(), paths)
        for motif, group in sorted(groups.items())
        for ending, paths in _rows(group)
    ]
    used = {path for each in matches for path in each.paths}
    everything = [p for group in groups.values() for paths in group for p in paths.values()]
    if not matches:
        names = ", ".join(printable(folder) for folder in folders)
        raise NothingMatched(f"{names}: no picture of one matches one of each other")
    return Matches(matches, [path for path in everything if path not in used], problems)


def _named(sources: Sequence[Source]) -> dict[tuple[str, str], Path]:
    """Pictures by motif and ending. Where two have the same, their suffixes become part of the
    motif ("a_jpg"), as `lapsr upscale` tells its results apart."""
    names = [_split(source.relative.with_suffix("").as_posix()) for source in sources]
    uses = Counter(names)
    named: dict[tuple[str, str], Path] = {}
    for source, (motif, ending) in zip(sources, names, strict=True):
        own = f"{motif}_{source.relative.suffix[1:]}" if uses[motif, ending] > 1 else motif
        named[own, ending] = source.path
    return named


def _split(name: str) -> tuple[str, str]:
    """A name's motif and ending: "a_x4" and "a@4x" are ("a", "4x"), "a" is ("a", "")."""
    found = _ENDING.search(name)
    if found is None:
        return name, ""
    before, behind, size = found.groups()
    return name[: found.start()], size or f"{before or behind}x"


def _rows(group: Sequence[dict[str, Path]]) -> list[tuple[str, tuple[Path, ...]]]:
    """For every ending that occurs: from each folder the picture that has it, or has none."""
    rows: list[tuple[str, tuple[Path, ...]]] = []
    for ending in sorted({ending for paths in group for ending in paths}):
        chosen = [paths.get(ending, paths.get("")) for paths in group]
        complete = tuple(path for path in chosen if path is not None)
        if len(complete) == len(group):
            rows.append((ending, complete))
    return rows


def labels(inputs: Sequence[Path]) -> tuple[str, ...]:
    """What the inputs are called: their names, as much of their paths as tells them apart, or, if
    nothing does, letters before them. A third one is HR, the original."""
    letters = ["A", "B", "HR"][: len(inputs)]
    found = [path.name or str(path) for path in inputs]
    if len(set(found)) < len(found):
        found = [str(path) for path in inputs]
    if len(set(found)) < len(found):
        found = [f"{letter}: {name}" for letter, name in zip(letters, found, strict=True)]
    if len(found) == 3:
        found[2] = f"{found[2]} (HR)"
    return tuple(found)
