"""Winograd's convolution against the direct one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lapsr_cli.winograd import RowWinograd


@pytest.mark.parametrize("height", [2, 3, 5, 6, 7, 10, 21])
@pytest.mark.parametrize("width", [1, 2, 9])
def test_equal_to_the_direct_convolution(height: int, width: int) -> None:
    """From no row to make to several fours and a rest."""
    torch.manual_seed(height)
    conv = nn.Conv2d(3, 5, 3).double().requires_grad_(False)
    window = torch.rand(2, 3, height, width, dtype=torch.float64)
    made = RowWinograd(conv)(window)
    assert made.shape == (2, 5, height - 2, width)
    if height > 2:
        expected = F.conv2d(window, conv.weight, conv.bias, padding=(0, 1))
        torch.testing.assert_close(made, expected, rtol=1e-12, atol=1e-12)


def test_fp32_keeps_its_digits() -> None:
    """64 channels as in the published networks: within 8 times the error of the direct one."""
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3).requires_grad_(False)
    window = torch.randn(1, 64, 18, 40)
    direct = F.conv2d(window, conv.weight, conv.bias, padding=(0, 1))
    made = RowWinograd(conv)(window)
    conv.double()
    exact = F.conv2d(window.double(), conv.weight, conv.bias, padding=(0, 1))
    assert (made - exact).square().mean() < 64 * (direct - exact).square().mean()
