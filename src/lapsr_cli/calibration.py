"""What the convolutions of the recursive blocks read, at the least and at the most.

Arithmetic in 8 bits needs that beforehand. Nagel et al., A White Paper on Neural Network
Quantization, arXiv:2106.08295, section 3.1: ranges of activations by minimum and maximum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from lapsr_cli.metrics import protocol
from lapsr_cli.model import LaplacianPyramid

__all__ = ["ranges_of"]

_SIDE = 48
"""Of what is looked at of a picture, in pixels of the network's input: 8x of it are 384 x 384."""
_SMALLEST_SIDE = 8


def ranges_of(model: LaplacianPyramid, pictures: Iterable[Tensor]) -> Tensor:
    """The ranges of ``model``, (levels, R, D, 2), fp32, over the middle of every picture.

    ``pictures``: luma (H, W), float64 in [0, 1], one at least. Each is looked at as it is and
    shrunk by every scale of the model, as in the papers' protocol: edges are sharpest there.
    """
    lowest, highest = None, None
    with torch.inference_mode():
        for luma in pictures:
            for middle in _middles(luma, model.config.scales):
                low, high = _read_in(model, middle).unbind(-1)
                lowest = low if lowest is None else torch.minimum(lowest, low)
                highest = high if highest is None else torch.maximum(highest, high)
    assert lowest is not None, "no pictures"
    assert highest is not None
    return torch.stack([lowest, highest], dim=-1).clone()


def _middles(luma: Tensor, scales: Sequence[int]) -> Iterator[Tensor]:
    """(1, 1, h, w), fp32."""
    for scale in (1, *scales):
        if scale > 1 and min(luma.shape) < scale * _SMALLEST_SIDE:
            return
        shrunk = protocol.degrade(luma, scale) if scale > 1 else luma
        top, left = (max(0, (side - _SIDE) // 2) for side in shrunk.shape)
        yield shrunk[None, None, top : top + _SIDE, left : left + _SIDE].float()


def _read_in(model: LaplacianPyramid, luma: Tensor) -> Tensor:
    """The range of what each convolution reads while ``luma`` (1, 1, H, W) is enlarged: (levels, R,
    D, 2). They are computed level by level, block by block, and so they are noted."""
    seen: list[Tensor] = []

    def note(_: object, inputs: tuple[Tensor]) -> None:
        seen.append(torch.stack(inputs[0].aminmax()))

    config = model.config
    levels = {model.level(number) for number in range(1, len(config.scales) + 1)}
    hooks = [conv.register_forward_pre_hook(note) for level in levels for conv in level.convs]
    try:
        model(luma)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(seen).view(len(config.scales), config.recursions, config.depth, 2)
