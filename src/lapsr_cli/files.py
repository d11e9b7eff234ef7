"""Finding inputs, naming outputs, and putting a file in its place only when it is whole."""

from __future__ import annotations

import glob
import os
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lapsr_cli.errors import UsageError

__all__ = ["Found", "Naming", "Source", "find", "name_outputs", "whole_file"]


@dataclass(frozen=True)
class Source:
    """A picture to read, and its path below the folder it was found in."""

    path: Path
    relative: Path


@dataclass(frozen=True)
class Found:
    """What the inputs of a command came to: pictures, and the inputs that name nothing."""

    sources: list[Source]
    missing: list[str]


def find(inputs: Iterable[str], suffixes: Collection[str], output: Path) -> Found:
    """Every picture that ``inputs`` (files, folders, glob patterns) name, each once, in order.

    Folders are searched recursively, sorted by name, for files with one of ``suffixes`` (lower
    case, with the dot), but not below ``output``. A file that is named outright is taken whatever
    its suffix. Raises UsageError for an input folder that is the output folder.
    """
    sources: dict[str, Source] = {}
    missing: list[str] = []
    for text in inputs:
        exists = os.path.lexists(text)
        matches = [text] if exists else sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (absolute patterns)
        if not matches:
            missing.append(text)
        for match in matches:
            path = Path(match)
            if path.is_dir():
                found = _walk(path, suffixes, output)
            elif exists or path.suffix.lower() in suffixes:
                found = iter([Source(path, Path(path.name))])
            else:
                continue
            for source in found:
                sources.setdefault(os.path.realpath(source.path), source)
    return Found(list(sources.values()), missing)


def _walk(folder: Path, suffixes: Collection[str], output: Path) -> Iterator[Source]:
    """Pictures below ``folder``. Links to folders are not followed: no loop to fall into."""
    leave_out = os.path.realpath(output)
    if os.path.realpath(folder) == leave_out:
        raise UsageError(f"-o/--output {output}: the output folder must not be an input folder")
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if os.path.realpath(Path(parent, f)) != leave_out)
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() in suffixes:
                yield Source(path, path.relative_to(folder))


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How outputs are called.

    ``folder``: where they go, the tree of the inputs mirrored below it. ``pattern``: the name
    without suffix, with {stem} and {scale}. ``suffix``: such as ".png"; None keeps the input's.
    Raises UsageError for a pattern that is no file name or gives two scales one name.
    """

    folder: Path
    scales: tuple[int, ...]
    pattern: str = "{stem}_x{scale}"
    suffix: str | None = None

    def __post_init__(self) -> None:
        try:
            names = [self.pattern.format(stem="a", scale=scale) for scale in self.scales]
        except (KeyError, ValueError, IndexError) as error:
            raise UsageError(f"--name {self.pattern!r}: only {{stem}} and {{scale}}") from error
        if any(name in ("", ".", "..") or Path(name).name != name for name in names):
            raise UsageError(f"--name {self.pattern!r} is not a file name")
        if len(set(names)) < len(names):
            raise UsageError(f"--name {self.pattern!r} needs {{scale}}: several scales are made")

    def outputs(self, source: Source, stem: str) -> dict[int, Path]:
        """The output of ``source`` at each scale, were its stem ``stem``."""
        parent = self.folder / source.relative.parent
        suffix = self.suffix or source.relative.suffix
        return {
            scale: parent / (self.pattern.format(stem=stem, scale=scale) + suffix)
            for scale in self.scales
        }


def name_outputs(sources: Iterable[Source], naming: Naming) -> dict[Source, dict[int, Path]]:
    """The outputs of every picture at each scale, no two of them the same file.

    Pictures that would share an output (a.jpg and a.png, both made PNG) get their own suffix into
    the name: a_jpg_x2.png. Raises UsageError if that does not tell them apart, or if an output
    would overwrite an input.
    """
    plain = {source: naming.outputs(source, source.relative.stem) for source in sources}
    uses = Counter(_key(path) for outputs in plain.values() for path in outputs.values())
    named = {
        source: outputs
        if all(uses[_key(path)] == 1 for path in outputs.values())
        else naming.outputs(source, f"{source.relative.stem}_{source.relative.suffix[1:]}")
        for source, outputs in plain.items()
    }
    taken = {os.path.realpath(source.path): source for source in named}
    for source, outputs in named.items():
        for path in outputs.values():
            other = taken.setdefault(_key(path), source)
            if other != source or path.resolve() == source.path.resolve():
                raise UsageError(f"{other.path} and {source.path} would share {path}: run apart")
    return named


def _key(path: Path) -> str:
    """Equal for paths that a case-insensitive file system takes for the same file."""
    return os.path.realpath(path).casefold()


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write that appears at ``path`` only when the block ends without an error.

    It is written beside its place under a temporary name and renamed, so ``path`` never holds
    half a file, whatever happens. Missing folders are made. Raises OSError as the system does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".lapsr-{secrets.token_hex(8)}.part"
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
