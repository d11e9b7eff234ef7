"""What became of every picture, and the exit code that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Outcome", "Report"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one picture: its outputs with their megapixels, or why there are none."""

    source: Path
    status: Literal["done", "skipped", "failed"]
    outputs: tuple[Path, ...] = ()
    megapixels: float = 0.0
    message: str = ""


@dataclass
class Report:
    """The outcomes of a run."""

    outcomes: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Take one more outcome in."""
        self.outcomes.append(outcome)

    def count(self, status: Literal["done", "skipped", "failed"]) -> int:
        """How many pictures ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0 if every picture was done or skipped, 1 if any failed."""
        return 1 if self.count("failed") else 0

    def summary(self, seconds: float) -> str:
        """One line: "40 done (120 files), 2 skipped, 1 failed, 31.5 MP in 20.1 s, 1.6 MP/s"."""
        files = sum(len(outcome.outputs) for outcome in self.outcomes)
        megapixels = sum(outcome.megapixels for outcome in self.outcomes)
        parts = [f"{self.count('done')} done ({files} files)"]
        parts += [
            f"{count} {status}" for status in ("skipped", "failed") if (count := self.count(status))
        ]
        if megapixels:
            rate = megapixels / seconds
            parts.append(f"{megapixels:.1f} MP in {seconds:.1f} s, {rate:.2f} MP/s")
        return ", ".join(parts)
