"""The network on the CPU, for training: forward and backward pass on one core.

The convolutions of the recursive blocks, which take most of the time, are compiled Winograd
convolutions (`cpu.differentiable_conv`); torch computes the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lapsr_cli.cpu.differentiable_conv import PreparedConv, activated_conv
from lapsr_cli.cpu.kernels import winograd
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import Level, lrelu

__all__ = ["TrainingPyramid"]


class TrainingPyramid(FusedPyramid):
    """A network that shares the parameters of another one, for a thread of its own.

    `prepare_kernels` must be called before the first pass, and again whenever the parameters have
    changed or gradients were computed.
    """

    _prepared: dict[nn.Module, PreparedConv]

    @staticmethod
    def supports(network: FusedPyramid) -> bool:
        """Whether the convolutions of ``network`` have compiled kernels: MS-LapSRN, in fp32, with
        as many channels as fill whole vectors."""
        convs = [conv for conv in network.level(1).convs if isinstance(conv, nn.Conv2d)]
        return network.config.shared and all(map(winograd.supports, convs))

    @classmethod
    def sharing(cls, network: FusedPyramid) -> TrainingPyramid:
        """A network with the very parameters of ``network``."""
        with torch.device("meta"):  # no random numbers are drawn
            replica = cls(network.config)
        replica.load_state_dict(dict(network.named_parameters()), assign=True)
        return replica

    def prepare_kernels(self) -> None:
        """Transform the kernels of every convolution of the recursive blocks."""
        self._prepared = {
            conv: PreparedConv.of(conv)
            for conv in self.level(1).convs
            if isinstance(conv, nn.Conv2d)
        }

    def shared_body(self, level: Level, source: Tensor) -> Tensor:
        """As in LaplacianPyramid."""
        convs = [self._prepared[conv] for conv in level.convs]
        x = source  # (B, C, H, W)
        for _ in range(self.config.recursions):
            h = x
            for conv in convs[:-1]:
                h = activated_conv(h, conv)  # (B, C, H, W)
            skip = {"ss": source, "ds": x, "ns": None}[self.config.skip]
            x = activated_conv(h, convs[-1], skip)  # (B, C, H, W)
        return lrelu(x)  # (B, C, H, W)
