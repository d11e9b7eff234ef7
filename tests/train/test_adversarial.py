"""Adversarial training: the discriminator, the losses by their formulas, and gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.train.adversarial import AdversarialGradient, relativistic_loss
from lapsr_cli.train.dataset import Dataset
from lapsr_cli.train.discriminator import Discriminator
from lapsr_cli.train.distributed import ProcessGroup
from lapsr_cli.train.gradient import WholeBatchGradient
from lapsr_cli.train.recipe import Recipe
from tests.train.examples import noise
from tests.train.runs import SMALL_FLAGS, Drawn, Lapsr, error_line, records

CONFIG = PyramidConfig(depth=1, recursions=1, channels=4)
ALONE = ProcessGroup(0, 1, torch.device("cpu"))


def recipe(weight: float, **values: float) -> Recipe:
    values = {"batch_size": 6, "patch_size": 32, **values}
    return Recipe(network=CONFIG, adversarial=weight, **values)  # type: ignore[arg-type]


def network() -> FusedPyramid:
    torch.manual_seed(0)
    model = FusedPyramid(CONFIG)
    torch.nn.init.normal_(model.conv_in.weight, std=0.3)
    return model


def pictures() -> Dataset:
    return noise((60, 70), (44, 90))


def test_a_score_depends_on_46_pixels_and_on_no_other_patch() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator().double()
    patches = torch.rand(2, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    scores = discriminator(patches)
    assert scores.shape == (2, 1, 8, 8)
    (gradient,) = torch.autograd.grad(scores[0, 0, 4, 4], patches)
    rows, columns = gradient[0, 0].nonzero().T
    assert (int(rows.max() - rows.min()), int(columns.max() - columns.min())) == (45, 45)
    assert not gradient[1].any()


def test_no_convolution_stretches_what_it_reads() -> None:
    """Spectral normalization: the largest singular value is 1, whatever the weights were."""
    discriminator = Discriminator()
    for _ in range(200):  # each pass is one power iteration
        discriminator(torch.rand(1, 1, 16, 16))
    for name, layer in discriminator.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            matrix = layer.weight.detach().flatten(1).double().numpy()
            assert np.linalg.svd(matrix, compute_uv=False)[0] == pytest.approx(1, abs=0.02), name


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


def test_the_loss_is_that_of_the_relativistic_average_discriminator() -> None:
    rng = np.random.default_rng(0)
    real, made = rng.normal(1, 2, 30), rng.normal(0, 1, 30)
    told_real, told_made = sigmoid(real - made.mean()), sigmoid(made - real.mean())
    expected = -np.log(told_real).mean() - np.log(1 - told_made).mean()
    loss = relativistic_loss(torch.from_numpy(real), torch.from_numpy(made))
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def gradients(weight: float) -> list[torch.Tensor]:
    model = network()
    AdversarialGradient(model, recipe(weight), pictures())(0)
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def test_the_gradient_is_that_of_the_pyramid_loss_and_a_share_of_the_adversarial_one() -> None:
    model = network()
    plain = WholeBatchGradient(model, recipe(0), pictures(), ALONE)
    adversarial = AdversarialGradient(model, recipe(0.25), pictures())
    assert torch.equal(adversarial(0), plain(0)), "the loss is that of the pyramid alone"
    alone = [each.grad for each in model.parameters() if each.grad is not None]
    one, two = gradients(100), gradients(200)
    assert any((a - b).norm() > 0.1 * a.norm() for a, b in zip(alone, one, strict=True))
    for none, once, twice in zip(alone, one, two, strict=True):
        torch.testing.assert_close(twice - once, once - none, rtol=1e-3, atol=1e-4)


def test_the_adversarial_gradient_lowers_the_adversarial_loss() -> None:
    """A step along it, without the pyramid loss, against a discriminator that stays as it is."""
    model = network()
    adversarial = AdversarialGradient(model, recipe(1e6, discriminator_rate=0.0), pictures())
    before = []
    for _ in range(2):
        adversarial(0)
        before.append(float(adversarial.losses["adversarial"]))
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                step = parameter.grad / parameter.grad.norm().clamp(min=1e-9)
                parameter.sub_(step, alpha=1e-3)
    assert before[1] < before[0]


def test_the_discriminator_learns_to_tell_sharp_from_blurred() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    sharp = np.stack([gaussian_filter(rng.random((32, 32)), 0.7) for _ in range(16)])
    blurred = np.stack([gaussian_filter(each, 1.5) for each in sharp])
    real, made = (torch.from_numpy(each).float()[:, None] for each in (sharp, blurred))
    adversarial = AdversarialGradient(network(), recipe(1), pictures())
    first = float(adversarial._step_discriminator(real, made))
    for _ in range(60):
        last = float(adversarial._step_discriminator(real, made))
    assert last < 0.5 * first
    assert adversarial.discriminator(real).min() > adversarial.discriminator(made).max()


def test_a_run_records_both_losses_and_says_that_it_is_adversarial(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    given = (*drawn.given, *SMALL_FLAGS, "--iterations", "2", "--log-every", "1")
    ran = lapsr("train", *given, "-o", tmp_path / "run", "--adversarial", "0.01")
    assert ran.code == 0, ran.err
    assert ", adversarial 0.01, muon" in ran.err
    steps = [record for record in records(tmp_path / "run") if "loss" in record]
    assert len(steps) == 2
    for step in steps:
        assert 0 < step["adversarial"] < 10
        assert 0 < step["discriminator"] < 10


def test_a_run_becomes_adversarial(lapsr: Lapsr, drawn: Drawn, tmp_path: Path) -> None:
    given = (*drawn.given, *SMALL_FLAGS, "-o", tmp_path / "run", "--log-every", "1")
    assert lapsr("train", *given, "--iterations", "1").code == 0
    for iterations, weight, before in (("2", "0.01", "0.0"), ("3", "0", "0.01")):
        ran = lapsr("train", *given, "--iterations", iterations, "--adversarial", weight)
        assert ran.code == 0, ran.err
        assert f"--adversarial {float(weight)} (was {before})" in ran.err
    steps = [record for record in records(tmp_path / "run") if "loss" in record]
    assert ["adversarial" in step for step in steps] == [False, True, False]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--adversarial", "-1"], "--adversarial -1.0: must be finite and at least 0"),
        (["--adversarial", "nan"], "--adversarial nan: must be finite and at least 0"),
        (["--discriminator-lr", "inf"], "--discriminator-lr inf: must be finite"),
        (["--adversarial", "0.1", "--compile"], "--adversarial 0.1: cannot be combined with --c"),
    ],
)
def test_a_wrong_adversarial_run_is_refused(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path, flags: list[str], words: str
) -> None:
    ran = lapsr("train", *drawn.given, *SMALL_FLAGS, "-o", tmp_path / "run", *flags)
    assert ran.code == 2
    assert words in error_line(ran)
