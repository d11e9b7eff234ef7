"""The Muon optimizer: momentum with orthogonalized updates for large convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonalize"]

MOMENTUM = 0.95
UPDATE_RMS = 0.5
"""Root mean square of an update divided by the learning rate: the best of 0.2, 0.5 and 1.0
(docs/benchmarks.md)."""
BETAS = (0.9, 0.99)
EPSILON = 1e-8

_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Jordan et al. 2024 (kellerjordan.github.io/posts/muon) for convolutions, Adam for the rest.

    The weight of a convolution with several input and several output channels is treated as the
    matrix (first dimension, all others). Its Nesterov momentum is replaced by the nearest matrix
    with orthonormal rows, scaled so that the root mean square of the update is ``UPDATE_RMS`` times
    the learning rate. Biases, and weights with one channel on either side, follow Adam (Kingma and
    Ba 2015). Learning rate and decoupled weight decay are those of the parameter groups.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, lr: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient. ``closure`` is not supported."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._muon if _is_matrix(parameter) else self._adam
                parameter.sub_(group["lr"] * update(parameter, parameter.grad))

    def _muon(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        state: dict[str, Tensor] = self.state[parameter]
        momentum = state.setdefault("momentum", torch.zeros_like(parameter))
        momentum.lerp_(gradient, 1 - MOMENTUM)
        nesterov = gradient.lerp(momentum, MOMENTUM)
        matrix = nesterov.flatten(1)  # (C_out, C_in kh kw)
        scale = UPDATE_RMS * math.sqrt(max(matrix.shape))
        return orthogonalize(matrix).view_as(nesterov).mul(scale)

    def _adam(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        state: dict[str, Tensor] = self.state[parameter]
        step = state.setdefault("step", torch.zeros(()))
        mean = state.setdefault("mean", torch.zeros_like(parameter))
        square = state.setdefault("square", torch.zeros_like(parameter))
        step += 1
        mean.lerp_(gradient, 1 - BETAS[0])
        square.lerp_(gradient.square(), 1 - BETAS[1])
        count = step.item()
        root = (square / (1 - BETAS[1] ** count)).sqrt() + EPSILON
        return mean / (1 - BETAS[0] ** count) / root


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim == 4 and min(parameter.shape[:2]) > 1


def orthogonalize(matrix: Tensor) -> Tensor:
    """Approximate U V^T of the singular value decomposition U S V^T of an (m, n) matrix, m <= n.

    Five iterations of the quintic Newton-Schulz method, which bring all singular values of at least
    a hundredth of the largest into [0.65, 1.25]: accurate enough for an update.
    """
    a, b, c = _QUINTIC
    x = matrix.div(matrix.norm().clamp(min=torch.finfo(matrix.dtype).tiny))
    for _ in range(_ITERATIONS):
        gram = x @ x.T  # (m, m)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
