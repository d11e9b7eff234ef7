from __future__ import annotations

import numpy as np
import pytest
import torch

from lapsr_cli.errors import UsageError
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig, Skip
from tests import oracle
from tests.conftest import random_network

LAPSRN_4X = PyramidConfig(depth=10, recursions=1, skip="ns", shared=False, levels=2)
LAPSRN_8X = PyramidConfig(depth=5, recursions=1, skip="ns", shared=False, levels=3)


def parameters(config: PyramidConfig) -> int:
    return sum(parameter.numel() for parameter in LaplacianPyramid(config).parameters())


@pytest.mark.parametrize(
    ("depth", "recursions", "count"),
    [(5, 1, 222_801), (5, 2, 222_801), (5, 8, 222_801), (2, 5, 112_017), (10, 1, 407_441)],
)
def test_published_parameter_counts(depth: int, recursions: int, count: int) -> None:
    assert parameters(PyramidConfig(depth=depth, recursions=recursions)) == count


def test_lapsrn_has_the_published_parameters() -> None:
    assert parameters(LAPSRN_4X) == 814_242


@pytest.mark.parametrize(
    ("config", "scale", "layers"),
    [
        (PyramidConfig(depth=5, recursions=8), 4, 84),  # the "84 layers" of MS-LapSRN D5R8
        (PyramidConfig(depth=5, recursions=2), 8, 35),
        (LAPSRN_4X, 4, 24),
        (LAPSRN_8X, 8, 20),
    ],
)
def test_depth_formula(config: PyramidConfig, scale: int, layers: int) -> None:
    assert config.layers(scale) == layers


def test_the_depth_formula_counts_the_convolutions_that_run() -> None:
    config = PyramidConfig(depth=3, recursions=4, channels=4)
    model = LaplacianPyramid(config)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    level = model.level(1)
    for module in [model.conv_in, *level.convs, level.up, level.conv_res]:
        module.register_forward_hook(count)
    model(torch.rand(1, 1, 5, 5))
    # Each level predicts a residual; the formula counts only the last, on the deepest path.
    assert calls - (config.levels - 1) == config.layers(8)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (6, 5)])
def test_the_network_is_that_of_the_papers(
    small_config: PyramidConfig, height: int, width: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    model = LaplacianPyramid(small_config).double().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator).double())
    luma = torch.rand(1, 1, height, width, generator=generator).double()
    expected = oracle.pyramid(model, luma[0, 0].numpy())
    pictures = model(luma)
    assert list(pictures) == list(expected) == list(small_config.scales)
    for scale, picture in pictures.items():
        assert picture.shape == (1, 1, scale * height, scale * width)
        np.testing.assert_allclose(picture[0, 0].numpy(), expected[scale], rtol=1e-10, atol=1e-10)


def test_lower_scales_do_not_depend_on_the_levels_above(
    small_config: PyramidConfig,
) -> None:
    model = random_network(small_config)
    luma = torch.rand(2, 1, 7, 6, dtype=torch.float64)
    full_pass = model(luma)
    for scale in small_config.scales:
        partial_pass = model(luma, scale)
        assert list(partial_pass) == [s for s in small_config.scales if s <= scale]
        assert torch.equal(partial_pass[scale], full_pass[scale])


def test_the_image_branch_starts_bilinear() -> None:
    level = LaplacianPyramid(PyramidConfig(channels=4)).level(1)
    ramp = torch.arange(8.0).expand(8, 8)[None, None]
    assert level.up_image is not None
    with torch.no_grad():
        doubled = level.up_image(ramp)[0, 0]
    expected = torch.nn.functional.interpolate(ramp, scale_factor=2, mode="bilinear")[0, 0]
    torch.testing.assert_close(doubled[2:-2, 2:-2], expected[2:-2, 2:-2])


def test_initial_weights_follow_the_authors() -> None:
    torch.manual_seed(0)
    model = LaplacianPyramid(PyramidConfig())
    level = model.level(1)
    he = (2 / (9 * 64)) ** 0.5
    assert model.conv_in.weight.std().item() == pytest.approx(1e-3, rel=0.1)
    for conv in [*level.convs, level.conv_res]:
        assert conv.weight.std().item() == pytest.approx(he, rel=0.1)
        assert not conv.bias.any()


def test_shared_weights_accumulate_the_gradients_of_all_levels() -> None:
    model = LaplacianPyramid(PyramidConfig(depth=1, recursions=2, channels=4)).double()
    luma = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    conv = model.level(1).convs[0]
    assert isinstance(conv, torch.nn.Conv2d)
    weight = conv.weight
    assert model.level(3) is model.level(1)
    gradients = []
    for scale in model.config.scales:
        (gradient,) = torch.autograd.grad(model(luma)[scale].sum(), weight, retain_graph=True)
        gradients.append(gradient)
    total = torch.autograd.grad(sum(p.sum() for p in model(luma).values()), weight)[0]
    torch.testing.assert_close(total, sum(gradients))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"depth": 0}, "depth"),
        ({"recursions": -1}, "recursions"),
        ({"levels": 4}, "levels"),
        ({"depth": 10**9}, "depth"),
        ({"recursions": 10**9}, "recursions"),
        ({"depth": 32, "recursions": 17}, "depth x recursions must be at most 512"),
        ({"channels": 1025}, "channels"),
        ({"shared": 1}, "shared"),
        ({"pyramid": "no"}, "pyramid"),
        ({"global_residual": None}, "global_residual"),
        ({"skip": "both"}, "skip"),
        ({"shared": False, "recursions": 2}, "LapSRN"),
    ],
)
def test_invalid_configurations_are_refused(options: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        PyramidConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0, -2, 3, 9, 16])
def test_scales_of_no_level_are_refused(scale: int) -> None:
    with pytest.raises(UsageError, match=f"scale {scale}: "):
        PyramidConfig().level_of(scale)


@pytest.mark.parametrize(("skip", "title"), [("ss", "MS-LapSRN D5R2"), ("ds", "MS-LapSRN D5R2 DS")])
def test_title(skip: Skip, title: str) -> None:
    assert PyramidConfig(skip=skip).title == title


def test_the_papers_ablations() -> None:
    plain = PyramidConfig(levels=2)
    direct = PyramidConfig(levels=2, global_residual=False)
    flat = PyramidConfig(levels=2, pyramid=False)
    # up_image, a 4x4 kernel, is gone; without a pyramid, up is 7x7 and up_image 8x8.
    assert parameters(direct) == parameters(plain) - 16
    assert parameters(flat) == parameters(plain) + (49 - 9) * 64 * 64 + 64 - 16
    assert (flat.scales, flat.layers(4)) == ((4,), 13)
    assert direct.title == "MS-LapSRN D5R2 without global residual"
    assert flat.title == "MS-LapSRN D5R2 without pyramid, 4x"
    with pytest.raises(UsageError, match="scales of this model are 4"):
        flat.level_of(2)
