"""The network for training on the CPU against the reference network."""

from __future__ import annotations

import pytest
import torch

from lapsr_cli.cpu.training import TrainingPyramid
from lapsr_cli.device.cpu_features import this_processor
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig, Skip

LANES = this_processor().vector_bytes // 8


def network(skip: Skip = "ss", depth: int = 2) -> FusedPyramid:
    torch.manual_seed(0)
    config = PyramidConfig(depth=depth, recursions=2, skip=skip, channels=LANES)
    return FusedPyramid(config).double()


@pytest.mark.parametrize("skip", ["ss", "ds", "ns"])
@pytest.mark.parametrize("depth", [1, 3])
def test_outputs_and_gradients_are_those_of_the_reference(skip: Skip, depth: int) -> None:
    original = network(skip, depth)
    reference = LaplacianPyramid(original.config).double()
    reference.load_state_dict(original.state_dict())
    replica = TrainingPyramid.sharing(original)
    luma = torch.rand(3, 1, 7, 10, dtype=torch.float64)
    for _ in range(2):  # the second time with other weights
        results = []
        for model in (replica, reference):
            if isinstance(model, TrainingPyramid):
                model.prepare_kernels()
            pictures = model(luma, 8)
            loss = sum((picture**2).sum() for picture in pictures.values())
            assert isinstance(loss, torch.Tensor)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            results.append([*(each.detach() for each in pictures.values()), *gradients])
        for ours, expected in zip(*results, strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            for model in (original, reference):
                for parameter in model.parameters():
                    parameter.mul_(1.1)


def test_shares_the_parameters() -> None:
    original = network()
    replica = TrainingPyramid.sharing(original)
    for name, parameter in original.named_parameters():
        assert replica.get_parameter(name) is parameter


@pytest.mark.parametrize(
    "config",
    [
        PyramidConfig(channels=LANES + 1),
        PyramidConfig(depth=2, recursions=1, skip="ns", shared=False, channels=LANES),
    ],
)
def test_unsupported_networks(config: PyramidConfig) -> None:
    assert not TrainingPyramid.supports(FusedPyramid(config).double())
    assert TrainingPyramid.supports(network())
