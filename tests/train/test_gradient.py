"""A batch's gradient by threads against the one of a single pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lapsr_cli.device.cpu_features import this_processor
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.train.dataset import Dataset
from lapsr_cli.train.distributed import ProcessGroup
from lapsr_cli.train.gradient import (
    Gradient,
    ThreadedGradient,
    WholeBatchGradient,
    gradient_for,
)
from lapsr_cli.train.recipe import Recipe
from tests.train.examples import noise

LANES = this_processor().vector_bytes // 4
ALONE = ProcessGroup(0, 1, torch.device("cpu"))


def recipe(channels: int = LANES, **values: object) -> Recipe:
    config = PyramidConfig(depth=2, recursions=2, channels=channels)
    return Recipe(**{"network": config, "batch_size": 13, "patch_size": 32, **values})  # type: ignore[arg-type]


def pictures() -> Dataset:
    return noise((60, 70), (44, 90))


def network(of: Recipe) -> FusedPyramid:
    torch.manual_seed(0)
    model = FusedPyramid(of.network)
    torch.nn.init.normal_(model.conv_in.weight, std=0.3)
    return model


def loss_and_gradients(gradient: Gradient, model: FusedPyramid, iteration: int) -> list[Tensor]:
    loss = gradient(iteration)
    found = [loss]
    for parameter in model.parameters():
        assert parameter.grad is not None
        found.append(parameter.grad.clone())
    return found


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_threads_compute_the_gradient_of_the_whole_batch(threads: int, reduction: str) -> None:
    of = recipe(reduction=reduction)
    model, dataset = network(of), pictures()
    whole = WholeBatchGradient(model, of, dataset, ALONE)
    threaded = ThreadedGradient(model, of, dataset, threads)
    for iteration in range(2):
        expected = loss_and_gradients(whole, model, iteration)
        found = loss_and_gradients(threaded, model, iteration)
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours - theirs).norm() < 1e-5 * theirs.norm()
        again = loss_and_gradients(threaded, model, iteration)
        assert all(map(torch.equal, found, again))


def test_a_failure_in_a_thread_is_raised() -> None:
    of = recipe()
    model, dataset = network(of), pictures()
    threaded = ThreadedGradient(
        model,
        of,
        Dataset(
            dataset.pixels[:100], dataset.offsets, dataset.heights, dataset.widths, dataset.names
        ),
        2,
    )
    with pytest.raises(RuntimeError):
        threaded(0)


def test_threads_are_used_on_the_cpu_in_fp32_with_compiled_kernels() -> None:
    dataset = pictures()

    def kind(of: Recipe, group: ProcessGroup = ALONE) -> type:
        return type(gradient_for(network(of), of, dataset, group))

    assert kind(recipe()) is ThreadedGradient
    assert kind(recipe(channels=LANES + 1)) is WholeBatchGradient
    assert kind(recipe(precision="bf16")) is WholeBatchGradient
