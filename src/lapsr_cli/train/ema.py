"""The moving average of the weights: what is validated and shipped."""

from __future__ import annotations

import copy

import torch
from torch import nn

from lapsr_cli.network.pyramid import LaplacianPyramid

__all__ = ["Ema"]


class Ema:
    """average <- d average + (1 - d) weights after each step (Polyak and Juditsky 1992).

    d is ``decay``, at first (1 + step) / (10 + step) where that is less, so that the start is soon
    forgotten. With decay 0 the average is the weights.
    """

    def __init__(self, model: LaplacianPyramid, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after ``step`` steps (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        for average, value in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(value, 1 - decay)
