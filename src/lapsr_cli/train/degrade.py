"""Degradation of LR patches beyond downscaling, as photographs are degraded.

A camera blurs, adds noise, sharpens and encodes; whoever passes the photograph on resizes it, may
sharpen it, and encodes it again. Only luma is trained on, so this is luma, too: what colours add to
it (demosaicking, chroma subsampling) is in the correlation of the noise and in nothing else.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.signal import fftconvolve
from torch import Tensor

from lapsr_cli.errors import UsageError
from lapsr_cli.pixels import resize

__all__ = ["Degradation", "PatchDegradation", "degraded"]

Range = tuple[float, float]
Samples = NDArray[np.float64]

_EXAMPLE = "jpeg:60-95,blur:0-0.8,noise:0-3,clean:0.1"
_LIMITS: dict[str, Range] = {
    "blur": (0, 8),
    "aspect": (0.1, 1),
    "noise": (0, 64),
    "shot": (0, 1),
    "correlation": (0, 4),
    "sharpen": (0, 4),
    "resize": (0.25, 4),
    "jpeg": (1, 100),
    "recoded": (0, 1),
    "clean": (0, 1),
}
_SHARES = ("recoded", "clean")
_NEEDS = {"aspect": "blur", "shot": "noise", "correlation": "noise", "recoded": "jpeg"}
_BLOCK = 8
"""Side of JPEG's blocks."""


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """Ranges from which the degradation of each patch is drawn uniformly; None means not applied.

    ``blur``: standard deviation of a Gaussian filter along its longer axis, in pixels, 0 to 8.
    ``aspect``: its shorter axis relative to the longer, 0.1 to 1, in a random direction
    (BSRGAN, arXiv:2103.14006, section 3.1).

    ``noise``: standard deviation of Gaussian noise at middle grey, in 8-bit levels, 0 to 64.
    ``shot``: share of that variance that is proportional to light, 0 to 1; the rest is constant in
    light (Foi et al. 2008, IEEE TIP 17(10), equation 1), and levels encode light as in sRGB.
    Without ``shot``, the noise is the same at every level. ``correlation``: standard deviation of
    the Gaussian filter that the noise went through, in pixels, 0 to 4: demosaicking and the
    camera's denoising leave it in grains (BSRGAN, section 3.3).

    ``sharpen``: amount of an unsharp mask of one pixel, 0 to 4. ``resize``: size of the camera's
    picture relative to the patch, 0.25 to 4; up to there, everything happens at that size.
    ``jpeg``: quality, 1 to 100. ``recoded``: share of the patches that were encoded twice, before
    and after resizing, with blocks that begin elsewhere (Real-ESRGAN, arXiv:2107.10833,
    section 3.3), 0 to 1.

    ``clean``: share of the patches that are not degraded, 0 to 1.

    The order is blur, noise, JPEG (if recoded), resizing, JPEG. The unsharp mask comes before or
    after resizing, with equal probability.
    """

    blur: Range | None = None
    aspect: Range | None = None
    noise: Range | None = None
    shot: Range | None = None
    correlation: Range | None = None
    sharpen: Range | None = None
    resize: Range | None = None
    jpeg: Range | None = None
    recoded: float = 0.0
    clean: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Degradation:
        """Parse "jpeg:60-95,blur:0-0.8,noise:0-3,clean:0.1" or any part of it; "" is none.

        Raises UsageError, with --degrade in its message.
        """
        values: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, (low, high) = _parse_part(part, text)
            if name in values:
                raise UsageError(f"--degrade {text}: {name} is given twice")
            values[name] = low if name in _SHARES else (low, high)
        for name, needed in _NEEDS.items():
            if name in values and needed not in values:
                raise UsageError(f"--degrade {text}: {name} needs {needed}")
        return cls(**values)

    def __bool__(self) -> bool:
        return any((self.blur, self.noise, self.sharpen, self.resize, self.jpeg))

    def sample(self, rng: np.random.Generator, count: int) -> list[PatchDegradation]:
        """Draw the degradations of ``count`` patches."""
        return [self._sample_one(rng) for _ in range(count)]

    def _sample_one(self, rng: np.random.Generator) -> PatchDegradation:
        def quality(share: float) -> int | None:
            drawn, is_coded = rng.integers(low, high + 1), rng.random() < share
            return int(drawn) if self.jpeg and is_coded else None

        low, high = map(int, self.jpeg or (100, 100))
        return PatchDegradation(
            clean=bool(rng.random() < self.clean),
            blur=rng.uniform(*(self.blur or (0, 0))),
            aspect=rng.uniform(*(self.aspect or (1, 1))),
            angle=rng.uniform(0, np.pi),
            noise=rng.uniform(*(self.noise or (0, 0))),
            shot=rng.uniform(*self.shot) if self.shot else None,
            correlation=rng.uniform(*(self.correlation or (0, 0))),
            seed=int(rng.integers(0, 2**63)),
            sharpen=rng.uniform(*(self.sharpen or (0, 0))),
            sharpen_first=bool(rng.random() < 0.5),
            resize=rng.uniform(*(self.resize or (1, 1))),
            first_quality=quality(self.recoded),
            first_block=(int(rng.integers(_BLOCK)), int(rng.integers(_BLOCK))),
            quality=quality(1),
        )


def _parse_part(part: str, text: str) -> tuple[str, Range]:
    """The name and the range of "jpeg:60-95"; a single number is a range of one."""
    match = re.fullmatch(rf"({'|'.join(_LIMITS)}):([\d.]+)(?:-([\d.]+))?", part)
    try:
        if match is None or (match[1] in _SHARES and match[3]):
            raise ValueError
        low, high = float(match[2]), float(match[3] or match[2])
    except ValueError:
        raise UsageError(f"--degrade {text}: expected a list such as {_EXAMPLE}") from None
    least, most = _LIMITS[match[1]]
    if not least <= low <= high <= most:
        raise UsageError(f"--degrade {part}: must be an ascending range within {least}-{most}")
    return match[1], (low, high)


@dataclass(frozen=True, kw_only=True)
class PatchDegradation:
    """How one patch is degraded; fields and units as in Degradation.

    ``angle``: direction of the blur's longer axis, in radians from the rows. ``seed``: of the
    noise. ``sharpen_first``: before resizing. ``first_quality``, ``quality``: of the encodings
    before and after resizing; None: not encoded. ``first_block``: where the patch begins in a block
    of the first.
    """

    clean: bool
    blur: float
    aspect: float
    angle: float
    noise: float
    shot: float | None
    correlation: float
    seed: int
    sharpen: float
    sharpen_first: bool
    resize: float
    first_quality: int | None
    first_block: tuple[int, int]
    quality: int | None

    def apply(self, patch: Samples) -> Samples:
        """The degraded patch, (h, w) in [0, 1] as given; 8-bit levels if it was encoded."""
        if self.clean:
            return patch
        height, width = patch.shape
        size = (max(1, round(self.resize * height)), max(1, round(self.resize * width)))
        photo = _resized(patch, size)
        photo = _filtered(photo, _gaussian(self.blur, self.aspect, self.angle))
        photo = photo + self._noise(photo)
        if self.sharpen_first:
            photo = _sharpened(photo, self.sharpen)
        if self.first_quality is not None:
            photo = _encoded(photo, self.first_quality, self.first_block)
        photo = _resized(photo, (height, width))
        if not self.sharpen_first:
            photo = _sharpened(photo, self.sharpen)
        return photo if self.quality is None else _encoded(photo, self.quality)

    def _noise(self, photo: Samples) -> Samples:
        """What is added to each sample of ``photo`` (h, w)."""
        kernel = _gaussian(self.correlation)
        kernel /= np.sqrt((kernel**2).sum())  # keeps the variance
        radius = len(kernel) // 2
        rng = np.random.default_rng(self.seed)
        white = rng.standard_normal([side + 2 * radius for side in photo.shape])
        grains: Samples = fftconvolve(white, kernel, mode="valid")  # (h, w)
        strength = self.noise / 255
        return (
            strength * grains if self.shot is None else strength * grains * _shot(photo, self.shot)
        )


def degraded(lr: Tensor, drawn: Sequence[PatchDegradation]) -> Tensor:
    """LR patches (B, 1, h, w) in [0, 1], each degraded as ``drawn``; on the CPU, one by one."""
    patches = lr[:, 0].double().cpu().numpy()  # (B, h, w)
    result = np.stack([each.apply(patch) for each, patch in zip(drawn, patches, strict=True)])
    return torch.from_numpy(result).to(lr.dtype).to(lr.device)[:, None]  # (B, 1, h, w)


def _gaussian(sigma: float, aspect: float = 1.0, angle: float = 0.0) -> Samples:
    """A Gaussian filter, (k, k) with odd k, sum 1; ``sigma`` along ``angle``, times ``aspect``
    across it."""
    radius = int(np.ceil(4 * sigma))
    if not radius:
        return np.ones((1, 1))
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    along = rows * np.cos(angle) + columns * np.sin(angle)
    across = columns * np.cos(angle) - rows * np.sin(angle)
    kernel = np.exp(-0.5 * ((along / sigma) ** 2 + (across / (aspect * sigma)) ** 2))
    normalized: Samples = kernel / kernel.sum()
    return normalized


def _filtered(photo: Samples, kernel: Samples) -> Samples:
    """``photo`` (h, w) filtered by a symmetric kernel, with replicated edges."""
    padded = np.pad(photo, len(kernel) // 2, mode="edge")
    result: Samples = fftconvolve(padded, kernel, mode="valid")
    return result


def _sharpened(photo: Samples, amount: float) -> Samples:
    """Unsharp mask with a Gaussian of one pixel."""
    return photo + amount * (photo - _filtered(photo, _gaussian(1.0))) if amount else photo


def _resized(photo: Samples, size: tuple[int, int]) -> Samples:
    """Bicubic, antialiased, to (height, width)."""
    for axis, count in enumerate(size):
        length = photo.shape[axis]
        if length != count:
            lengths, scales = np.array([length]), np.array([count / length])
            _, matrices = resize.window_matrices(lengths, scales, np.array([0]), count, length)
            photo = np.moveaxis(np.tensordot(matrices[0].numpy(), photo, (1, axis)), 0, axis)
    return photo


def _shot(photo: Samples, share: float) -> Samples:
    """The standard deviation of noise at each sample of ``photo`` relative to that at middle grey,
    if ``share`` of its variance in light is proportional to light, and the rest constant."""
    light, slope = _light(photo.clip(0, 1))
    middle_light, middle_slope = _light(np.array(0.5))
    variance = 1 - share + share * light / middle_light
    relative: Samples = slope / middle_slope * np.sqrt(variance)
    return relative


def _light(levels: Samples) -> tuple[Samples, Samples]:
    """The light that sRGB encodes as ``levels`` (IEC 61966-2-1), both in [0, 1], and the slope of
    the encoding there."""
    is_linear = levels <= 0.04045
    light = np.where(is_linear, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    curve = 1.055 / 2.4 * np.maximum(light, 0.0031308) ** (1 / 2.4 - 1)
    return light, np.where(is_linear, 12.92, curve)


def _encoded(photo: Samples, quality: int, block: tuple[int, int] = (0, 0)) -> Samples:
    """``photo`` as a grey JPEG, decoded again. ``block``: where in a block its corner lies."""
    levels = (photo.clip(0, 1) * 255).round().astype(np.uint8)
    levels = np.pad(levels, [(block[0], 0), (block[1], 0)], mode="edge")
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(file), dtype=np.float64) / 255
    return decoded[block[0] :, block[1] :]
