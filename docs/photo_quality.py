"""PSNR of models on pictures that went through JPEG, or WebP or AVIF, after shrinking.

    python docs/photo_quality.py DIR -m lapsr-classic -m lapsr-photo [--quality 75] [--scale 4]

The papers' protocol, but for one step: the LR luma is rounded to 8 bits, coded as a grey picture
and decoded again. Quality 0 leaves that step out, which is the protocol itself.
"""

from __future__ import annotations

import argparse
import io
import statistics
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lapsr_cli import image_io, weights
from lapsr_cli.device.selection import choose
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.metrics import protocol


def luma(path: Path) -> torch.Tensor:
    """(H, W), float64 in [0, 1]."""
    pixels = torch.from_numpy(np.atleast_3d(image_io.read(path).frames[0].pixels).copy())
    return protocol.luma_of(pixels.permute(2, 0, 1))


def coded(lr: torch.Tensor, form: str, quality: int) -> torch.Tensor:
    """LR luma through a grey picture of that format; as it is if ``quality`` is 0."""
    if not quality:
        return lr
    file = io.BytesIO()
    pixels = (lr.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).save(file, form, quality=quality)
    return torch.from_numpy(np.asarray(Image.open(file).convert("L")).copy()).double() / 255


def main() -> None:
    """Print a row for each model and quality."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-m", "--model", action="append", required=True)
    parser.add_argument("--quality", type=int, action="append")
    parser.add_argument("--form", default="JPEG", choices=["JPEG", "WEBP", "AVIF"])
    parser.add_argument("--scale", type=int, action="append")
    options = parser.parse_args()
    pictures = [luma(path) for path in sorted(options.folder.iterdir())]
    scales = options.scale or [2, 4, 8]
    print(f"| model | quality | {' | '.join(f'{scale}x' for scale in scales)} |")
    print("|---|---|" + "---|" * len(scales))
    for model in options.model:
        evaluator = Evaluator(Runtime(weights.load(model), choose("cpu")))
        for quality in options.quality or [0, 75]:
            figures = []
            for scale in scales:
                scores = [
                    protocol.score(
                        evaluator.enlarge(
                            coded(protocol.degrade(hr, scale), options.form, quality), scale
                        ),
                        hr,
                        scale,
                    )
                    for hr in pictures
                ]
                psnr, ssim = (statistics.mean(each) for each in zip(*scores, strict=True))
                figures.append(f"{psnr:.2f} / {ssim:.4f}")
            print(f"| {model} | {quality or 'none'} | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
