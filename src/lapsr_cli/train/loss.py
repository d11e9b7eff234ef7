"""The papers' loss, its two rivals, and how the levels and scales of a batch add up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.train.recipe import Loss, Recipe

__all__ = ["EPSILON", "Part", "PyramidLoss", "penalty"]

EPSILON = 1e-3
"""Of the Charbonnier penalty, in units of the full range (LapSRN section 3.3)."""


class Part(NamedTuple):
    """The share of a batch that trains one scale.

    ``lr``: (n, 1, P/S, P/S) in [0, 1]. ``targets``: the HR picture of every level, {2: (n, 1, 2P/S,
    2P/S), ..., S: (n, 1, P, P)}. ``patches``: how many there are on all devices together.
    """

    scale: int
    lr: Tensor
    targets: Mapping[int, Tensor]
    patches: int


def penalty(difference: Tensor, kind: Loss) -> Tensor:
    """Of every pixel: rho(d) = sqrt(d^2 + eps^2) (Charbonnier, LapSRN equation 5), |d|, or d^2."""
    if kind == "charbonnier":
        return (difference.square() + EPSILON**2).sqrt()
    return difference.abs() if kind == "l1" else difference.square()


class PyramidLoss(nn.Module):
    """A batch through the network to one number: LapSRN equation 5 for each part, added up.

    With several devices it gives ``world`` times this device's share, so that the mean over
    devices, which data-parallel training takes of gradients, is the whole batch's.
    """

    def __init__(self, model: LaplacianPyramid, recipe: Recipe, world: int = 1) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.world = world

    def forward(self, batch: list[Part]) -> Tensor:
        """The loss, a scalar in fp32."""
        losses = [self._part(part) for part in batch]
        return self.world * torch.stack(losses).sum()

    def _part(self, part: Part) -> Tensor:
        pictures = self._pictures(part)
        total = torch.zeros((), device=part.lr.device)
        for scale, target in part.targets.items():
            costs = penalty(pictures[scale] - target, self.recipe.loss)  # (n, 1, H, W)
            if self.recipe.reduction == "mean":
                total = total + costs.sum() / (part.patches * target[0].numel())
            else:
                total = total + costs.sum() / self.recipe.batch_size
        return total

    def _pictures(self, part: Part) -> dict[int, Tensor]:
        """With bf16 the features are computed in it; weights and pictures stay fp32."""
        if self.recipe.precision == "fp32":
            return dict(self.model(part.lr, part.scale))
        cast = {
            name: value if ".up_image." in name else value.to(torch.bfloat16)
            for name, value in self.model.named_parameters()
        }
        return dict(torch.func.functional_call(self.model, cast, (part.lr, part.scale)))
