"""The pyramid loss: Charbonnier, L1 or L2, summed over levels and scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.train.recipe import Loss, Recipe

__all__ = ["EPSILON", "PyramidLoss", "ScaleBatch", "penalty"]

EPSILON = 1e-3
"""Epsilon of the Charbonnier penalty, for samples in [0, 1] (LapSRN section 3.3)."""


class ScaleBatch(NamedTuple):
    """The part of a batch that trains one scale S, with patches of P x P HR pixels.

    ``lr``: (n, 1, P/S, P/S) in [0, 1]. ``targets``: the HR patches at every level, {2: (n, 1, 2P/S,
    2P/S), ..., S: (n, 1, P, P)}. ``global_size``: n summed over all devices.
    """

    scale: int
    lr: Tensor
    targets: Mapping[int, Tensor]
    global_size: int


def penalty(difference: Tensor, kind: Loss) -> Tensor:
    """Per pixel: rho(d) = sqrt(d^2 + eps^2) (Charbonnier, LapSRN equation 5), |d| or d^2."""
    if kind == "charbonnier":
        return (difference.square() + EPSILON**2).sqrt()
    return difference.abs() if kind == "l1" else difference.square()


class PyramidLoss(nn.Module):
    """The network followed by its loss: LapSRN equation 5 for each scale, summed over scales.

    On several devices, each returns ``world_size`` times its share of the loss: data-parallel
    training averages gradients over devices, which then gives the gradient of the whole batch.
    """

    def __init__(self, model: LaplacianPyramid, recipe: Recipe, world_size: int = 1) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.world_size = world_size

    def forward(self, batch: list[ScaleBatch]) -> Tensor:
        """The loss of a batch, a scalar in fp32."""
        return self.loss(batch, [self.outputs(part) for part in batch])

    def loss(self, batch: list[ScaleBatch], outputs: list[dict[int, Tensor]]) -> Tensor:
        """The loss of what the network made of a batch."""
        losses = [self._scale_loss(*each) for each in zip(batch, outputs, strict=True)]
        return self.world_size * torch.stack(losses).sum()

    def _scale_loss(self, part: ScaleBatch, outputs: dict[int, Tensor]) -> Tensor:
        total = torch.zeros((), device=part.lr.device)
        for scale, target in part.targets.items():
            penalties = penalty(outputs[scale] - target, self.recipe.loss)  # (n, 1, H, W)
            if self.recipe.reduction == "mean":
                total = total + penalties.sum() / (part.global_size * target[0].numel())
            else:
                total = total + penalties.sum() / self.recipe.batch_size
        return total

    def outputs(self, part: ScaleBatch) -> dict[int, Tensor]:
        """What the network makes of LR patches, {scale: (n, 1, H, W)}.

        With bf16, features are bf16; weights and pictures stay fp32.
        """
        if self.recipe.precision == "fp32":
            return dict(self.model(part.lr, part.scale))
        cast = {
            name: value if ".up_image." in name else value.to(torch.bfloat16)
            for name, value in self.model.named_parameters()
        }
        return dict(torch.func.functional_call(self.model, cast, (part.lr, part.scale)))
