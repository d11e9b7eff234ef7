"""Threads that share a chain of iterators: the same items, and no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from lapsr_cli.relay import one_core, relayed


class Broken(Exception):
    pass


def numbers(count: int, broken_at: int = -1) -> Iterator[int]:
    for number in range(count):
        if number == broken_at:
            raise Broken(number)
        yield number


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("count", [0, 1, 50])
def test_the_same_items_through_several_threads(count: int) -> None:
    squares = (number**2 for number in relayed(numbers(count)))
    assert list(relayed(squares)) == [number**2 for number in range(count)]


def test_items_are_made_by_another_thread_with_one_core() -> None:
    def who() -> Iterator[tuple[int, int]]:
        yield threading.get_ident(), torch.get_num_threads()

    ((maker, cores),) = relayed(who())
    assert maker != threading.get_ident()
    assert cores == 1


def test_what_goes_wrong_is_raised_where_the_items_are_taken() -> None:
    items = relayed(relayed(numbers(9, broken_at=5)))
    assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(Broken):
        next(items)


def test_nobody_is_far_ahead() -> None:
    made = []

    def counted() -> Iterator[int]:
        for number in numbers(50):
            made.append(number)
            yield number

    items = relayed(counted())
    next(items)
    time.sleep(0.1)
    assert len(made) <= 4
    items.close()  # type: ignore[attr-defined]


def test_the_thread_ends_when_nobody_takes_the_items() -> None:
    items = relayed(relayed(numbers(50)))
    assert next(items) == 0
    del items


def test_one_core_is_for_a_while() -> None:
    before = torch.get_num_threads()
    with one_core():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
