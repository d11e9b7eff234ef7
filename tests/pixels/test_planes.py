"""Splitting samples into planes and merging them again, in blocks of rows and at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lapsr_cli.pixels import planes as planes_module
from lapsr_cli.pixels.color import luma, ycbcr_to_rgb
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
    upscaled = [1.2 * drawn((batch, 1, scale * height, scale * width), seed) for seed in (1, 2)]
    alpha = None if planes.alpha is None else upscaled[1]
    results = []
    for pixels in (1 << 30, rows * batch * scale**2 * width):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(planes_module, "_BLOCK_PIXELS", pixels)
            results.append(merge(planes, upscaled[0], alpha, scale, dtype))
    whole, in_rows = (result.numpy().astype(np.int64) for result in results)
    assert whole.shape == (batch, shape[1], scale * height, scale * width)
    assert np.abs(whole - in_rows).max() <= (dtype == torch.uint16)


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_colours_are_the_luma_and_bicubic_chroma(height: int, width: int, seed: int) -> None:
    """Against the definition in float64."""
    rgb = drawn((1, 3, height, width), seed)
    planes = split(rgb)
    torch.testing.assert_close(planes.luma, luma(rgb))
    upscaled = drawn((1, 1, 2 * height, 2 * width), seed + 1)
    assert planes.chroma is not None
    ycbcr = torch.cat([upscaled.double(), resize(planes.chroma.double(), 2.0)], dim=1)
    expected = (ycbcr_to_rgb(ycbcr).clamp(0, 1) * 255).round()
    result = merge(planes, upscaled, None, 2, torch.uint8)
    assert (result.double() - expected).abs().max() <= 1


def test_opaque_alpha_is_not_upscaled_by_the_network() -> None:
    samples = torch.cat([drawn((1, 3, 4, 5), 0), torch.ones(1, 1, 4, 5)], dim=1)
    planes = split(samples)
    assert planes.alpha is None
    result = merge(planes, drawn((1, 1, 8, 10), 1), None, 2, torch.uint8)
    assert result.shape == (1, 4, 8, 10)
    assert (result[:, 3] == 255).all()


@pytest.mark.parametrize("is_upright", [True, False])
def test_pixels_with_transparent_neighbours_stay_transparent_and_are_black(
    *, is_upright: bool
) -> None:
    alpha = torch.ones(1, 1, 6, 6)
    alpha[..., :4] = 0
    alpha = alpha if is_upright else alpha.mT
    planes = split(torch.cat([drawn((1, 3, 6, 6), 0), alpha], dim=1))
    upscaled = drawn((1, 1, 12, 12), 1)
    result = merge(planes, upscaled, torch.full((1, 1, 12, 12), 0.6), 2, torch.uint8)
    result = result if is_upright else result.mT
    assert (result[..., :6] == 0).all()
    assert (result[:, 3, :, 6:10] == round(0.6 * 255)).all()
    assert (result[:, 3, :, 10:] == 255).all()
