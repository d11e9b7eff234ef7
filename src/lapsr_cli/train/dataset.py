"""The training pictures: decoded once, kept as 8-bit luma, in memory or in a memory map."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapsr_cli.errors import NothingMatched, PictureError, UnreadablePicture
from lapsr_cli.files import find
from lapsr_cli.image_io import READABLE, read
from lapsr_cli.pixels import color

__all__ = ["Pictures", "load", "paths_in", "read_luma"]

log = logging.getLogger(__name__)

_DECODERS = 2
_DECODED_AHEAD = 8


@dataclass(frozen=True)
class Pictures:
    """Every picture's luma, one after another.

    ``pixels``: uint8 (N,). ``offsets``, ``heights``, ``widths``: int64 (P,), where picture p
    begins and its size. ``names``: their paths, as given.
    """

    pixels: Tensor
    offsets: NDArray[np.int64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Tensor:
        """Picture ``index``, uint8 (H, W), not a copy."""
        offset, height, width = self.offsets[index], self.heights[index], self.widths[index]
        return self.pixels[offset : offset + height * width].view(int(height), int(width))

    def to(self, device: torch.device) -> Pictures:
        """The same with the pixels on ``device``."""
        pixels = self.pixels.to(device)
        return Pictures(pixels, self.offsets, self.heights, self.widths, self.names)


def paths_in(folders: Sequence[str], flag: str, leave_out: Path) -> list[Path]:
    """The pictures below ``folders``, not below ``leave_out``.

    Raises NothingMatched, naming the folder and the flag, for one that has none.
    """
    paths: list[Path] = []
    for folder in folders:
        found = find([folder], READABLE, leave_out)
        for path, reason in found.problems.items():
            raise NothingMatched(f"{flag} {path}: {reason}")
        if not found.sources:
            raise NothingMatched(f"{flag} {folder}: holds no pictures")
        paths += [source.path for source in found.sources]
    return paths


def read_luma(path: Path) -> Tensor:
    """Luma of a file's first picture: float64 (H, W) in [0, 1]; grey is luma already.

    Raises PictureError for what cannot be read, and for one that shows something behind it.
    """
    picture = read(path).frames[0]
    if picture.alpha is not None and bool((picture.alpha < picture.full).any()):
        raise UnreadablePicture(f"{path}: is transparent, so what it shows is not in it")
    samples = torch.from_numpy(np.atleast_3d(picture.pixels).astype(np.float64)) / picture.full
    planes = samples.permute(2, 0, 1)  # (C, H, W)
    return color.luma(planes)[0] if len(planes) == 3 else planes[0]


def _in_bytes(path: Path) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = (read_luma(path) * 255).round().to(torch.uint8).numpy()
    return pixels


def load(paths: Sequence[Path], *, smallest: int, budget: int, spill: Path) -> Pictures:
    """Decode every picture of at least ``smallest`` pixels on either side.

    The others, and those that cannot be read, are named in the log and left out. What exceeds
    ``budget`` bytes goes to the file ``spill``, which is then mapped instead of read. Raises
    NothingMatched if no picture is left.
    """
    names: list[str] = []
    sizes: list[tuple[int, int]] = []
    chunks = _Chunks(budget, spill)
    for path, luma in _decoded(paths):
        if isinstance(luma, PictureError):
            log.warning("left out: %s", luma)
        elif min(luma.shape) < smallest:
            height, width = luma.shape
            log.warning("left out: %s: %d x %d is less than a patch", path, width, height)
        else:
            names.append(str(path))
            sizes.append((luma.shape[0], luma.shape[1]))
            chunks.add(luma)
    if not names:
        raise NothingMatched(f"--data: none of {len(paths)} pictures can be trained on")
    heights, widths = np.array(sizes, dtype=np.int64).T
    offsets = np.concatenate([[0], np.cumsum(heights * widths)[:-1]])
    return Pictures(chunks.joined(), offsets, heights, widths, tuple(names))


class _Chunks:
    """Pixels that arrive picture by picture; in memory until they exceed a budget."""

    def __init__(self, budget: int, spill: Path) -> None:
        self._budget = budget
        self._spill = spill
        self._kept: list[NDArray[np.uint8]] = []
        self._bytes = 0
        self._spilled = False
        spill.unlink(missing_ok=True)

    def add(self, luma: NDArray[np.uint8]) -> None:
        self._kept.append(luma.reshape(-1))
        self._bytes += luma.size
        if self._spilled or self._bytes > self._budget:
            if not self._spilled:
                log.info(
                    "pictures of more than %d bytes: mapped from %s", self._budget, self._spill
                )
            self._spilled = True
            self._write()

    def _write(self) -> None:
        self._spill.parent.mkdir(parents=True, exist_ok=True)
        with self._spill.open("ab") as file:
            for chunk in self._kept:
                file.write(chunk.data)
        self._kept.clear()

    def joined(self) -> Tensor:
        if not self._spilled:
            return torch.from_numpy(np.concatenate(self._kept))
        path = str(self._spill)
        mapped = torch.from_file(path, shared=True, size=self._bytes, dtype=torch.uint8)
        if os.name == "posix":
            self._spill.unlink()  # the mapping holds what it needs, and nothing is left behind
        return mapped


def _decoded(paths: Sequence[Path]) -> Iterator[tuple[Path, NDArray[np.uint8] | PictureError]]:
    """Every path with its luma or why there is none, in order, decoded a few ahead."""
    with ThreadPoolExecutor(_DECODERS) as pool:
        waiting = iter(paths)
        ahead = [(path, pool.submit(_try, path)) for path in islice(waiting, _DECODED_AHEAD)]
        while ahead:
            path, future = ahead.pop(0)
            ahead += [(path, pool.submit(_try, path)) for path in islice(waiting, 1)]
            yield path, future.result()


def _try(path: Path) -> NDArray[np.uint8] | PictureError:
    try:
        return _in_bytes(path)
    except PictureError as error:
        return error
