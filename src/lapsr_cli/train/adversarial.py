"""Adversarial training: the network against a discriminator that is trained beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.train.dataset import Dataset
from lapsr_cli.train.discriminator import Discriminator
from lapsr_cli.train.gradient import Gradient
from lapsr_cli.train.loss import PyramidLoss
from lapsr_cli.train.patches import PatchSampler
from lapsr_cli.train.recipe import Recipe

__all__ = ["AdversarialGradient", "relativistic_loss"]

_BETAS = (0.5, 0.999)
"""Of Adam for the discriminator (DCGAN, arXiv:1511.06434, section 4)."""


class AdversarialGradient(Gradient):
    """The gradient of the pyramid loss plus ``recipe.adversarial`` times that of fooling a
    discriminator, which learns from each batch first.

    The discriminator sees the result of every patch at its largest scale, P x P pixels in all
    cases. Its optimizer is Adam, with the rate ``recipe.discriminator_rate``.
    """

    def __init__(self, network: LaplacianPyramid, recipe: Recipe, dataset: Dataset) -> None:
        self._parameters = list(network.parameters())
        self._objective = PyramidLoss(network, recipe)
        self._sampler = PatchSampler(dataset, recipe)
        self._weight = recipe.adversarial
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.discriminator = Discriminator().to(self._parameters[0].device)
        self._optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=recipe.discriminator_rate, betas=_BETAS
        )
        self._losses: dict[str, Tensor] = {}

    def __call__(self, iteration: int) -> Tensor:
        """As `Gradient`; the loss is the pyramid loss alone."""
        batch = self._sampler.batch(iteration)
        outputs = [self._objective.outputs(part) for part in batch]
        made = torch.cat([each[part.scale] for each, part in zip(outputs, batch, strict=True)])
        real = torch.cat([part.targets[part.scale] for part in batch])  # (B, 1, P, P), as made
        discriminator_loss = self._step_discriminator(real, made.detach())
        loss = self._objective.loss(batch, outputs)
        fooled = relativistic_loss(*self._scores(made, real))
        gradients = torch.autograd.grad(loss + self._weight * fooled, self._parameters)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._losses = {"adversarial": fooled.detach(), "discriminator": discriminator_loss}
        return loss.detach()

    def _step_discriminator(self, real: Tensor, made: Tensor) -> Tensor:
        loss = relativistic_loss(*self._scores(real, made))
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.detach()

    def _scores(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        first_scores, second_scores = self.discriminator(torch.cat([first, second])).chunk(2)
        return first_scores, second_scores

    @property
    def losses(self) -> Mapping[str, Tensor]:
        """Of the last batch: "adversarial", which the network lowers, and "discriminator"."""
        return self._losses

    def state_dict(self) -> dict[str, Any]:
        """The discriminator and its optimizer."""
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse. An empty state, of a run that was not adversarial so far, changes nothing.

        Raises KeyError, RuntimeError or ValueError for any other state.
        """
        if not state:
            return
        rates = [group["lr"] for group in self._optimizer.param_groups]
        self.discriminator.load_state_dict(state["discriminator"])
        self._optimizer.load_state_dict(state["optimizer"])
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = rate  # the user may have changed it


def relativistic_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Low if scores of ``better`` are above the mean of ``worse``, and the other way round.

    The relativistic average loss (Jolicoeur-Martineau 2019, arXiv:1807.00734, section 4; ESRGAN,
    arXiv:1809.00219, equations 1 and 2): the discriminator's with real patches first, the
    network's with its own first.
    """
    above = F.softplus(worse.mean() - better).mean()
    below = F.softplus(worse - better.mean()).mean()
    return above + below
