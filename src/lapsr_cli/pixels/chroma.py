"""Restores chroma that JPEG subsampled and quantized coarsely, with the luma as a guide.

`restored` is a bilateral filter that weights neighbours by their distance, luma and chroma (Tomasi
and Manduchi, ICCV 1998, equation 5). Luma is coded more finely than chroma, so it tells which
pixels belong together, as in joint bilateral filters (Petschnigg et al., SIGGRAPH 2004, equation
4). JPEG quantizes low frequencies finely, so what the filter changes there is put back after each
pass: back-projection, as for super-resolution (Irani and Peleg, CVGIP 53(3), 1991).

`slope` says by how much chroma changes where luma does, so that the details which the network gives
to luma can be given to chroma. It is that of the guided filter (He et al., ECCV 2010, equations 5
and 8).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import torch
from torch import Tensor

__all__ = ["REACH", "restored", "slope"]

_RADIUS, _STRIDE = 8, 2
"""Pixels that the filter reaches in each direction. It reads every second one: subsampled chroma
has no more."""
_DISTANCE_SIGMA = 6.0
"""Pixels."""
_LUMA_SIGMA = 10.0
"""Levels of 255."""
_CHROMA_SIGMA, _REFERENCE_STEP = 10.0, 43.4
"""Levels of 255, for the mean step of libjpeg at quality 75; less for smaller steps, but no more
for larger ones."""
_PASSES = 2
_LOW_RADIUS = 3
"""Of the mean that counts as low frequencies."""
_PUT_BACK = 1.2
"""More than 1, because the mean weakens low frequencies too."""
_SLOPE_RADIUS = 1
_SLOPE_NOISE = 5.0
"""Levels of 255 of luma; the guided filter's epsilon is their square."""
_SLOPE_SHARE = 0.7
"""Of the slope: chroma follows the luma that the network makes less closely than that it reads."""
REACH = _PASSES * (_RADIUS + _LOW_RADIUS) + 2 * _SLOPE_RADIUS
"""Pixels on either side that the restored chroma and the slope of a pixel depend on."""
_LEAST_EXPONENT = -60.0
"""Of a weight that is nothing beside 1, and still no denormal number, which takes ten times as long
to compute with."""
_BLOCK = 240
"""Side of the blocks on the CPU: what the filter needs for one stays in the cache."""


def restored(luma: Tensor, chroma: Tensor, step: float) -> Tensor:
    """Chroma (B, 2, H, W) without most of what JPEG did to it; ``luma`` is (B, 1, H, W), both in
    [0, 1].

    ``step``: the mean step by which JPEG quantized the coefficients of chroma, in levels of 255.
    """
    sigma = _CHROMA_SIGMA * min(1.0, step / _REFERENCE_STEP)
    guide = luma * (255 / (math.sqrt(2) * _LUMA_SIGMA))
    coded = chroma * (255 / (math.sqrt(2) * sigma))
    result = coded
    for _ in range(_PASSES):
        result = _filtered(torch.cat([guide, result], dim=1))  # (B, 2, H, W)
        result = result + _PUT_BACK * _mean(coded - result, _LOW_RADIUS)
    return result * (math.sqrt(2) * sigma / 255)


def slope(luma: Tensor, chroma: Tensor) -> Tensor:
    """By how much chroma (B, 2, H, W) changes per change of ``luma`` (B, 1, H, W) around each
    pixel, (B, 2, H, W); somewhat less, so that it can be applied to enlarged luma."""
    radius = _SLOPE_RADIUS
    luma, chroma = luma - 0.5, chroma - 0.5  # small numbers lose less in the differences below
    mean_luma, mean_chroma = _mean(luma, radius), _mean(chroma, radius)
    variance = (_mean(luma.square(), radius) - mean_luma.square()).clamp(min=0)
    covariance = _mean(luma * chroma, radius) - mean_luma * mean_chroma
    return _SLOPE_SHARE * _mean(covariance / (variance + (_SLOPE_NOISE / 255) ** 2), radius)


def _mean(planes: Tensor, radius: int) -> Tensor:
    """Over a square of 2 ``radius`` + 1 pixels, or what there is of it at the edge. Sums of parts
    of (B, C, H, W) take a tenth of the time of torch's pooling on the CPU."""
    for axis in (-2, -1):
        length = planes.shape[axis]
        total = planes.clone()
        for shift in range(1, min(radius, length - 1) + 1):
            rest = length - shift
            total.narrow(axis, 0, rest).add_(planes.narrow(axis, shift, rest))
            total.narrow(axis, shift, rest).add_(planes.narrow(axis, 0, rest))
        place = torch.arange(length, device=planes.device)
        count = 1 + place.clamp(max=radius) + (length - 1 - place).clamp(max=radius)
        planes = total / count.view(-1, *[1] * (-axis - 1))
    return planes


def _filtered(scaled: Tensor) -> Tensor:
    """The bilateral filter: luma and chroma (B, 3, H, W), divided by sqrt(2) times their sigma ->
    chroma (B, 2, H, W). On the CPU in blocks, by threads that do not wait for each other."""
    if scaled.device.type != "cpu":
        return _filtered_block(scaled)
    height, width = scaled.shape[-2:]
    result = torch.empty_like(scaled[:, 1:])  # (B, 2, H, W)

    def put_block(corner: tuple[int, int]) -> None:
        top, left = corner
        first_row, first_column = max(0, top - _RADIUS), max(0, left - _RADIUS)
        rows = slice(first_row, top + _BLOCK + _RADIUS)
        columns = slice(first_column, left + _BLOCK + _RADIUS)
        with torch.inference_mode():
            block = _filtered_block(scaled[:, :, rows, columns].contiguous())
            core = block[:, :, top - first_row :, left - first_column :][..., :_BLOCK, :_BLOCK]
            result[:, :, top : top + _BLOCK, left : left + _BLOCK] = core

    corners = product(range(0, height, _BLOCK), range(0, width, _BLOCK))
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, "chroma", torch.set_num_threads, (1,)) as pool:
        for _ in pool.map(put_block, corners):
            pass
    torch.set_num_threads(threads)  # for threads that start later, which would have one as well
    return result


def _filtered_block(scaled: Tensor) -> Tensor:
    """`_filtered` in one piece. Two pixels have the same weight for each other, so it is computed
    once for both."""
    total = scaled[:, 1:].clone()  # (B, 2, H, W)
    weights = torch.ones_like(scaled[:, :1])  # (B, 1, H, W)
    for one, other, distance in _pairs(*scaled.shape[-2:]):
        near, far = scaled[one], scaled[other]
        exponent = (far - near).square_().sum(1, keepdim=True).add_(distance).neg_()
        weight = exponent.clamp_(min=_LEAST_EXPONENT).exp_()  # (B, 1, h, w)
        total[one].addcmul_(weight, far[:, 1:])
        total[other].addcmul_(weight, near[:, 1:])
        weights[one].add_(weight)
        weights[other].add_(weight)
    return total.div_(weights)


_Part = tuple[slice, slice, slice, slice]


def _pairs(height: int, width: int) -> Iterator[tuple[_Part, _Part, float]]:
    """Every two parts of maps (B, C, height, width) of which each pixel of one is read for the
    pixel at the same place of the other, and the square of their distance, divided by twice that of
    its sigma. Each two are given once."""
    everything = slice(None)
    for down in range(0, min(_RADIUS + 1, height), _STRIDE):
        for right in range(-_RADIUS if down else _STRIDE, _RADIUS + 1, _STRIDE):
            if abs(right) >= width:
                continue
            left, end = max(0, -right), width - max(0, right)
            one = (everything, everything, slice(0, height - down), slice(left, end))
            columns = slice(left + right, end + right)
            other = (everything, everything, slice(down, height), columns)
            yield one, other, (down**2 + right**2) / (2 * _DISTANCE_SIGMA**2)
