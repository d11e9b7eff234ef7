"""Matching the pictures of two or three folders by name."""

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
"""Size suffixes of `lapsr upscale` ("_x4", "_w1920") and of other programs ("@2x")."""


@dataclass(frozen=True)
class Match:
    """One picture from each input, in their order. ``title``: the common part of their names."""

    title: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Matches:
    """``alone``: pictures without a counterpart. ``problems``: folders that cannot be read, with
    the reason."""

    found: list[Match]
    alone: list[Path]
    problems: list[str]


def match(inputs: Sequence[Path]) -> Matches:
    """Match two or three pictures, or the pictures in two or three folders.

    In folders, pictures match if their relative paths are the same, ignoring the suffix and an
    ending such as "_x4". Raises NothingMatched if an input does not exist or nothing matches,
    UsageError for a mixture of files and folders.
    """
    for path in inputs:
        if not os.path.exists(path):
            raise NothingMatched(f"{printable(path)}: no such file or folder")
    folders = [os.path.isdir(path) for path in inputs]
    if not any(folders):
        return Matches([Match(inputs[0].stem, tuple(inputs))], [], [])
    if not all(folders):
        file = inputs[folders.index(False)]
        raise UsageError(f"{printable(file)}: is a file, but other inputs are folders")
    return _match_folders(inputs)


def _match_folders(folders: Sequence[Path]) -> Matches:
    problems: list[str] = []
    groups: dict[str, list[dict[str, Path]]] = {}
    for number, folder in enumerate(folders):
        found = find([str(folder)], READABLE)
        problems += [f"{printable(path)}: {reason}" for path, reason in found.problems.items()]
        for (name, ending), path in _by_name(found.sources).items():
            groups.setdefault(name, [{} for _ in folders])[number][ending] = path
    matches = [
        Match(f"{name} {ending}".rstrip(), paths)
        for name, group in sorted(groups.items())
        for ending, paths in _rows(group)
    ]
    used = {path for each in matches for path in each.paths}
    everything = [p for group in groups.values() for paths in group for p in paths.values()]
    if not matches:
        names = ", ".join(printable(folder) for folder in folders)
        raise NothingMatched(f"{names}: no picture has a match in every folder")
    return Matches(matches, [path for path in everything if path not in used], problems)


def _by_name(sources: Sequence[Source]) -> dict[tuple[str, str], Path]:
    """Pictures by name and ending. If two have the same, their suffixes become part of the name
    ("a_jpg"), as in the results of `lapsr upscale`."""
    names = [_split(source.relative.with_suffix("").as_posix()) for source in sources]
    uses = Counter(names)
    by_name: dict[tuple[str, str], Path] = {}
    for source, (name, ending) in zip(sources, names, strict=True):
        unique = f"{name}_{source.relative.suffix[1:]}" if uses[name, ending] > 1 else name
        by_name[unique, ending] = source.path
    return by_name


def _split(name: str) -> tuple[str, str]:
    """A name and its ending: ("a", "4x") for "a_x4" and "a@4x", ("a", "") for "a"."""
    found = _ENDING.search(name)
    if found is None:
        return name, ""
    before, behind, size = found.groups()
    return name[: found.start()], size or f"{before or behind}x"


def _rows(group: Sequence[dict[str, Path]]) -> list[tuple[str, tuple[Path, ...]]]:
    """For every ending: each folder's picture with that ending, or else the one without any."""
    rows: list[tuple[str, tuple[Path, ...]]] = []
    for ending in sorted({ending for paths in group for ending in paths}):
        chosen = [paths.get(ending, paths.get("")) for paths in group]
        complete = tuple(path for path in chosen if path is not None)
        if len(complete) == len(group):
            rows.append((ending, complete))
    return rows


def labels(inputs: Sequence[Path]) -> tuple[str, ...]:
    """Unique labels of the inputs: their names, or their paths, or their paths with a letter in
    front. The third is marked as HR, the original."""
    letters = ["A", "B", "HR"][: len(inputs)]
    found = [path.name or str(path) for path in inputs]
    if len(set(found)) < len(found):
        found = [str(path) for path in inputs]
    if len(set(found)) < len(found):
        found = [f"{letter}: {name}" for letter, name in zip(letters, found, strict=True)]
    if len(found) == 3:
        found[2] = f"{found[2]} (HR)"
    return tuple(found)
