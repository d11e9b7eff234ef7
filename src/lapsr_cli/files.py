"""Finding inputs, naming outputs, and putting a file in its place only when it is whole."""

from __future__ import annotations

import glob
import os
import secrets
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import BinaryIO

from lapsr_cli.errors import UsageError

__all__ = ["Found", "Named", "Naming", "Source", "find", "name_outputs", "sweep", "whole_file"]


@dataclass(frozen=True)
class Source:
    """A picture to read, and its path below the folder it was found in."""

    path: Path
    relative: Path


@dataclass(frozen=True)
class Found:
    """What the inputs of a command came to: pictures, and the paths that failed with the reason."""

    sources: list[Source]
    problems: dict[str, str]


def find(
    inputs: Iterable[str],
    suffixes: Collection[str],
    output: Path | None = None,
    *,
    recursive: bool = True,
) -> Found:
    """Every picture that ``inputs`` (files, folders, glob patterns) name, each once, in order.

    Folders are searched, with all below them if ``recursive``, sorted by name, for files with one
    of ``suffixes`` (lower case, with the dot), but not below ``output``, if there is one; so are
    folders that match a pattern. A file that is named outright is taken whatever its suffix. Raises
    UsageError for an input folder that is the output folder.
    """
    sources: dict[str, Source] = {}
    problems: dict[str, str] = {}
    leave_out = None if output is None else os.path.realpath(output)
    search = _Search(suffixes, leave_out, recursive, problems)
    for text in inputs:
        for source in _sources(text, search):
            sources.setdefault(os.path.realpath(source.path), source)
    return Found(list(sources.values()), problems)


@dataclass(frozen=True)
class _Search:
    """How folders are searched: for which suffixes, without which folder, how deep; paths that
    lead nowhere go to ``problems``."""

    suffixes: Collection[str]
    leave_out: str | None
    recursive: bool
    problems: dict[str, str]


def _sources(text: str, search: _Search) -> Iterator[Source]:
    """The pictures of one input."""
    path = Path(text)
    if os.path.isdir(path):
        if os.path.realpath(path) == search.leave_out:
            raise UsageError(f"-o/--output {path}: the output folder must not be an input folder")
        yield from _walk(path, path, search)
    elif os.path.lexists(path):
        yield Source(path, Path(path.name))
    else:
        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (absolute patterns)
        if not matches:
            search.problems[text] = "no such file or folder"
        for match in map(Path, matches):
            if _is_below(match, search.leave_out):
                continue
            if os.path.isdir(match):
                yield from _walk(match, _before_magic(path), search)
            elif match.suffix.lower() in search.suffixes:
                yield Source(match, match.relative_to(_before_magic(path)))


def _walk(folder: Path, base: Path, search: _Search) -> Iterator[Source]:
    """Pictures below ``folder``. Links to folders are not followed: no loop to fall into."""

    def note(error: OSError) -> None:
        search.problems[str(error.filename)] = error.strerror or str(error)

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(
            f
            for f in folders
            if search.recursive and os.path.realpath(Path(parent, f)) != search.leave_out
        )
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() in search.suffixes:
                yield Source(path, path.relative_to(base))


def _before_magic(pattern: Path) -> Path:
    """The folder in front of the first part with a pattern character."""
    parts = pattern.parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def _is_below(path: Path, folder: str | None) -> bool:
    if folder is None:
        return False
    real = os.path.realpath(path)
    return real == folder or real.startswith(folder.rstrip(os.sep) + os.sep)


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How outputs are called.

    ``folder``: where they go, the tree of the inputs mirrored below it. ``scales``: what {scale}
    becomes for each output of a picture: "2", "2.5", "w1920". ``pattern``: the name without
    suffix, with {stem} and {scale}. Raises UsageError for a pattern that is no file name or gives
    two outputs one name.
    """

    folder: Path
    scales: tuple[str, ...]
    pattern: str = "{stem}_x{scale}"

    def __post_init__(self) -> None:
        try:
            fields = {field for _, field, _, _ in Formatter().parse(self.pattern)}
            if not fields <= {None, "stem", "scale"}:
                raise ValueError(fields)  # {stem.attribute} would work and mean nothing
            names = [self.pattern.format(stem="a", scale=scale) for scale in self.scales]
        except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
            raise UsageError(f"--name {self.pattern!r}: only {{stem}} and {{scale}}") from error
        if any(name in ("", ".", "..") or Path(name).name != name for name in names):
            raise UsageError(f"--name {self.pattern!r} is not a file name")
        if len(set(names)) < len(names):
            raise UsageError(f"--name {self.pattern!r} needs {{scale}}: several scales are made")

    def outputs(self, source: Source, stem: str, suffix: str) -> dict[str, Path]:
        """The output of ``source`` at each scale, were its stem ``stem``."""
        parent = self.folder / source.relative.parent
        return {
            scale: parent / (self.pattern.format(stem=stem, scale=scale) + suffix)
            for scale in self.scales
        }


@dataclass(frozen=True)
class Named:
    """The outputs of every picture at each scale, and the pictures that can have none."""

    outputs: dict[Source, dict[str, Path]]
    clashes: dict[Source, str]


def name_outputs(suffixes: Mapping[Source, str], naming: Naming) -> Named:
    """Name the outputs of every picture so that no two are the same file, and none is an input.

    ``suffixes``: the pictures, and what the names of their outputs end with. Pictures that would
    share an output (a.jpg and a.png, both made PNG) get their own suffix into the name:
    a_jpg_x2.png. Where that does not tell them apart, the first keeps the name and the others are
    ``clashes``, with the reason.
    """
    fold = _folds_case(naming.folder)
    plain = {s: naming.outputs(s, s.relative.stem, suffix) for s, suffix in suffixes.items()}
    uses = Counter(_key(path, fold) for outputs in plain.values() for path in outputs.values())
    named = {
        source: outputs
        if all(uses[_key(path, fold)] == 1 for path in outputs.values())
        else naming.outputs(source, _told_apart(source), suffixes[source])
        for source, outputs in plain.items()
    }
    inputs = {_key(source.path, fold): source for source in named}
    owners: dict[str, Source] = {}
    clashes: dict[Source, str] = {}
    for source, outputs in named.items():
        keys = {_key(path, fold): path for path in outputs.values()}
        for key, path in keys.items():
            if key in inputs:
                clashes[source] = f"its result {path} would overwrite the input {inputs[key].path}"
            elif key in owners:
                clashes[source] = f"its result {path} is that of {owners[key].path} too"
        if source not in clashes:
            owners |= dict.fromkeys(keys, source)
    return Named({s: o for s, o in named.items() if s not in clashes}, clashes)


def _told_apart(source: Source) -> str:
    """A stem with the input's own suffix in it: "a_jpg"."""
    return f"{source.relative.stem}_{source.relative.suffix[1:]}"


def _key(path: Path, fold: bool) -> str:
    """Equal for paths that are the same file; ``fold``: in whatever case they are written."""
    real = os.path.realpath(path)
    return real.casefold() if fold else real


def _folds_case(folder: Path) -> bool:
    """Whether the file system below ``folder``, or above it if it is not there yet, takes names
    that differ in case for one."""
    real = Path(os.path.realpath(folder))
    there = next(each for each in (real, *real.parents) if os.path.exists(each))
    other = Path(str(there).swapcase())
    if there == other:
        return True  # a name without letters does not tell: better safe
    return os.path.exists(other) and there.samefile(other)


_STALE_SECONDS = 86_400
_PART = ".lapsr-{}.part"


def sweep(folders: Iterable[Path]) -> int:
    """Remove half-written files that killed runs left in ``folders`` more than a day ago, and
    count them. Younger ones may belong to a run that is still going."""
    removed = 0
    for folder in folders:
        for path in folder.glob(_PART.format("*")):
            with suppress(OSError):  # another run may be sweeping as well
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()
                    removed += 1
    return removed


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write that appears at ``path`` only when the block ends without an error.

    It is written beside its place under a temporary name and renamed, so ``path`` never holds
    half a file, whatever happens. Missing folders are made. Raises OSError as the system does, with
    ``path`` for its file name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / _PART.format(secrets.token_hex(8))
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        # A write names no file, and the temporary name tells nobody anything.
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
