"""Initial weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from lapsr_cli.errors import WeightsError, WeightsMismatch
from lapsr_cli.network.pyramid import Level, PyramidConfig
from lapsr_cli.train.initial import initial_model
from lapsr_cli.train.recipe import Recipe
from tests.conftest import ROOT
from tests.train.examples import TINY, recipe_of


@pytest.mark.parametrize("initialization", ["paper", "scaled"])
def test_initial_weights_depend_on_the_seed_only(initialization: str) -> None:
    def drawn(seed: int) -> dict[str, torch.Tensor]:
        recipe = recipe_of(TINY[0], initialization=initialization, seed=seed)
        return dict(initial_model(recipe).state_dict())

    once = drawn(1)
    torch.rand(5)
    again, other = drawn(1), drawn(2)
    for name, value in once.items():
        assert torch.equal(value, again[name]), name
        random = name.endswith(".weight") and "up_image" not in name
        assert torch.equal(value, other[name]) != random, name


def weights_and_biases(level: Level) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for module in (*level.convs, level.up, level.conv_res):
        assert isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))
        assert module.bias is not None
        yield module.weight, module.bias


@pytest.mark.parametrize("shared", [True, False])
def test_paper_initialization_has_the_sigmas_of_the_authors(shared: bool) -> None:
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
    """Factors by which the variance changes: picture to first features, then level to level."""
    model = initial_model(recipe)
    with torch.no_grad():
        picture = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
        features = model.conv_in(picture)
        variances = [picture.var().item(), features.var().item()]
        for number in (1, 2, 3):
            body = model.shared_body(model.level(number), features)
            features, _ = model.level_outputs(model.level(number), body)
            variances.append(features.var().item())
    return [after / before for before, after in itertools.pairwise(variances)]


@pytest.mark.parametrize("skip", ["ss", "ds"])
def test_scaled_weights_preserve_the_variance_and_the_papers_do_not(skip: Any) -> None:
    for seed in (0, 1):
        config = PyramidConfig(skip=skip)
        scaled = growth(Recipe(network=config, seed=seed))
        assert all(0.2 < factor < 5 for factor in scaled)
        paper = growth(Recipe(network=config, seed=seed, initialization="paper"))
        assert not 0.2 < paper[0] < 5


def test_scaled_weights_start_near_the_upsampled_picture() -> None:
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
def test_init_copies_the_tensors_of_a_model(recursions: int) -> None:
    (path,) = (ROOT / "weights").glob("lapsr-classic-*.safetensors")
    stored = safetensors.torch.load_file(path)
    for seed in (0, 1):
        config = PyramidConfig(recursions=recursions)
        model = initial_model(Recipe(network=config, init="lapsr-classic", seed=seed))
        parameters = dict(model.named_parameters())
        assert parameters.keys() == stored.keys() - {"ranges"}
        for name, value in parameters.items():
            assert torch.equal(value, stored[name]), name
            assert value.requires_grad


@pytest.mark.parametrize(
    "config",
    [PyramidConfig(depth=4), PyramidConfig(depth=6), PyramidConfig(channels=32)],
    ids=["shallower", "deeper", "narrower"],
)
def test_init_of_another_network_is_refused(config: PyramidConfig) -> None:
    with pytest.raises(WeightsMismatch, match="--init lapsr-classic"):
        initial_model(Recipe(network=config, init="lapsr-classic"))


def test_init_of_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.safetensors"):
        initial_model(Recipe(init=str(tmp_path / "gone.safetensors")))
