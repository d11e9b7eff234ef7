"""The bf16 convolution against float64, of the same rounded numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lapsr_cli.cpu.kernels.low_precision import Bf16Conv, supports_bf16
from lapsr_cli.cpu.streaming import StreamingPyramid
from lapsr_cli.device.cpu_features import this_processor
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from tests.cpu.kernels.test_winograd import features

CHANNELS = 64
needs_amx = pytest.mark.skipif(
    not this_processor().has_amx(2), reason="needs a processor with AMX for bf16"
)


def convolution(channels: int = CHANNELS) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, channels, 3).requires_grad_(False).bfloat16()


def exact_convolution(conv: nn.Conv2d, rows: Tensor, *, pad_top: bool, pad_bottom: bool) -> Tensor:
    """In float64, of activated numbers that are rounded to bf16 already."""
    padded = F.pad(rows.double(), (1, 1, pad_top, pad_bottom))
    if padded.shape[2] < 3:
        return rows[:, :, :0].double()
    assert conv.bias is not None
    return F.conv2d(padded, conv.weight.double(), conv.bias.double())


@needs_amx
@settings(max_examples=120)
@given(
    batch=st.integers(1, 2),
    heights=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    width=st.integers(1, 70),
    channels=st.sampled_from([32, 64]),
    pad_top=st.booleans(),
    pad_bottom=st.booleans(),
    low_precision_input=st.booleans(),
    low_precision_output=st.booleans(),
)
def test_equal_to_the_exact_convolution(
    batch: int,
    heights: list[int],
    width: int,
    channels: int,
    *,
    pad_top: bool,
    pad_bottom: bool,
    low_precision_input: bool,
    low_precision_output: bool,
) -> None:
    """Input and output each in bf16, activated, or in fp32, not activated."""
    conv = convolution(channels)
    assert supports_bf16(conv)
    rows = features(batch, channels, sum(heights), width).float()
    activated = F.leaky_relu(rows, 0.2).bfloat16()
    expected = exact_convolution(conv, activated, pad_top=pad_top, pad_bottom=pad_bottom)
    added = torch.randn_like(expected, dtype=torch.float32)
    outputs = Bf16Conv(conv, low_precision_output=low_precision_output)(
        torch.split(activated if low_precision_input else rows, heights, dim=2),
        () if low_precision_output else torch.split(added, 3, dim=2),
        pad_top=pad_top,
        pad_bottom=pad_bottom,
    )
    assert outputs.shape == expected.shape
    if low_precision_output:
        assert outputs.dtype == torch.bfloat16
        expected = F.leaky_relu(expected, 0.2)
        torch.testing.assert_close(outputs.double(), expected, rtol=2**-8, atol=1e-5)
    else:
        torch.testing.assert_close(outputs.double(), expected + added, rtol=1e-5, atol=1e-5)


@needs_amx
def test_rounds_to_nearest_ties_to_even() -> None:
    """As torch does; the kernel is the identity."""
    conv = nn.Conv2d(32, 32, 3, bias=False).requires_grad_(False)
    conv.weight.zero_()
    conv.weight[:, :, 1, 1] = torch.eye(32)
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(0, 1 << 12, (1, 32, 3, 40), generator=generator, dtype=torch.int32)
    rows = (0x3F800000 + (bits << 12)).view(torch.float32)  # many of them ties
    rows = rows.contiguous(memory_format=torch.channels_last)
    outputs = Bf16Conv(conv.bfloat16(), low_precision_output=True)(
        [rows], pad_top=False, pad_bottom=False
    )
    assert torch.equal(outputs, rows[:, :, 1:2].bfloat16())


@pytest.mark.parametrize("config", [PyramidConfig(depth=2), PyramidConfig(depth=2, skip="ns")])
@pytest.mark.parametrize("channels", [64, 24])
def test_bf16_in_the_blocks_only_is_closer_to_fp32(config: PyramidConfig, channels: int) -> None:
    """Than bf16 throughout. With 64 channels by AMX, where there is one, with 24 by torch."""
    config = PyramidConfig(depth=2, skip=config.skip, channels=channels)
    torch.manual_seed(0)
    model = LaplacianPyramid(config).requires_grad_(False)
    torch.nn.init.normal_(model.conv_in.weight, std=0.05)
    luma = torch.rand(2, 1, 30, 21)
    strips = StreamingPyramid(FusedPyramid.copy_of(model), "bf16", strip_pixels=200)
    outputs = strips(luma)
    expected = model(luma)
    for part in (model.conv_in, *(getattr(model.level(1), p) for p in ("convs", "up", "conv_res"))):
        part.bfloat16()
    throughout = model(luma)
    for scale, picture in expected.items():
        error = (outputs[scale] - picture).square().mean()
        assert 0 < error < 0.9 * (throughout[scale] - picture).square().mean()


def test_unsupported_convolutions() -> None:
    assert not supports_bf16(nn.Conv2d(64, 64, 3))
    assert not supports_bf16(nn.Conv2d(48, 48, 3).bfloat16())
    assert not supports_bf16(nn.Conv2d(64, 32, 3).bfloat16())
