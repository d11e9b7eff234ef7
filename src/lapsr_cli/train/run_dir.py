"""The run directory: its files, and how they are updated without ever being incomplete.

config.json          the recipe, the data folders, and versions and command of each session
metrics.jsonl        one record per `log_every` iterations and one per validation
curve.svg            loss and PSNR of each scale over iterations, redrawn after each validation
checkpoints/last.pt  the latest checkpoint, from which a run resumes
checkpoints/best.pt  the checkpoint with the best mean PSNR
model.safetensors    the moving average of the weights at its best, for `lapsr upscale -m`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lapsr_cli.errors import TrainingError, UsageError
from lapsr_cli.files import atomic_write
from lapsr_cli.train import curve
from lapsr_cli.train.recipe import Recipe

__all__ = ["RunDirectory"]


class RunDirectory:
    """The paths of a run and its JSON files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.jsonl"
        self.curve = path / "curve.svg"
        self.last = path / "checkpoints" / "last.pt"
        self.best = path / "checkpoints" / "best.pt"
        self.model = path / "model.safetensors"
        self.spill = path / "pictures.luma"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return self.last.is_file()

    def read_config(self) -> dict[str, Any]:
        """The content of config.json. Raises TrainingError if it is missing or invalid."""
        try:
            content: dict[str, Any] = json.loads(self.config.read_text(encoding="utf-8"))
            Recipe.from_json(content["recipe"])
            known = {name: content[name] for name in ("preset", "sessions")}
            folders = {name: tuple(content[name]) for name in ("data", "val")}
            return {**content, **known, **folders}
        except OSError as error:
            raise TrainingError(f"{self.config}: {error.strerror or error}") from error
        except (ValueError, TypeError, KeyError, UsageError) as error:
            raise TrainingError(f"{self.config}: not a valid configuration ({error})") from error

    def write_config(self, content: Mapping[str, Any]) -> None:
        """Replace config.json."""
        with atomic_write(self.config) as file:
            file.write((json.dumps(content, indent=2) + "\n").encode())

    def append_record(self, record: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """All complete lines of metrics.jsonl; a killed process may have left a partial one."""
        if not self.metrics.is_file():
            return []
        records: list[dict[str, Any]] = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
        return records

    def drop_records_after(self, iteration: int, validated: int) -> None:
        """Remove records of later iterations, and of validations after ``validated``, from
        metrics.jsonl: they will be computed again."""
        if not self.metrics.is_file():
            return
        kept = [
            record
            for record in self.records()
            if record["iteration"] <= (validated if "scores" in record else iteration)
        ]
        with atomic_write(self.metrics) as file:
            file.write("".join(json.dumps(record) + "\n" for record in kept).encode())

    def draw_curve(self) -> None:
        """Redraw curve.svg from metrics.jsonl."""
        svg = curve.draw(self.records(), title=self.path.resolve().name)
        with atomic_write(self.curve) as file:
            file.write(svg)
