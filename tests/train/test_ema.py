"""The moving average of the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lapsr_cli.train.ema import Ema
from tests.train.examples import TINY, network, numbers


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9, 0.999])
def test_the_average_is_its_closed_form(decay: float) -> None:
    model = network(TINY[0])
    history = [numbers(model)]
    ema = Ema(model, decay)
    rng = np.random.default_rng(0)
    for step in range(1, 31):
        with torch.no_grad():
            for value in model.parameters():
                value.copy_(torch.from_numpy(rng.normal(size=tuple(value.shape))))
        history.append(numbers(model))
        ema.update(model, step)
    # Weight of step t: 1 - d_t, and d of every step after it.
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(1, 31)]
    shares = [1.0, *(1 - d for d in decays)]
    for t in range(31):
        shares[t] *= math.prod(decays[t:])
    assert sum(shares) == pytest.approx(1)
    for name, average in numbers(ema.model).items():
        expected = sum(share * values[name] for share, values in zip(shares, history, strict=True))
        np.testing.assert_allclose(average, expected, rtol=1e-12, atol=1e-13)
    if decay == 0:
        for name, average in numbers(ema.model).items():
            np.testing.assert_array_equal(average, history[-1][name])


def test_the_average_shares_no_memory_with_the_weights() -> None:
    model = network(TINY[0])
    ema = Ema(model, 0.9)
    before = numbers(ema.model)
    with torch.no_grad():
        for value in model.parameters():
            value.zero_()
    for name, average in numbers(ema.model).items():
        np.testing.assert_array_equal(average, before[name])
    assert not any(value.requires_grad for value in ema.model.parameters())
    assert all(value.requires_grad for value in model.parameters())
