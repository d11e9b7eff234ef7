"""The compiled end of a level against torch, in float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lapsr_cli.cpu.kernels.upsample import ResidualConv, TransposedConv, supports
from lapsr_cli.device.cpu_features import Processor
from lapsr_cli.network.fused import residual_kernel
from lapsr_cli.network.pyramid import PyramidConfig
from tests.conftest import random_network
from tests.cpu.kernels.test_winograd import features, processors

SHAPES = {
    "processor": st.sampled_from(processors()),
    "vectors": st.integers(1, 5),
    "batch": st.integers(1, 2),
    "heights": st.lists(st.integers(0, 5), min_size=1, max_size=3).filter(any),
    "width": st.integers(1, 20),
    "pad_top": st.booleans(),
}


@settings(max_examples=80)
@given(**SHAPES)
def test_equal_to_the_transposed_convolution(
    processor: Processor, vectors: int, batch: int, heights: list[int], width: int, *, pad_top: bool
) -> None:
    channels = vectors * processor.vector_bytes // 8
    level = random_network(PyramidConfig(depth=1, recursions=1, channels=channels)).level(1)
    assert supports(level, processor)
    rows = features(batch, channels, sum(heights), width)
    outputs = TransposedConv(level, processor)(torch.split(rows, heights, dim=2), pad_top=pad_top)
    padded = F.pad(F.leaky_relu(rows, 0.2), (0, 0, pad_top, 0))
    expected = F.conv_transpose2d(padded, level.up.weight, level.up.bias, stride=2)
    expected = expected[:, :, 2:-1, : 2 * width]  # without those of the first row; cropped
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=80)
@given(**SHAPES, pad_bottom=st.booleans())
def test_equal_to_the_residual_convolution(
    processor: Processor,
    vectors: int,
    batch: int,
    heights: list[int],
    width: int,
    *,
    pad_top: bool,
    pad_bottom: bool,
) -> None:
    channels = vectors * processor.vector_bytes // 8
    level = random_network(PyramidConfig(depth=1, recursions=1, channels=channels)).level(1)
    rows = features(batch, channels, sum(heights), width)
    pieces = torch.split(rows, heights, dim=2)
    outputs = ResidualConv(level, processor)(pieces, pad_top=pad_top, pad_bottom=pad_bottom)
    padded = F.pad(F.leaky_relu(rows, 0.2), (1, 1, pad_top, pad_bottom))
    assert outputs.shape == (batch, 4, max(0, padded.shape[2] - 2), width)
    if padded.shape[2] >= 3:
        expected = F.conv2d(padded, residual_kernel(level))
        torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
