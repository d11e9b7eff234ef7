"""Initial weights of a run."""

from __future__ import annotations

import torch
from torch import nn

from lapsr_cli import weights
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import NEGATIVE_SLOPE
from lapsr_cli.train.recipe import Recipe
from lapsr_cli.weights.serialization import Weights

__all__ = ["initial_model"]

_CONV_IN_SIGMA = 0.15
_CONV_RES_SIGMA = 0.01
_GAIN = 0.9


def initial_model(recipe: Recipe) -> FusedPyramid:
    """The network of a recipe, with the weights of the model ``init`` or random ones from the seed.

    Seeds torch's global generator. Raises WeightsError if the model cannot be obtained or its
    network does not match.
    """
    torch.manual_seed(recipe.seed)
    model = FusedPyramid(recipe.network)
    if recipe.init is not None:
        found = weights.read_file(weights.obtain(recipe.init)).with_ranges(None)
        fitted = Weights(recipe.network, found.tensors, found.origin).model(f"--init {recipe.init}")
        model.load_state_dict(fitted.state_dict())
    elif recipe.initialization == "scaled":
        _initialize_scaled(model)
    return model


def _initialize_scaled(model: FusedPyramid) -> None:
    """Features with the variance of the input from the first layer on, and residuals near zero.

    With the skips "ss" and "ds" the variance stays the same through the levels; without a skip each
    level reduces it. With the authors' conv_in (sigma 1e-3) the features are so small that for the
    first thousands of iterations the network does little more than bicubic; docs/lab-notes.md
    compares both.
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
