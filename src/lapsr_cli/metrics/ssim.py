"""Structural similarity."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ssim"]

_RADIUS = 5
_SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2


def ssim(picture: Tensor, reference: Tensor) -> float:
    """Mean SSIM for a peak of 1, as computed by ssim of MATLAB's Image Processing Toolbox.

    With means m, variances s and covariance s_xy under a Gaussian window (11 x 11, sigma 1.5)
    centred on every pixel, edge pixels repeated beyond the edge:

        (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2))

    with C1 = 0.01^2 and C2 = 0.03^2. Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13(4), 2004,
    equation 13. Their own script skips windows that cross the edge, the toolbox does not; the
    papers used the toolbox. Both pictures (H, W) in [0, 1]; computed in float64.
    """
    x = picture.double()
    y = reference.double()
    planes = torch.stack([x, y, x * x, y * y, x * y])[:, None]  # (5, 1, H, W)
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64, device=x.device)
    gauss = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    gauss = gauss / gauss.sum()
    blurred = F.pad(planes, [_RADIUS] * 4, mode="replicate")  # (5, 1, H + 10, W + 10)
    blurred = F.conv2d(blurred, gauss.view(1, 1, -1, 1))
    blurred = F.conv2d(blurred, gauss.view(1, 1, 1, -1))  # (5, 1, H, W)
    mean_x, mean_y, square_x, square_y, product = blurred[:, 0]
    variance_x = square_x - mean_x**2
    variance_y = square_y - mean_y**2
    covariance = product - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)) / (
        (mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2)
    )
    return float(similarity.mean())
