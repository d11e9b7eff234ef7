"""Winograd convolution against direct convolution."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lapsr_cli.cpu.kernels.winograd import WinogradConv, supports
from lapsr_cli.cpu.kernels.winograd_transforms import (
    transformed_inputs,
    transformed_kernels,
    transformed_outputs,
)
from lapsr_cli.device.cpu_features import Processor, this_processor

IS_X86 = platform.machine().lower() in {"x86_64", "amd64"}


def processors() -> list[Processor]:
    """This one, and older ones whose instructions it has."""
    this = this_processor()
    if not IS_X86:
        return [this]
    older = [Processor("x86-64", "", vector_bytes=16, registers=16)]
    if this.vector_bytes >= 32:
        older.append(Processor("haswell", "", vector_bytes=32, registers=16))
    return [*older, this]


def features(batch: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    values = torch.randn(batch, channels, height, width, dtype=torch.float64)
    return values.to(memory_format=torch.channels_last)


def convolution(channels: int, seed: int = 0) -> nn.Conv2d:
    torch.manual_seed(seed)
    return nn.Conv2d(channels, channels, 3).double().requires_grad_(False)


def direct_convolution(conv: nn.Conv2d, rows: Tensor, *, pad_top: bool, pad_bottom: bool) -> Tensor:
    padded = F.pad(F.leaky_relu(rows, 0.2), (1, 1, pad_top, pad_bottom))
    if padded.shape[2] < 3:
        return rows[:, :, :0]
    return F.conv2d(padded, conv.weight, conv.bias)


def test_the_transforms_compute_a_convolution() -> None:
    """In one dimension: six inputs, three taps, six products, four outputs."""
    torch.manual_seed(0)
    inputs = torch.randn(6, dtype=torch.float64)
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    weight[0, 0, 0] = torch.randn(3, dtype=torch.float64)  # in the first row only
    kernels = transformed_kernels(weight).view(6, 6)  # (point of columns, point of rows)
    products = kernels[0] * torch.stack(transformed_inputs(list(inputs)))
    outputs = torch.stack(transformed_outputs(list(products)))
    expected = torch.stack([(inputs[n : n + 3] * weight[0, 0, 0]).sum() for n in range(4)])
    torch.testing.assert_close(outputs, expected, rtol=1e-13, atol=1e-13)


@settings(max_examples=150)
@given(
    processor=st.sampled_from(processors()),
    vectors=st.integers(1, 5),
    batch=st.integers(1, 2),
    heights=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    width=st.integers(1, 40),
    pad_top=st.booleans(),
    pad_bottom=st.booleans(),
    has_skip=st.booleans(),
)
def test_equal_to_direct_convolution(
    processor: Processor,
    vectors: int,
    batch: int,
    heights: list[int],
    width: int,
    *,
    pad_top: bool,
    pad_bottom: bool,
    has_skip: bool,
) -> None:
    """From no rows to several groups of blocks, in one piece or several, per instruction set."""
    conv = convolution(vectors * processor.vector_bytes // 8)
    assert supports(conv, processor)
    rows = features(batch, conv.out_channels, sum(heights), width)
    expected = direct_convolution(conv, rows, pad_top=pad_top, pad_bottom=pad_bottom)
    added = torch.randn_like(expected)
    outputs = WinogradConv(conv, processor)(
        torch.split(rows, heights, dim=2),
        torch.split(added, 3, dim=2) if has_skip else (),
        pad_top=pad_top,
        pad_bottom=pad_bottom,
    )
    expected = expected + added if has_skip else expected
    torch.testing.assert_close(outputs, expected, rtol=1e-11, atol=1e-11)


def test_the_error_in_fp32_is_at_most_twice_that_of_direct_convolution() -> None:
    """With 64 channels, as in the published networks."""
    conv, rows = convolution(64), features(1, 64, 18, 40)
    exact = direct_convolution(conv, rows, pad_top=True, pad_bottom=True)
    conv.float()
    direct = direct_convolution(conv, rows.float(), pad_top=True, pad_bottom=True)
    outputs = WinogradConv(conv)([rows.float()], pad_top=True, pad_bottom=True)
    assert (outputs - exact).square().mean() < 4 * (direct - exact).square().mean()


def test_concurrent_calls_do_not_interfere() -> None:
    conv = convolution(64)
    convolve = WinogradConv(conv)
    maps = [features(1, 64, 13, 50, seed) for seed in range(8)]

    def convolved(rows: Tensor) -> Tensor:
        return convolve([rows], pad_top=True, pad_bottom=True)

    sequential = [convolved(rows) for rows in maps]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            for expected, outputs in zip(sequential, threads.map(convolved, maps), strict=True):
                assert torch.equal(outputs, expected)


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(64, 32, 3), nn.Conv2d(64, 64, 5), nn.Conv2d(65, 65, 3), nn.Conv2d(64, 64, 3).half()],
)
def test_unsupported_convolutions(conv: nn.Conv2d) -> None:
    assert not supports(conv)
