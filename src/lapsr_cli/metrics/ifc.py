"""The information fidelity criterion (IFC), and the part of the steerable pyramid it needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lapsr_cli.errors import UsageError

__all__ = ["SMALLEST_SIDE", "ifc", "subbands"]

_LEVELS = 4
_BLOCK = 3
_NOISE = 1e-10
_TOLERANCE = 1e-15

SMALLEST_SIDE = 72
"""Height and width that a picture needs, in pixels. Halved three times it is 9, the width of the
pyramid's low-pass filter; matlabPyrTools builds no four levels from less."""


def ifc(picture: Tensor, reference: Tensor) -> float:
    """IFC of ``picture``: 0 if it has no information about ``reference``; there is no upper bound.

    Sheikh, Bovik, de Veciana, "An information fidelity criterion for image quality assessment
    using natural scene statistics", IEEE TIP 14(12), 2005, as computed by the authors' ifcvec.m,
    which super-resolution papers report. A subband of the reference is modelled as a Gaussian scale
    mixture: its 3 x 3 blocks share a covariance C with eigenvalues l_k, and each block has its own
    scale s^2. The picture's subband is the reference's times a gain g, plus noise of variance v;
    both are fitted in a window around every block. IFC is the sum of

        log2(1 + g^2 s^2 l_k / (v + 1e-10))

    over subbands, blocks and k, divided by the number of pixels. (The mutual information is half of
    that; ifcvec.m omits the factor.)

    Both are luma (H, W) in [0, 1]; computed in float64 on the CPU. 1e-10 is for values in [0, 1],
    as LapSRN's authors call ifcvec.m; with values up to 255, Set5's figures would be higher by up
    to 0.02 %.

    Raises UsageError if height or width is below ``SMALLEST_SIDE``.
    """
    height, width = reference.shape
    if min(height, width) < SMALLEST_SIDE:
        smallest = f"{SMALLEST_SIDE} x {SMALLEST_SIDE}"
        raise UsageError(f"IFC needs at least {smallest} pixels, not {width} x {height}")
    pair = torch.stack([reference, picture]).double().cpu()  # (2, H, W)
    bits = sum(_bits(level, subband) for level, subband in subbands(pair))
    return bits / (height * width)


def subbands(pictures: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Pictures (N, H, W) -> level and coefficients of the subbands that IFC uses.

    Of the six orientations these are the horizontal and the vertical, on levels 0 (finest) to 3,
    each (N, H / 2^level, W / 2^level) with the sides rounded up.
    """
    low = _filtered(pictures, _LOW_0)
    for level in range(_LEVELS):
        yield level, _filtered(low, _BAND)
        yield level, _filtered(low, _BAND.T)
        low = _filtered(low, _LOW)[:, ::2, ::2]


def _bits(level: int, subband: Tensor) -> float:
    """Information, in bits, of the picture's subband about the reference's: (2, H, W), the
    reference first."""
    height, width = (side - side % _BLOCK for side in subband.shape[-2:])
    x, y = subband[:, :height, :width]
    window = 2 ** (_LEVELS - level) + 1
    border = math.ceil((window // 2) / _BLOCK)  # blocks whose windows would cross the edge
    inner = slice(border, -border)
    gain, noise = _distortion(x, y, window, border)  # (H/3 - 2 border, W/3 - 2 border)
    scale, eigenvalues = _mixture(x)  # (H/3, W/3), (9,)
    signal = (gain**2 * scale[inner, inner])[..., None] * eigenvalues
    return float(torch.log2(1 + signal / (noise[..., None] + _NOISE)).sum())


def _distortion(x: Tensor, y: Tensor, window: int, border: int) -> tuple[Tensor, Tensor]:
    """Gain and noise variance of y = g x + noise, by least squares in a window around each block.

    The gain is 0 where x or y is constant, or their correlation is negative.
    """
    first = border * _BLOCK + _BLOCK // 2 - window // 2  # start of the first window
    planes = torch.stack([x, y, x * x, y * y, x * y])[:, first:-first, first:-first]
    means = F.avg_pool2d(planes, window, stride=_BLOCK)  # (5, H/3 - 2 border, W/3 - 2 border)
    mean_x, mean_y, square_x, square_y, product = means
    count = window**2
    variation_x = count * (square_x - mean_x**2)  # sums of squares, which the tolerance is for
    variation_y = count * (square_y - mean_y**2)
    covariation = count * (product - mean_x * mean_y)
    gain = covariation / (variation_x.clamp(min=0) + _TOLERANCE)
    noise = (variation_y.clamp(min=0) - gain * covariation) / count
    constant = (variation_x < _TOLERANCE) | (variation_y < _TOLERANCE)
    return gain.clamp(min=0).masked_fill(constant, 0), noise.clamp(min=_TOLERANCE)


def _mixture(x: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a Gaussian scale mixture to x (H, W): s^2 of its blocks (H/3, W/3), C's eigenvalues (9,).

    C is the covariance of all blocks, overlapping ones included; s^2 = c' C^-1 c / 9 for a block c.
    In directions without variance, a pseudo-inverse is used (ifcvec.m divides by 0 there).
    """
    overlapping = x.unfold(0, _BLOCK, 1).unfold(1, _BLOCK, 1).reshape(-1, _BLOCK**2)
    covariance = torch.cov(overlapping.T, correction=0)
    eigenvalues, directions = torch.linalg.eigh(covariance)
    varies = eigenvalues > eigenvalues.max() * _BLOCK**2 * torch.finfo(torch.float64).eps
    inverse = torch.where(varies, 1 / eigenvalues, 0)
    blocks = x.unfold(0, _BLOCK, _BLOCK).unfold(1, _BLOCK, _BLOCK).flatten(-2)  # (H/3, W/3, 9)
    return (blocks @ directions) ** 2 @ inverse / _BLOCK**2, eigenvalues


def _filtered(planes: Tensor, taps: Tensor) -> Tensor:
    """Correlate planes (N, H, W) with taps (K, K), mirrored about the pixels at the edge.

    Tap by tap, because F.conv2d in float64 copies the picture K^2 times first and took 20 times as
    long. The boundary is "reflect1" of matlabPyrTools' corrDn: edge pixels are not repeated.
    """
    height, width = planes.shape[-2:]
    padded = F.pad(planes[:, None], [len(taps) // 2] * 4, mode="reflect")[:, 0]
    result = torch.zeros_like(planes)
    for row, line in enumerate(taps.tolist()):
        for column, tap in enumerate(line):
            result.add_(padded[:, row : row + height, column : column + width], alpha=tap)
    return result


def _mirrored(quadrant: Sequence[Sequence[float]], below: int = 1) -> Tensor:
    """A filter from its upper left quadrant, which includes the middle row and column; the lower
    half is the upper one times ``below``."""
    upper = torch.tensor(quadrant, dtype=torch.float64)
    upper = torch.cat([upper, upper[:, :-1].flip(1)], dim=1)
    return torch.cat([upper, below * upper[:-1].flip(0)])


# sp5Filters of Eero Simoncelli's matlabPyrTools (MIT licence): coefficients from Karasaridis and
# Simoncelli, "A filter design technique for steerable pyramid image transforms", ICASSP 1996. _BAND
# is the horizontal one of the six orientations; the vertical one is its transpose.
_LOW_0 = _mirrored(
    [
        [0.00341614, -0.01551246, -0.03848215],
        [-0.01551246, 0.05586982, 0.15925570],
        [-0.03848215, 0.15925570, 0.40304148],
    ]
)
_LOW = 2 * _mirrored(
    [
        [0.00085404, -0.00244917, -0.00387812, -0.00944432, -0.00962054],
        [-0.00244917, -0.00523281, -0.00661117, 0.00410600, 0.01002988],
        [-0.00387812, -0.00661117, 0.01396746, 0.03277038, 0.03981393],
        [-0.00944432, 0.00410600, 0.03277038, 0.06426333, 0.08169618],
        [-0.00962054, 0.01002988, 0.03981393, 0.08169618, 0.10096540],
    ]
)
_BAND = _mirrored(
    [
        [0.00277643, 0.00496194, 0.01026699, 0.01455399],
        [-0.00986904, -0.00893064, 0.01189859, 0.02755155],
        [-0.01021852, -0.03075356, -0.08226445, -0.11732297],
        [0.0, 0.0, 0.0, 0.0],
    ],
    below=-1,
)
