"""The gradient of a batch: on a device, on several, or on the cores of the CPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from lapsr_cli.cpu.training import TrainingPyramid
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.train.dataset import Dataset
from lapsr_cli.train.distributed import ProcessGroup
from lapsr_cli.train.loss import PyramidLoss
from lapsr_cli.train.patches import PatchSampler
from lapsr_cli.train.recipe import Recipe

__all__ = ["Gradient", "ThreadedGradient", "WholeBatchGradient", "gradient_for"]


class Gradient(ABC):
    """Computes the gradients of a network's parameters."""

    @abstractmethod
    def __call__(self, iteration: int) -> Tensor:
        """Set the gradients to those of the batch of ``iteration``; return its loss, a scalar."""

    @property
    def losses(self) -> Mapping[str, Tensor]:
        """Other losses of the last batch, by the names under which they are recorded."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What has to be saved beside the network, if anything."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 (nothing to load)
        """Continue from a saved state."""


def gradient_for(
    network: FusedPyramid,
    recipe: Recipe,
    dataset: Dataset,
    group: ProcessGroup,
    *,
    compiled: bool = False,
) -> Gradient:
    """That of the recipe's loss, the fastest way for the network's device. ``compiled``: use
    torch.compile."""
    on_cpu = all(parameter.device.type == "cpu" for parameter in network.parameters())
    alone_on_cpu = group.world_size == 1 and on_cpu and not compiled
    threads = min(torch.get_num_threads(), recipe.batch_size // len(recipe.scales))
    if alone_on_cpu and recipe.precision == "fp32" and TrainingPyramid.supports(network):
        return ThreadedGradient(network, recipe, dataset, threads)
    return WholeBatchGradient(network, recipe, dataset, group, compiled=compiled)


class WholeBatchGradient(Gradient):
    """One pass for the whole batch, or for this process's share of it, averaged over processes."""

    def __init__(
        self,
        network: LaplacianPyramid,
        recipe: Recipe,
        dataset: Dataset,
        group: ProcessGroup,
        *,
        compiled: bool = False,
    ) -> None:
        self._network = network
        self._sampler = PatchSampler(dataset, recipe, group.rank, group.world_size)
        objective = PyramidLoss(network, recipe, group.world_size)
        if compiled:
            objective.compile(dynamic=False)
        self._objective = group.wrap(objective)

    def __call__(self, iteration: int) -> Tensor:
        """As `Gradient`; the loss is this process's."""
        self._network.zero_grad(set_to_none=True)
        loss: Tensor = self._objective(self._sampler.batch(iteration))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()


class ThreadedGradient(Gradient):
    """A share of every batch for each of several threads, which compute on one core each.

    Threads that share every operation wait for each other after each of them; these wait once per
    batch, and what a thread computes next is in the cache of its core.
    """

    def __init__(
        self, network: FusedPyramid, recipe: Recipe, dataset: Dataset, threads: int
    ) -> None:
        self._parameters = list(network.parameters())
        self._shares = [
            _Share(network, recipe, PatchSampler(dataset, recipe, thread, threads))
            for thread in range(threads)
        ]
        self._torch_threads = torch.get_num_threads()
        self._threads = ThreadPoolExecutor(
            threads, "gradient", initializer=torch.set_num_threads, initargs=(1,)
        )

    def __call__(self, iteration: int) -> Tensor:
        """As `Gradient`; the same to the last bit for the same number of threads."""
        results = list(self._threads.map(lambda share: share.gradients(iteration), self._shares))
        torch.set_num_threads(self._torch_threads)  # the pool's setting is that of new threads too
        for parameter, *parts in zip(
            self._parameters, *(gradients for _, gradients in results), strict=True
        ):
            parameter.grad = torch.stack(parts).sum(0)
        return torch.stack([loss for loss, _ in results]).sum()


class _Share:
    """A thread's network, which shares its parameters with those of the others."""

    def __init__(self, network: FusedPyramid, recipe: Recipe, sampler: PatchSampler) -> None:
        self._network = TrainingPyramid.sharing(network)
        self._objective = PyramidLoss(self._network, recipe)
        self._sampler = sampler

    def gradients(self, iteration: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The share of the loss, and of the gradient of each parameter."""
        self._network.prepare_kernels()
        loss = self._objective(self._sampler.batch(iteration))
        return loss.detach(), torch.autograd.grad(loss, list(self._network.parameters()))
