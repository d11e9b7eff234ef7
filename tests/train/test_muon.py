"""The Muon optimizer against its published update."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lapsr_cli.train.muon import orthogonalize
from tests.train.examples import TINY, Doubles, recipe_of
from tests.train.test_optimizer import Update, check_updates


@pytest.mark.parametrize("shape", [(8, 8), (64, 576), (7, 300)])
def test_orthogonalize_keeps_singular_vectors_and_equalizes_their_values(
    shape: tuple[int, int],
) -> None:
    rng = np.random.default_rng(shape[0])
    left, _ = np.linalg.qr(rng.normal(size=(shape[0], shape[0])))
    right, _ = np.linalg.qr(rng.normal(size=(shape[1], shape[0])))
    values = 10 ** rng.uniform(-2, 2, size=1) * np.geomspace(1, 0.01, shape[0])
    found = orthogonalize(torch.from_numpy(left * values @ right.T)).numpy()
    inner = left.T @ found @ right
    assert np.abs(inner - np.diag(np.diag(inner))).max() < 1e-9
    assert np.diag(inner).min() > 0.65
    assert np.diag(inner).max() < 1.25


@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_muon_is_the_published_update_for_matrices_and_adam_for_the_rest(decay: float) -> None:
    """Jordan 2024: momentum 0.95, Nesterov, five quintic iterations, decoupled weight decay."""

    def published() -> Update:
        moments: dict[str, Any] = {}

        def update(name: str, weights: Doubles, gradient: Doubles, rate: float) -> Doubles:
            weights = weights - rate * decay * weights
            if weights.ndim < 4 or 1 in weights.shape[:2]:
                first, second, step = moments.get(name, (0.0, 0.0, 0))
                first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
                moments[name] = first, second, step + 1
                mean, square = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.99 ** (step + 1))
                return np.asarray(weights - rate * mean / (np.sqrt(square) + 1e-8))
            moments[name] = 0.95 * moments.get(name, 0.0) + 0.05 * gradient
            matrix = (0.05 * gradient + 0.95 * moments[name]).reshape(len(gradient), -1)
            matrix = matrix / np.linalg.norm(matrix)
            for _ in range(5):
                gram = matrix @ matrix.T
                matrix = 3.4445 * matrix + (-4.775 * gram + 2.0315 * gram @ gram) @ matrix
            size = 0.5 * np.sqrt(matrix.shape[1])
            return np.asarray(weights - rate * size * matrix.reshape(gradient.shape))

        return update

    values = {"optimizer": "muon", "weight_decay": decay, "bias_rate_factor": 0.5}
    check_updates(recipe_of(TINY[0], **values), published, [0.1, 0.1, 0.05, 0.02])
