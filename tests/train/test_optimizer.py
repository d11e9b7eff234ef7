"""SGD and Adam against their papers, and the learning rate schedules."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.train import optimizer
from lapsr_cli.train.recipe import PRESETS, Recipe
from tests.train.examples import TINY, Doubles, network, numbers, recipe_of

Update = Callable[[str, Doubles, Doubles, float], Doubles]


def check_updates(recipe: Recipe, update: Callable[[], Update], rates: Sequence[float]) -> None:
    """Compare with ``update``, which returns a stateful function
    (name, weights, gradient, rate) -> weights."""
    model = network(recipe.network)
    ours = optimizer.build(model, recipe)
    after = update()
    rng = np.random.default_rng(0)
    for rate in rates:
        expected = {}
        for name, value in model.named_parameters():
            gradient = rng.normal(size=tuple(value.shape))
            value.grad = torch.from_numpy(gradient)
            its_rate = rate * (recipe.bias_rate_factor if value.ndim == 1 else 1)
            expected[name] = after(name, value.detach().numpy().copy(), gradient, its_rate)
        optimizer.set_rate(ours, rate)
        ours.step()
        for name, weights in numbers(model).items():
            np.testing.assert_allclose(weights, expected[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("config", [TINY[0], TINY[3]], ids=lambda c: c.title)
def test_sgd_is_the_update_of_the_authors(config: PyramidConfig) -> None:
    def authors() -> Update:
        speed: dict[str, Any] = {}

        def update(name: str, weights: Doubles, gradient: Doubles, rate: float) -> Doubles:
            speed[name] = 0.9 * speed.get(name, 0.0) - (gradient + 0.01 * weights)
            return weights + rate * np.asarray(speed[name])

        return update

    values: dict[str, Any] = {"optimizer": "sgd", "weight_decay": 0.01, "bias_rate_factor": 0.1}
    check_updates(recipe_of(config, **values), authors, [0.1, 0.1, 0.05, 0.02])


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_is_the_update_of_its_paper(kind: str) -> None:
    def published() -> Update:
        first: dict[str, Any] = {}
        second: dict[str, Any] = {}
        steps: dict[str, int] = {}

        def update(name: str, weights: Doubles, gradient: Doubles, rate: float) -> Doubles:
            if kind == "adam":
                gradient = gradient + 0.02 * weights
            else:
                weights = weights - rate * 0.02 * weights
            step = steps[name] = steps.get(name, 0) + 1
            first[name] = 0.9 * first.get(name, 0.0) + 0.1 * gradient
            second[name] = 0.99 * second.get(name, 0.0) + 0.01 * gradient**2
            mean = first[name] / (1 - 0.9**step)
            square = second[name] / (1 - 0.99**step)
            return np.asarray(weights - rate * mean / (np.sqrt(square) + 1e-8))

        return update

    values = {"optimizer": kind, "weight_decay": 0.02, "bias_rate_factor": 0.5}
    check_updates(recipe_of(TINY[0], **values), published, [0.1, 0.1, 0.05, 0.02])


def test_a_loaded_optimizer_keeps_its_momentum_and_takes_decay_and_factor_from_the_recipe() -> None:
    before = recipe_of(TINY[0], optimizer="sgd", weight_decay=0.0, bias_rate_factor=1.0)
    after = dataclasses.replace(before, weight_decay=0.01, bias_rate_factor=0.1)
    model = network(TINY[0])
    first, second = (optimizer.build(model, recipe) for recipe in (before, after))
    for value in model.parameters():
        value.grad = torch.ones_like(value)
    first.step()
    optimizer.load(second, first.state_dict())
    optimizer.set_rate(second, 0.1)
    weights = numbers(model)
    second.step()
    for name, value in model.named_parameters():
        speed = -0.9 - (1 + 0.01 * weights[name])
        rate = 0.01 if value.ndim == 1 else 0.1
        expected = weights[name] + rate * speed
        np.testing.assert_allclose(value.detach().numpy(), expected, rtol=1e-12)


def test_the_paper_preset_drops_its_rate_as_published() -> None:
    recipe = Recipe(**PRESETS["paper"])
    rates = [optimizer.rate_at(recipe, i) for i in (0, 99_999, 100_000, 199_999, 200_000, 299_999)]
    assert rates == pytest.approx([5e-6, 5e-6, 2.5e-6, 2.5e-6, 1.25e-6, 1.25e-6])
    assert {optimizer.rate_at(recipe, i) for i in (300_000, 999_999, 10**9)} == {1e-6}


RATES = st.floats(1e-7, 1.0)


@given(
    rate=RATES,
    least=RATES,
    drop=st.floats(0.1, 1),
    every=st.integers(1, 1000),
    iteration=st.integers(0, 10**6),
)
def test_the_step_schedule_drops_by_its_factor_down_to_the_minimum(
    rate: float, least: float, drop: float, every: int, iteration: int
) -> None:
    recipe = Recipe(
        schedule="step", rate=rate, rate_min=least, rate_drop=drop, rate_step=every, warm_up=0
    )
    now, later = (optimizer.rate_at(recipe, i) for i in (iteration, iteration + every))
    assert min(least, rate) <= now <= rate
    assert later == pytest.approx(max(drop * now, min(least, rate)), rel=1e-9)
    first = iteration - iteration % every
    assert optimizer.rate_at(recipe, first) == now
    assert optimizer.rate_at(recipe, 0) == rate


@given(
    rate=RATES,
    least=RATES,
    warm_up=st.integers(0, 100),
    iterations=st.integers(1, 1000),
)
def test_the_cosine_schedule_falls_from_the_rate_to_the_minimum(
    rate: float, least: float, warm_up: int, iterations: int
) -> None:
    assume(warm_up < iterations)
    recipe = Recipe(
        schedule="cosine", rate=rate, rate_min=least, warm_up=warm_up, iterations=iterations
    )
    least = min(least, rate)
    rates = [optimizer.rate_at(recipe, i) for i in range(iterations + 2)]
    assert rates[warm_up] == pytest.approx(rate)
    assert rates[-2:] == pytest.approx([least, least])
    falling = rates[warm_up:]
    assert all(now >= later - 1e-12 for now, later in itertools.pairwise(falling))
    # Half a period is point-symmetric around its middle.
    wave = np.array(falling[:-1])
    np.testing.assert_allclose(wave + wave[::-1], rate + least, rtol=1e-9)
    for done in (0.25, 0.5, 0.75):
        exactly = warm_up + done * (iterations - warm_up)
        if exactly.is_integer():
            share = {0.25: (2 + math.sqrt(2)) / 4, 0.5: 0.5, 0.75: (2 - math.sqrt(2)) / 4}[done]
            assert rates[int(exactly)] == pytest.approx(least + share * (rate - least))


@given(
    rate=RATES,
    warm_up=st.integers(1, 500),
    schedule=st.sampled_from(["step", "cosine", "constant", "wsd"]),
)
def test_the_warm_up_is_linear(rate: float, warm_up: int, schedule: Any) -> None:
    recipe = Recipe(rate=rate, warm_up=warm_up, schedule=schedule, rate_step=10**6)
    rates = [optimizer.rate_at(recipe, i) for i in range(warm_up + 1)]
    np.testing.assert_allclose(rates[:-1], rate * np.arange(1, warm_up + 1) / warm_up, rtol=1e-9)
    assert rates[-1] == pytest.approx(rate)


@given(
    rate=RATES,
    least=RATES,
    iterations=st.integers(1, 2000),
    decay=st.none() | st.integers(1, 3000),
)
def test_the_wsd_schedule_keeps_its_rate_until_the_decay(
    rate: float, least: float, iterations: int, decay: int | None
) -> None:
    recipe = Recipe(
        schedule="wsd", rate=rate, rate_min=least, warm_up=0, iterations=iterations, decay=decay
    )
    length = max(1, iterations // 5) if decay is None else min(decay, iterations)
    least = min(least, rate)
    for iteration in range(iterations - length + 1):
        assert optimizer.rate_at(recipe, iteration) == pytest.approx(rate)
    for number in range(1, length):
        expected = least + (rate - least) * (1 - math.sqrt(number / length))
        found = optimizer.rate_at(recipe, iterations - length + number)
        assert found == pytest.approx(expected, rel=1e-6)
    assert optimizer.rate_at(recipe, iterations) == pytest.approx(least)


def test_the_constant_schedule_is_constant() -> None:
    recipe = Recipe(schedule="constant", rate=0.3, warm_up=0)
    assert {optimizer.rate_at(recipe, i) for i in (0, 10, 10**6)} == {0.3}
