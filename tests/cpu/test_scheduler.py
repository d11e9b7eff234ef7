"""Threads at a line of stages: all items, in order, and no thread left behind."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lapsr_cli.cpu.scheduler import run_stages

Stage = Callable[[int], Iterable[int]]


class Broken(Exception):
    pass


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before, cores = threading.active_count(), torch.get_num_threads()
    yield
    assert threading.active_count() == before
    assert torch.get_num_threads() == cores


def repeated(times: int) -> Stage:
    return lambda item: [10 * item + number for number in range(times)]


def noted(seen: list[int]) -> Stage:
    def note(item: int) -> list[int]:
        time.sleep(0)
        seen.append(item)
        return [item]

    return note


@given(
    count=st.integers(0, 12),
    times=st.lists(st.integers(0, 3), max_size=4),
    threads=st.integers(1, 5),
)
def test_every_stage_has_all_items_in_their_order(
    count: int, times: list[int], threads: int
) -> None:
    """Stages that give none, one or several for each."""
    expected, seen = [list(range(count))], [list[int]()]
    stages = [noted(seen[0])]
    for each in times:
        expected.append([made for item in expected[-1] for made in repeated(each)(item)])
        seen.append([])
        stages += [repeated(each), noted(seen[-1])]
    run_stages(range(count), stages, threads)
    assert seen == expected


def test_threads_work_at_the_same_time_each_with_one_core_and_none_twice_at_a_stage() -> None:
    """Two items meet at a barrier, in two stages; that they would not if one thread did all."""
    together = threading.Barrier(2, timeout=20)
    inside = [0, 0]
    cores = set()

    def stage(number: int) -> Stage:
        def work(item: int) -> list[int]:
            inside[number] += 1
            assert inside[number] == 1
            cores.add(torch.get_num_threads())
            if item == 1 - number:
                together.wait()
            inside[number] -= 1
            return [item]

        return work

    run_stages(range(5), [stage(0), stage(1)], 2)
    assert cores == {1}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("at_source", [True, False])
def test_what_goes_wrong_is_raised_and_nobody_goes_on(*, threads: int, at_source: bool) -> None:
    done: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(50):
            if at_source and number == 5:
                raise Broken
            yield number

    def stage(item: int) -> list[int]:
        if not at_source and item == 5:
            raise Broken
        return [item]

    with pytest.raises(Broken):
        run_stages(numbers(), [stage, noted(done)], threads)
    assert done == list(range(len(done)))
    assert len(done) <= 5


@pytest.mark.parametrize("threads", [1, 3])
def test_what_went_wrong_keeps_no_item(threads: int) -> None:
    """Not even until somebody collects circles: the next, smaller try needs the memory now."""
    kept: list[weakref.ref[Tensor]] = []

    def tensors() -> Iterator[Tensor]:
        for _ in range(20):
            made = torch.zeros(3)
            kept.append(weakref.ref(made))
            yield made

    def breaks(item: Tensor) -> list[Tensor]:
        if len(kept) > 4:
            raise Broken
        return [item]

    gc.disable()
    try:
        with pytest.raises(Broken) as raised:
            run_stages(tensors(), [breaks, breaks], threads)
        del raised
        assert len(kept) > 4
        assert [each() for each in kept] == [None] * len(kept)
    finally:
        gc.enable()


def test_few_items_wait() -> None:
    """However slow the last stage is."""
    made, done = [], []

    def numbers() -> Iterator[int]:
        for number in range(30):
            made.append(number)
            yield number

    def slow(item: int) -> list[int]:
        time.sleep(0.002)
        done.append(item)
        assert len(made) - len(done) <= 8
        return []

    run_stages(numbers(), [repeated(1), repeated(1), slow], 4)
    assert len(done) == 30


def test_one_thread_brings_an_item_through_before_it_takes_the_next() -> None:
    order: list[str] = []

    def stage(name: str) -> Stage:
        def work(item: int) -> list[int]:
            order.append(f"{name}{item}")
            return [item]

        return work

    run_stages(range(2), [stage("a"), stage("b")], 1)
    assert order == ["a0", "b0", "a1", "b1"]
