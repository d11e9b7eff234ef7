"""The convolution in bf16 against the same in float64 of rounded numbers."""

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
needs_tiles = pytest.mark.skipif(
    not this_processor().has_amx(2), reason="this processor has no tiles of bf16"
)


def convolution(channels: int = CHANNELS) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, channels, 3).requires_grad_(False).bfloat16()


def exactly(conv: nn.Conv2d, rows: Tensor, *, pad_top: bool, pad_bottom: bool) -> Tensor:
    """Of numbers that are bf16 already, in float64."""
    padded = F.pad(rows.double(), (1, 1, pad_top, pad_bottom))
    if padded.shape[2] < 3:
        return rows[:, :, :0].double()
    assert conv.bias is not None
    return F.conv2d(padded, conv.weight.double(), conv.bias.double())


@needs_tiles
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
def test_equal_to_the_exact_one(
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
    """Maps of bf16, activated, or of fp32, not activated; in and out."""
    conv = convolution(channels)
    assert supports_bf16(conv)
    rows = features(batch, channels, sum(heights), width).float()
    activated = F.leaky_relu(rows, 0.2).bfloat16()
    expected = exactly(conv, activated, pad_top=pad_top, pad_bottom=pad_bottom)
    added = torch.randn_like(expected, dtype=torch.float32)
    made = Bf16Conv(conv, low_precision_output=low_precision_output)(
        torch.split(activated if low_precision_input else rows, heights, dim=2),
        () if low_precision_output else torch.split(added, 3, dim=2),
        pad_top=pad_top,
        pad_bottom=pad_bottom,
    )
    assert made.shape == expected.shape
    if low_precision_output:
        assert made.dtype == torch.bfloat16
        expected = F.leaky_relu(expected, 0.2)
        torch.testing.assert_close(made.double(), expected, rtol=2**-8, atol=1e-5)
    else:
        torch.testing.assert_close(made.double(), expected + added, rtol=1e-5, atol=1e-5)


@needs_tiles
def test_rounds_to_the_nearest_and_ties_to_even() -> None:
    """As torch does, through a kernel that lets its middle pass."""
    conv = nn.Conv2d(32, 32, 3, bias=False).requires_grad_(False)
    conv.weight.zero_()
    conv.weight[:, :, 1, 1] = torch.eye(32)
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(0, 1 << 12, (1, 32, 3, 40), generator=generator, dtype=torch.int32)
    rows = (0x3F800000 + (bits << 12)).view(torch.float32)  # many halfway between two
    rows = rows.contiguous(memory_format=torch.channels_last)
    made = Bf16Conv(conv.bfloat16(), low_precision_output=True)(
        [rows], pad_top=False, pad_bottom=False
    )
    assert torch.equal(made, rows[:, :, 1:2].bfloat16())


@pytest.mark.parametrize("config", [PyramidConfig(depth=2), PyramidConfig(depth=2, skip="ns")])
@pytest.mark.parametrize("channels", [64, 24])
def test_a_network_whose_blocks_alone_are_narrow(config: PyramidConfig, channels: int) -> None:
    """In tiles and by torch: nearer to fp32 than one that is bf16 throughout."""
    config = PyramidConfig(depth=2, skip=config.skip, channels=channels)
    torch.manual_seed(0)
    model = LaplacianPyramid(config).requires_grad_(False)
    torch.nn.init.normal_(model.conv_in.weight, std=0.05)
    luma = torch.rand(2, 1, 30, 21)
    strips = StreamingPyramid(FusedPyramid.copy_of(model), "bf16", strip_pixels=200)
    made = strips(luma)
    expected = model(luma)
    for part in (model.conv_in, *(getattr(model.level(1), p) for p in ("convs", "up", "conv_res"))):
        part.bfloat16()
    throughout = model(luma)
    for scale, picture in expected.items():
        error = (made[scale] - picture).square().mean()
        assert 0 < error < 0.9 * (throughout[scale] - picture).square().mean()


def test_not_for() -> None:
    assert not supports_bf16(nn.Conv2d(64, 64, 3))
    assert not supports_bf16(nn.Conv2d(48, 48, 3).bfloat16())
    assert not supports_bf16(nn.Conv2d(64, 32, 3).bfloat16())
