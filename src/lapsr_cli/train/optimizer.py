"""The optimizer of a recipe and its learning rate at every iteration."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from lapsr_cli.train.muon import Muon
from lapsr_cli.train.recipe import Recipe

__all__ = ["build", "load", "rate_at", "set_rate"]

MOMENTUM = 0.9
BETAS = (0.9, 0.99)


def build(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Two groups, weights and biases; each remembers its share of the rate in "factor"."""
    named = list(model.named_parameters())
    weights = [value for name, value in named if not name.endswith(".bias")]
    biases = [value for name, value in named if name.endswith(".bias")]
    groups = [
        {"params": weights, "factor": 1.0},
        {"params": biases, "factor": recipe.bias_rate_factor},
    ]
    decay = recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.rate, momentum=MOMENTUM, weight_decay=decay)
    if recipe.optimizer == "muon":
        return Muon(groups, lr=recipe.rate, weight_decay=decay)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=recipe.rate, betas=BETAS, weight_decay=decay)


def load(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on from ``state``, but with the recipe's own weight decay and share of the rate."""
    own = [(group["weight_decay"], group["factor"]) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, (decay, factor) in zip(optimizer.param_groups, own, strict=True):
        group["weight_decay"], group["factor"] = decay, factor


def rate_at(recipe: Recipe, iteration: int) -> float:
    """The learning rate of iteration ``iteration``, counted from 0."""
    if iteration < recipe.warm_up:
        return recipe.rate * (iteration + 1) / recipe.warm_up
    if recipe.schedule == "constant":
        return recipe.rate
    least = min(recipe.rate_min, recipe.rate)
    if recipe.schedule == "step":
        return max(recipe.rate * recipe.rate_drop ** (iteration // recipe.rate_step), least)
    done = (iteration - recipe.warm_up) / max(1, recipe.iterations - recipe.warm_up)
    return least + (recipe.rate - least) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of ``rate``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
