"""Output names: no two outputs are the same file, and none is an input."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter

from lapsr_cli.errors import UsageError
from lapsr_cli.files import Source

__all__ = ["Named", "Naming", "name_outputs"]

_FIELDS = {(None, None, None), ("stem", "", None), ("scale", "", None)}
"""Name, format and conversion: attributes mean nothing, and a width may be anything."""


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How outputs are named.

    ``folder``: the output folder, which mirrors the tree of the inputs. ``scales``: the values of
    {scale}, one for each output of a picture: "2", "2.5", "w1920". ``pattern``: the name without
    suffix, with {stem} and {scale}. Raises UsageError for a pattern that is not a file name or
    gives two outputs the same name.
    """

    folder: Path
    scales: tuple[str, ...]
    pattern: str = "{stem}_x{scale}"

    def __post_init__(self) -> None:
        try:
            fields = {tuple(field) for _, *field in Formatter().parse(self.pattern)}
        except ValueError as error:
            raise UsageError(f"--name {self.pattern!r}: {error}") from error
        if not fields <= _FIELDS:
            raise UsageError(f"--name {self.pattern!r}: only {{stem}} and {{scale}}")
        names = [self.pattern.format(stem="a", scale=scale) for scale in self.scales]
        if any(name in ("", ".", "..") or Path(name).name != name for name in names):
            raise UsageError(f"--name {self.pattern!r} is not a file name")
        if len(set(names)) < len(names):
            raise UsageError(f"--name {self.pattern!r} needs {{scale}}: several scales are made")

    def outputs(self, source: Source, stem: str, suffix: str) -> dict[str, Path]:
        """The output of ``source`` at each scale, with the given stem."""
        parent = self.folder / source.relative.parent
        return {
            scale: parent / (self.pattern.format(stem=stem, scale=scale) + suffix)
            for scale in self.scales
        }


@dataclass(frozen=True)
class Named:
    """The outputs of every picture at each scale, and the pictures without a free name."""

    outputs: dict[Source, dict[str, Path]]
    clashes: dict[Source, str]


def name_outputs(suffixes: Mapping[Source, str], naming: Naming) -> Named:
    """Name the outputs of every picture so that no two are the same file, and none is an input.

    ``suffixes``: the suffix of each picture's outputs. Pictures that would share an output (a.jpg
    and a.png, both written as PNG) get their own suffix in the name: a_jpg_x2.png. If that is not
    enough, the first keeps the name and the others are ``clashes``, with the reason.
    """
    fold = _folds_case(naming.folder)

    @cache
    def key(path: Path) -> str:
        return _key(path, fold)

    plain = {s: naming.outputs(s, s.relative.stem, suffix) for s, suffix in suffixes.items()}
    uses = Counter(key(path) for outputs in plain.values() for path in outputs.values())
    named = {
        source: outputs
        if all(uses[key(path)] == 1 for path in outputs.values())
        else naming.outputs(source, _told_apart(source), suffixes[source])
        for source, outputs in plain.items()
    }
    inputs = {key(source.path): source for source in named}
    owners: dict[str, Source] = {}
    clashes: dict[Source, str] = {}
    for source, outputs in named.items():
        keys = {key(path): path for path in outputs.values()}
        for real, path in keys.items():
            if real in inputs:
                clashes[source] = f"its result {path} would overwrite the input {inputs[real].path}"
            elif real in owners:
                clashes[source] = f"its result {path} is also that of {owners[real].path}"
        if source not in clashes:
            owners |= dict.fromkeys(keys, source)
    return Named({s: o for s, o in named.items() if s not in clashes}, clashes)


def _told_apart(source: Source) -> str:
    """A stem that includes the input's suffix: "a_jpg"."""
    return f"{source.relative.stem}_{source.relative.suffix[1:]}"


def _key(path: Path, fold: bool) -> str:
    """Equal for paths of the same file; ``fold``: ignoring case."""
    real = os.path.realpath(path)
    return real.casefold() if fold else real


def _folds_case(folder: Path) -> bool:
    """Whether the file system of ``folder``, or of its nearest existing parent, ignores case in
    names."""
    real = Path(os.path.realpath(folder))
    there = next(each for each in (real, *real.parents) if os.path.exists(each))
    other = Path(str(there).swapcase())
    if there == other:
        return True  # without letters there is no telling; assume so
    return os.path.exists(other) and there.samefile(other)
