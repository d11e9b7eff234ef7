"""The optimizer of a recipe and its learning rate schedule."""

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
    """The optimizer with two parameter groups, weights and biases.

    The key "factor" of a group is its learning rate relative to the recipe's.
    """
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
    """Load a state dict, but keep the weight decay and the rate factors of ``optimizer``, which the
    user may have changed."""
    own = [(group["weight_decay"], group["factor"]) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, (decay, factor) in zip(optimizer.param_groups, own, strict=True):
        group["weight_decay"], group["factor"] = decay, factor


def rate_at(recipe: Recipe, iteration: int) -> float:
    """The learning rate of ``iteration``, counted from 0: warm-up, then the schedule.

    The decay of "wsd" is 1 - sqrt: Haegele et al., Scaling Laws and Compute-Optimal Training Beyond
    Fixed Training Durations, NeurIPS 2024, section 3.
    """
    if iteration < recipe.warm_up:
        return recipe.rate * (iteration + 1) / recipe.warm_up
    if recipe.schedule == "constant":
        return recipe.rate
    lowest = min(recipe.rate_min, recipe.rate)
    if recipe.schedule == "wsd":
        left = recipe.iterations - iteration
        done = max(0.0, 1 - left / recipe.decay_iterations)
        return lowest + (recipe.rate - lowest) * (1 - math.sqrt(min(done, 1.0)))
    if recipe.schedule == "step":
        return max(recipe.rate * recipe.rate_drop ** (iteration // recipe.rate_step), lowest)
    done = (iteration - recipe.warm_up) / max(1, recipe.iterations - recipe.warm_up)
    return lowest + (recipe.rate - lowest) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to ``rate`` times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
