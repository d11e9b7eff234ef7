from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lapsr_cli.pixels.color import luma, rgb_to_ycbcr, ycbcr_to_rgb

MATLAB = {
    # rgb2ycbcr for uint8: from MATLAB's documentation, and of the primaries
    (0, 0, 0): (16, 128, 128),
    (255, 255, 255): (235, 128, 128),
    (255, 0, 0): (81, 90, 240),
    (0, 255, 0): (145, 54, 34),
    (0, 0, 255): (41, 240, 110),
}


def planes(colour: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.float64).view(3, 1, 1) / 255


def test_primaries_in_studio_swing() -> None:
    for rgb, ycbcr in MATLAB.items():
        levels = (rgb_to_ycbcr(planes(rgb)) * 255).round().flatten().int().tolist()
        assert tuple(levels) == ycbcr


def test_against_the_formula_of_the_standard() -> None:
    """BT.601: Y' = 0.299 R + 0.587 G + 0.114 B; 219 levels of luma, 224 of chroma."""
    r, g, b = rgb = np.random.default_rng(0).random((3, 8, 9))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    expected = np.stack(
        [16 + 219 * y, 128 + 224 * (b - y) / (2 * 0.886), 128 + 224 * (r - y) / (2 * 0.701)]
    )
    ours = rgb_to_ycbcr(torch.from_numpy(rgb)).numpy() * 255
    np.testing.assert_allclose(ours, expected, atol=2e-3)  # MATLAB rounds its coefficients


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_round_trip(rgb: list[float]) -> None:
    colour = torch.tensor(rgb, dtype=torch.float64).view(3, 1, 1)
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(colour)), colour, atol=1e-12, rtol=0)


def test_every_8_bit_colour_survives_float32() -> None:
    levels = torch.arange(0, 256, 15, dtype=torch.uint8)
    rgb = torch.cartesian_prod(levels, levels, levels).T.reshape(3, -1, 1)  # (3, N, 1)
    back = ycbcr_to_rgb(rgb_to_ycbcr(rgb.float() / 255))
    assert torch.equal((back * 255).round().to(torch.uint8), rgb)


def test_luma_is_the_first_plane_of_a_batch() -> None:
    rgb = torch.rand(2, 5, 3, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(luma(rgb), rgb_to_ycbcr(rgb)[..., :1, :, :])
