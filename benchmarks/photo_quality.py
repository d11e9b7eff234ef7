"""PSNR and SSIM of models on pictures that got noise and were compressed after downscaling.

    python benchmarks/photo_quality.py DIR -m lapsr-classic -m lapsr-photo [--noise 5]
        [--quality 85] [--scale 4] [--form WEBP]

The papers' protocol with two more steps: white Gaussian noise is added to the LR luma, the same for
every model (--noise: its standard deviation in 8-bit levels; 0 by default), and then it is rounded
to 8 bits, encoded as a grey picture (JPEG, WebP or AVIF) and decoded again. Quality 0 leaves the
second step out; without noise, too, that is the protocol itself. -m, --quality and --scale may be
repeated; without --quality it is 0 and 75, without --scale 2, 4 and 8.
"""

from __future__ import annotations

import argparse
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lapsr_cli import weights
from lapsr_cli.bench.quality import read_originals
from lapsr_cli.device.selection import choose
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime


@dataclass(frozen=True)
class Damage:
    """``noise``: standard deviation in 8-bit levels. ``form``: of the file. ``quality``: of the
    encoder; 0 for none."""

    noise: float
    form: str
    quality: int

    def apply(self, lr: torch.Tensor, seed: int) -> torch.Tensor:
        """LR luma (H, W) in [0, 1], with noise, encoded and decoded."""
        white = np.random.default_rng(seed).standard_normal(tuple(lr.shape))
        lr = lr + self.noise / 255 * torch.from_numpy(white)
        if not self.quality:
            return lr
        file = io.BytesIO()
        pixels = (lr.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(file, self.form, quality=self.quality)
        return torch.from_numpy(np.asarray(Image.open(file).convert("L")).copy()).double() / 255


def mean_scores(
    evaluator: Evaluator, pictures: Sequence[torch.Tensor], scale: int, damage: Damage
) -> tuple[float, float]:
    """Mean PSNR in dB and SSIM over HR luma (H, W), float64 in [0, 1]."""
    scores = [
        evaluator.score(hr, scale, partial(damage.apply, seed=seed))
        for seed, hr in enumerate(pictures)
    ]
    return (
        statistics.mean(score.psnr for score in scores),
        statistics.mean(score.ssim for score in scores),
    )


def main() -> None:
    """Print one row for each model and quality."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("-m", "--model", action="append", required=True)
    parser.add_argument("--noise", type=float, default=0)
    parser.add_argument("--quality", type=int, action="append")
    parser.add_argument("--form", default="JPEG", choices=["JPEG", "WEBP", "AVIF"])
    parser.add_argument("--scale", type=int, action="append")
    options = parser.parse_args()
    originals, problems = read_originals(options.folder, "folder")
    if problems:
        raise SystemExit("\n".join(problems))
    pictures = [original.luma for original in originals]
    scales = options.scale or [2, 4, 8]
    print(f"| model | noise | quality | {' | '.join(f'{scale}x' for scale in scales)} |")
    print("|---|---|---|" + "---|" * len(scales))
    for model in options.model:
        evaluator = Evaluator(Runtime(weights.load(model), choose("cpu")))
        for quality in options.quality or [0, 75]:
            figures = []
            for scale in scales:
                damage = Damage(options.noise, options.form, quality)
                psnr, ssim = mean_scores(evaluator, pictures, scale, damage)
                figures.append(f"{psnr:.2f} / {ssim:.4f}")
            row = [model, f"{options.noise:g}", str(quality or "none"), *figures]
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
