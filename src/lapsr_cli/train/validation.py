"""Validation by the papers' protocol: PSNR and SSIM on each set at each scale, and bicubic's.

A run that degrades its LR patches is validated on LR pictures degraded in the same way. On clean
ones, the best network would be the one that has learned nothing about degradation yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lapsr_cli.device.selection import Device
from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.inference.evaluation import Degrade, Evaluator, bicubic_score
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.metrics.protocol import Score
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.train.dataset import picture_paths, read_luma
from lapsr_cli.train.degrade import Degradation, degraded
from lapsr_cli.train.distributed import ProcessGroup

__all__ = ["Scores", "ValidationSet", "Validator", "load_validation_sets", "mean_psnr"]

Scores = dict[str, dict[int, tuple[float, float]]]
"""{set: {scale: (PSNR in dB, SSIM)}}, means over the pictures of the set."""

ScoreFunction = Callable[[torch.Tensor, int, Degrade], Score]


@dataclass(frozen=True)
class ValidationSet:
    """The HR pictures of a folder. ``name``: the folder's name, or its path if that is not unique.

    ``hr``: luma of each picture, float64 (H, W) in [0, 1].
    """

    name: str
    hr: list[torch.Tensor]


def load_validation_sets(
    folders: Sequence[str], exclude: Path, max_scale: int
) -> list[ValidationSet]:
    """Read the pictures of each folder, except those below ``exclude``.

    Raises NothingMatched for a folder without pictures, and PictureError for a picture that cannot
    be read or is too small to be scored at ``max_scale``: a mean over the remaining pictures would
    not be comparable.
    """
    return [
        ValidationSet(
            _set_name(folder, folders),
            [_read_hr(path, max_scale) for path in picture_paths([folder], "--val", exclude)],
        )
        for folder in dict.fromkeys(folders)
    ]


def _set_name(folder: str, folders: Sequence[str]) -> str:
    name = Path(folder).resolve().name
    same = [other for other in dict.fromkeys(folders) if Path(other).resolve().name == name]
    return name if len(same) == 1 else folder


def _read_hr(path: Path, max_scale: int) -> torch.Tensor:
    luma = read_luma(path)
    height, width = luma.shape
    if min(height, width) < 3 * max_scale:  # scoring ignores max_scale pixels at each edge
        raise UnreadablePicture(
            f"--val {path}: {width} x {height} is too small to be scored at {max_scale}x"
        )
    return luma


class Validator:
    """Scores networks on validation sets, with the pictures distributed over the ranks.

    ``degradation``: applied to all LR pictures, none of which stays clean. Its parameters depend
    on the picture and the scale only, so they are the same in every validation.
    """

    def __init__(
        self,
        sets: Sequence[ValidationSet],
        scales: Sequence[int],
        device: Device,
        group: ProcessGroup,
        degradation: Degradation | None = None,
    ) -> None:
        self.degradation = replace(degradation or Degradation(), clean=0.0)
        self.sets = sets
        self.scales = scales
        self.device = device
        self.group = group

    def score(self, model: LaplacianPyramid) -> Scores:
        """Scores of a network, computed in fp32."""
        return self._means(Evaluator(Runtime(model, self.device)).score)

    def bicubic(self) -> Scores:
        """Scores of bicubic interpolation."""
        return self._means(bicubic_score)

    def _means(self, score: ScoreFunction) -> Scores:
        return {
            each.name: {scale: self._mean(each, scale, score) for scale in self.scales}
            for each in self.sets
        }

    def _mean(self, each: ValidationSet, scale: int, score: ScoreFunction) -> tuple[float, float]:
        mine = range(self.group.rank, len(each.hr), self.group.world_size)
        scores = [score(each.hr[index], scale, self._degrade(index, scale)) for index in mine]
        psnr, ssim = self.group.sum([sum(s.psnr for s in scores), sum(s.ssim for s in scores)])
        return psnr / len(each.hr), ssim / len(each.hr)

    def _degrade(self, index: int, scale: int) -> Degrade:
        """A function that degrades the LR luma (h, w) of picture ``index``."""

        def apply(lr: torch.Tensor) -> torch.Tensor:
            if not self.degradation:
                return lr
            drawn = self.degradation.sample(np.random.default_rng([index, scale]), 1)
            return degraded(lr[None, None], drawn)[0, 0]

        return apply


def mean_psnr(scores: Scores) -> float:
    """The figure by which checkpoints are compared: mean PSNR in dB over sets and scales."""
    values = [psnr for scales in scores.values() for psnr, _ in scales.values()]
    return sum(values) / len(values)
