"""The convolution of 8-bit integers against the same in float64."""

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
    """This one, the same without products of tiles, and with half as wide vectors."""
    this = this_processor()
    dots = replace(this, features=this.features.replace("+amx", "-amx"))
    narrow = replace(dots, vector_bytes=32, registers=16)
    return [each for each in dict.fromkeys((this, dots, narrow)) if each.has_vnni]


needs_vnni = pytest.mark.skipif(
    not this_processor().has_vnni, reason="this processor has no dot products of bytes"
)


def convolution(seed: int = 0) -> nn.Conv2d:
    torch.manual_seed(seed)
    return nn.Conv2d(CHANNELS, CHANNELS, 3).requires_grad_(False)


def some_scale(seed: int) -> QuantParams:
    """Each channel with its own."""
    generator = torch.Generator().manual_seed(seed)
    zeros = torch.randint(0, 256, (CHANNELS,), generator=generator).float()
    return QuantParams(0.005 + 0.03 * torch.rand(CHANNELS, generator=generator), zeros)


def quantized(values: Tensor, scale: QuantParams) -> Tensor:
    """(B, C, H, W), 0..255 in float64, before rounding."""
    zeros = scale.zeros[:, None, None]
    return values.double() / scale.steps[:, None, None].double() + zeros


def exactly(
    conv: nn.Conv2d, codes: Tensor, reads: QuantParams, *, pad_top: bool, pad_bottom: bool
) -> Tensor:
    """From codes 0..255: the convolution of the real numbers that they stand for."""
    read_steps = reads.steps[:, None, None]
    weights, steps = quantized_weights(conv.weight * read_steps)
    kernel = weights.double() * steps[:, None, None, None] / read_steps.double()
    values = (codes.double() - reads.zeros[:, None, None]) * read_steps.double()
    padded = F.pad(values, (1, 1, pad_top, pad_bottom))
    if padded.shape[2] < 3:
        return codes[:, :, :0].double()
    assert conv.bias is not None
    return F.conv2d(padded, kernel, conv.bias.double())


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=5))
def test_a_scale_holds_its_ranges_and_zero(pairs: list[tuple[float, float]]) -> None:
    ranges = torch.tensor(pairs).sort(dim=1).values
    scale = QuantParams.of_range(ranges)
    assert torch.equal(scale.zeros, scale.zeros.round().clamp(0, 255))
    for values in (*ranges.unbind(-1), torch.zeros(len(pairs))):
        codes = values.double() / scale.steps.double() + scale.zeros
        assert (codes > -0.51).all()
        assert (codes < 255.51).all()


def test_a_channel_that_never_changes_leaves_the_others_their_weights() -> None:
    scale = QuantParams.of_range(torch.tensor([[0.0, 0.0], [-1.0, 2.0]]))
    assert float(scale.steps[1]) == pytest.approx(3 / 255)
    assert 0 < float(scale.steps[0]) < float(scale.steps[1])


@needs_vnni
@settings(max_examples=120)
@given(
    processor=st.sampled_from(processors() or [this_processor()]),
    batch=st.integers(1, 2),
    heights=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    width=st.integers(1, 70),
    pad_top=st.booleans(),
    pad_bottom=st.booleans(),
    reads_bytes=st.booleans(),
    writes_bytes=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equal_to_the_exact_one(
    processor: Processor,
    batch: int,
    heights: list[int],
    width: int,
    seed: int,
    *,
    pad_top: bool,
    pad_bottom: bool,
    reads_bytes: bool,
    writes_bytes: bool,
) -> None:
    """Maps of 8 bits or fp32, in and out."""
    conv = convolution()
    assert supports_int8(conv)
    reads, writes = some_scale(seed), some_scale(seed + 1)
    rows = features(batch, CHANNELS, sum(heights), width).float()
    if reads_bytes:
        rows = (40 * rows + 128).round().clamp(0, 255).to(torch.uint8)
        codes = rows
    else:
        codes = quantized(F.leaky_relu(rows, 0.2), reads).add(0.5).floor().clamp(0, 255)
    expected = exactly(conv, codes, reads, pad_top=pad_top, pad_bottom=pad_bottom)
    layer = Int8Conv(conv, reads, writes if writes_bytes else None, processor)
    added = torch.randn_like(expected, dtype=torch.float32)
    made = layer(
        torch.split(rows, heights, dim=2),
        () if writes_bytes else torch.split(added, 3, dim=2),
        pad_top=pad_top,
        pad_bottom=pad_bottom,
    )
    assert made.shape == expected.shape
    # An fp32 number at a tie may be rounded to the neighbouring code.
    largest = float(reads.steps.max() * conv.weight.abs().max())
    one_code_further = 0.0 if reads_bytes else largest
    if writes_bytes:
        codes_out = quantized(F.leaky_relu(expected, 0.2), writes).clamp(0, 255)
        assert made.dtype == torch.uint8
        atol = 0.501 + one_code_further / float(writes.steps.min())
        torch.testing.assert_close(made.double(), codes_out, rtol=0, atol=atol)
    else:
        atol = 1e-5 + one_code_further
        torch.testing.assert_close(made.double(), expected + added, rtol=1e-5, atol=atol)


def test_not_for() -> None:
    assert not supports_int8(nn.Conv2d(64, 32, 3))
    assert not supports_int8(nn.Conv2d(48, 48, 3))
    assert not supports_int8(nn.Conv2d(64, 64, 3).double())
