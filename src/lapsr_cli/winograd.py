"""3x3 convolutions with half the multiplications: Winograd's F(4, 3) along the rows.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4.3, along one
axis: six combinations of six rows, a 1x3 convolution of each with a kernel of its own, and four
output rows as combinations of the six results: six times 3 taps where four rows of a 3x3
convolution take four times 9. Both axes (F(4x4, 3x3)) would save as much again, but in matrix
products, which torch does not compute as fast as convolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["RowWinograd"]

_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
"""The paper's G: the six kernels from the three rows of the one."""


class RowWinograd:
    """A 3x3 convolution of rows that are there with those around them, zeros beside them."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv = conv
        transform = torch.tensor(_KERNEL, dtype=torch.float64)
        kernels = torch.einsum("ky,oiyx->koix", transform, conv.weight.double())
        self.kernels = [
            kernel[:, :, None].to(conv.weight.dtype, memory_format=torch.channels_last)
            for kernel in kernels
        ]  # six of (C out, C in, 1, 3)

    def __call__(self, window: Tensor) -> Tensor:
        """(B, C in, n + 2, W) -> (B, C out, n, W); n from 0."""
        batch, _, height, width = window.shape
        count = max(0, height - 2)
        outputs = torch.empty(
            (batch, self.conv.out_channels, count, width),
            dtype=window.dtype,
            memory_format=torch.channels_last,
        )
        fours = count // 4 * 4
        if fours:
            self._by_fours(window[:, :, : fours + 2], outputs[:, :, :fours])
        if fours < count:
            outputs[:, :, fours:] = F.conv2d(
                window[:, :, fours:], self.conv.weight, self.conv.bias, padding=(0, 1)
            )
        return outputs

    def _by_fours(self, window: Tensor, outputs: Tensor) -> None:
        """(B, C in, 4k + 2, W), (B, C out, 4k, W): the paper's B^T, then A^T, sums shared."""
        last = window.shape[2] - 5
        d = [window[:, :, first : last + first : 4] for first in range(6)]  # (B, C in, k, W) each
        m0 = self._convolved(0, torch.add(d[4], d[2], alpha=-5).add_(d[0], alpha=4))
        m5 = self._convolved(5, torch.add(d[5], d[3], alpha=-5).add_(d[1], alpha=4))
        even, odd = torch.add(d[4], d[2], alpha=-4), torch.add(d[3], d[1], alpha=-4)
        m1 = self._convolved(1, even + odd)
        m2 = self._convolved(2, even.sub_(odd))
        even, odd = torch.sub(d[4], d[2]), torch.sub(d[3], d[1])
        m3 = self._convolved(3, torch.add(even, odd, alpha=2))
        m4 = self._convolved(4, even.sub_(odd, alpha=2))
        plus, minus = m1 + m2, m1.sub_(m2)
        wide_plus, wide_minus = m3 + m4, m3.sub_(m4)
        torch.add(m0.add_(plus), wide_plus, out=outputs[:, :, 0::4])
        torch.add(minus, wide_minus, alpha=2, out=outputs[:, :, 1::4])
        torch.add(plus, wide_plus, alpha=4, out=outputs[:, :, 2::4])
        torch.add(m5.add_(minus), wide_minus, alpha=8, out=outputs[:, :, 3::4])

    def _convolved(self, number: int, rows: Tensor) -> Tensor:
        # The second enters all four outputs with a factor of 1, and the bias with it.
        bias = self.conv.bias if number == 1 else None
        return F.conv2d(rows, self.kernels[number], bias, padding=(0, 1))  # (B, C out, k, W)
