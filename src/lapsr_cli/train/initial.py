"""The weights a run starts from."""

from __future__ import annotations

import torch
from torch import nn

from lapsr_cli import weights
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import NEGATIVE_SLOPE
from lapsr_cli.train.recipe import Recipe
from lapsr_cli.weights.stored import Weights

__all__ = ["initial_model"]

_CONV_IN_SIGMA = 0.15
_CONV_RES_SIGMA = 0.01
_GAIN = 0.9


def initial_model(recipe: Recipe) -> FusedPyramid:
    """The network of a recipe: the model of ``init``, else drawn by its seed.

    Raises WeightsError if the model cannot be had or does not fit.
    """
    torch.manual_seed(recipe.seed)
    model = FusedPyramid(recipe.network)
    if recipe.init is not None:
        found = weights.read_file(weights.obtain(recipe.init))
        fitted = Weights(recipe.network, found.tensors, found.origin).model(f"--init {recipe.init}")
        model.load_state_dict(fitted.state_dict())
    elif recipe.initialization == "scaled":
        _scale(model)
    return model


def _scale(model: FusedPyramid) -> None:
    """Features of the pictures' own size from the first layer on, and residuals near zero.

    With the skips "ss" and "ds" they keep that size; without a skip a level shrinks them.
    The authors' conv_in (sigma 1e-3) makes features so small that the network is bicubic-like for
    the first thousands of iterations; docs/benchmarks.md has the comparison.
    """
    nn.init.normal_(model.conv_in.weight, std=_CONV_IN_SIGMA)
    for number in range(1, len(model.config.scales) + 1):
        level = model.level(number)
        for module in (*level.convs, level.up):
            assert isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
            nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE, nonlinearity="leaky_relu")
            with torch.no_grad():
                module.weight.mul_(_GAIN)
        nn.init.normal_(level.conv_res.weight, std=_CONV_RES_SIGMA)
