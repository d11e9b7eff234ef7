"""Medians of calls of known duration, by a clock that only they advance."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapsr_cli.bench.timing import interleaved, repeated

SECONDS = st.integers(1, 1000).map(float)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def call(self, name: str, durations: list[float]) -> None:
        self.now += durations[self.calls.count(name)]
        self.calls.append(name)


@given(durations=st.lists(SECONDS, min_size=1, max_size=9), warm_up=st.integers(0, 3))
def test_warm_up_runs_do_not_count(durations: list[float], warm_up: int) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: clock.now)
        slow_first = [1e6] * warm_up + durations
        timing = repeated(lambda: clock.call("a", slow_first), len(durations), warm_up)
    assert timing.median == np.median(durations)
    assert (timing.least, timing.most) == (min(durations), max(durations))
    assert timing.runs == len(durations)
    assert len(clock.calls) == warm_up + len(durations)


def test_runs_are_interleaved_and_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    calls = [lambda: clock.call("a", [9, 1, 3, 2]), lambda: clock.call("b", [99, 10, 30, 80])]
    a, b = interleaved(calls, runs=3, warm_up=1)
    assert clock.calls == ["a", "b"] * 4
    assert (a.median, b.median) == (2, 30)
