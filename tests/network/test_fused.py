"""The fused network against the reference, forward and backward, in float64."""

from __future__ import annotations

import pytest
import torch

from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from tests.conftest import random_network

NO_PYRAMID = PyramidConfig(depth=1, recursions=2, channels=3, levels=2, pyramid=False)


def both(config: PyramidConfig) -> tuple[LaplacianPyramid, FusedPyramid]:
    reference = random_network(config).requires_grad_(True)
    fused = FusedPyramid(config).double()
    fused.load_state_dict(reference.state_dict())
    return reference, fused


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (6, 3)])
def test_equal_pictures(small_config: PyramidConfig, height: int, width: int) -> None:
    reference, fused = both(small_config)
    luma = torch.rand(2, 1, height, width, dtype=torch.float64)
    for scale in small_config.scales:
        expected, pictures = reference(luma, scale), fused(luma, scale)
        assert list(pictures) == list(expected)
        for key, picture in pictures.items():
            torch.testing.assert_close(picture, expected[key], rtol=1e-12, atol=1e-12)


def test_equal_gradients(small_config: PyramidConfig) -> None:
    reference, fused = both(small_config)
    luma = torch.rand(2, 1, 4, 3, dtype=torch.float64)
    for model in (reference, fused):
        sum(picture.square().sum() for picture in model(luma).values()).backward()
    expected = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in fused.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-10, atol=1e-10)


def test_without_a_pyramid_it_computes_as_the_reference() -> None:
    reference, fused = both(NO_PYRAMID)
    luma = torch.rand(1, 1, 4, 3, dtype=torch.float64)
    assert torch.equal(fused(luma)[4], reference(luma)[4])
