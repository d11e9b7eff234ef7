"""The outcome of every picture, and the exit code of the run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from lapsr_cli.outputs import Kind
from lapsr_cli.text import counted

__all__ = ["REPORT", "Outcome", "Output", "Report", "in_utf8"]

_FIELDS = {"format", "lapsr", "models", "devices", "scales", "interrupted", "exit_code", "pictures"}
"""Of a run's report in every version."""

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, kw_only=True)
class Output:
    """A written file: its scale as requested ("2", "w1920"), its size in pixels and bytes."""

    path: Path
    scale: str
    width: int
    height: int
    frames: int
    bytes: int

    @property
    def megapixels(self) -> float:
        """Of all frames together."""
        return self.width * self.height * self.frames / 1e6


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result for one picture: its outputs and how they were made, or why there are none.

    ``message``: why it was skipped or failed; names the file. ``warnings``: decisions made on the
    user's behalf. ``device``, ``precision``: several, separated by commas, where pages were
    computed on several devices. ``lossy``: whether the input's compression is. ``windows``: how
    many the network processed. ``seconds``: spent on reading it, on its share of the passes that it
    was in, and on writing, without the waits between them.
    """

    source: Path
    status: Status
    outputs: tuple[Output, ...] = ()
    message: str = ""
    warnings: tuple[str, ...] = ()
    model: str = ""
    device: str = ""
    precision: str = ""
    lossy: bool = False
    windows: int = 0
    seconds: float = 0.0

    @property
    def line(self) -> str:
        """One line: "done: a.jpg: 2 files, 4 tiles, 1.9 s"."""
        if self.status == "done":
            files, tiles = counted(len(self.outputs), "file"), counted(self.windows, "tile")
            return f"done: {self.source}: {files}, {tiles}, {self.seconds:.1f} s"
        return f"{self.status}: {self.source}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        """The picture's entry in docs/report.md. Bytes that are not UTF-8 are escaped: \\xNN in
        names, \\udcNN in messages."""
        values = asdict(self)
        values["source"] = in_utf8(self.source)
        for output in values["outputs"]:
            output["path"] = in_utf8(output["path"])
        values["message"] = _utf8(self.message)
        values["warnings"] = [_utf8(warning) for warning in self.warnings]
        values["outputs"] = list(values["outputs"])
        values["seconds"] = round(self.seconds, 3)
        return values


def in_utf8(path: Path) -> str:
    """A path for JSON: bytes that are not UTF-8 are escaped as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _utf8(message: str) -> str:
    return message.encode("utf-8", "backslashreplace").decode()


def _is_report(path: Path) -> bool:
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict) or not content.keys() >= _FIELDS:
        return False
    return all(
        isinstance(picture, dict) and picture.keys() >= {"source", "status", "outputs"}
        for picture in content["pictures"]
    )


REPORT = Kind("a report of lapsr", _is_report)


@dataclass
class Report:
    """The outcomes of a run."""

    outcomes: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Add an outcome."""
        self.outcomes.append(outcome)

    def count(self, status: Status) -> int:
        """The number of pictures with this status."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0 if every picture was done or skipped, 1 if any failed."""
        return 1 if self.count("failed") else 0

    @property
    def megapixels(self) -> float:
        """Of all outputs together."""
        return sum(output.megapixels for each in self.outcomes for output in each.outputs)

    def summary(self, seconds: float) -> str:
        """One line: "40 done (120 files), 2 skipped, 1 failed, 31.5 MP in 20.1 s, 1.6 MP/s"."""
        files = sum(len(outcome.outputs) for outcome in self.outcomes)
        parts = [f"{self.count('done')} done ({counted(files, 'file')})"]
        parts += [
            f"{count} {status}" for status in ("skipped", "failed") if (count := self.count(status))
        ]
        if warnings := sum(len(outcome.warnings) for outcome in self.outcomes):
            parts.append(counted(warnings, "warning"))
        if self.megapixels:
            rate = self.megapixels / seconds
            parts.append(f"{self.megapixels:.1f} MP in {seconds:.1f} s, {rate:.2f} MP/s")
        return ", ".join(parts)

    def to_json(self, about: Mapping[str, Any], seconds: float, exit_code: int) -> dict[str, Any]:
        """The whole report (docs/report.md). ``about``: the command line, model and devices.
        ``exit_code``: of the command."""
        return {
            "format": 1,
            **about,
            "seconds": round(seconds, 3),
            "megapixels": round(self.megapixels, 3),
            "done": self.count("done"),
            "skipped": self.count("skipped"),
            "failed": self.count("failed"),
            "exit_code": exit_code,
            "pictures": [outcome.to_json() for outcome in self.outcomes],
        }
