"""Crops in which the methods differ most: where bicubic is furthest from the original."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lapsr_cli.bench.quality import Original
from lapsr_cli.html.example import Example
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.metrics import protocol

__all__ = ["examples"]

_SIDE = 192


def examples(
    originals: Sequence[Original], networks: Mapping[str, Evaluator], scale: int, *, most: int = 4
) -> Iterator[Example]:
    """The luma of bicubic, every network and the original, for the first ``most`` pictures.

    Each crop is the window of at most 192 x 192 pixels in which bicubic's squared error is largest.
    """
    for original in originals[:most]:
        hr = protocol.crop_to_multiple(original.luma, scale)  # (H, W)
        lr = protocol.degrade(original.luma, scale)  # (H / scale, W / scale)
        pictures = {"bicubic": protocol.bicubic(lr, scale)}
        pictures |= {name: evaluator.enlarge(lr, scale) for name, evaluator in networks.items()}
        pictures["original"] = hr
        rows, columns = _worst(pictures["bicubic"] - hr)
        yield Example(
            title=f"{original.name}, {scale}x",
            pictures={label: _bytes(each[rows, columns]) for label, each in pictures.items()},
        )


def _worst(difference: Tensor) -> tuple[slice, slice]:
    """Rows and columns of the window of ``difference`` (H, W) with the largest mean square."""
    height, width = (min(_SIDE, side) for side in difference.shape)
    square = difference.double().square()[None, None]  # (1, 1, H, W)
    means = F.avg_pool2d(square, (height, width), stride=1)[0, 0]
    top, left = divmod(int(means.argmax()), means.shape[1])
    return slice(top, top + height), slice(left, left + width)


def _bytes(luma: Tensor) -> NDArray[np.uint8]:
    return (luma.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
