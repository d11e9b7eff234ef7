"""The differentiable Winograd convolution against torch's convolution and finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lapsr_cli.cpu.differentiable_conv import PreparedConv, activated_conv
from lapsr_cli.device.cpu_features import this_processor

LANES = this_processor().vector_bytes // 8


def a_map(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    values = torch.randn(*shape, dtype=torch.float64).to(dtype)
    return values.to(memory_format=torch.channels_last).requires_grad_()


def reference(features: Tensor, conv: nn.Conv2d, skip: Tensor | None) -> Tensor:
    outputs: Tensor = conv(F.leaky_relu(features, 0.2))
    return outputs if skip is None else outputs + skip


def output_and_gradients(outputs: Tensor, inputs: list[Tensor], gradient: Tensor) -> list[Tensor]:
    return [outputs.detach(), *torch.autograd.grad(outputs, inputs, gradient)]


@settings(max_examples=60)
@given(
    vectors=st.integers(1, 3),
    batch=st.integers(1, 3),
    height=st.integers(1, 14),
    width=st.integers(1, 30),
    seed=st.integers(0, 99),
    has_skip=st.booleans(),
    in_torchs_layout=st.booleans(),
)
def test_outputs_and_gradients_are_those_of_torch(
    vectors: int,
    batch: int,
    height: int,
    width: int,
    seed: int,
    *,
    has_skip: bool,
    in_torchs_layout: bool,
) -> None:
    torch.manual_seed(seed)
    channels = vectors * LANES
    conv = nn.Conv2d(channels, channels, 3, padding=1).double()
    features, skip, gradient = (a_map(batch, channels, height, width) for _ in range(3))
    if in_torchs_layout:  # as what torch computes around may be
        features, skip, gradient = (
            each.detach().contiguous().requires_grad_() for each in (features, skip, gradient)
        )
    inputs = [features, *conv.parameters(), *([skip] if has_skip else [])]
    added = skip if has_skip else None
    outputs = activated_conv(features, PreparedConv.of(conv), added)
    for ours, expected in zip(
        output_and_gradients(outputs, inputs, gradient),
        output_and_gradients(reference(features, conv, added), inputs, gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(LANES, LANES, 3, padding=1).double()

    def outputs(features: Tensor, skip: Tensor, *_: Tensor) -> Tensor:
        return activated_conv(features, PreparedConv.of(conv), skip)

    maps = [a_map(2, LANES, 5, 6) for _ in range(2)]
    assert torch.autograd.gradcheck(outputs, (*maps, *conv.parameters()))


@pytest.mark.parametrize("which", ["outputs", "features", "weight", "bias"])
def test_the_error_in_fp32_is_at_most_four_times_that_of_torch(which: str) -> None:
    """Root mean square, with 64 channels, as in the published networks."""
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3, padding=1).double()
    maps = [a_map(2, 64, 24, 24) for _ in range(2)]
    names = ["outputs", "features", "weight", "bias"]

    def results(dtype: torch.dtype, *, compiled: bool) -> dict[str, Tensor]:
        layer = nn.Conv2d(64, 64, 3, padding=1).to(dtype)
        layer.load_state_dict(conv.state_dict())
        features, gradient = (each.detach().to(dtype) for each in maps)
        features.requires_grad_()
        outputs = (
            activated_conv(features, PreparedConv.of(layer))
            if compiled
            else reference(features, layer, None)
        )
        found = output_and_gradients(outputs, [features, *layer.parameters()], gradient)
        return {name: value.double() for name, value in zip(names, found, strict=True)}

    exact = results(torch.float64, compiled=False)[which]
    ours = results(torch.float32, compiled=True)[which]
    torchs = results(torch.float32, compiled=False)[which]
    assert (ours - exact).norm() < 4 * (torchs - exact).norm()
    assert (ours - exact).norm() < 2e-6 * exact.norm()
