"""What tests of runs share: starting one, waiting for its end, and looking at what it held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lapsr_cli.batch.budget import Budget
from lapsr_cli.batch.limits import Limits
from lapsr_cli.batch.pipeline import run
from lapsr_cli.batch.planning import Selection, plan
from lapsr_cli.batch.report import Outcome
from lapsr_cli.batch.targets import Target
from lapsr_cli.upscaler import Upscaler
from tests.conftest import results_in

T = TypeVar("T")

PEAK = """
import atexit, resource, sys
atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""
"""Has a process print its peak memory, in kB, at its end."""

PATIENCE = 60
"""Seconds after which a run that should have ended counts as hanging."""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in results_in(folder)}


def in_time(work: Callable[[], T]) -> T:
    """What ``work`` gives or raises; a failure if it does neither."""
    given: list[T] = []
    raised: list[BaseException] = []

    def attempt() -> None:
        try:
            given.append(work())
        except BaseException as error:  # noqa: BLE001 (raised again below)
            raised.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it hangs"
    if raised:
        raise raised[0]
    return given[0]


def selection(folder: Path, *scales: str, **options: Any) -> Selection:
    targets = tuple(Target(scale=scale) for scale in scales or ("2",))
    return Selection(
        inputs=(str(folder / "in"),), output=folder / "out", targets=targets, **options
    )


def outcomes(
    chosen: Selection, *upscalers: Upscaler, limits: Limits | None = None
) -> list[Outcome]:
    jobs = plan(chosen).jobs
    return in_time(lambda: list(run(jobs, upscalers, chosen, limits=limits)))


def spy_on_budget(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures were held, after each that was taken."""
    counts: list[int] = []
    held = 0
    take, give = Budget.take, Budget.give

    def taken(self: Budget, amount: int, given_up: Callable[[], bool]) -> bool:
        nonlocal held
        result = take(self, amount, given_up)
        held += result
        counts.append(held)
        return result

    def given(self: Budget, amount: int) -> None:
        nonlocal held
        held -= 1
        give(self, amount)

    monkeypatch.setattr(Budget, "take", taken)
    monkeypatch.setattr(Budget, "give", given)
    return counts
