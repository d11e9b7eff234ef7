"""Between the model for lossless and that for lossy files, quality changes in one direction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lapsr_cli import weights
from lapsr_cli.device.selection import choose
from lapsr_cli.inference.evaluation import Degrade, Evaluator
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.network.interpolation import interpolate
from lapsr_cli.train.degrade import Degradation, degraded
from lapsr_cli.weights.manifest import manifest
from tests.conftest import PICTURES


def psnr_by_share(name: str, degrade: Degrade) -> list[float]:
    """At 2x, for shares of the model for lossy files from 0 to 1."""
    with Image.open(PICTURES / name) as image:
        hr = torch.from_numpy(np.array(image.convert("L"))).double() / 255
    lossless, lossy = (weights.load(model) for model in manifest().defaults)
    networks = [interpolate(lossless, lossy, share) for share in (0, 0.25, 0.5, 0.75, 1)]
    evaluators = [Evaluator(Runtime(network, choose("cpu"))) for network in networks]
    return [evaluator.score(hr, 2, degrade).psnr for evaluator in evaluators]


def test_clean_pictures_lose() -> None:
    scores = psnr_by_share("harbour.png", lambda lr: lr)
    assert scores == sorted(scores, reverse=True)
    assert 0.05 < scores[0] - scores[-1] < 0.3


@pytest.mark.parametrize("name", ["harbour.png", "leaf.jpg"])
@pytest.mark.parametrize(("damage", "gain"), [("jpeg:75", 0.15), ("noise:8,jpeg:90", 0.6)])
def test_degraded_pictures_gain(name: str, damage: str, gain: float) -> None:
    drawn = Degradation.parse(damage).sample(np.random.default_rng(0), 1)
    scores = psnr_by_share(name, lambda lr: degraded(lr[None, None], drawn)[0, 0])
    assert scores == sorted(scores)
    assert scores[-1] - scores[0] > gain
