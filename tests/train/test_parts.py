"""What a training step and a run are made of: loss, optimizer, average, recipe, files, weights."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from lapsr_cli.cli.train import train as train_command
from lapsr_cli.errors import TrainingError, UsageError, WeightsError, WeightsMismatch
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import LaplacianPyramid, Level, PyramidConfig
from lapsr_cli.train import checkpoint, curve, optimizer
from lapsr_cli.train.checkpoint import Checkpoint, Progress
from lapsr_cli.train.ema import Ema
from lapsr_cli.train.initial import initial_model
from lapsr_cli.train.loss import Part, PyramidLoss, penalty
from lapsr_cli.train.muon import orthogonalized
from lapsr_cli.train.recipe import PRESETS, Loss, Recipe, Reduction
from lapsr_cli.train.run_dir import RunFolder
from tests.conftest import ROOT

Doubles = NDArray[np.float64]

LOSSES: tuple[Loss, ...] = get_args(Loss)
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)

TINY = [
    PyramidConfig(depth=2, recursions=2, skip="ss", channels=3),
    PyramidConfig(depth=1, recursions=2, skip="ds", channels=4),
    PyramidConfig(depth=2, recursions=2, skip="ns", channels=3),
    PyramidConfig(depth=1, recursions=1, skip="ns", shared=False, channels=3),
    PyramidConfig(depth=1, recursions=2, channels=3, global_residual=False),
    PyramidConfig(depth=1, recursions=2, channels=3, pyramid=False),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of so small work wait for each other for most of the time on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=TINY, ids=lambda c: c.title)
def tiny(request: pytest.FixtureRequest) -> PyramidConfig:
    config: PyramidConfig = request.param
    return config


def network(
    config: PyramidConfig, kind: type[LaplacianPyramid] = LaplacianPyramid, seed: int = 0
) -> LaplacianPyramid:
    """In float64, with weights of both signs."""
    generator = torch.Generator().manual_seed(seed)
    model = kind(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.3 * noise)
    return model


def recipe_of(config: PyramidConfig, **values: Any) -> Recipe:
    options = {"scales": config.scales, "patch_size": 16, "batch_size": 6}
    return Recipe(network=config, **{**options, **values})


def some_batch(recipe: Recipe, seed: int = 0) -> list[Part]:
    """Two patches for the first scale, three for the next, four for the last."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for count, scale in enumerate(recipe.scales, start=2):
        levels = [level for level in recipe.network.scales if level <= scale]
        shape = (count, 1, recipe.patch_size // scale, recipe.patch_size // scale)
        sides = {level: (count, 1, *(level * side for side in shape[2:])) for level in levels}
        parts.append(
            Part(
                scale,
                torch.rand(shape, generator=generator, dtype=torch.float64),
                {
                    level: torch.rand(side, generator=generator, dtype=torch.float64)
                    for level, side in sides.items()
                },
                count,
            )
        )
    return parts


# Loss.


def penalty_by_the_formula(difference: Doubles, kind: Loss) -> Doubles:
    formulas: dict[Loss, Callable[[Doubles], Doubles]] = {
        "charbonnier": lambda d: np.sqrt(d**2 + 0.001**2),
        "l1": np.abs,
        "l2": lambda d: d**2,
    }
    return formulas[kind](difference)


@pytest.mark.parametrize("kind", LOSSES)
def test_the_penalty_is_its_formula(kind: Loss) -> None:
    difference = np.concatenate([np.random.default_rng(0).normal(size=100), [0, 1e-3, -1e-3, 1]])
    ours = penalty(torch.from_numpy(difference), kind)
    assert ours.dtype == torch.float64
    np.testing.assert_allclose(
        ours.numpy(), penalty_by_the_formula(difference, kind), rtol=1e-14, atol=1e-300
    )


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_loss_is_that_of_the_formula(
    tiny: PyramidConfig, kind: Loss, reduction: Reduction
) -> None:
    recipe = recipe_of(tiny, loss=kind, reduction=reduction, batch_size=9)
    model = network(tiny)
    batch = some_batch(recipe)
    expected = 0.0
    for part in batch:
        with torch.no_grad():
            outputs = model(part.lr, part.scale)
        for level in (level for level in tiny.scales if level <= part.scale):
            for patch in range(part.patches):
                difference = outputs[level][patch, 0] - part.targets[level][patch, 0]
                costs = penalty_by_the_formula(difference.numpy(), kind)
                if reduction == "sum":
                    expected += costs.sum() / 9
                else:
                    expected += costs.mean() / part.patches
    loss = PyramidLoss(model, recipe)(batch)
    assert loss.dtype == torch.float64
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_mean_of_the_losses_of_two_devices_is_that_of_one(reduction: Reduction) -> None:
    recipe = recipe_of(TINY[0], reduction=reduction, batch_size=9)
    model = network(TINY[0])
    batch = some_batch(recipe)
    whole = PyramidLoss(model, recipe)(batch)
    shares = []
    for mine in (slice(None, 1), slice(1, None)):
        share = [
            part._replace(
                lr=part.lr[mine], targets={s: target[mine] for s, target in part.targets.items()}
            )
            for part in batch
        ]
        shares.append(PyramidLoss(model, recipe, world=2)(share))
    assert shares[0].item() != pytest.approx(shares[1].item(), rel=0.1)
    torch.testing.assert_close((shares[0] + shares[1]) / 2, whole)


def check_gradient(model: LaplacianPyramid, recipe: Recipe, entries: int = 4) -> None:
    """Of the whole loss, against central differences, at some entries of every parameter."""
    batch = some_batch(recipe)
    objective = PyramidLoss(model, recipe)
    loss = objective(batch)
    loss.backward()
    rounding = 1e-7 * max(1.0, loss.item())
    rng = np.random.default_rng(0)
    step = 1e-7  # small, for the slope jumps where a rectifier bends
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        flat, gradient = parameter.data.view(-1), parameter.grad.reshape(-1)
        for index in rng.choice(len(flat), min(entries, len(flat)), replace=False):
            before = flat[index].item()
            losses = []
            for moved in (before + step, before - step):
                flat[index] = moved
                with torch.no_grad():
                    losses.append(objective(batch).item())
            flat[index] = before
            difference = (losses[0] - losses[1]) / (2 * step)
            assert gradient[index].item() == pytest.approx(difference, rel=1e-5, abs=rounding), name


@pytest.mark.parametrize("kind", [LaplacianPyramid, FusedPyramid])
def test_the_gradient_of_the_loss_is_its_slope(
    tiny: PyramidConfig, kind: type[LaplacianPyramid]
) -> None:
    check_gradient(network(tiny, kind), recipe_of(tiny))


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_so_it_is_for_every_penalty_and_reduction(kind: Loss, reduction: Reduction) -> None:
    recipe = recipe_of(TINY[0], loss=kind, reduction=reduction)
    check_gradient(network(TINY[0], FusedPyramid), recipe, entries=2)


def test_torch_finds_the_gradient_right_too() -> None:
    config = PyramidConfig(depth=1, recursions=2, channels=2, levels=2)
    recipe = recipe_of(config)
    model = network(config, FusedPyramid)
    batch = some_batch(recipe)
    names = [name for name, _ in model.named_parameters()]
    objective = PyramidLoss(model, recipe)

    def loss(*values: torch.Tensor) -> Any:
        state = {f"model.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(objective, state, (batch,))

    assert torch.autograd.gradcheck(loss, tuple(model.parameters()), fast_mode=True)


def singles(batch: list[Part]) -> list[Part]:
    return [
        part._replace(lr=part.lr.float(), targets={s: t.float() for s, t in part.targets.items()})
        for part in batch
    ]


def gradients(recipe: Recipe, model: LaplacianPyramid) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss = PyramidLoss(model, recipe)(singles(some_batch(recipe)))
    assert loss.dtype == torch.float32
    loss.backward()
    found = {}
    for name, value in model.named_parameters():
        assert value.grad is not None
        assert value.dtype == value.grad.dtype == torch.float32
        found[name] = value.grad.clone()
    return found


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


@pytest.mark.parametrize(
    "config",
    [
        PyramidConfig(depth=2, recursions=2, channels=16),
        PyramidConfig(depth=2, recursions=1, skip="ns", shared=False, channels=24),
    ],
    ids=lambda c: c.title,
)
def test_bf16_points_the_same_way_and_the_weights_stay_fp32(config: PyramidConfig) -> None:
    recipe = recipe_of(config, precision="bf16")
    model = initial_model(recipe)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    coarse = gradients(recipe, model)
    exact = gradients(dataclasses.replace(recipe, precision="fp32"), model)
    assert not torch.equal(coarse["conv_in.weight"], exact["conv_in.weight"])
    together = [torch.cat([g.flatten() for g in each.values()]) for each in (coarse, exact)]
    assert cosine(*together) > 0.99
    for name in exact:
        assert cosine(coarse[name], exact[name]) > 0.98, name
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name])


def test_in_bf16_the_image_branch_is_not_rounded() -> None:
    config = PyramidConfig(depth=1, recursions=1, channels=16)
    recipe = recipe_of(config, precision="bf16", loss="l2")
    model = FusedPyramid(config)
    level = model.level(1)
    assert level.up_image is not None
    torch.nn.init.normal_(level.up_image.weight)
    torch.nn.init.zeros_(level.conv_res.weight)
    assert not torch.equal(level.up_image.weight, level.up_image.weight.bfloat16().float())
    coarse = gradients(recipe, model)
    exact = gradients(dataclasses.replace(recipe, precision="fp32"), model)
    name = "levels.0.up_image.weight"
    assert torch.equal(coarse[name], exact[name])
    assert coarse[name].any()


# Optimizer.


def numbers(model: torch.nn.Module) -> dict[str, Doubles]:
    return {name: value.detach().numpy().copy() for name, value in model.named_parameters()}


Update = Callable[[str, Doubles, Doubles, float], Doubles]


def check_updates(recipe: Recipe, update: Callable[[], Update], rates: Sequence[float]) -> None:
    """``update`` gives a function (name, weights, gradient, rate) -> weights with a memory."""
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


@pytest.mark.parametrize("shape", [(8, 8), (64, 576), (7, 300)])
def test_orthogonalized_keeps_singular_vectors_and_makes_their_values_alike(
    shape: tuple[int, int],
) -> None:
    rng = np.random.default_rng(shape[0])
    left, _ = np.linalg.qr(rng.normal(size=(shape[0], shape[0])))
    right, _ = np.linalg.qr(rng.normal(size=(shape[1], shape[0])))
    values = 10 ** rng.uniform(-2, 2, size=1) * np.geomspace(1, 0.01, shape[0])
    found = orthogonalized(torch.from_numpy(left * values @ right.T)).numpy()
    inner = left.T @ found @ right
    assert np.abs(inner - np.diag(np.diag(inner))).max() < 1e-9
    assert np.diag(inner).min() > 0.65
    assert np.diag(inner).max() < 1.25


@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_muon_is_the_published_update_and_adam_for_vectors(decay: float) -> None:
    """Jordan 2024: momentum 0.95, Nesterov, five quintic rounds; decay is decoupled."""

    def published() -> Update:
        moments: dict[str, Any] = {}

        def update(name: str, weights: Doubles, gradient: Doubles, rate: float) -> Doubles:
            weights = weights - rate * decay * weights
            if weights.ndim < 4 or 1 in weights.shape[:2]:
                first, second, step = moments.get(name, (0.0, 0.0, 0))
                first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
                moments[name] = first, second, step + 1
                mean, square = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.99 ** (step + 1))
                return np.asarray(weights - rate * mean / (np.sqrt(square) + 1e-8))
            moments[name] = 0.95 * moments.get(name, 0.0) + 0.05 * gradient
            matrix = (0.05 * gradient + 0.95 * moments[name]).reshape(len(gradient), -1)
            matrix = matrix / np.linalg.norm(matrix)
            for _ in range(5):
                gram = matrix @ matrix.T
                matrix = 3.4445 * matrix + (-4.775 * gram + 2.0315 * gram @ gram) @ matrix
            size = 0.5 * np.sqrt(matrix.shape[1])
            return np.asarray(weights - rate * size * matrix.reshape(gradient.shape))

        return update

    values = {"optimizer": "muon", "weight_decay": decay, "bias_rate_factor": 0.5}
    check_updates(recipe_of(TINY[0], **values), published, [0.1, 0.1, 0.05, 0.02])


def test_an_optimizer_goes_on_with_its_memory_and_the_decay_and_factor_of_a_new_recipe() -> None:
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
def test_the_step_schedule_drops_by_its_factor_down_to_the_least(
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
def test_the_cosine_schedule_falls_from_the_rate_to_the_least(
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
    # Half a wave: what lies above the middle at one end lies below it at the other.
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
    schedule=st.sampled_from(["step", "cosine", "constant"]),
)
def test_the_warm_up_is_a_straight_line_up_to_the_rate(
    rate: float, warm_up: int, schedule: Any
) -> None:
    recipe = Recipe(rate=rate, warm_up=warm_up, schedule=schedule, rate_step=10**6)
    rates = [optimizer.rate_at(recipe, i) for i in range(warm_up + 1)]
    np.testing.assert_allclose(rates[:-1], rate * np.arange(1, warm_up + 1) / warm_up, rtol=1e-9)
    assert rates[-1] == pytest.approx(rate)


def test_the_constant_schedule_is_constant() -> None:
    recipe = Recipe(schedule="constant", rate=0.3, warm_up=0)
    assert {optimizer.rate_at(recipe, i) for i in (0, 10, 10**6)} == {0.3}


# The moving average.


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9, 0.999])
def test_the_average_is_its_closed_form(decay: float) -> None:
    model = network(TINY[0])
    history = [numbers(model)]
    ema = Ema(model, decay)
    rng = np.random.default_rng(0)
    for step in range(1, 31):
        with torch.no_grad():
            for value in model.parameters():
                value.copy_(torch.from_numpy(rng.normal(size=tuple(value.shape))))
        history.append(numbers(model))
        ema.update(model, step)
    # Weight of step t: 1 - d_t, and d of every step after it.
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(1, 31)]
    shares = [1.0, *(1 - d for d in decays)]
    for t in range(31):
        shares[t] *= math.prod(decays[t:])
    assert sum(shares) == pytest.approx(1)
    for name, average in numbers(ema.model).items():
        expected = sum(share * values[name] for share, values in zip(shares, history, strict=True))
        np.testing.assert_allclose(average, expected, rtol=1e-12, atol=1e-13)
    if decay == 0:
        for name, average in numbers(ema.model).items():
            np.testing.assert_array_equal(average, history[-1][name])


def test_the_average_does_not_hold_on_to_the_weights() -> None:
    model = network(TINY[0])
    ema = Ema(model, 0.9)
    before = numbers(ema.model)
    with torch.no_grad():
        for value in model.parameters():
            value.zero_()
    for name, average in numbers(ema.model).items():
        np.testing.assert_array_equal(average, before[name])
    assert not any(value.requires_grad for value in ema.model.parameters())
    assert all(value.requires_grad for value in model.parameters())


# Recipe.


def test_the_paper_preset_is_the_authors_recipe() -> None:
    recipe = Recipe(**PRESETS["paper"])
    network_of_the_paper = PyramidConfig(depth=5, recursions=2, skip="ss", shared=True, levels=3)
    assert recipe.network == network_of_the_paper
    values = {
        "scales": (2, 4, 8),
        "initialization": "paper",
        "loss": "charbonnier",
        "reduction": "sum",
        "optimizer": "sgd",
        "weight_decay": 1e-4,
        "bias_rate_factor": 0.1,
        "patch_size": 128,
        "batch_size": 64,
        "scale_augmentation": 0.5,
        "rate": 5e-6,
        "schedule": "step",
        "rate_step": 100 * 1000,
        "rate_drop": 0.5,
        "rate_min": 1e-6,
        "warm_up": 0,
        "grad_clip": 0.0,
        "ema": 0.0,
        "degrade": "",
        "precision": "fp32",
    }
    assert {name: getattr(recipe, name) for name in values} == values
    groups = optimizer.build(network(TINY[0]), recipe).param_groups
    assert [group["momentum"] for group in groups] == [0.9, 0.9]
    assert not any(group["nesterov"] or group["dampening"] for group in groups)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_recipe(preset: str) -> None:
    recipe = Recipe(**PRESETS[preset])
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@given(
    config=st.sampled_from(TINY),
    rate=st.floats(0, 1, exclude_min=True),
    seed=st.integers(0, 2**63 - 1),
    init=st.none() | st.text(),
    degrade=st.sampled_from(["", "jpeg:60-95,clean:0.1"]),
    data=st.data(),
)
def test_a_recipe_survives_json(
    config: PyramidConfig,
    rate: float,
    seed: int,
    init: str | None,
    degrade: str,
    data: st.DataObject,
) -> None:
    chosen = data.draw(st.sets(st.sampled_from(config.scales), min_size=1))
    recipe = Recipe(
        network=config,
        scales=tuple(sorted(chosen)),
        rate=rate,
        seed=seed,
        init=init,
        degrade=degrade,
    )
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert isinstance(again.scales, tuple)


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"patch_size": 100}, "--patch-size"),
        ({"patch_size": 8}, "--patch-size"),
        ({"patch_size": 0}, "--patch-size"),
        ({"patch_size": -16}, "--patch-size"),
        ({"batch_size": 0}, "--batch-size"),
        ({"batch_size": 2}, "--batch-size"),
        ({"iterations": 0}, "--iterations"),
        ({"scales": ()}, "--scales"),
        ({"scales": (3,)}, "--scales"),
        ({"scales": (2, 16)}, "--scales"),
        ({"scales": (2, 8), "network": PyramidConfig(levels=2)}, "--scales"),
        ({"scales": (4,), "network": PyramidConfig(pyramid=False)}, "--scales"),
        ({"initialization": "zeros"}, "--initialization"),
        ({"loss": "ssim"}, "--loss"),
        ({"reduction": "none"}, "--reduction"),
        ({"schedule": "linear"}, "--schedule"),
        ({"optimizer": "lion"}, "--optimizer"),
        ({"precision": "fp16"}, "--precision"),
        ({"rate": 0.0}, "--lr"),
        ({"rate": -1e-3}, "--lr"),
        ({"rate": math.nan}, "--lr"),
        ({"rate": math.inf}, "--lr"),
        ({"rate_min": -1e-6}, "--lr-min"),
        ({"rate_min": math.nan}, "--lr-min"),
        ({"rate_step": 0}, "--lr-step"),
        ({"rate_drop": 0.0}, "--lr-drop"),
        ({"rate_drop": 1.5}, "--lr-drop"),
        ({"rate_drop": math.nan}, "--lr-drop"),
        ({"warm_up": -1}, "--warm-up"),
        ({"weight_decay": -1.0}, "--weight-decay"),
        ({"weight_decay": math.inf}, "--weight-decay"),
        ({"bias_rate_factor": -0.1}, "--bias-lr-factor"),
        ({"ema": 1.0}, "--ema"),
        ({"ema": -0.1}, "--ema"),
        ({"ema": math.nan}, "--ema"),
        ({"grad_clip": -1.0}, "--grad-clip"),
        ({"scale_augmentation": 0.0}, "--scale-augmentation"),
        ({"scale_augmentation": 1.1}, "--scale-augmentation"),
        ({"scale_augmentation": math.nan}, "--scale-augmentation"),
        ({"degrade": "rain:1"}, "--degrade"),
        ({"seed": -1}, "--seed"),
        ({"seed": 2**64}, "--seed"),
    ],
    ids=str,
)
def test_a_bad_value_is_a_usage_error_that_names_its_flag(
    values: dict[str, Any], flag: str
) -> None:
    with pytest.raises(UsageError) as error:
        Recipe(**values)
    message = str(error.value)
    assert message.split(maxsplit=1)[0].rstrip(":") == flag
    assert "\n" not in message
    assert flag in {name for parameter in train_command.params for name in parameter.opts}


def test_the_largest_seed_seeds_everything() -> None:
    recipe = recipe_of(TINY[0], seed=2**63 - 1)
    initial_model(recipe)
    np.random.Generator(np.random.Philox(key=[recipe.seed, recipe.iterations]))


# Checkpoints.


def stepped(model: LaplacianPyramid, its_optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for value in model.parameters():
        value.grad = torch.randn(value.shape, generator=generator)
    its_optimizer.step()


def some_checkpoint(
    recipe: Recipe,
) -> tuple[Checkpoint, LaplacianPyramid, torch.optim.Optimizer]:
    model = initial_model(recipe)
    its_optimizer = optimizer.build(model, recipe)
    ema = Ema(model, 0.9)
    for step in range(1, 4):
        stepped(model, its_optimizer, step)
        ema.update(model, step)
    progress = Progress(3, 1.5, 2, 31.25, 0.5, 0.1, 7)
    state = Checkpoint(
        recipe=recipe.to_json(),
        progress=progress,
        model=model.state_dict(),
        ema=ema.model.state_dict(),
        optimizer=its_optimizer.state_dict(),
        random_state=torch.get_rng_state(),
    )
    return state, model, its_optimizer


def check_equal(one: Any, other: Any) -> None:
    """Of the same structure, tensors bit by bit."""
    assert type(one) is type(other) or {type(one), type(other)} == {tuple, list}
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key, value in one.items():
            check_equal(value, other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            check_equal(a, b)
    else:
        assert one == other


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "muon"])
def test_a_checkpoint_comes_back_bit_by_bit_and_goes_on_alike(tmp_path: Path, kind: str) -> None:
    recipe = recipe_of(TINY[0], optimizer=kind, rate=0.01)
    state, model, its_optimizer = some_checkpoint(recipe)
    path = tmp_path / "new folder" / "last.pt"
    checkpoint.write(state, path)
    assert list(path.parent.iterdir()) == [path]
    back = checkpoint.read(path)
    check_equal(dict(vars(back)), dict(vars(state)))
    assert Recipe.from_json(back.recipe) == recipe

    other = initial_model(dataclasses.replace(recipe, seed=9))
    other_optimizer = optimizer.build(other, recipe)
    other.load_state_dict(back.model)
    optimizer.load(other_optimizer, back.optimizer)
    for each, its in ((model, its_optimizer), (other, other_optimizer)):
        stepped(each, its, 4)
        optimizer.set_rate(its, 0.003)
        stepped(each, its, 5)
    check_equal(dict(other.state_dict()), dict(model.state_dict()))


def check_refused(path: Path) -> None:
    with pytest.raises(TrainingError) as error:
        checkpoint.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_half_a_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.write(some_checkpoint(recipe_of(TINY[0]))[0], path)
    content = path.read_bytes()
    checkpoint.read(path)
    size = len(content)
    for length in (0, 1, 4, 100, size // 4, size // 2, size - 1000, size - 22, size - 1):
        path.write_bytes(content[:length])
        check_refused(path)


@pytest.mark.parametrize(
    "content", [b"", b"no checkpoint\n", b"PK\x03\x04", b"\x80\x02.", b"\0" * 999]
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    check_refused(path)


def test_a_missing_checkpoint_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    check_refused(tmp_path / "gone.pt")
    check_refused(tmp_path)


class _Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = tmp_path / "last.pt"
    state = vars(some_checkpoint(recipe_of(TINY[0]))[0])
    content = {**state, "format": 1, "progress": {}, "recipe": _Trap(sprung)}
    torch.save(content, path)
    check_refused(path)
    assert not sprung.exists()
    path.write_bytes(pickle.dumps(content, protocol=2))
    check_refused(path)
    assert not sprung.exists()
    pickle.loads(path.read_bytes())
    assert sprung.exists()  # the trap works


def test_what_is_no_checkpoint_of_this_format_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    state = vars(some_checkpoint(recipe_of(TINY[0]))[0])
    good = {**state, "format": 1, "progress": {}}
    torch.save(good, path)
    assert checkpoint.read(path).progress == Progress()
    bad: list[Any] = [
        {**good, "format": 2},
        {**good, "format": "1"},
        {name: value for name, value in good.items() if name != "format"},
        {name: value for name, value in good.items() if name != "optimizer"},
        {**good, "more": 1},
        {**good, "progress": {"iterations": 3}},
        torch.zeros(3),
        [good],
        {},
    ]
    for content in bad:
        torch.save(content, path)
        check_refused(path)


# The curve.


def loss_record(iteration: int) -> dict[str, Any]:
    return {"iteration": iteration, "loss": 1 / iteration, "rate": 1e-3, "seconds": 1.0}


def scores_record(iteration: int, *names: str) -> dict[str, Any]:
    """Every set and scale has another PSNR, 1 dB above bicubic and rising."""
    bicubic = {
        name: {scale: (30.0 - scale + number / 2, 0.8) for scale in (2, 4)}
        for number, name in enumerate(names)
    }
    scores = {
        name: {scale: (psnr + 1 + iteration / 100, 0.9) for scale, (psnr, _) in each.items()}
        for name, each in bicubic.items()
    }
    return {"iteration": iteration, "scores": scores, "bicubic": bicubic}


RECORDS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "losses": [loss_record(i) for i in (1, 2, 3)],
    "one loss": [loss_record(1)],
    "validations": [scores_record(i, "Set5") for i in (1, 2, 3)],
    "both": [r for i in (1, 2, 3) for r in (loss_record(i), scores_record(i, "Set5", "Set14"))],
    "sets that come": [scores_record(1, "Set5"), scores_record(2, "Set5", "Set14")],
    "sets that go": [scores_record(1, "Set5", "Set14"), scores_record(2, "Set14")],
}


def picture_of(records: Sequence[dict[str, Any]], title: str = "run") -> NDArray[np.uint8]:
    as_read = [json.loads(json.dumps(record)) for record in records]
    with Image.open(io.BytesIO(curve.draw(as_read, title=title))) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def upper_and_lower(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The plot of the loss and that of the PSNR."""
    middle = len(picture) // 2
    return picture[:middle], picture[middle:]


@pytest.mark.parametrize("kind", RECORDS)
def test_the_curve_is_a_png_whatever_was_recorded(kind: str) -> None:
    picture, empty = picture_of(RECORDS[kind]), picture_of([])
    height, width = picture.shape[:2]
    assert min(height, width) > 300
    assert empty.min() < 100  # axes and their names
    pairs = zip(upper_and_lower(picture), upper_and_lower(empty), strict=True)
    loss_shows, psnr_shows = (not np.array_equal(half, blank) for half, blank in pairs)
    assert loss_shows or not any("loss" in record for record in RECORDS[kind])
    assert psnr_shows or not any("scores" in record for record in RECORDS[kind])


def test_the_curve_shows_how_loss_and_psnr_went() -> None:
    rising = [{**r, "iteration": 4 - r["iteration"]} for r in reversed(RECORDS["both"])]
    pairs = zip(
        upper_and_lower(picture_of(rising)),
        upper_and_lower(picture_of(RECORDS["both"])),
        strict=True,
    )
    assert not any(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("names", [("Set5",), ("Set5", "Set14")])
def test_the_curve_has_a_line_for_every_set_and_scale(names: tuple[str, ...]) -> None:
    _, lower = upper_and_lower(picture_of([scores_record(i, *names) for i in (1, 2, 3)]))
    hue, saturation, _ = np.moveaxis(np.array(Image.fromarray(lower).convert("HSV")), -1, 0)
    hues = (hue[saturation > 100].astype(int) + 8) % 256  # red lies on both sides of 0
    pixels_of_a_hue, _ = np.histogram(hues, bins=16, range=(0, 256))
    assert (pixels_of_a_hue > 200).sum() == 2 * len(names)


# The folder of a run.


def test_half_a_line_of_metrics_is_skipped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.records() == []
    records = [loss_record(1), scores_record(2, "Set5"), loss_record(3)]
    for record in records:
        folder.add_record(record)
    as_read = [json.loads(json.dumps(record)) for record in records]
    assert folder.records() == as_read
    whole = folder.metrics.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for missing in range(2, last):
        folder.metrics.write_bytes(whole[:-missing])
        assert folder.records() == as_read[:2]
    folder.metrics.write_bytes(whole[:-1])  # the line is whole but for its end
    assert folder.records() == as_read


def test_later_metrics_are_forgotten_and_new_ones_follow_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.forget_after(0, 0)  # there is nothing to forget
    assert folder.records() == []
    for iteration in (10, 20, 30, 40):
        folder.add_record(loss_record(iteration))
    with folder.metrics.open("a") as file:
        file.write('{"iteration": 15, "lo')
    folder.forget_after(20, 20)
    folder.add_record(loss_record(25))
    assert [record["iteration"] for record in folder.records()] == [10, 20, 25]
    assert folder.records()[1] == loss_record(20)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert len(folder.metrics.read_text().splitlines()) == 3


def test_a_validation_that_will_be_done_again_is_forgotten_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for iteration in (10, 20, 30):
        folder.add_record(loss_record(iteration))
        folder.add_record(scores_record(iteration, "Set5"))
    folder.forget_after(20, 10)  # stopped at 20, before its validation was over
    kept = [(record["iteration"], "scores" in record) for record in folder.records()]
    assert kept == [(10, False), (10, True), (20, False)]


def test_the_curve_of_a_folder_is_that_of_its_metrics(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a run")
    folder.path.mkdir()
    for record in RECORDS["both"]:
        folder.add_record(record)
    folder.draw_curve()
    with Image.open(folder.curve) as image:
        drawn = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(drawn, picture_of(RECORDS["both"], title="a run"))


def test_the_config_comes_back_and_a_damaged_one_is_refused_by_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    recipe = Recipe(seed=3)
    content = {
        "preset": "modern",
        "recipe": recipe.to_json(),
        "data": ("a", "b"),
        "val": (),
        "sessions": [],
    }
    with pytest.raises(TrainingError, match=r"config\.json"):
        folder.read_config()
    folder.write_config(content)
    back = folder.read_config()
    assert Recipe.from_json(back["recipe"]) == recipe
    assert (back["data"], back["val"]) == (("a", "b"), ())
    text = folder.config.read_text()
    for damaged in (
        text[: len(text) // 2],
        "",
        "[]",
        *(text.replace(f'"{key}"', '"another"') for key in content),
        text.replace('"batch_size": 16', '"batch_size": 0'),
        text.replace('"batch_size": 16', '"batch_size": "16"'),
        text.replace('"batch_size"', '"batch"'),
    ):
        assert damaged != text
        folder.config.write_text(damaged)
        with pytest.raises(TrainingError) as error:
            folder.read_config()
        assert str(folder.config) in str(error.value)


def test_a_folder_holds_a_run_once_there_is_a_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config({"recipe": {}})
    assert not folder.holds_a_run
    checkpoint.write(some_checkpoint(recipe_of(TINY[0]))[0], folder.last)
    assert folder.holds_a_run


# The first weights.


@pytest.mark.parametrize("initialization", ["paper", "scaled"])
def test_the_first_weights_depend_on_the_seed_alone(initialization: str) -> None:
    def drawn(seed: int) -> dict[str, torch.Tensor]:
        recipe = recipe_of(TINY[0], initialization=initialization, seed=seed)
        return dict(initial_model(recipe).state_dict())

    once = drawn(1)
    torch.rand(5)
    again, other = drawn(1), drawn(2)
    for name, value in once.items():
        assert torch.equal(value, again[name]), name
        drawn_by_chance = name.endswith(".weight") and "up_image" not in name
        assert torch.equal(value, other[name]) != drawn_by_chance, name


def weights_and_biases(level: Level) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for module in (*level.convs, level.up, level.conv_res):
        assert isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))
        assert module.bias is not None
        yield module.weight, module.bias


@pytest.mark.parametrize("shared", [True, False])
def test_paper_draws_with_the_sigmas_of_the_authors(shared: bool) -> None:
    config = PyramidConfig() if shared else PyramidConfig(recursions=1, skip="ns", shared=False)
    model = initial_model(Recipe(network=config, initialization="paper"))
    assert model.conv_in.weight.std().item() == pytest.approx(1e-3, rel=0.1)
    assert model.conv_in.bias is not None
    assert not model.conv_in.bias.any()
    he = math.sqrt(2 / (3 * 3 * 64))
    tent = torch.tensor([0.25, 0.75, 0.75, 0.25])
    for number in (1, 2, 3):
        level = model.level(number)
        for weight, bias in weights_and_biases(level):
            assert weight.std().item() == pytest.approx(he, rel=0.1)
            assert abs(weight.mean().item()) < 0.1 * he
            assert not bias.any()
        assert level.up_image is not None
        assert torch.equal(level.up_image.weight[0, 0], torch.outer(tent, tent))


def growth(recipe: Recipe) -> list[float]:
    """Of the variance from the picture to the first features, and from level to level."""
    model = initial_model(recipe)
    with torch.no_grad():
        picture = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
        features = model.conv_in(picture)
        variances = [picture.var().item(), features.var().item()]
        for number in (1, 2, 3):
            body = model.shared_body(model.level(number), features)
            features, _ = model.ascend(model.level(number), body)
            variances.append(features.var().item())
    return [after / before for before, after in itertools.pairwise(variances)]


@pytest.mark.parametrize("skip", ["ss", "ds"])
def test_scaled_weights_keep_signals_at_their_size_and_the_papers_do_not(skip: Any) -> None:
    for seed in (0, 1):
        config = PyramidConfig(skip=skip)
        scaled = growth(Recipe(network=config, seed=seed))
        assert all(0.2 < factor < 5 for factor in scaled)
        paper = growth(Recipe(network=config, seed=seed, initialization="paper"))
        assert not 0.2 < paper[0] < 5


def test_scaled_weights_begin_near_the_enlarged_picture() -> None:
    model = initial_model(Recipe())
    picture = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = model(picture)
        enlarged = picture
        for number, output in enumerate(outputs.values(), start=1):
            level = model.level(number)
            assert level.up_image is not None
            enlarged = level.up_image(enlarged)
            assert (output - enlarged).square().mean().sqrt() < 0.3 * enlarged.std()


@pytest.mark.parametrize("recursions", [2, 5])
def test_init_takes_the_tensors_of_a_model_as_they_are(recursions: int) -> None:
    stored = safetensors.torch.load_file(ROOT / "weights" / "lapsr-draft.safetensors")
    for seed in (0, 1):
        config = PyramidConfig(recursions=recursions)
        model = initial_model(Recipe(network=config, init="lapsr-draft", seed=seed))
        state = model.state_dict()
        assert state.keys() == stored.keys()
        for name, value in stored.items():
            assert torch.equal(state[name], value), name
        assert all(value.requires_grad for value in model.parameters())


@pytest.mark.parametrize(
    "config",
    [PyramidConfig(depth=4), PyramidConfig(depth=6), PyramidConfig(channels=32)],
    ids=["shallower", "deeper", "narrower"],
)
def test_init_of_another_network_is_refused(config: PyramidConfig) -> None:
    with pytest.raises(WeightsMismatch, match="--init lapsr-draft"):
        initial_model(Recipe(network=config, init="lapsr-draft"))


def test_init_of_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.safetensors"):
        initial_model(Recipe(init=str(tmp_path / "gone.safetensors")))
