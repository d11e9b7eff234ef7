"""Exponential moving average of the weights: the model that is validated and saved."""

from __future__ import annotations

import copy

import torch
from torch import nn

from lapsr_cli.network.pyramid import LaplacianPyramid

__all__ = ["Ema"]


class Ema:
    """average <- d average + (1 - d) weights after each step (Polyak and Juditsky 1992).

    d is ``decay``, in [0, 1), but at most (1 + step) / (10 + step), so that the first steps are
    soon forgotten. With a decay of 0 the average equals the weights.
    """

    def __init__(self, model: LaplacianPyramid, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Update with the weights after ``step`` optimizer steps, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        for average, value in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(value, 1 - decay)
