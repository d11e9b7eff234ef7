"""Batches of patches, made on the device: crop, downscale, flip, and the bicubic target pyramid.

The random choices (picture, position, scale augmentation, flips) come from a CPU generator seeded
with the recipe's seed and the iteration. Batch n is therefore the same on every device, for any
number of devices and after any interruption, and there is no sampler state to save.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapsr_cli.pixels import resize
from lapsr_cli.train.dataset import Dataset
from lapsr_cli.train.degrade import degraded
from lapsr_cli.train.loss import ScaleBatch
from lapsr_cli.train.recipe import Recipe

__all__ = ["CropParams", "PatchSampler", "crop"]


@dataclass(frozen=True)
class CropParams:
    """Where B patches are cropped and how they are augmented; each field is (B,).

    ``picture``: index in the dataset. ``shrink``: factor in (0, 1] by which the picture is
    downscaled first. ``top``, ``left``: corner of the patch in the downscaled picture.
    ``flip_rows``, ``flip_columns``, ``transpose``: applied in this order; together the eight
    symmetries of a square.
    """

    picture: NDArray[np.int64]
    shrink: NDArray[np.float64]
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    flip_rows: NDArray[np.bool_]
    flip_columns: NDArray[np.bool_]
    transpose: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.picture)

    def __getitem__(self, part: slice) -> CropParams:
        return CropParams(*(value[part] for value in vars(self).values()))


class PatchSampler:
    """Batches for a recipe from a dataset, on the device of the dataset.

    ``rank`` gets every ``world_size``-th patch of the batch, from number ``rank`` on.
    """

    def __init__(
        self, dataset: Dataset, recipe: Recipe, rank: int = 0, world_size: int = 1
    ) -> None:
        self.dataset = dataset
        self.recipe = recipe
        self.rank = rank
        self.world_size = world_size
        areas = dataset.heights * dataset.widths
        self._probabilities = areas / areas.sum()

    def batch(self, iteration: int) -> list[ScaleBatch]:
        """This rank's share of the batch of ``iteration``, one element per scale."""
        rng = np.random.Generator(np.random.Philox(key=[self.recipe.seed, iteration]))
        params = self.sample(rng)
        return [self._scale_batch(scale, params, part, rng) for scale, part in self._parts()]

    def sample(self, rng: np.random.Generator) -> CropParams:
        """Draw the patches of a whole batch; every pixel of every picture is equally likely."""
        count, patch = self.recipe.batch_size, self.recipe.patch_size
        picture = rng.choice(len(self.dataset), count, p=self._probabilities)
        height, width = self.dataset.heights[picture], self.dataset.widths[picture]
        min_tenths = np.ceil(10 * self.recipe.scale_augmentation - 1e-9)
        tenths = rng.integers(int(min_tenths), 11, count)
        # Tenths as in the authors' getBatch_MSLapSRN.m, but never below the size of a patch.
        shrink = np.maximum(tenths / 10, patch / np.minimum(height, width))
        # In floating point, 187 * (96 / 187) is above 96.
        max_top = np.ceil(height * shrink - 1e-9).astype(np.int64) - patch
        max_left = np.ceil(width * shrink - 1e-9).astype(np.int64) - patch
        flips = rng.random((3, count)) < 0.5
        return CropParams(
            picture,
            shrink,
            rng.integers(0, max_top + 1),
            rng.integers(0, max_left + 1),
            *flips,
        )

    def _parts(self) -> Iterator[tuple[int, slice]]:
        """Each scale with its patches of the batch; the parts differ by at most one patch."""
        bounds = np.linspace(0, self.recipe.batch_size, len(self.recipe.scales) + 1).round()
        for scale, start, stop in zip(self.recipe.scales, bounds, bounds[1:], strict=False):
            yield scale, slice(int(start), int(stop))

    def _scale_batch(
        self, scale: int, params: CropParams, part: slice, rng: np.random.Generator
    ) -> ScaleBatch:
        params = params[part]
        mine = slice((self.rank - part.start) % self.world_size, None, self.world_size)
        hr = crop(self.dataset, params[mine], self.recipe.patch_size)  # (n, 1, P, P)
        levels = [level for level in self.recipe.network.scales if level <= scale]
        targets = {level: _downscaled(hr, scale // level) for level in levels}
        lr = _downscaled(hr, scale)  # (n, 1, P/S, P/S)
        if degradation := self.recipe.degradation:
            drawn = degradation.sample(rng, len(params))
            lr = degraded(lr, drawn[mine])
        return ScaleBatch(scale, lr, targets, len(params))


def crop(dataset: Dataset, params: CropParams, patch: int) -> Tensor:
    """The patches as fp32 (B, 1, P, P) in [0, 1], with P = ``patch``, on the dataset's device.

    The same as downscaling each whole picture by `resize`, then cropping and flipping, but it reads
    only the pixels that the patch depends on, and takes one matrix product per axis.
    """
    window = int(np.ceil((patch + 3) / params.shrink.min())) + 3
    height, width = dataset.heights[params.picture], dataset.widths[params.picture]
    top, rows = resize.window_matrices(height, params.shrink, params.top, patch, window)
    left, columns = resize.window_matrices(width, params.shrink, params.left, patch, window)
    rows = _flipped(rows.float(), params.flip_rows)  # (B, P, window)
    columns = _flipped(columns.float(), params.flip_columns)  # (B, P, window)
    device = dataset.pixels.device
    rows, columns = rows.to(device), columns.to(device)
    sources = _windows(dataset, params.picture, top, left, window).float() / 255
    patches = rows @ sources @ columns.mT  # (B, P, P)
    transpose = torch.from_numpy(params.transpose).to(device)[:, None, None]
    return torch.where(transpose, patches.mT, patches)[:, None]  # (B, 1, P, P)


def _flipped(matrices: Tensor, flip: NDArray[np.bool_]) -> Tensor:
    """The matrices (B, P, window), those with ``flip`` in reverse order of outputs."""
    return torch.where(torch.from_numpy(flip)[:, None, None], matrices.flip(1), matrices)


def _windows(
    dataset: Dataset,
    picture: NDArray[np.int64],
    top: NDArray[np.int64],
    left: NDArray[np.int64],
    side: int,
) -> Tensor:
    """Windows of the pictures, uint8 (B, side, side), zero where they extend beyond an edge."""
    windows = dataset.pixels.new_zeros(len(picture), side, side)
    for window, index, row, column in zip(windows, picture, top, left, strict=True):
        source = dataset[int(index)][row : row + side, column : column + side]
        window[: source.shape[0], : source.shape[1]] = source
    return windows


def _downscaled(hr: Tensor, factor: int) -> Tensor:
    """(n, 1, P, P) -> (n, 1, P/factor, P/factor) as by `resize`, one matrix product per axis."""
    if factor == 1:
        return hr
    matrix = _downscaling_matrix(hr.shape[-1], factor, hr.device)
    return matrix @ hr @ matrix.T


@lru_cache(maxsize=16)
def _downscaling_matrix(length: int, factor: int, device: torch.device) -> Tensor:
    return resize.matrix(length, 1 / factor).float().to(device)  # (length/factor, length)
