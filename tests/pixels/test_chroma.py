"""Restored chroma and its slope against their formulas in float64, written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from lapsr_cli.pixels import chroma as chroma_module
from lapsr_cli.pixels.chroma import REACH, restored, slope

Planes = NDArray[np.float64]
STEP = 43.4  # of libjpeg at quality 75


def drawn(channels: int, height: int, width: int, seed: int, contrast: float = 0.3) -> Tensor:
    """Noise around 0.5."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand((1, channels, height, width), generator=generator) - 0.5
    return 0.5 + contrast * noise


def mean(planes: Planes, radius: int) -> Planes:
    """Of (C, H, W), over the square around each pixel, as far as it is in the picture."""
    result = np.empty_like(planes)
    for y, x in np.ndindex(planes.shape[1:]):
        rows = slice(max(0, y - radius), y + radius + 1)
        columns = slice(max(0, x - radius), x + radius + 1)
        result[:, y, x] = planes[:, rows, columns].mean(axis=(1, 2))
    return result


def bilateral(luma: Planes, chroma: Planes, sigma: float) -> Planes:
    """Luma (H, W), chroma (2, H, W), in levels."""
    height, width = luma.shape
    result = np.empty_like(chroma)
    for y, x in np.ndindex(height, width):
        total, weights = np.zeros(2), 0.0
        for v in range(y - 8, y + 9, 2):
            for u in range(x - 8, x + 9, 2):
                if 0 <= v < height and 0 <= u < width:
                    exponent = ((v - y) ** 2 + (u - x) ** 2) / (2 * 6.0**2)
                    exponent += (luma[v, u] - luma[y, x]) ** 2 / (2 * 10.0**2)
                    exponent += ((chroma[:, v, u] - chroma[:, y, x]) ** 2).sum() / (2 * sigma**2)
                    total += np.exp(-exponent) * chroma[:, v, u]
                    weights += np.exp(-exponent)
        result[:, y, x] = total / weights
    return result


@pytest.mark.parametrize(("step", "sigma"), [(STEP, 10.0), (STEP / 4, 2.5), (99.0, 10.0)])
@pytest.mark.parametrize("shape", [(21, 13), (1, 19), (5, 1), (2, 2)])
def test_restored_chroma_is_that_of_the_formula(
    shape: tuple[int, int], step: float, sigma: float
) -> None:
    luma, chroma = drawn(1, *shape, 0), drawn(2, *shape, 1)
    coded = 255 * chroma[0].double().numpy()
    expected = coded
    for _ in range(2):
        expected = bilateral(255 * luma[0, 0].double().numpy(), expected, sigma)
        expected = expected + 1.2 * mean(coded - expected, 3)
    result = 255 * restored(luma, chroma, step)[0].double().numpy()
    assert np.abs(result - expected).max() < 1e-3
    if min(shape) > 2:
        assert np.abs(result - coded).max() > 0.1


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_the_slope_is_that_of_the_guided_filter(height: int, width: int, seed: int) -> None:
    luma, chroma = drawn(1, height, width, seed), drawn(2, height, width, seed + 1)
    guide, planes = luma[0].double().numpy(), chroma[0].double().numpy()
    covariance = mean(guide * planes, 1) - mean(guide, 1) * mean(planes, 1)
    variance = mean(guide**2, 1) - mean(guide, 1) ** 2
    expected = 0.7 * mean(covariance / (variance + (5 / 255) ** 2), 1)
    assert np.abs(slope(luma, chroma)[0].double().numpy() - expected).max() < 1e-4


@settings(max_examples=20)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    block=st.integers(1, 24),
    batch=st.integers(1, 2),
)
def test_blocks_are_restored_as_the_whole(height: int, width: int, block: int, batch: int) -> None:
    luma = torch.cat([drawn(1, height, width, seed) for seed in range(batch)])
    chroma = torch.cat([drawn(2, height, width, seed + 9) for seed in range(batch)])
    whole = restored(luma, chroma, STEP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chroma_module, "_BLOCK", block)
        in_blocks = restored(luma, chroma, STEP)
    torch.testing.assert_close(in_blocks, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("is_upright", [True, False])
def test_a_pixel_reaches_as_far_as_said(*, is_upright: bool) -> None:
    """In luma or chroma: the slope of the pixel at the end of its reach, and none beyond it."""
    length, at = 2 * REACH + 9, REACH + 4
    luma, chroma = drawn(1, 3, length, 0, 0.02), drawn(2, 3, length, 1, 0.02)
    changed = chroma.clone()
    changed[..., at] += 0.02

    def everything(planes: Tensor) -> Tensor:
        pair = (luma, planes) if is_upright else (luma.mT, planes.mT)
        colours = restored(*pair, STEP)
        both = torch.cat([colours, slope(pair[0], colours)], dim=1)
        return both if is_upright else both.mT

    apart = (everything(changed) - everything(chroma)).abs().amax((0, 1, 2))
    touched = apart.nonzero()[:, 0]
    assert (int(touched.min()), int(touched.max())) == (at - REACH, at + REACH)


def test_one_colour_stays_as_it_is() -> None:
    luma, chroma = drawn(1, 30, 30, 0, 0.9), torch.full((1, 2, 30, 30), 0.4)
    torch.testing.assert_close(restored(luma, chroma, STEP), chroma)
    assert slope(luma, chroma).abs().max() < 1e-4


def test_noise_is_removed_and_the_edge_between_two_colours_is_kept() -> None:
    """Where luma has the same edge."""
    edge = torch.zeros(1, 1, 40, 40)
    edge[..., 20:] = 1
    luma, clean = 0.3 + 0.4 * edge, 0.4 + 0.2 * edge.expand(-1, 2, -1, -1)
    noisy = clean + drawn(2, 40, 40, 0, 0.06) - 0.5
    before, after = (
        (each - clean).square().mean() for each in (noisy, restored(luma, noisy, STEP))
    )
    assert after < before / 8
    steep = restored(luma, noisy, STEP)[..., 20] - restored(luma, noisy, STEP)[..., 19]
    assert (steep.mean() - 0.2).abs() < 0.01
