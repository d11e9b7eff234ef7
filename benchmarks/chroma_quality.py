"""PSNR of chroma, and the time, with and without the restoration of chroma that JPEG subsampled.

    python benchmarks/chroma_quality.py DIR [-m lapsr-photo] [--quality 75] [--scale 4]
        [--noise 5]

The colour pictures in DIR are downscaled as in the papers' protocol, rounded to 8 bits, encoded as
JPEG (4:2:0), decoded and enlarged. Cb and Cr (BT.601, rounded) and RGB (CPSNR) of the results are
compared with those of the originals, without a border of as many pixels as the scale. --noise adds
Gaussian noise, in levels of 255, before encoding; quality 0 leaves the encoding out, so that
nothing is restored. Seconds are processor time, the least of three runs, summed over the pictures.
Options may be repeated, except --noise.
"""

from __future__ import annotations

import argparse
import io
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lapsr_cli import weights
from lapsr_cli.device.selection import choose
from lapsr_cli.image_io import chroma_step
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.metrics.psnr import psnr
from lapsr_cli.pixels.color import rgb_to_ycbcr
from lapsr_cli.pixels.resize import resize

WAYS = ("bicubic", "restored")
RUNS = 3
"""Of which the fastest counts: the first one compiles, and others may be disturbed."""


@dataclass(frozen=True)
class Score:
    """PSNR of one result in dB, and the seconds of processor time it took."""

    cb: float
    cr: float
    rgb: float
    seconds: float


def colour_pictures(folder: Path) -> Iterator[Tensor]:
    """The pictures of a folder that are not grey, (3, H, W), 8 bits."""
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        if (pixels != pixels[..., :1]).any():
            yield torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def coded(lr: Tensor, quality: int, noise: float) -> tuple[Tensor, float]:
    """LR RGB (3, H, W) with noise, after encoding and decoding, and the step of its chroma."""
    drawn = np.random.default_rng(0).normal(0, noise, lr.shape)
    noisy = (lr.numpy() + drawn).round().clip(0, 255).astype(np.uint8)
    if not quality:
        return torch.from_numpy(noisy), 0.0
    file = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(noisy.transpose(1, 2, 0)))
    picture.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    decoded = Image.open(file)
    return torch.from_numpy(np.array(decoded)).permute(2, 0, 1), chroma_step(decoded)


def score(runtime: Runtime, lr: Tensor, hr: Tensor, scale: int, step: float) -> Score:
    """Of LR RGB (3, H, W), enlarged, against HR RGB (3, scale H, scale W)."""
    seconds = math.inf
    for _ in range(RUNS):
        started = time.process_time()
        result = runtime.launch(lr[None], (scale,), chroma_step=step).result().pictures[scale][0]
        seconds = min(seconds, time.process_time() - started)
    inner = slice(scale, -scale)
    pair = [each[:, inner, inner].double() / 255 for each in (result, hr)]
    one, other = ((rgb_to_ycbcr(each) * 255).round() / 255 for each in pair)
    return Score(psnr(one[1], other[1]), psnr(one[2], other[2]), psnr(*pair), seconds)


def row(scores: list[Score]) -> str:
    """The cells of several pictures: mean PSNRs and all seconds."""
    means = (
        statistics.mean(getattr(each, name) for each in scores) for name in ("cb", "cr", "rgb")
    )
    seconds = sum(each.seconds for each in scores)
    return f"{' | '.join(f'{mean:.2f}' for mean in means)} | {seconds:.2f}"


def main() -> None:
    """Print two rows for each quality and scale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("-m", "--model", default="lapsr-photo")
    parser.add_argument("--quality", type=int, action="append")
    parser.add_argument("--scale", type=int, action="append")
    parser.add_argument("--noise", type=float, default=0.0)
    options = parser.parse_args()
    pictures = list(colour_pictures(options.folder))
    runtime = Runtime(weights.load(options.model), choose("cpu"))
    print("| scale | quality | chroma | Cb | Cr | RGB | seconds |")
    print("|---|---|---|---|---|---|---|")
    for scale in options.scale or [2, 4]:
        for quality in options.quality or [75, 90]:
            scores: dict[str, list[Score]] = {way: [] for way in WAYS}
            for picture in pictures:
                height, width = (length // scale * scale for length in picture.shape[1:])
                hr = picture[:, :height, :width]
                lr, step = coded(resize(hr, 1 / scale), quality, options.noise)
                for way in WAYS:
                    used = step if way == "restored" else 0.0
                    scores[way].append(score(runtime, lr, hr, scale, used))
            for way in WAYS:
                cells = f"| {scale}x | {quality or 'none'} | {way} | {row(scores[way])} |"
                print(cells, flush=True)


if __name__ == "__main__":
    main()
