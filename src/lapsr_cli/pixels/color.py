"""BT.601 colour in studio swing, as in MATLAB's rgb2ycbcr and ycbcr2rgb for doubles.

All values are 8-bit values divided by 255, in [0, 1]. Luma spans 16/255 to 235/255, chroma 16/255
to 240/255 around 128/255. Source: ITU-R BT.601-7 section 2.5.1 with 8-bit quantization; the
coefficients are MATLAB's, rounded to three decimals of an 8-bit level.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LUMA_SPAN", "luma", "rgb_to_ycbcr", "ycbcr_to_rgb"]

LUMA_SPAN = (16 / 255, 235 / 255)
"""The luma of black and of white."""

_FORWARD = (
    (65.481, 128.553, 24.966),
    (-37.797, -74.203, 112.0),
    (112.0, -93.786, -18.214),
)
_OFFSET = (16.0, 128.0, 128.0)


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """RGB (..., 3, H, W) in [0, 1] -> Y, Cb, Cr (..., 3, H, W) in [0, 1], of the same dtype."""
    return _mix(rgb, _matrix(rgb)) + _offset(rgb)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """The inverse of `rgb_to_ycbcr`. Values outside the RGB cube are not clamped."""
    inverse = torch.linalg.inv(torch.tensor(_FORWARD, dtype=torch.float64) / 255)
    return _mix(ycbcr - _offset(ycbcr), inverse.to(ycbcr))


def luma(rgb: Tensor) -> Tensor:
    """RGB (..., 3, H, W) in [0, 1] -> Y (..., 1, H, W) in [0, 1]."""
    return _mix(rgb, _matrix(rgb)[:1]) + _offset(rgb)[:1]


def _matrix(like: Tensor) -> Tensor:
    return torch.tensor(_FORWARD, dtype=like.dtype, device=like.device) / 255  # (3, 3)


def _offset(like: Tensor) -> Tensor:
    offset = torch.tensor(_OFFSET, dtype=like.dtype, device=like.device) / 255
    return offset[:, None, None]  # (3, 1, 1)


def _mix(planes: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("oc,...chw->...ohw", matrix, planes)
