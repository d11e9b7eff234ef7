"""The network of both papers once more, in float64 numpy and scipy, written from the formulas.

Slow and literal: convolutions by scipy's correlate, transposed ones by scattering each input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate2d

from lapsr_cli.network.pyramid import LaplacianPyramid

Array = NDArray[np.float64]


def pyramid(model: LaplacianPyramid, luma: Array) -> dict[int, Array]:
    """Luma (H, W) -> {scale: (scale H, scale W)} with the weights of ``model``."""
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    config = model.config
    f = conv(luma[None], w["conv_in.weight"], w["conv_in.bias"])
    y = luma[None]
    if not config.shared:
        f = lrelu(f)
    pictures = {}
    factor = 2 if config.pyramid else 2**config.levels
    for number in range(len(config.scales)):
        p = f"levels.{0 if config.shared else number}."
        if config.shared:
            x = f
            for _ in range(config.recursions):
                h = x
                for d in range(config.depth):
                    h = conv(lrelu(h), w[f"{p}convs.{d}.weight"], w[f"{p}convs.{d}.bias"])
                x = {"ss": h + f, "ds": h + x, "ns": h}[config.skip]
            f = up(lrelu(x), w[f"{p}up.weight"], w[f"{p}up.bias"], factor)
        else:
            for d in range(config.depth):
                f = lrelu(conv(f, w[f"{p}convs.{d}.weight"], w[f"{p}convs.{d}.bias"]))
            f = lrelu(up(f, w[f"{p}up.weight"], w[f"{p}up.bias"], factor))
        residual = conv(f, w[f"{p}conv_res.weight"], w[f"{p}conv_res.bias"])
        if config.global_residual:
            edge = factor // 2
            y = scatter(y, w[f"{p}up_image.weight"], factor)[:, edge:-edge, edge:-edge] + residual
        else:
            y = residual
        pictures[factor ** (number + 1)] = y[0]
    return pictures


def lrelu(x: Array) -> Array:
    return np.where(x > 0, x, 0.2 * x)


def conv(x: Array, weight: Array, bias: Array) -> Array:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    out = [sum(correlate2d(c, k, "valid") for c, k in zip(padded, w, strict=True)) for w in weight]
    return np.stack(out) + bias[:, None, None]


def up(x: Array, weight: Array, bias: Array, factor: int) -> Array:
    """Of the factor - 1 superfluous rows and columns the larger half is cut off at the end."""
    first = (factor - 1) // 2
    whole = scatter(x, weight, factor)[:, first:, first:]
    return whole[:, : factor * x.shape[1], : factor * x.shape[2]] + bias[:, None, None]


def scatter(x: Array, weight: Array, stride: int) -> Array:
    """A transposed convolution: every input adds its kernel to the output."""
    _, height, width = x.shape
    _, channels, kernel, _ = weight.shape
    out = np.zeros((channels, stride * (height - 1) + kernel, stride * (width - 1) + kernel))
    for row in range(height):
        for column in range(width):
            patch = np.einsum("i,iokl->okl", x[:, row, column], weight)
            top, left = stride * row, stride * column
            out[:, top : top + kernel, left : left + kernel] += patch
    return out
