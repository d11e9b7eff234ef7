"""Small networks, recipes, batches and datasets for the training tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from lapsr_cli.train.dataset import Dataset
from lapsr_cli.train.loss import ScaleBatch
from lapsr_cli.train.recipe import Recipe

PATCH = 16


def noise(*sizes: tuple[int, int], seed: int = 0) -> Dataset:
    """White noise in pictures of the given (height, width)."""
    rng = np.random.default_rng(seed)
    heights, widths = np.array(sizes, dtype=np.int64).T
    offsets = np.concatenate([[0], np.cumsum(heights * widths)[:-1]])
    pixels = torch.from_numpy(rng.integers(0, 256, int((heights * widths).sum()), dtype=np.uint8))
    return Dataset(pixels, offsets, heights, widths, tuple(f"{n}.png" for n in range(len(sizes))))


def assert_near(ours: torch.Tensor, expected: torch.Tensor | NDArray[np.float64]) -> None:
    """Assert that values differ by at most 1e-6, about 1/4000 of an 8-bit level."""
    values = torch.as_tensor(np.ascontiguousarray(expected), dtype=torch.float64)
    torch.testing.assert_close(ours.double(), values, rtol=0, atol=1e-6)


def network_for(scales: tuple[int, ...]) -> PyramidConfig:
    return PyramidConfig(levels=max(scales).bit_length() - 1)


def patch_recipe(scales: tuple[int, ...] = (2, 4, 8), **values: Any) -> Recipe:
    small = {"patch_size": PATCH, "batch_size": 9, "network": network_for(scales)}
    return Recipe(scales=scales, **{**small, **values})


def all_tensors(batch: list[ScaleBatch]) -> list[torch.Tensor]:
    return [tensor for part in batch for tensor in (part.lr, *part.targets.values())]


def equal(one: list[ScaleBatch], other: list[ScaleBatch]) -> bool:
    pairs = zip(all_tensors(one), all_tensors(other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


Doubles = NDArray[np.float64]
TINY = [
    PyramidConfig(depth=2, recursions=2, skip="ss", channels=3),
    PyramidConfig(depth=1, recursions=2, skip="ds", channels=4),
    PyramidConfig(depth=2, recursions=2, skip="ns", channels=3),
    PyramidConfig(depth=1, recursions=1, skip="ns", shared=False, channels=3),
    PyramidConfig(depth=1, recursions=2, channels=3, global_residual=False),
    PyramidConfig(depth=1, recursions=2, channels=3, pyramid=False),
]


def network(
    config: PyramidConfig, kind: type[LaplacianPyramid] = LaplacianPyramid, seed: int = 0
) -> LaplacianPyramid:
    """A float64 network with normally distributed weights."""
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


def some_batch(recipe: Recipe, seed: int = 0) -> list[ScaleBatch]:
    """Two patches for the first scale, three for the next, four for the last."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for count, scale in enumerate(recipe.scales, start=2):
        levels = [level for level in recipe.network.scales if level <= scale]
        shape = (count, 1, recipe.patch_size // scale, recipe.patch_size // scale)
        sides = {level: (count, 1, *(level * side for side in shape[2:])) for level in levels}
        parts.append(
            ScaleBatch(
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


def numbers(model: torch.nn.Module) -> dict[str, Doubles]:
    return {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
