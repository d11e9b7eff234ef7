"""The models that lapsr knows by name, from weights/manifest.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Entry", "Manifest", "embedded_folder", "manifest"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model: an embedded safetensors file, or a .mat file to download.

    ``bytes`` and ``sha256`` are those of ``file`` as shipped or served. ``url`` is None for an
    embedded model.
    """

    name: str
    title: str
    description: str
    file: str
    bytes: int
    sha256: str
    scales: tuple[int, ...]
    licence: str
    papers: tuple[str, ...]
    url: str | None = None

    @property
    def embedded(self) -> bool:
        """Whether the file is installed with lapsr."""
        return self.url is None


@dataclass(frozen=True)
class Manifest:
    """The models by name, in the order of the file, and the names of the default models.

    ``default_lossy``: the default for pictures from files with lossy compression; ``default``: for
    all others. ``removed``: by the name of a model that earlier versions had, what became of it.
    """

    default: str
    default_lossy: str
    entries: Mapping[str, Entry]
    removed: Mapping[str, str]

    @property
    def defaults(self) -> tuple[str, ...]:
        """The names of the default models, each once, the general one first."""
        return tuple(dict.fromkeys((self.default, self.default_lossy)))

    def by_sha256(self, sha256: str) -> Entry | None:
        """The model whose file has this checksum; None if there is none."""
        return next((e for e in self.entries.values() if e.sha256 == sha256), None)


def embedded_folder() -> Path:
    """The folder of the manifest and the embedded models, in the wheel or in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "embedded"
    return installed if installed.is_dir() else package.parents[1] / "weights"


@cache
def manifest() -> Manifest:
    """The manifest of this version of lapsr."""
    content = json.loads((embedded_folder() / "manifest.json").read_text(encoding="utf-8"))
    entries = [_entry(values) for values in content["models"]]
    by_name = {entry.name: entry for entry in entries}
    removed = content.get("removed", {})
    return Manifest(content["default"], content["default_lossy"], by_name, removed)


def _entry(values: Mapping[str, Any]) -> Entry:
    lists = {key: tuple(values[key]) for key in ("scales", "papers")}
    return Entry(**{**values, **lists})
