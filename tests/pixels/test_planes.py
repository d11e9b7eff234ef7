"""Splitting samples into planes and merging them again, in blocks of rows and at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lapsr_cli.pixels import planes as planes_module
from lapsr_cli.pixels.chroma import restored, slope
from lapsr_cli.pixels.color import LUMA_SPAN, luma, rgb_to_ycbcr, ycbcr_to_rgb
from lapsr_cli.pixels.planes import merge, split
from lapsr_cli.pixels.resize import resize

DTYPES = st.sampled_from([torch.uint8, torch.uint16])
SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    """Random values, some of them exactly 0 or 1."""
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (1.4 * values - 0.2).clamp(0, 1)


@given(shape=SHAPES, scale=st.sampled_from([2, 4]), rows=st.integers(1, 4), dtype=DTYPES)
def test_blocks_of_rows_are_merged_as_the_whole(
    shape: tuple[int, int, int, int], scale: int, rows: int, dtype: torch.dtype
) -> None:
    batch, _, height, width = shape
    planes = split(drawn(shape, 0))
    large = (batch, 1, scale * height, scale * width)
    upscaled = [1.2 * drawn(large, seed) for seed, _ in enumerate(planes.lumas)]
    results = []
    for pixels in (1 << 30, rows * batch * scale**2 * width):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(planes_module, "_BLOCK_PIXELS", pixels)
            results.append(merge(planes, upscaled, scale, dtype))
    whole, in_rows = (result.numpy().astype(np.int64) for result in results)
    assert whole.shape == (batch, shape[1], scale * height, scale * width)
    assert np.abs(whole - in_rows).max() <= (dtype == torch.uint16)


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_colours_are_the_luma_and_bicubic_chroma(height: int, width: int, seed: int) -> None:
    """Against the definition in float64."""
    rgb = drawn((1, 3, height, width), seed)
    planes = split(rgb)
    torch.testing.assert_close(planes.lumas, (luma(rgb),))
    upscaled = drawn((1, 1, 2 * height, 2 * width), seed + 1)
    assert planes.chroma is not None
    ycbcr = torch.cat([upscaled.double(), resize(planes.chroma.double(), 2.0)], dim=1)
    expected = (ycbcr_to_rgb(ycbcr).clamp(0, 1) * 255).round()
    result = merge(planes, [upscaled], 2, torch.uint8)
    assert (result.double() - expected).abs().max() <= 1


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_chroma_of_a_jpeg_is_restored_and_takes_on_details_of_luma(
    height: int, width: int, seed: int
) -> None:
    """Against the definition in float64."""
    rgb = drawn((1, 3, height, width), seed)
    planes = split(rgb, 30.0)
    read = luma(rgb)
    chroma = restored(read, rgb_to_ycbcr(rgb)[:, 1:], 30.0)
    slopes = slope(read, chroma)
    upscaled = drawn((1, 1, 2 * height, 2 * width), seed + 1)
    details = upscaled.double() - resize(read.double(), 2.0)
    taken = resize(chroma.double(), 2.0) + resize(slopes.double(), 2.0) * details
    expected = ycbcr_to_rgb(torch.cat([upscaled.double(), taken], dim=1)).clamp(0, 1) * 255
    result = merge(planes, [upscaled], 2, torch.uint8)
    assert (result.double() - expected.round()).abs().max() <= 1


def test_opaque_alpha_is_not_upscaled_by_the_network() -> None:
    samples = torch.cat([drawn((1, 3, 4, 5), 0), torch.ones(1, 1, 4, 5)], dim=1)
    planes = split(samples)
    assert len(planes.lumas) == 1
    result = merge(planes, [drawn((1, 1, 8, 10), 1)], 2, torch.uint8)
    assert result.shape == (1, 4, 8, 10)
    assert (result[:, 3] == 255).all()


@pytest.mark.parametrize("is_upright", [True, False])
def test_two_pixels_off_the_edge_alpha_is_exact_whatever_the_network_makes(
    *, is_upright: bool
) -> None:
    """What is transparent is black; and between the two, alpha is what the network made of it."""
    alpha = torch.ones(1, 1, 10, 10)
    alpha[..., :5] = 0
    alpha = alpha if is_upright else alpha.mT
    planes = split(torch.cat([torch.ones(1, 3, 10, 10), alpha], dim=1))
    black, white = LUMA_SPAN
    grey = torch.full((1, 1, 20, 20), black + 0.6 * (white - black))
    lumas = [torch.full_like(grey, white), grey, torch.full_like(grey, white)]
    result = merge(planes, lumas, 2, torch.uint8)
    result = result if is_upright else result.mT
    assert (result[..., :6] == 0).all()
    assert (result[:, 3, :, 6:14] == round(0.6 * 255)).all()
    assert (result[..., 6:] == 255).sum() == 3 * 20 * 14 + 20 * 6


@given(
    samples=st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 99)),
    is_grey=st.booleans(),
)
def test_any_colour_and_alpha_comes_back(
    samples: tuple[float, float, int], *, is_grey: bool
) -> None:
    """From lumas enlarged without error: of one colour, alpha is what it was in every pixel."""
    level, least, seed = samples
    alpha = (least + (1 - least) * drawn((1, 1, 7, 6), seed)).clamp(min=0.1)
    colour = torch.tensor([level] if is_grey else [level, 1 - level, 0.3])
    planes = split(torch.cat([colour[:, None, None].expand(1, -1, 7, 6), alpha], dim=1))
    lumas = [F.interpolate(each, scale_factor=2) for each in planes.lumas]
    result = merge(planes, lumas, 2, torch.uint16).double() / 65535
    if not planes.is_opaque:
        between = F.interpolate(alpha, scale_factor=2)[:, 0]
        assert (result[:, -1] - between).abs().max() < 2e-5
    assert (result[0, :-1] - colour[:, None, None]).abs().max() < 2e-5


@given(shape=SHAPES, seed=st.integers(0, 99))
def test_hidden_colours_are_replaced_and_visible_ones_are_kept(
    shape: tuple[int, int, int, int], seed: int
) -> None:
    batch, channels, height, width = shape
    colours = 1 if channels < 3 else 3
    samples = drawn((batch, colours, height, width), seed)
    alpha = drawn((batch, 1, height, width), seed + 1)
    hidden = torch.where(alpha > 0, samples, drawn(samples.shape, seed + 2))
    one, two = (split(torch.cat([each, alpha], dim=1)) for each in (samples, hidden))
    for first, second in zip(one.lumas, two.lumas, strict=True):
        assert torch.equal(first, second)
    assert one.chroma is None or torch.equal(one.chroma, two.chroma)  # type: ignore[arg-type]
    kept = samples if colours == 1 else luma(samples)
    assert torch.equal(one.lumas[0][alpha >= 1 / 16], kept[alpha >= 1 / 16])


def test_a_transparent_pixel_has_the_colours_around_it() -> None:
    """White to the left, black to the right, nothing between: from one to the other, no third."""
    samples = torch.zeros(1, 2, 5, 12)
    samples[:, :, :, :3] = 1
    samples[:, 1, :, 9:] = 1
    samples[:, 0, :, 3:9] = 0.7  # hidden
    (row,) = split(samples).lumas[0][0, 0, 2:3]
    assert (row[:3] == 1).all()
    assert (row[9:] == 0).all()
    assert (row[3:6] > 0.6).all()
    assert (row[6:9] < 0.4).all()
    assert (row.diff() <= 0).all()
    assert row[3] > 0.99
    assert row[8] < 0.01
