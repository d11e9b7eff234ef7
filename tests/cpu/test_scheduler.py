"""The scheduler: every item in order, bounded queues, no thread left running."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lapsr_cli.cpu.scheduler import run_stages
from lapsr_cli.pixels.chroma import restored

Stage = Callable[[int], Iterable[int]]


class StageError(Exception):
    pass


@pytest.fixture(autouse=True)
def no_thread_is_left_running() -> Iterator[None]:
    before, cores = threading.active_count(), torch.get_num_threads()
    yield
    assert threading.active_count() == before
    assert torch.get_num_threads() == cores


def repeated(times: int) -> Stage:
    return lambda item: [10 * item + number for number in range(times)]


def recording(seen: list[int]) -> Stage:
    def record(item: int) -> list[int]:
        time.sleep(0)
        seen.append(item)
        return [item]

    return record


@given(
    count=st.integers(0, 12),
    times=st.lists(st.integers(0, 3), max_size=4),
    threads=st.integers(1, 5),
)
def test_every_stage_processes_all_items_in_order(
    count: int, times: list[int], threads: int
) -> None:
    """With stages that output none, one or several items for each."""
    expected, seen = [list(range(count))], [list[int]()]
    stages = [recording(seen[0])]
    for each in times:
        expected.append([output for item in expected[-1] for output in repeated(each)(item)])
        seen.append([])
        stages += [repeated(each), recording(seen[-1])]
    run_stages(range(count), stages, threads)
    assert seen == expected


def test_stages_run_concurrently_each_on_one_core_and_never_twice_at_once() -> None:
    """Two items in two stages meet at a barrier, which a single thread could not pass."""
    barrier = threading.Barrier(2, timeout=20)
    inside = [0, 0]
    cores = set()

    def stage(number: int) -> Stage:
        def process(item: int) -> list[int]:
            inside[number] += 1
            assert inside[number] == 1
            cores.add(torch.get_num_threads())
            if item == 1 - number:
                barrier.wait()
            inside[number] -= 1
            return [item]

        return process

    run_stages(range(5), [stage(0), stage(1)], 2)
    assert cores == {1}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("at_source", [True, False])
def test_an_error_is_raised_and_stops_all_threads(*, threads: int, at_source: bool) -> None:
    done: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(50):
            if at_source and number == 5:
                raise StageError
            yield number

    def stage(item: int) -> list[int]:
        if not at_source and item == 5:
            raise StageError
        return [item]

    with pytest.raises(StageError):
        run_stages(numbers(), [stage, recording(done)], threads)
    assert done == list(range(len(done)))
    assert len(done) <= 5


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_keeps_no_item_alive(threads: int) -> None:
    """Not even until the garbage collector runs: the retry with a smaller tile needs the memory."""
    created: list[weakref.ref[Tensor]] = []

    def tensors() -> Iterator[Tensor]:
        for _ in range(20):
            tensor = torch.zeros(3)
            created.append(weakref.ref(tensor))
            yield tensor

    def fails(item: Tensor) -> list[Tensor]:
        if len(created) > 4:
            raise StageError
        return [item]

    gc.disable()
    try:
        with pytest.raises(StageError) as raised:
            run_stages(tensors(), [fails, fails], threads)
        del raised
        assert len(created) > 4
        assert [each() for each in created] == [None] * len(created)
    finally:
        gc.enable()


def test_queues_are_bounded() -> None:
    """However slow the last stage is."""
    started, done = [], []

    def numbers() -> Iterator[int]:
        for number in range(30):
            started.append(number)
            yield number

    def slow(item: int) -> list[int]:
        time.sleep(0.002)
        done.append(item)
        assert len(started) - len(done) <= 8
        return []

    run_stages(numbers(), [repeated(1), repeated(1), slow], 4)
    assert len(done) == 30


def test_one_thread_takes_an_item_through_all_stages_before_the_next() -> None:
    order: list[str] = []

    def stage(name: str) -> Stage:
        def process(item: int) -> list[int]:
            order.append(f"{name}{item}")
            return [item]

        return process

    run_stages(range(2), [stage("a"), stage("b")], 1)
    assert order == ["a0", "b0", "a1", "b1"]


def test_threads_that_start_later_have_as_many_torch_threads_as_before() -> None:
    """torch.set_num_threads in any thread is the setting of every new one."""

    def of_a_new_thread() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for _ in range(20):
            run_stages(range(6), [lambda item: [item], lambda item: []], 2)
            assert of_a_new_thread() == torch.get_num_threads() == 3
        luma, chroma = torch.rand(1, 1, 9, 9), torch.rand(1, 2, 9, 9)
        restored(luma, chroma, 20.0)
        assert of_a_new_thread() == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
