"""The int8 convolution against float64, of the same quantized numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lapsr_cli.cpu.kernels.low_precision import Int8Conv, supports_int8
from lapsr_cli.cpu.quantization import QuantParams, quantized_weights
from lapsr_cli.device.cpu_features import Processor, this_processor
from tests.cpu.kernels.test_winograd import features

CHANNELS = 64


def processors() -> list[Processor]:
    """This one, the same without AMX, and with vectors of 32 bytes; those that have VNNI."""
    this = this_processor()
    without_amx = replace(this, features=this.features.replace("+amx", "-amx"))
    half_vectors = replace(without_amx, vector_bytes=32, registers=16)
    return [each for each in dict.fromkeys((this, without_amx, half_vectors)) if each.has_vnni]


needs_vnni = pytest.mark.skipif(not this_processor().has_vnni, reason="needs a processor with VNNI")


def convolution(seed: int = 0) -> nn.Conv2d:
    torch.manual_seed(seed)
    return nn.Conv2d(CHANNELS, CHANNELS, 3).requires_grad_(False)


def random_params(seed: int) -> QuantParams:
    """A scale and a zero point of its own for each channel."""
    generator = torch.Generator().manual_seed(seed)
    zero_points = torch.randint(0, 256, (CHANNELS,), generator=generator).float()
    return QuantParams(0.005 + 0.03 * torch.rand(CHANNELS, generator=generator), zero_points)


def unrounded(values: Tensor, params: QuantParams) -> Tensor:
    """(B, C, H, W) -> the quantized values in float64, neither rounded nor clamped."""
    zero_points = params.zero_points[:, None, None]
    return values.double() / params.scales[:, None, None].double() + zero_points


def exact_convolution(
    conv: nn.Conv2d, quantized: Tensor, params: QuantParams, *, pad_top: bool, pad_bottom: bool
) -> Tensor:
    """In float64, of the real numbers that ``quantized`` (0..255) represents, with the weights that
    int8 represents."""
    input_scales = params.scales[:, None, None]
    weights, scales = quantized_weights(conv.weight * input_scales)
    kernel = weights.double() * scales[:, None, None, None] / input_scales.double()
    values = (quantized.double() - params.zero_points[:, None, None]) * input_scales.double()
    padded = F.pad(values, (1, 1, pad_top, pad_bottom))
    if padded.shape[2] < 3:
        return quantized[:, :, :0].double()
    assert conv.bias is not None
    return F.conv2d(padded, kernel, conv.bias.double())


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=5))
def test_quantization_covers_the_range_and_zero(pairs: list[tuple[float, float]]) -> None:
    ranges = torch.tensor(pairs).sort(dim=1).values
    params = QuantParams.of_range(ranges)
    assert torch.equal(params.zero_points, params.zero_points.round().clamp(0, 255))
    for values in (*ranges.unbind(-1), torch.zeros(len(pairs))):
        quantized = values.double() / params.scales.double() + params.zero_points
        assert (quantized > -0.51).all()
        assert (quantized < 255.51).all()


def test_a_constant_channel_has_a_small_scale() -> None:
    """So that the weights of the other channels keep their resolution."""
    params = QuantParams.of_range(torch.tensor([[0.0, 0.0], [-1.0, 2.0]]))
    assert float(params.scales[1]) == pytest.approx(3 / 255)
    assert 0 < float(params.scales[0]) < float(params.scales[1])


@needs_vnni
@settings(max_examples=120)
@given(
    processor=st.sampled_from(processors() or [this_processor()]),
    batch=st.integers(1, 2),
    heights=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    width=st.integers(1, 70),
    pad_top=st.booleans(),
    pad_bottom=st.booleans(),
    low_precision_input=st.booleans(),
    low_precision_output=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equal_to_the_exact_convolution(
    processor: Processor,
    batch: int,
    heights: list[int],
    width: int,
    seed: int,
    *,
    pad_top: bool,
    pad_bottom: bool,
    low_precision_input: bool,
    low_precision_output: bool,
) -> None:
    """Input and output each in 8 bits, activated, or in fp32, not activated."""
    conv = convolution()
    assert supports_int8(conv)
    input_params, output_params = random_params(seed), random_params(seed + 1)
    rows = features(batch, CHANNELS, sum(heights), width).float()
    if low_precision_input:
        quantized = rows = (40 * rows + 128).round().clamp(0, 255).to(torch.uint8)
    else:
        activated = F.leaky_relu(rows, 0.2)
        quantized = unrounded(activated, input_params).add(0.5).floor().clamp(0, 255)
    expected = exact_convolution(
        conv, quantized, input_params, pad_top=pad_top, pad_bottom=pad_bottom
    )
    layer = Int8Conv(conv, input_params, output_params if low_precision_output else None, processor)
    added = torch.randn_like(expected, dtype=torch.float32)
    outputs = layer(
        torch.split(rows, heights, dim=2),
        () if low_precision_output else torch.split(added, 3, dim=2),
        pad_top=pad_top,
        pad_bottom=pad_bottom,
    )
    assert outputs.shape == expected.shape
    # An input in fp32 that is a tie may be rounded to the other neighbour.
    one_step = float(input_params.scales.max() * conv.weight.abs().max())
    rounding = 0.0 if low_precision_input else one_step
    if low_precision_output:
        codes = unrounded(F.leaky_relu(expected, 0.2), output_params).clamp(0, 255)
        assert outputs.dtype == torch.uint8
        atol = 0.501 + rounding / float(output_params.scales.min())
        torch.testing.assert_close(outputs.double(), codes, rtol=0, atol=atol)
    else:
        atol = 1e-5 + rounding
        torch.testing.assert_close(outputs.double(), expected + added, rtol=1e-5, atol=atol)


def test_unsupported_convolutions() -> None:
    assert not supports_int8(nn.Conv2d(64, 32, 3))
    assert not supports_int8(nn.Conv2d(48, 48, 3))
    assert not supports_int8(nn.Conv2d(64, 64, 3).double())
