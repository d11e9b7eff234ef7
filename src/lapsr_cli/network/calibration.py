"""What the convolutions of the recursive blocks read, at the least and at the most.

Arithmetic in 8 bits needs that beforehand, and what goes beyond it is lost. What a photograph makes
them read is a fifth of what is possible: by the ranges of photographs alone, text and dithered
pictures come out damaged. So patterns are looked at that are as hard as pictures get; photographs
stay within.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lapsr_cli.network.pyramid import LaplacianPyramid

__all__ = ["patterns", "ranges_of"]

_SIDE = 32
_CONTRAST = 0.8
"""By all of it the steps between the 256 numbers are so coarse that Set5 loses 0.10 dB at 2x, by
this 0.05; patterns of full contrast stay 20 to 40 dB near to fp32."""


def ranges_of(model: LaplacianPyramid) -> Tensor:
    """The ranges of ``model``, (levels, R, D, C, 2), fp32, over ``patterns``."""
    with torch.inference_mode():
        seen = torch.stack([_read_in(model, luma) for luma in patterns()])
        lowest, highest = seen.unbind(-1)
        ranges = torch.stack([lowest.amin(0), highest.amax(0)], dim=-1)
    return ranges.clone()


def patterns() -> Iterator[Tensor]:
    """Luma (1, 1, 32, 32), from 0.1 to 0.9: what differs most from pixel to pixel, and not at
    all."""
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


def _read_in(model: LaplacianPyramid, luma: Tensor) -> Tensor:
    """The ranges of what each convolution reads while ``luma`` (1, 1, H, W) is enlarged: (levels,
    R, D, C, 2). They are computed level by level, block by block, and so they are noted."""
    seen: list[Tensor] = []

    def note(_: object, inputs: tuple[Tensor]) -> None:
        (features,) = inputs
        seen.append(torch.stack([features.amin((0, 2, 3)), features.amax((0, 2, 3))], dim=-1))

    config = model.config
    levels = {model.level(number) for number in range(1, len(config.scales) + 1)}
    hooks = [conv.register_forward_pre_hook(note) for level in levels for conv in level.convs]
    try:
        model(luma)
    finally:
        for hook in hooks:
            hook.remove()
    shape = (len(config.scales), config.recursions, config.depth, config.channels, 2)
    return torch.stack(seen).view(shape)
