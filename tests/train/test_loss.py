"""The pyramid loss and its gradient, in every precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch

from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from lapsr_cli.train.initial import initial_model
from lapsr_cli.train.loss import PyramidLoss, ScaleBatch, penalty
from lapsr_cli.train.recipe import Loss, Recipe, Reduction
from tests.train.examples import TINY, Doubles, network, recipe_of, some_batch

LOSSES: tuple[Loss, ...] = get_args(Loss)
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)


@pytest.fixture(params=TINY, ids=lambda c: c.title)
def tiny(request: pytest.FixtureRequest) -> PyramidConfig:
    config: PyramidConfig = request.param
    return config


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
            for patch in range(part.global_size):
                difference = outputs[level][patch, 0] - part.targets[level][patch, 0]
                costs = penalty_by_the_formula(difference.numpy(), kind)
                if reduction == "sum":
                    expected += costs.sum() / 9
                else:
                    expected += costs.mean() / part.global_size
    loss = PyramidLoss(model, recipe)(batch)
    assert loss.dtype == torch.float64
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_mean_loss_of_two_devices_is_that_of_one(reduction: Reduction) -> None:
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
        shares.append(PyramidLoss(model, recipe, world_size=2)(share))
    assert shares[0].item() != pytest.approx(shares[1].item(), rel=0.1)
    torch.testing.assert_close((shares[0] + shares[1]) / 2, whole)


def check_gradient(model: LaplacianPyramid, recipe: Recipe, entries: int = 4) -> None:
    """Compare the gradient with central differences, at some entries of every parameter."""
    batch = some_batch(recipe)
    objective = PyramidLoss(model, recipe)
    loss = objective(batch)
    loss.backward()
    rounding = 1e-7 * max(1.0, loss.item())
    rng = np.random.default_rng(0)
    step = 1e-7  # small, because the slope jumps at the kink of a leaky ReLU
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
def test_the_gradient_is_the_slope_for_every_penalty_and_reduction(
    kind: Loss, reduction: Reduction
) -> None:
    recipe = recipe_of(TINY[0], loss=kind, reduction=reduction)
    check_gradient(network(TINY[0], FusedPyramid), recipe, entries=2)


def test_gradcheck_passes() -> None:
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


def singles(batch: list[ScaleBatch]) -> list[ScaleBatch]:
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
def test_bf16_gradients_have_the_same_direction_and_weights_stay_fp32(
    config: PyramidConfig,
) -> None:
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
