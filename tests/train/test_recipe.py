"""Recipes: presets, JSON, and invalid values."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapsr_cli.cli.train import train as train_command
from lapsr_cli.errors import UsageError
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.train import optimizer
from lapsr_cli.train.initial import initial_model
from lapsr_cli.train.recipe import PRESETS, Recipe
from tests.train.examples import TINY, network, recipe_of


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
def test_every_preset_is_a_valid_recipe(preset: str) -> None:
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


def test_the_largest_seed_is_accepted_everywhere() -> None:
    recipe = recipe_of(TINY[0], seed=2**63 - 1)
    initial_model(recipe)
    np.random.Generator(np.random.Philox(key=[recipe.seed, recipe.iterations]))
