"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["psnr"]


def psnr(picture: Tensor, reference: Tensor) -> float:
    """PSNR in dB for a peak of 1: -10 log10 mean((picture - reference)^2); infinite if they are
    equal.

    Both in [0, 1] and of the same shape; computed in float64.
    """
    error = (picture.double() - reference.double()).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)
