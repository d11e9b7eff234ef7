"""The network in strips of rows against the reference, in float64, for any height of strips."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lapsr_cli.cpu.kernels import winograd
from lapsr_cli.cpu.kernels.winograd_transforms import transformed_kernels
from lapsr_cli.cpu.streaming import StreamingPyramid
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from tests.conftest import SMALL_CONFIGS, random_network


def in_strips(reference: LaplacianPyramid, pixels: int) -> StreamingPyramid:
    """The same network in strips of about ``pixels`` pixels, in the dtype of ``reference``."""
    network = FusedPyramid.copy_of(reference)
    return StreamingPyramid(network, strip_pixels=pixels, whole_pixels=0)


def assert_equal_pictures(
    reference: LaplacianPyramid, strips: StreamingPyramid, luma: Tensor, scale: int
) -> None:
    expected, pictures = reference(luma, scale), strips(luma, scale)
    assert list(pictures) == list(expected)
    for key, picture in pictures.items():
        torch.testing.assert_close(picture, expected[key], rtol=1e-12, atol=1e-12)


SIDES = st.integers(1, 33)
COMPILED_CONFIGS = [replace(config, channels=8) for config in SMALL_CONFIGS]
"""With channels that fill the vectors of every processor."""


@settings(max_examples=150)
@given(
    config=st.sampled_from(SMALL_CONFIGS + COMPILED_CONFIGS),
    level=st.integers(0, 2),
    shape=st.tuples(st.integers(1, 3), st.just(1), SIDES, SIDES),
    pixels=st.integers(1, 400),
)
def test_equal_pictures(
    config: PyramidConfig, level: int, shape: tuple[int, int, int, int], pixels: int
) -> None:
    """From a single row to several strips, from the lowest strips to one for the whole picture."""
    reference = random_network(config)
    luma = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scale = config.scales[min(level, len(config.scales) - 1)]
    assert_equal_pictures(reference, in_strips(reference, pixels), luma, scale)


@settings(max_examples=30)
@given(
    config=st.sampled_from(SMALL_CONFIGS),
    height=st.integers(1, 90),
    width=st.integers(1, 8),
    pixels=st.integers(1, 200),
)
def test_progress_counts_the_rows_that_are_through(
    config: PyramidConfig, height: int, width: int, pixels: int
) -> None:
    """Rising to exactly 1, at least once for the rows that a strip can have."""
    strips = in_strips(random_network(config), pixels)
    shares: list[float] = []
    strips(torch.rand(1, 1, height, width, dtype=torch.float64), progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    rows_of_a_strip = max(4, pixels // width)
    assert len(shares) >= height // rows_of_a_strip


def test_fp32_is_close_to_the_reference() -> None:
    """D5R8 as published, over several strips and with Winograd's convolution."""
    torch.manual_seed(0)
    reference = LaplacianPyramid(PyramidConfig(depth=5, recursions=8)).requires_grad_(False)
    torch.nn.init.normal_(reference.conv_in.weight, std=0.05)
    for parameter in reference.level(1).convs.parameters():
        parameter.mul_(0.5)  # with initial weights, features would explode over forty layers
    strips = in_strips(reference, 512)
    luma = torch.rand(1, 1, 40, 33)
    assert (strips(luma, 2)[2] - reference(luma, 2)[2]).abs().max() < 1e-5


def test_a_small_picture_is_processed_as_a_whole_map() -> None:
    reference = random_network(SMALL_CONFIGS[0])
    whole = StreamingPyramid(FusedPyramid.copy_of(reference))
    luma = torch.rand(1, 1, 9, 7, dtype=torch.float64)
    assert_equal_pictures(reference, whole, luma, 8)


def test_a_network_of_many_layers() -> None:
    """300 stages: Python's limit of nested calls, a thousand, must not limit the layers."""
    config = PyramidConfig(depth=1, recursions=300, channels=2, levels=2)
    strips = in_strips(LaplacianPyramid(config), 200)
    assert strips(torch.rand(1, 1, 4, 4))[4].shape == (1, 1, 16, 16)


def test_each_kernel_is_prepared_once_per_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for every level, recursion and pass: D5R8 has five distinct convolutions."""
    transformed: list[Tensor] = []

    def counting(weight: Tensor) -> Tensor:
        transformed.append(weight)
        return transformed_kernels(weight)

    monkeypatch.setattr(winograd, "transformed_kernels", counting)
    strips = in_strips(LaplacianPyramid(PyramidConfig(depth=5, recursions=8)), 100)
    for _ in range(2):
        strips(torch.rand(1, 1, 9, 7), 4)
    assert len(transformed) == 5
