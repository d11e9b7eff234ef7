"""Validation by the papers' protocol: PSNR of every scale on every set, beside bicubic.

A run that harms its patches is validated on pictures that are harmed alike: what is best on clean
ones is the network that has not learned yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lapsr_cli.device.selection import Device
from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.inference.evaluation import Evaluator, Harm, bicubic_score
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.metrics.protocol import Score
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.train.dataset import paths_in, read_luma
from lapsr_cli.train.degrade import Degradation
from lapsr_cli.train.distributed import Ranks

__all__ = ["Scores", "ValidationSet", "Validator", "mean_psnr", "open_sets"]

Scores = dict[str, dict[int, tuple[float, float]]]
"""{set: {scale: (PSNR in dB, SSIM)}}, means over the set's pictures."""

ScoreOf = Callable[[torch.Tensor, int, Harm], Score]


@dataclass(frozen=True)
class ValidationSet:
    """A folder of HR pictures; it is called by the folder's name."""

    name: str
    hr: list[torch.Tensor]  # float64 (H, W) in [0, 1]


def open_sets(folders: Sequence[str], leave_out: Path, largest: int) -> list[ValidationSet]:
    """Read the pictures of every folder. Raises NothingMatched for one without pictures and
    PictureError for one that cannot be read or is too small to be scored at the scale ``largest``:
    a mean over fewer pictures would be another figure."""
    return [
        ValidationSet(
            _name(folder, folders),
            [_hr(path, largest) for path in paths_in([folder], "--val", leave_out)],
        )
        for folder in dict.fromkeys(folders)
    ]


def _name(folder: str, folders: Sequence[str]) -> str:
    name = Path(folder).resolve().name
    twins = [other for other in dict.fromkeys(folders) if Path(other).resolve().name == name]
    return name if len(twins) == 1 else folder


def _hr(path: Path, largest: int) -> torch.Tensor:
    luma = read_luma(path)
    height, width = luma.shape
    if min(height, width) < 3 * largest:  # as many pixels at each edge do not count
        raise UnreadablePicture(f"--val {path}: {width} x {height} cannot be scored at {largest}x")
    return luma


class Validator:
    """Scores networks on some sets at some scales, the pictures shared out among the ranks.

    ``degradation``: what LR pictures suffer besides shrinking, none spared; each picture draws its
    own at each scale, the same whenever it is scored.
    """

    def __init__(
        self,
        sets: Sequence[ValidationSet],
        scales: Sequence[int],
        device: Device,
        ranks: Ranks,
        degradation: Degradation | None = None,
    ) -> None:
        self.degradation = replace(degradation or Degradation(), clean=0.0)
        self.sets = sets
        self.scales = scales
        self.device = device
        self.ranks = ranks

    def score(self, model: LaplacianPyramid) -> Scores:
        """The scores of a network, in fp32."""
        return self._means(Evaluator(Runtime(model, self.device)).score)

    def bicubic(self) -> Scores:
        """The scores of the baseline."""
        return self._means(bicubic_score)

    def _means(self, score: ScoreOf) -> Scores:
        return {
            each.name: {scale: self._mean(each, scale, score) for scale in self.scales}
            for each in self.sets
        }

    def _mean(self, each: ValidationSet, scale: int, score: ScoreOf) -> tuple[float, float]:
        mine = range(self.ranks.rank, len(each.hr), self.ranks.world)
        scores = [score(each.hr[index], scale, self._harm(index, scale)) for index in mine]
        psnr, ssim = self.ranks.total([sum(s.psnr for s in scores), sum(s.ssim for s in scores)])
        return psnr / len(each.hr), ssim / len(each.hr)

    def _harm(self, index: int, scale: int) -> Harm:
        def harmed(lr: torch.Tensor) -> torch.Tensor:
            if not self.degradation:
                return lr
            drawn = self.degradation.draw(np.random.default_rng([index, scale]), 1)
            return self.degradation.apply(lr[None, None], drawn)[0, 0]

        return harmed


def mean_psnr(scores: Scores) -> float:
    """One figure for "better": the mean PSNR in dB over sets and scales."""
    values = [psnr for scales in scores.values() for psnr, _ in scales.values()]
    return sum(values) / len(values)
