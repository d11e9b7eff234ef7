"""The network in strips against the reference, in float64: the same, wherever a strip ends."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lapsr_cli.cpu.streaming import StreamingPyramid
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from tests.conftest import SMALL_CONFIGS, random_network


def in_strips(reference: LaplacianPyramid, pixels: int) -> StreamingPyramid:
    """The same network, in its dtype."""
    network = FusedPyramid.copy_of(reference)
    return StreamingPyramid(network, strip_pixels=pixels, whole_pixels=0)


def assert_equal_pictures(
    reference: LaplacianPyramid, strips: StreamingPyramid, luma: torch.Tensor, scale: int
) -> None:
    expected, pictures = reference(luma, scale), strips(luma, scale)
    assert list(pictures) == list(expected)
    for key, picture in pictures.items():
        torch.testing.assert_close(picture, expected[key], rtol=1e-12, atol=1e-12)


SIDES = st.integers(1, 33)
COMPILED_CONFIGS = [replace(config, channels=8) for config in SMALL_CONFIGS]
"""Channels that fill the vectors of every processor."""


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
    """From one row to several strips, from strips lower than the network looks ahead to one."""
    reference = random_network(config)
    luma = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scale = config.scales[min(level, len(config.scales) - 1)]
    assert_equal_pictures(reference, in_strips(reference, pixels), luma, scale)


def test_fp32_is_near_the_reference() -> None:
    """The published shape, D5R8, over several strips and with Winograd's convolution."""
    torch.manual_seed(0)
    reference = LaplacianPyramid(PyramidConfig(depth=5, recursions=8)).requires_grad_(False)
    torch.nn.init.normal_(reference.conv_in.weight, std=0.05)
    for parameter in reference.level(1).convs.parameters():
        parameter.mul_(0.5)  # or forty layers of first weights would grow beyond any picture
    strips = in_strips(reference, 512)
    luma = torch.rand(1, 1, 40, 33)
    assert (strips(luma, 2)[2] - reference(luma, 2)[2]).abs().max() < 1e-5


def test_a_small_picture_goes_through_whole() -> None:
    reference = random_network(SMALL_CONFIGS[0])
    whole = StreamingPyramid(FusedPyramid.copy_of(reference))
    luma = torch.rand(1, 1, 9, 7, dtype=torch.float64)
    assert_equal_pictures(reference, whole, luma, 8)


def test_as_many_layers_as_wanted() -> None:
    """Layers draw from each other like nested calls, of which Python allows a thousand."""
    config = PyramidConfig(depth=1, recursions=300, channels=2, levels=2)
    strips = in_strips(LaplacianPyramid(config), 200)
    assert strips(torch.rand(1, 1, 4, 4))[4].shape == (1, 1, 16, 16)
