"""The discriminator of adversarial training: tells HR patches from what the network makes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["Discriminator"]

_CHANNELS = (32, 64, 128, 256)


class Discriminator(nn.Module):
    """Strided 4x4 convolutions as in DCGAN (Radford et al. 2016, arXiv:1511.06434, section 3), and
    a score for each receptive field, 46 x 46 pixels, instead of one for the patch.

    Convolutions have spectral normalization (Miyato et al. 2018, arXiv:1802.05957, algorithm 1)
    instead of batch normalization, so that no patch depends on the others of its batch.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for outputs in _CHANNELS:
            layers += [_convolution(inputs, outputs, 4, stride=2), nn.LeakyReLU(0.2)]
            inputs = outputs
        self.layers = nn.Sequential(*layers, _convolution(inputs, 1, 1, stride=1))

    def forward(self, luma: Tensor) -> Tensor:
        """Scores of patches: (B, 1, P, P) in [0, 1] -> (B, 1, P/16, P/16); higher looks more like a
        photograph."""
        scores: Tensor = self.layers(2 * luma - 1)
        return scores


def _convolution(inputs: int, outputs: int, side: int, *, stride: int) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, side, stride, padding=(side - 1) // 2)
    nn.init.normal_(layer.weight, std=0.02)  # DCGAN, section 4
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return spectral_norm(layer)
