"""The transforms of Winograd's F(4x4, 3x3) and of its gradient.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4: a block of
4x4 outputs is computed from a block of 6x6 inputs by 36 products, where 16 outputs of a direct 3x3
convolution take 16 times 9; over many blocks and all channels, that is 36 matrix products. In their
notation, for a block d of inputs and a kernel g,

    y = A^T [(G g G^T) * (B^T d B)] A,    dL/d(G g G^T) = (B^T d B) * (A dL/dy A^T).

The transforms evaluate and interpolate polynomials (Toom-Cook). Lavin and Gray's points 0, 1, -1,
2, -2 lose a digit in fp32; the points used here, 0 and plus and minus the square roots of 1/2 and
2, do not: Barabasz, Anderson, Soodhalter and Gregg, Error Analysis and Improving the Accuracy of
Winograd Convolution, ACM TOMS 2020.

All are plain formulas, on vectors of a compiled function or on tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from lapsr_cli.cpu.jit.values import Vector

__all__ = [
    "INPUT_SIDE",
    "OUTPUT_SIDE",
    "PRODUCTS",
    "transformed_inputs",
    "transformed_kernels",
    "transformed_output_gradients",
    "transformed_outputs",
]

OUTPUT_SIDE, INPUT_SIDE = 4, 6
"""Of a block, in pixels."""
PRODUCTS = INPUT_SIDE**2

_A, _B = math.sqrt(1 / 2), math.sqrt(2)
_POINTS = (0.0, _A, -_A, _B, -_B)  # and infinity

N = TypeVar("N", Vector, Tensor)


def transformed_inputs(d: Sequence[N]) -> list[N]:
    """B^T d: six inputs in a row or column -> six factors."""
    even_a, odd_a = d[4] - _B**2 * d[2], d[3] - _B**2 * d[1]
    even_b, odd_b = d[4] - _A**2 * d[2], d[3] - _A**2 * d[1]
    return [
        d[0] + d[4] - (_A**2 + _B**2) * d[2],  # A^2 B^2 = 1
        even_a + _A * odd_a,
        even_a - _A * odd_a,
        even_b + _B * odd_b,
        even_b - _B * odd_b,
        d[1] + d[5] - (_A**2 + _B**2) * d[3],
    ]


def transformed_outputs(m: Sequence[N]) -> list[N]:
    """A^T m: six products in a row or column -> four outputs."""
    even_a, odd_a = m[1] + m[2], m[1] - m[2]
    even_b, odd_b = m[3] + m[4], m[3] - m[4]
    return [
        m[0] + even_a + even_b,
        _A * odd_a + _B * odd_b,
        _A**2 * even_a + _B**2 * even_b,
        _A**3 * odd_a + _B**3 * odd_b + m[5],
    ]


def transformed_output_gradients(y: Sequence[N]) -> list[N]:
    """A y: the gradients of four outputs in a row or column -> those of six products."""
    even_a, odd_a = y[0] + _A**2 * y[2], _A * y[1] + _A**3 * y[3]
    even_b, odd_b = y[0] + _B**2 * y[2], _B * y[1] + _B**3 * y[3]
    return [y[0], even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, y[3]]


def transformed_kernels(weight: Tensor) -> Tensor:
    """G g G^T: kernels (C out, C in, 3, 3) -> (36, C in, C out), in the dtype of ``weight``.
    Differentiable."""
    taps = weight.permute(2, 3, 1, 0).reshape(9, -1)  # (9, C in C out)
    products = _kernel_transform(weight.dtype) @ taps  # (36, C in C out)
    return products.view(PRODUCTS, weight.shape[1], weight.shape[0])


@cache
def _kernel_transform(dtype: torch.dtype) -> Tensor:
    """G, for rows and columns at once: (36, 9)."""
    rows = [
        [
            point**power / math.prod(point - other for other in _POINTS if other != point)
            for power in range(3)
        ]
        for point in _POINTS
    ]
    with torch.inference_mode(mode=False):  # autograd saves no tensors of inference mode
        transform = torch.tensor([*rows, [0, 0, 1]], dtype=torch.float64)  # G, (6, 3)
        return torch.kron(transform, transform).to(dtype)
