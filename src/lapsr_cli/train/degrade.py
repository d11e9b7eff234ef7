"""Degradation of LR patches beyond downscaling: blur, noise and JPEG compression."""

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

__all__ = ["Degradation", "DegradationParams"]

Range = tuple[float, float]

_EXAMPLE = "jpeg:60-95,blur:0-0.8,noise:0-3,clean:0.1"
_LIMITS: dict[str, Range] = {"jpeg": (1, 100), "blur": (0, 8), "noise": (0, 64), "clean": (0, 1)}


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """Ranges from which the degradation of each patch is drawn uniformly; None means not applied.

    ``blur``: standard deviation of a Gaussian filter in LR pixels, 0 to 8. ``noise``: standard
    deviation of white Gaussian noise in 8-bit levels, 0 to 64. ``jpeg``: quality, 1 to 100.
    ``clean``: share of patches that are not degraded, 0 to 1. Applied in this order, as in a
    camera: blur, noise, JPEG.
    """

    blur: Range | None = None
    noise: Range | None = None
    jpeg: Range | None = None
    clean: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Degradation:
        """Parse "jpeg:60-95,blur:0-0.8,noise:0-3,clean:0.1" or any part of it; "" is none.

        Raises UsageError, with --degrade in its message.
        """
        values: dict[str, Range] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            match = re.fullmatch(r"(jpeg|blur|noise|clean):([\d.]+)(?:-([\d.]+))?", part)
            try:
                if match is None or (match[1] == "clean" and match[3]):
                    raise ValueError
                low, high = float(match[2]), float(match[3] or match[2])
            except ValueError:
                raise UsageError(f"--degrade {text}: expected a list such as {_EXAMPLE}") from None
            least, most = _LIMITS[match[1]]
            if not least <= low <= high <= most:
                raise UsageError(
                    f"--degrade {part}: must be an ascending range within {least}-{most}"
                )
            if match[1] in values:
                raise UsageError(f"--degrade {text}: {match[1]} is given twice")
            values[match[1]] = (low, high)
        clean = values.pop("clean", (0.0, 0.0))[0]
        return cls(**values, clean=clean)

    def __bool__(self) -> bool:
        return any((self.blur, self.noise, self.jpeg))

    def sample(self, rng: np.random.Generator, count: int) -> DegradationParams:
        """Draw the parameters of ``count`` patches."""
        low, high = self.jpeg or (100, 100)
        return DegradationParams(
            clean=rng.random(count) < self.clean,
            blur=rng.uniform(*(self.blur or (0.0, 0.0)), size=count),
            noise=rng.uniform(*(self.noise or (0.0, 0.0)), size=count),
            noise_seed=rng.integers(0, 2**63, count),
            quality=rng.integers(int(low), int(high) + 1, count),
        )

    def apply(self, lr: Tensor, params: DegradationParams) -> Tensor:
        """Degrade LR patches (B, 1, h, w) in [0, 1]; with JPEG, the result is rounded to 8 bits."""
        degraded = _blur(lr, params.blur, self.blur[1]) if self.blur else lr
        degraded = degraded + _noise(degraded, params) if self.noise else degraded
        degraded = _jpeg(degraded, params.quality) if self.jpeg else degraded
        clean = torch.from_numpy(params.clean).to(lr.device)[:, None, None, None]
        return torch.where(clean, lr, degraded)


@dataclass(frozen=True, kw_only=True)
class DegradationParams:
    """The parameters of B patches, each field (B,); units as in Degradation.

    ``clean``: whether the patch is left as it is. ``noise_seed``: seed of its noise.
    """

    clean: NDArray[np.bool_]
    blur: NDArray[np.float64]
    noise: NDArray[np.float64]
    noise_seed: NDArray[np.int64]
    quality: NDArray[np.int64]

    def __getitem__(self, part: slice) -> DegradationParams:
        return DegradationParams(**{name: value[part] for name, value in vars(self).items()})


def _blur(lr: Tensor, sigmas: NDArray[np.float64], max_sigma: float) -> Tensor:
    """Gaussian filter with one sigma per patch and replicated edges, as two matrix products."""
    rows, columns = (_like(lr, _gaussian(side, sigmas, max_sigma)) for side in lr.shape[-2:])
    return (rows @ lr[:, 0] @ columns.mT)[:, None]  # (B, 1, h, w)


def _gaussian(side: int, sigmas: NDArray[np.float64], max_sigma: float) -> Tensor:
    """The filter along one axis as a matrix per sigma, float64 (B, side, side).

    Its radius depends on the recipe's ``max_sigma`` only, so that a patch does not depend on the
    other patches of its batch.
    """
    radius = int(np.ceil(4 * max_sigma)) + 1
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / np.maximum(sigmas, 1e-3)[:, None]) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)  # (B, taps)
    taps = torch.from_numpy((np.arange(side)[:, None] + steps).clip(0, side - 1))  # (side, taps)
    dense = torch.zeros(len(sigmas), side, side, dtype=torch.float64)
    source = torch.from_numpy(weights)[:, None].expand(-1, side, -1)  # (B, side, taps)
    return dense.scatter_add_(2, taps.expand(len(sigmas), -1, -1), source)


def _noise(lr: Tensor, params: DegradationParams) -> Tensor:
    """White noise from one seed per patch, generated on the CPU: the same on every device."""
    seeds = params.noise_seed
    white = [np.random.default_rng(seed).standard_normal(lr.shape[1:]) for seed in seeds]
    sigmas = params.noise[:, None, None, None] / 255
    return _like(lr, torch.from_numpy(np.stack(white) * sigmas))  # (B, 1, h, w)


def _like(lr: Tensor, values: Tensor) -> Tensor:
    """``values`` in the dtype and on the device of ``lr``; cast first, as MPS has no float64."""
    return values.to(lr.dtype).to(lr.device)


def _jpeg(lr: Tensor, qualities: NDArray[np.int64]) -> Tensor:
    """Encode each patch as a grey JPEG of its quality and decode it again."""
    pixels = (lr[:, 0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()  # (B, h, w)
    decoded = np.empty_like(pixels)
    for index, quality in enumerate(qualities):
        coded = io.BytesIO()
        Image.fromarray(pixels[index]).save(coded, "JPEG", quality=int(quality))
        decoded[index] = np.asarray(Image.open(coded))
    return (torch.from_numpy(decoded).to(lr.device)[:, None] / 255).to(lr.dtype)  # (B, 1, h, w)
