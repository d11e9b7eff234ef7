from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from lapsr_cli.errors import UsageError
from lapsr_cli.metrics import protocol
from lapsr_cli.metrics.psnr import psnr
from lapsr_cli.metrics.ssim import ssim


def noisy_pair(height: int = 30, width: int = 25) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(height, width, generator=generator, dtype=torch.float64)
    noise = torch.randn(height, width, generator=generator, dtype=torch.float64)
    return x, (x + 0.1 * noise).clamp(0, 1)


def test_psnr_of_a_known_error() -> None:
    x = torch.full((4, 4), 0.5)
    assert psnr(x + 0.1, x) == pytest.approx(20.0, abs=1e-5)
    assert psnr(x, x) == math.inf


def test_ssim_against_scipy() -> None:
    """The same definition with scipy's filters, edge pixels repeated ("nearest")."""
    x, y = noisy_pair()
    taps = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    taps /= taps.sum()

    def blur(
        a: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        rows = correlate1d(a, taps, 0, mode="nearest")
        return np.asarray(correlate1d(rows, taps, 1, mode="nearest"))

    a, b = x.numpy(), y.numpy()
    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    expected = ((2 * ma * mb + 1e-4) * (2 * cov + 9e-4)) / (
        (ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)
    )
    assert ssim(x, y) == pytest.approx(expected.mean(), abs=1e-12)
    assert ssim(x, x) == pytest.approx(1.0)


def test_protocol_crops_rounds_and_ignores_the_edges() -> None:
    hr, _ = noisy_pair(29, 23)
    scale = 4
    assert protocol.degrade(hr, scale).shape == (7, 5)
    exact = hr[:28, :20].clone()
    assert protocol.score(exact, hr, scale).psnr == math.inf
    spoilt = exact.clone()
    spoilt[:4] = spoilt[-4:] = 0
    spoilt[:, :4] = spoilt[:, -4:] = 1
    assert protocol.score(spoilt, hr, scale).psnr == math.inf  # only the ignored edges differ
    below_half_a_level = (exact * 255).round() / 255 + 0.4 / 255
    assert protocol.score(below_half_a_level, hr, scale).psnr == math.inf


def test_grey_is_used_as_it_is() -> None:
    grey = torch.randint(0, 256, (1, 5, 5), dtype=torch.uint8)
    assert torch.equal(protocol.luma_of(grey), grey[0].double() / 255)
    white = torch.full((3, 2, 2), 255, dtype=torch.uint8)
    assert protocol.luma_of(white).mean().item() == pytest.approx(235 / 255)


def test_a_picture_smaller_than_the_scale_is_refused() -> None:
    with pytest.raises(UsageError, match="8"):
        protocol.degrade(torch.rand(7, 30), 8)
