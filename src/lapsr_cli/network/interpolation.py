"""Network interpolation: a network between two others (Wang et al. 2019, arXiv:1811.10515)."""

from __future__ import annotations

import torch

from lapsr_cli.errors import UsageError
from lapsr_cli.network.pyramid import LaplacianPyramid

__all__ = ["interpolate"]


def interpolate(
    first: LaplacianPyramid, second: LaplacianPyramid, share: float
) -> LaplacianPyramid:
    """The network whose weights are (1 - share) times those of ``first`` plus ``share`` times those
    of ``second`` (equation 1). ``share``: 0 to 1.

    Its results lie between those of the two where one was fine-tuned from the other. It has no
    ranges, so it does not run in int8. Raises UsageError for networks of different configurations.
    """
    if first.config != second.config:
        raise UsageError(f"{first.config.title} and {second.config.title} cannot be interpolated")
    between = LaplacianPyramid(first.config).requires_grad_(False).eval()
    others = dict(second.named_parameters())
    weights = {
        name: torch.lerp(value, others[name], share) for name, value in first.named_parameters()
    }
    between.load_state_dict(weights)
    return between
