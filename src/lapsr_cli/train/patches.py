"""Batches of patches, made on the device: crop, shrink, turn, and the bicubic pyramid below.

What is drawn (which picture, where, how much shrunk, how turned) comes from a generator that is
seeded with the recipe's seed and the number of the iteration, on the CPU. So batch n is the same
on every device, on any number of devices, and after any interruption; there is no state to save.
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
from lapsr_cli.train.dataset import Pictures
from lapsr_cli.train.loss import Part
from lapsr_cli.train.recipe import Recipe

__all__ = ["Draw", "Patches", "cut"]


@dataclass(frozen=True)
class Draw:
    """Which patches: everything (B,).

    ``picture``: its number. ``shrink``: the picture is resized by this first. ``top``, ``left``:
    the patch's corner in the resized picture. ``flip_rows``, ``flip_columns``, ``transpose``: one
    of the eight turns of a square, in this order.
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

    def __getitem__(self, part: slice) -> Draw:
        return Draw(*(value[part] for value in vars(self).values()))


class Patches:
    """The batches of a recipe from some pictures, which lie on the device that they are for.

    ``rank`` of ``world`` devices gets its own share of every part.
    """

    def __init__(self, pictures: Pictures, recipe: Recipe, rank: int = 0, world: int = 1) -> None:
        self.pictures = pictures
        self.recipe = recipe
        self.rank = rank
        self.world = world
        areas = pictures.heights * pictures.widths
        self._chances = areas / areas.sum()

    def batch(self, iteration: int) -> list[Part]:
        """This device's share of batch number ``iteration``, one part for each scale."""
        rng = np.random.Generator(np.random.Philox(key=[self.recipe.seed, iteration]))
        draw = self.draw(rng)
        return [self._part(scale, draw[part], rng) for scale, part in self._parts()]

    def draw(self, rng: np.random.Generator) -> Draw:
        """A whole batch of patches. A pixel of any picture is as likely as of any other."""
        count, patch = self.recipe.batch_size, self.recipe.patch_size
        picture = rng.choice(len(self.pictures), count, p=self._chances)
        height, width = self.pictures.heights[picture], self.pictures.widths[picture]
        least = np.ceil(10 * self.recipe.scale_augmentation - 1e-9)
        tenths = rng.integers(int(least), 11, count)
        # As in the authors' getBatch_MSLapSRN.m: tenths, but never less than a patch.
        shrink = np.maximum(tenths / 10, patch / np.minimum(height, width))
        # 187 * (96 / 187) is above 96 in floating point.
        room_below = np.ceil(height * shrink - 1e-9).astype(np.int64) - patch
        room_beside = np.ceil(width * shrink - 1e-9).astype(np.int64) - patch
        turns = rng.random((3, count)) < 0.5
        return Draw(
            picture,
            shrink,
            rng.integers(0, room_below + 1),
            rng.integers(0, room_beside + 1),
            *turns,
        )

    def _parts(self) -> Iterator[tuple[int, slice]]:
        """For each scale the patches that train it: equal parts, as nearly as can be."""
        bounds = np.linspace(0, self.recipe.batch_size, len(self.recipe.scales) + 1).round()
        for scale, start, stop in zip(self.recipe.scales, bounds, bounds[1:], strict=False):
            yield scale, slice(int(start), int(stop))

    def _part(self, scale: int, draw: Draw, rng: np.random.Generator) -> Part:
        share = np.linspace(0, len(draw), self.world + 1).round().astype(int)
        mine = slice(share[self.rank], share[self.rank + 1])
        hr = cut(self.pictures, draw[mine], self.recipe.patch_size)  # (n, 1, P, P)
        levels = [level for level in self.recipe.network.scales if level <= scale]
        targets = {level: _shrunk(hr, scale // level) for level in levels}
        lr = _shrunk(hr, scale)  # (n, 1, P/S, P/S)
        if degradation := self.recipe.degradation:
            harm = degradation.draw(rng, len(draw))
            lr = degradation.apply(lr, harm[mine])
        return Part(scale, lr, targets, len(draw))


def cut(pictures: Pictures, draw: Draw, patch: int) -> Tensor:
    """The patches of a draw: fp32 (B, 1, P, P) in [0, 1], on the pictures' device.

    Equal to resizing each picture as a whole by `resize`, then cropping and turning it; only the
    pixels that the patch depends on are touched, as one matrix product on either side.
    """
    reach = int(np.ceil((patch + 3) / draw.shrink.min())) + 3
    height, width = pictures.heights[draw.picture], pictures.widths[draw.picture]
    first_row, rows = _matrices(height, draw.shrink, draw.top, patch, reach)
    first_column, columns = _matrices(width, draw.shrink, draw.left, patch, reach)
    rows[torch.from_numpy(draw.flip_rows)] = rows[torch.from_numpy(draw.flip_rows)].flip(1)
    columns[torch.from_numpy(draw.flip_columns)] = columns[
        torch.from_numpy(draw.flip_columns)
    ].flip(1)
    windows = pictures.pixels.new_zeros(len(draw), reach, reach)
    for window, index, row, column in zip(
        windows, draw.picture, first_row, first_column, strict=True
    ):
        source = pictures[int(index)][row : row + reach, column : column + reach]
        window[: source.shape[0], : source.shape[1]] = source
    device = pictures.pixels.device
    rows, columns = rows.to(device), columns.to(device)
    patches = rows @ (windows.float() / 255) @ columns.mT  # (B, P, P)
    turned = torch.from_numpy(draw.transpose).to(device)[:, None, None]
    return torch.where(turned, patches.mT, patches)[:, None]  # (B, 1, P, P)


def _matrices(
    length: NDArray[np.int64],
    shrink: NDArray[np.float64],
    first: NDArray[np.int64],
    patch: int,
    reach: int,
) -> tuple[NDArray[np.int64], Tensor]:
    """Where each window of ``reach`` source pixels begins, and what makes a patch's axis of it:
    (B,) and fp32 (B, P, reach)."""
    taps, weights = resize.contributions(length, shrink, first, patch)  # (B, P, taps)
    used = np.where(weights != 0, taps, length[:, None, None])
    start = np.minimum(used.min(axis=(1, 2)), np.maximum(length - reach, 0))
    inside = (taps - start[:, None, None]).clip(0, reach - 1)  # what is clipped weighs nothing
    dense = torch.zeros(len(length), patch, reach, dtype=torch.float64)
    dense.scatter_add_(2, torch.from_numpy(inside), torch.from_numpy(weights))
    return start, dense.float()


def _shrunk(hr: Tensor, factor: int) -> Tensor:
    """(n, 1, P, P) -> (n, 1, P/factor, P/factor), by `resize` as a matrix on either side."""
    if factor == 1:
        return hr
    matrix = _shrinking(hr.shape[-1], factor, hr.device)
    return matrix @ hr @ matrix.T


@lru_cache(maxsize=16)
def _shrinking(length: int, factor: int, device: torch.device) -> Tensor:
    return resize.matrix(length, 1 / factor).float().to(device)  # (length/factor, length)
