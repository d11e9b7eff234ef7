"""Calibration for int8: the ranges of what the convolutions of the recursive blocks read.

int8 arithmetic needs these ranges in advance, and clips what lies outside. Photographs reach only
a fifth of the range that is possible: with ranges measured on them, text and dithered pictures come
out damaged. Therefore the ranges are measured on patterns as demanding as pictures get; photographs
stay within them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lapsr_cli.network.pyramid import LaplacianPyramid

__all__ = ["patterns", "ranges_of"]

_SIDE = 32
_CONTRAST = 0.8
"""Of the patterns. With full contrast, the scales of int8 are so coarse that Set5 loses 0.10 dB at
2x; with this, 0.05, and patterns of full contrast still reach 20 to 40 dB against fp32."""


def ranges_of(model: LaplacianPyramid) -> Tensor:
    """The calibration ranges of ``model``, over all ``patterns``: minimum and maximum of each input
    channel of each convolution, (levels, R, D, C, 2), fp32."""
    with torch.inference_mode():
        ranges = torch.stack([_input_ranges(model, luma) for luma in patterns()])
        lowest, highest = ranges.unbind(-1)
        joined = torch.stack([lowest.amin(0), highest.amax(0)], dim=-1)
    return joined.clone()


def patterns() -> Iterator[Tensor]:
    """Luma (1, 1, 32, 32), from 0.1 to 0.9: flat, noise, dither, stripes, checkerboards, dots, each
    with its negative."""
    down, across = torch.meshgrid(*2 * [torch.arange(_SIDE)], indexing="ij")
    noise = torch.rand(_SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    drawn = [torch.zeros(_SIDE, _SIDE), noise, *(noise < share for share in (0.15, 0.5, 0.85))]
    for pixels in (1, 2):
        rows, columns = down // pixels % 2, across // pixels % 2
        drawn += [rows, columns, (rows + columns) % 2]
    drawn += [(down + across) // 2 % 2, (down % 4 == 0) & (across % 4 == 0)]
    for pattern in drawn:
        for luma in (pattern.float(), 1 - pattern.float()):
            yield 0.5 + _CONTRAST * (luma[None, None] - 0.5)


def _input_ranges(model: LaplacianPyramid, luma: Tensor) -> Tensor:
    """The range of each input channel of each convolution while ``luma`` (1, 1, H, W) is upscaled:
    (levels, R, D, C, 2). Convolutions run level by level and block by block, and are recorded in
    this order."""
    recorded: list[Tensor] = []

    def record(_: object, inputs: tuple[Tensor]) -> None:
        (features,) = inputs
        recorded.append(torch.stack([features.amin((0, 2, 3)), features.amax((0, 2, 3))], dim=-1))

    config = model.config
    levels = {model.level(number) for number in range(1, len(config.scales) + 1)}
    hooks = [conv.register_forward_pre_hook(record) for level in levels for conv in level.convs]
    try:
        model(luma)
    finally:
        for hook in hooks:
            hook.remove()
    shape = (len(config.scales), config.recursions, config.depth, config.channels, 2)
    return torch.stack(recorded).view(shape)
