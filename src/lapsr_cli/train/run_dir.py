"""A run's folder: what it holds and how it is kept whole.

config.json          the recipe, the pictures, and for each session its versions and command
metrics.jsonl        a line for every `log_every` iterations and for every validation
curve.png            the loss and the PSNR of each scale, drawn anew at each validation
checkpoints/last.pt  to go on from
checkpoints/best.pt  the one with the best mean PSNR
model.safetensors    the moving average at its best, for `lapsr upscale -m`
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

__all__ = ["RunFolder"]


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.jsonl"
        self.curve = path / "curve.png"
        self.last = path / "checkpoints" / "last.pt"
        self.best = path / "checkpoints" / "best.pt"
        self.model = path / "model.safetensors"
        self.spill = path / "pictures.luma"

    @property
    def holds_a_run(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.last.is_file()

    def read_config(self) -> dict[str, Any]:
        """What config.json says. Raises TrainingError if it is damaged or missing."""
        try:
            content: dict[str, Any] = json.loads(self.config.read_text(encoding="utf-8"))
            Recipe.from_json(content["recipe"])
            known = {name: content[name] for name in ("preset", "sessions")}
            folders = {name: tuple(content[name]) for name in ("data", "val")}
            return {**content, **known, **folders}
        except OSError as error:
            raise TrainingError(f"{self.config}: {error.strerror or error}") from error
        except (ValueError, TypeError, KeyError, UsageError) as error:
            raise TrainingError(f"{self.config}: damaged ({error})") from error

    def write_config(self, content: Mapping[str, Any]) -> None:
        """Replace config.json."""
        with atomic_write(self.config) as file:
            file.write((json.dumps(content, indent=2) + "\n").encode())

    def add_record(self, record: Mapping[str, Any]) -> None:
        """One more line of metrics."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """Every whole line of metrics; a process that was killed may have left half of one."""
        if not self.metrics.is_file():
            return []
        records: list[dict[str, Any]] = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
        return records

    def forget_after(self, iteration: int, validated: int) -> None:
        """Drop the metrics of later iterations and validations, which will be done again."""
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
        """Draw curve.png from the metrics."""
        picture = curve.draw(self.records(), title=self.path.resolve().name)
        with atomic_write(self.curve) as file:
            file.write(picture)
