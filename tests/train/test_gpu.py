"""Training on a CUDA device does what it does on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lapsr_cli.train import optimizer
from lapsr_cli.train.dataset import Dataset
from lapsr_cli.train.initial import initial_model
from lapsr_cli.train.loss import PyramidLoss
from lapsr_cli.train.patches import PatchSampler
from lapsr_cli.train.recipe import Recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

RECIPE = Recipe(batch_size=6, patch_size=32, precision="fp32", degrade="jpeg:60-95,noise:1-3")


def noise() -> Dataset:
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (2 * 80 * 90,), dtype=torch.uint8, generator=generator)
    sides = np.array([80, 80]), np.array([90, 90])
    return Dataset(pixels, np.array([0, 80 * 90]), *sides, ("a", "b"))


def losses(device: str) -> list[float]:
    patches = PatchSampler(noise().to(torch.device(device)), RECIPE)
    model = initial_model(RECIPE).to(device)
    objective, steps = PyramidLoss(model, RECIPE), optimizer.build(model, RECIPE)
    found = []
    for iteration in range(3):
        loss = objective(patches.batch(iteration))
        steps.zero_grad()
        loss.backward()
        steps.step()
        found.append(loss.item())
    return found


def test_the_losses_are_those_of_the_cpu() -> None:
    # TF32 would round the products of the patches and of the network to ten bits.
    assert not torch.backends.cuda.matmul.allow_tf32
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        assert losses("cuda") == pytest.approx(losses("cpu"), rel=1e-4)
    finally:
        torch.backends.cudnn.allow_tf32 = before


def test_the_patches_are_those_of_the_cpu() -> None:
    here = PatchSampler(noise(), Recipe(batch_size=6, patch_size=32)).batch(7)
    there = PatchSampler(
        noise().to(torch.device("cuda")), Recipe(batch_size=6, patch_size=32)
    ).batch(7)
    for ours, theirs in zip(here, there, strict=True):
        torch.testing.assert_close(theirs.lr.cpu(), ours.lr, rtol=0, atol=1e-6)
