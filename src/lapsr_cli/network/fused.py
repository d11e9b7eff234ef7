"""The same network in fewer and larger operations, differentiable like the reference.

Three rearrangements of MS-LapSRN, each equal to `network.pyramid` up to rounding:

- The transposed convolution is one 2x2 convolution to 4 C channels and a pixel shuffle, for which
  every library has fast kernels, in half precision too.
- In the last level, only conv_res reads the output of up, and no activation lies between the two.
  They are merged into one 3x3 convolution to 4 channels and a pixel shuffle, so that the network's
  largest map, (B, C, 2H, 2W), is never computed. What the reference crops (row 2H and column 2W of
  up's output) is subtracted again at the last row and column.
- The image branch is one 3x3 convolution and a pixel shuffle (`image_kernel`, for strips of rows).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lapsr_cli.network.pyramid import LaplacianPyramid, Level, lrelu

__all__ = [
    "FusedPyramid",
    "bias_kernel",
    "cropped_residual",
    "image_kernel",
    "residual_kernel",
]


class FusedPyramid(LaplacianPyramid):
    """A LaplacianPyramid with the same parameters that runs faster and needs less memory.

    A network without a pyramid (one level with a factor above 2) runs as in the reference.
    """

    @classmethod
    def copy_of(cls, model: LaplacianPyramid) -> FusedPyramid:
        """A network with the weights of ``model``, of the same dtype and on the same device, that
        requires no gradients."""
        with torch.device("meta"):  # no random numbers are drawn
            network = cls(model.config)
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        network.load_state_dict(state, assign=True)
        return network.requires_grad_(requires_grad=False)

    def level_outputs(self, level: Level, features: Tensor) -> tuple[Tensor, Tensor]:
        """As in LaplacianPyramid."""
        if self.config.factor != 2:
            return super().level_outputs(level, features)
        features = _upsample(level, features)  # (B, C, 2H, 2W)
        if not self.config.shared:
            features = lrelu(features)
        return features, level.conv_res(features)

    def last_residual(self, level: Level, features: Tensor) -> Tensor:
        """As in LaplacianPyramid."""
        if self.config.factor != 2 or not self.config.shared:
            return self.level_outputs(level, features)[1]
        return _merged_residual(level, features)


def _upsample(level: Level, features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W), equal to ``level.upsample``.

    Output 2j reads input j by tap 0 and input j-1 by tap 2; output 2j+1 reads input j by tap 1.
    """
    weight, bias = level.up.weight, level.up.bias  # (C in, C out, 3, 3), (C)
    assert bias is not None
    channels = weight.shape[1]
    taps = F.pad(weight, (0, 1, 0, 1))  # tap 3 is zero
    parity = torch.tensor([[2, 0], [3, 1]], device=weight.device)  # output parity, input j-1 or j
    kernel = taps[:, :, parity][..., parity]  # (in, out, py, ty, px, tx)
    kernel = kernel.permute(1, 2, 4, 0, 3, 5).reshape(4 * channels, -1, 2, 2)
    padded = F.pad(features, (1, 0, 1, 0))  # (B, C, H + 1, W + 1)
    parts = F.conv2d(padded, _channels_last(kernel), bias.repeat_interleave(4))  # (B, 4C, H, W)
    return F.pixel_shuffle(parts, 2)  # (B, C, 2H, 2W)


def _merged_residual(level: Level, features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, 2H, 2W), equal to ``level.conv_res(level.upsample(features))``."""
    parts = F.conv2d(features, residual_kernel(level), padding=1)  # (B, 4, H, W)
    return F.pixel_shuffle(parts, 2) + _bias_map(level, parts) - _cropped_map(level, features)


def residual_kernel(level: Level) -> Tensor:
    """up and conv_res merged into a kernel (4, C, 3, 3), for a convolution before a pixel shuffle.

    conv_res reads up's output o + t - 1 by tap t, which reads input i by tap k where
    2i + k = o + t - 1. Hence o = 2i + m - 1 with m = k - t + 2, and tap m of the merged kernel is
    the sum over t of up[m + t - 2] conv_res[t]. Output 2j reads inputs j-1, j by taps 3, 1; output
    2j+1 reads inputs j-1, j, j+1 by taps 4, 2, 0.
    """
    up, residual = level.up.weight, level.conv_res.weight  # (C, C, 3, 3), (1, C, 3, 3)
    taps = F.pad(F.conv2d(up, residual, padding=2), (0, 1, 0, 1))[:, 0]  # (C in, 6, 6), tap 5 zero
    parity = torch.tensor([[3, 1, 5], [4, 2, 0]], device=up.device)  # output parity, j-1, j, j+1
    kernel = taps[:, parity][..., parity]  # (in, py, ty, px, tx)
    return _channels_last(kernel.permute(1, 3, 0, 2, 4).reshape(4, -1, 3, 3))


def image_kernel(level: Level) -> Tensor:
    """up_image, which upsamples by f, as a kernel (f^2, 1, 3, 3) for a convolution before a pixel
    shuffle.

    up_image adds input j by tap k to output fj + k - f/2. Hence output fi + p reads input
    i + t - 1, where t is 0, 1 or 2, by tap p + f (1 - t) + f/2, if there is such a tap.
    """
    assert level.up_image is not None
    factor = level.factor
    half = factor // 2
    taps = F.pad(
        level.up_image.weight[0, 0], (half,) * 4
    )  # (3f, 3f), zero for taps that do not exist
    phase, place = torch.arange(factor)[:, None], torch.arange(3)
    index = (phase + factor * (2 - place)).to(taps.device)  # (f, 3)
    return taps[index][..., index].permute(0, 2, 1, 3).reshape(-1, 1, 3, 3)


def bias_kernel(level: Level) -> Tensor:
    """What up's bias adds to the residual through each tap of conv_res, (1, 1, 3, 3)."""
    assert level.up.bias is not None
    return torch.einsum("c,ochw->ohw", level.up.bias, level.conv_res.weight)[None]


def _bias_map(level: Level, parts: Tensor) -> Tensor:
    """What both biases add to the residual, (1, 1, 2H, 2W). up's does not reach it where conv_res
    reads padding."""
    height, width = parts.shape[-2:]
    ones = torch.ones(1, 1, 2 * height, 2 * width, dtype=parts.dtype, device=parts.device)
    return F.conv2d(ones, bias_kernel(level), level.conv_res.bias, padding=1)  # (1, 1, 2H, 2W)


def _cropped_map(level: Level, features: Tensor) -> Tensor:
    """What row 2H and column 2W of up's output would add to the residual if they were not cropped:
    (B, 1, 2H, 2W), zero except in the last row and column."""
    height, width = (2 * side for side in features.shape[-2:])
    row, column = cropped_residual(level, features[..., -1:, :], features[..., -1:])
    return F.pad(row, (0, 0, height - 1, 0)) + F.pad(column, (width - 1, 0, 0, 0))


def cropped_residual(level: Level, last_row: Tensor, last_column: Tensor) -> tuple[Tensor, Tensor]:
    """What the cropped row and column of up's output would add to the residual, from the features'
    last row (B, C, 1, W) and column (B, C, H, 1): (B, 1, 1, 2W) for the residual's last row and
    (B, 1, 2H, 1) for its last column."""
    up, residual = level.up.weight, level.conv_res.weight
    height, width = 2 * last_column.shape[2], 2 * last_row.shape[3]
    row = F.conv_transpose2d(last_row, up[:, :, 2:], stride=2)  # (B, C, 1, 2W + 1)
    column = F.conv_transpose2d(last_column, up[..., 2:], stride=2)  # (B, C, 2H + 1, 1)
    row = F.conv2d(row, residual[:, :, 2:], padding=(0, 1))[..., :width]  # (B, 1, 1, 2W)
    # The row includes the corner already.
    column = F.conv2d(column[:, :, :height], residual[..., 2:], padding=(1, 0))  # (B, 1, 2H, 1)
    return row, column


def _channels_last(kernel: Tensor) -> Tensor:
    return kernel.contiguous(memory_format=torch.channels_last)
