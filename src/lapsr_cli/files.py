"""Finding inputs, and writing files atomically."""

from __future__ import annotations

import glob
import logging
import os
import secrets
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import BinaryIO

from lapsr_cli.errors import UsageError
from lapsr_cli.text import counted

__all__ = ["OWN_FOLDER", "Found", "Source", "atomic_write", "find", "sweep"]

log = logging.getLogger(__name__)

OWN_FOLDER = ".lapsr"
"""In an output folder: files of lapsr that are no results."""


@dataclass(frozen=True)
class Source:
    """A picture to read. ``relative``: its path relative to the folder it was found in."""

    path: Path
    relative: Path


@dataclass(frozen=True)
class Found:
    """The pictures of a command's inputs. ``problems``: paths that failed, with the reason."""

    sources: list[Source]
    problems: dict[str, str]


def find(
    inputs: Iterable[str],
    suffixes: Collection[str],
    output: Path | None = None,
    *,
    recursive: bool = True,
) -> Found:
    """Find the pictures that ``inputs`` (files, folders, glob patterns) name, each once, in order.

    Folders, and folders that match a pattern, are searched for files with one of ``suffixes``
    (lower case, with the dot), sorted by name; with subfolders if ``recursive``, but without
    ``output``. A link to a file is a picture of its own; a link to a folder is not followed, and
    there is a warning. A file that is named explicitly is taken whatever its suffix. Raises
    UsageError if an input folder is the output folder.
    """
    sources: dict[tuple[str, str], Source] = {}
    excluded = None if output is None else os.path.realpath(output)
    search = _Search(suffixes, excluded, recursive)
    real_folder = cache(os.path.realpath)
    for text in inputs:
        for source in _sources(text, search):
            place = real_folder(source.path.parent), source.path.name
            sources.setdefault(place, source)
    if search.links:
        first, *others = search.links
        more = f" and {len(others)} more" if others else ""
        log.warning("links to folders are not followed: %s%s", first, more)
    return Found(list(sources.values()), search.problems)


@dataclass(frozen=True)
class _Search:
    """How folders are searched. Paths that cannot be read are added to ``problems``, links to
    folders to ``links``."""

    suffixes: Collection[str]
    excluded: str | None
    recursive: bool
    problems: dict[str, str] = field(default_factory=dict)
    links: dict[Path, None] = field(default_factory=dict)

    def enters(self, folder: Path) -> bool:
        """Whether a subfolder is searched. A link is not, because links may form loops."""
        if not self.recursive or folder.name == OWN_FOLDER:
            return False
        if os.path.realpath(folder) == self.excluded:
            return False
        if folder.is_symlink():
            self.links[folder] = None
            return False
        return True


def _sources(text: str, search: _Search) -> Iterator[Source]:
    """The pictures of one input."""
    path = Path(text)
    if os.path.isdir(path):
        if os.path.realpath(path) == search.excluded:
            raise UsageError(f"-o/--output {path}: the output folder must not be an input folder")
        yield from _walk(path, path, search)
    elif os.path.lexists(path):
        yield Source(path, Path(path.name))
    else:
        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (absolute patterns)
        if not matches:
            search.problems[text] = "no such file or folder"
        for match in map(Path, matches):
            if _is_below(match, search.excluded) or OWN_FOLDER in match.parts:
                continue
            if os.path.isdir(match):
                yield from _walk(match, _before_magic(path), search)
            elif match.suffix.lower() in search.suffixes:
                yield Source(match, match.relative_to(_before_magic(path)))


def _walk(folder: Path, base: Path, search: _Search) -> Iterator[Source]:
    """Pictures in ``folder``."""

    def record(error: OSError) -> None:
        search.problems[str(error.filename)] = error.strerror or str(error)

    for parent, folders, names in os.walk(folder, onerror=record):
        folders[:] = [name for name in sorted(folders) if search.enters(Path(parent, name))]
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() in search.suffixes:
                yield Source(path, path.relative_to(base))


def _before_magic(pattern: Path) -> Path:
    """The folder before the first part that contains a pattern character."""
    parts = pattern.parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def _is_below(path: Path, folder: str | None) -> bool:
    if folder is None:
        return False
    real = os.path.realpath(path)
    return real == folder or real.startswith(folder.rstrip(os.sep) + os.sep)


_STALE_SECONDS = 86_400
_PART = ".lapsr-{}.part"


def sweep(folders: Iterable[Path]) -> int:
    """Remove incomplete files that killed runs left in ``folders``; return their number.

    Files less than a day old are kept: they may belong to a run that is still active.
    """
    removed = 0
    for folder in folders:
        for path in folder.glob(_PART.format("*")):
            with suppress(OSError):  # another run may be removing it as well
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()
                    removed += 1
    if removed:
        log.info("removed %s left behind by a killed run", counted(removed, "incomplete file"))
    return removed


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that appears at ``path`` only if the block ends without an exception.

    It is written under a temporary name in the same folder and then renamed, so that ``path`` is
    never an incomplete file. Missing folders are created. Raises OSError, with ``path`` as its file
    name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / _PART.format(secrets.token_hex(8))
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        # Errors of writing have no file name, and the temporary name would mean nothing.
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
