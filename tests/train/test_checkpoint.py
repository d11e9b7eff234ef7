"""Checkpoints: restored bit for bit, and damaged or hostile files."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lapsr_cli.errors import TrainingError
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.train import checkpoint, optimizer
from lapsr_cli.train.checkpoint import Checkpoint, Progress
from lapsr_cli.train.ema import Ema
from lapsr_cli.train.initial import initial_model
from lapsr_cli.train.recipe import Recipe
from tests.train.examples import TINY, recipe_of


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
    """Assert equal structure and values, tensors bit for bit."""
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
def test_a_checkpoint_is_restored_bit_for_bit_and_training_continues_identically(
    tmp_path: Path, kind: str
) -> None:
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


def test_the_file_has_the_keys_of_version_0_1(tmp_path: Path) -> None:
    """Runs of either version can be resumed by the other."""
    path = tmp_path / "last.pt"
    checkpoint.write(some_checkpoint(recipe_of(TINY[0]))[0], path)
    content = torch.load(path, weights_only=True)
    assert list(content) == (
        ["format", "recipe", "progress", "model", "ema", "optimizer", "random_state"]
    )
    assert content["format"] == 1
    assert content["progress"] == {
        "iteration": 3,
        "seconds": 1.5,
        "validated": 2,
        "best": 31.25,
        "rate_factor": 0.5,
        "loss_sum": 0.1,
        "loss_count": 7,
    }
    assert set(content["recipe"]) == {
        *("network", "scales", "init", "initialization", "loss", "reduction", "patch_size"),
        *("batch_size", "iterations", "scale_augmentation", "degrade", "optimizer", "rate"),
        *("schedule", "rate_min", "rate_step", "rate_drop", "warm_up", "weight_decay"),
        *("bias_rate_factor", "ema", "grad_clip", "precision", "seed"),
    }
    states = content["optimizer"]["state"].values()
    assert {frozenset(state) for state in states} == {
        frozenset({"momentum"}),
        frozenset({"step", "mean", "square"}),
    }


def check_refused(path: Path) -> None:
    with pytest.raises(TrainingError) as error:
        checkpoint.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_truncated_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
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
    """Creates a folder when it is unpickled."""

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


def test_a_checkpoint_of_another_format_is_refused_by_name(tmp_path: Path) -> None:
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
