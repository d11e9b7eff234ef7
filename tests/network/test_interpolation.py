"""Networks between two others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lapsr_cli.errors import UsageError
from lapsr_cli.network.interpolation import interpolate
from lapsr_cli.network.pyramid import PyramidConfig
from tests.conftest import random_network

CONFIG = PyramidConfig(depth=2, recursions=2, channels=4)


def test_the_weights_are_the_mean_of_both_by_the_share() -> None:
    first, second = (random_network(CONFIG, seed).float() for seed in (1, 2))
    second.ranges = torch.zeros(CONFIG.ranges_shape)
    between = interpolate(first, second, 0.3)
    for name, value in between.state_dict().items():
        one, other = (each.state_dict()[name].double().numpy() for each in (first, second))
        np.testing.assert_allclose(value.numpy(), 0.7 * one + 0.3 * other, rtol=1e-6, atol=1e-7)
    assert set(between.state_dict()) == set(first.state_dict()), "ranges are those of neither"
    assert not any(each.requires_grad for each in between.parameters())


def test_networks_that_differ_have_nothing_between_them() -> None:
    other = random_network(PyramidConfig(depth=1, recursions=2, channels=4)).float()
    with pytest.raises(UsageError, match=r"D2R2 and MS-LapSRN D1R2 cannot be interpolated"):
        interpolate(random_network(CONFIG).float(), other, 0.5)
