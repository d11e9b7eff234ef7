"""What photos suffer besides shrinking: blur, noise, and JPEG coding by the real coder."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lapsr_cli.errors import UsageError

__all__ = ["Degradation"]

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """Ranges from which each patch draws its own value; None is left out.

    ``blur``: standard deviation of a Gaussian in LR pixels. ``noise``: standard deviation of white
    noise in 8-bit levels. ``jpeg``: quality. ``clean``: share of the patches that are spared.
    They come in this order, as in a camera.
    """

    blur: Range | None = None
    noise: Range | None = None
    jpeg: Range | None = None
    clean: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Degradation:
        """ "jpeg:60-95,blur:0-0.8,noise:0-3,clean:0.1", any part of it, or "" for none.

        Raises UsageError, naming --degrade.
        """
        values: dict[str, Range] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            match = re.fullmatch(r"(jpeg|blur|noise|clean):([\d.]+)(?:-([\d.]+))?", part)
            try:
                if match is None or (match[1] == "clean" and match[3]):
                    raise ValueError
                low, high = float(match[2]), float(match[3] or match[2])
            except ValueError:
                raise UsageError(
                    f"--degrade {text}: must be like jpeg:60-95,blur:0-0.8,noise:0-3,clean:0.1"
                ) from None
            limit = {"jpeg": 100, "blur": 8, "noise": 64, "clean": 1}[match[1]]
            if not (1 if match[1] == "jpeg" else 0) <= low <= high <= limit:
                raise UsageError(f"--degrade {part}: must rise and be at most {limit}")
            if match[1] in values:
                raise UsageError(f"--degrade {text}: {match[1]} comes twice")
            values[match[1]] = (low, high)
        clean = values.pop("clean", (0.0, 0.0))[0]
        return cls(**values, clean=clean)

    def __bool__(self) -> bool:
        return any((self.blur, self.noise, self.jpeg))

    def draw(self, rng: np.random.Generator, count: int) -> Harm:
        """What each of ``count`` patches will suffer."""
        low, high = self.jpeg or (100, 100)
        return Harm(
            spared=rng.random(count) < self.clean,
            blur=rng.uniform(*(self.blur or (0.0, 0.0)), size=count),
            noise=rng.uniform(*(self.noise or (0.0, 0.0)), size=count),
            noise_seed=rng.integers(0, 2**63, count),
            quality=rng.integers(int(low), int(high) + 1, count),
        )

    def apply(self, lr: Tensor, harm: Harm) -> Tensor:
        """LR patches (B, 1, h, w) in [0, 1] -> the same, degraded, rounded to 8 bits if coded."""
        hurt = _blur(lr, harm.blur, self.blur[1]) if self.blur else lr
        hurt = hurt + _noise(hurt, harm) if self.noise else hurt
        hurt = _jpeg(hurt, harm.quality) if self.jpeg else hurt
        spared = torch.from_numpy(harm.spared).to(lr.device)[:, None, None, None]
        return torch.where(spared, lr, hurt)


@dataclass(frozen=True, kw_only=True)
class Harm:
    """What was drawn for each patch, everything (B,); see Degradation for the units."""

    spared: NDArray[np.bool_]
    blur: NDArray[np.float64]
    noise: NDArray[np.float64]
    noise_seed: NDArray[np.int64]
    quality: NDArray[np.int64]

    def __getitem__(self, part: slice) -> Harm:
        return Harm(**{name: value[part] for name, value in vars(self).items()})


def _blur(lr: Tensor, sigmas: NDArray[np.float64], widest: float) -> Tensor:
    """A Gaussian of each patch's own width, edge pixels repeated, as a product on either side."""
    rows, columns = (_like(lr, _gaussian(side, sigmas, widest)) for side in lr.shape[-2:])
    return (rows @ lr[:, 0] @ columns.mT)[:, None]  # (B, 1, h, w)


def _gaussian(side: int, sigmas: NDArray[np.float64], widest: float) -> Tensor:
    """The filter as a matrix for each sigma: (B, side, side), float64. How far it reaches depends
    on the recipe's ``widest`` alone, so that a patch is the same whichever others are with it."""
    reach = int(np.ceil(4 * widest)) + 1
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (steps / np.maximum(sigmas, 1e-3)[:, None]) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)  # (B, taps)
    taps = torch.from_numpy((np.arange(side)[:, None] + steps).clip(0, side - 1))  # (side, taps)
    dense = torch.zeros(len(sigmas), side, side, dtype=torch.float64)
    source = torch.from_numpy(weights)[:, None].expand(-1, side, -1)  # (B, side, taps)
    return dense.scatter_add_(2, taps.expand(len(sigmas), -1, -1), source)


def _noise(lr: Tensor, harm: Harm) -> Tensor:
    """White noise for each patch from its own seed, so that it is the same on every device."""
    white = [np.random.default_rng(seed).standard_normal(lr.shape[1:]) for seed in harm.noise_seed]
    levels = harm.noise[:, None, None, None] / 255
    return _like(lr, torch.from_numpy(np.stack(white) * levels))  # (B, 1, h, w)


def _like(lr: Tensor, values: Tensor) -> Tensor:
    """In the dtype of ``lr`` before it goes to its device: not every device takes float64."""
    return values.to(lr.dtype).to(lr.device)


def _jpeg(lr: Tensor, qualities: NDArray[np.int64]) -> Tensor:
    """Each patch coded as a grey JPEG of its own quality and decoded again."""
    pixels = (lr[:, 0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()  # (B, h, w)
    decoded = np.empty_like(pixels)
    for index, quality in enumerate(qualities):
        coded = io.BytesIO()
        Image.fromarray(pixels[index]).save(coded, "JPEG", quality=int(quality))
        decoded[index] = np.asarray(Image.open(coded))
    return (torch.from_numpy(decoded).to(lr.device)[:, None] / 255).to(lr.dtype)  # (B, 1, h, w)
