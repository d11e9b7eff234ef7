"""The training set: pictures decoded once and kept as 8-bit luma, in memory or memory-mapped."""

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

from lapsr_cli.errors import NothingMatched, PictureError, UnreadablePicture, UsageError
from lapsr_cli.files import find
from lapsr_cli.image_io import READABLE, read
from lapsr_cli.pixels import color
from lapsr_cli.text import counted

__all__ = ["Dataset", "load", "picture_paths", "read_luma", "training_paths"]

log = logging.getLogger(__name__)

_DECODER_THREADS = 2
_PREFETCHED = 8


@dataclass(frozen=True)
class Dataset:
    """The luma of P pictures, concatenated.

    ``pixels``: uint8 (N,), all pictures one after another in row-major order. ``offsets``,
    ``heights``, ``widths``: int64 (P,), where each picture starts in ``pixels`` and its size.
    ``names``: the paths of the pictures, as given.
    """

    pixels: Tensor
    offsets: NDArray[np.int64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Tensor:
        """Picture ``index`` as uint8 (H, W), a view of ``pixels``."""
        offset, height, width = self.offsets[index], self.heights[index], self.widths[index]
        return self.pixels[offset : offset + height * width].view(int(height), int(width))

    def to(self, device: torch.device) -> Dataset:
        """The same dataset with ``pixels`` on ``device``."""
        pixels = self.pixels.to(device)
        return Dataset(pixels, self.offsets, self.heights, self.widths, self.names)


def picture_paths(folders: Sequence[str], flag: str, exclude: Path) -> list[Path]:
    """All pictures in ``folders`` and their subfolders, except those below ``exclude``.

    Raises NothingMatched, with ``flag`` and the folder in its message, for a folder that does not
    exist or contains no pictures.
    """
    paths: list[Path] = []
    for folder in folders:
        found = find([folder], READABLE, exclude)
        for path, reason in found.problems.items():
            raise NothingMatched(f"{flag} {path}: {reason}")
        if not found.sources:
            raise NothingMatched(f"{flag} {folder}: contains no pictures")
        paths += [source.path for source in found.sources]
    return paths


def training_paths(data: Sequence[str], val: Sequence[str], exclude: Path) -> list[Path]:
    """The pictures in the folders ``data`` that are not in the folders ``val`` too, links resolved.

    Raises NothingMatched as `picture_paths` does, and UsageError if none is left.
    """
    paths = picture_paths(data, "--data", exclude)
    held_back = {os.path.realpath(path) for path in picture_paths(val, "--val", exclude)}
    left = [path for path in paths if os.path.realpath(path) not in held_back]
    if not left:
        raise UsageError(f"--data {' '.join(data)}: every picture in it is in --val too")
    if number := len(paths) - len(left):
        log.info("left out of training: %s of --val", counted(number, "picture"))
    return left


def read_luma(path: Path) -> Tensor:
    """BT.601 luma of the first frame of a file, float64 (H, W) in [0, 1].

    Samples of grey pictures are taken as luma. Raises PictureError for a file that cannot be read
    and for a picture with transparent areas.
    """
    picture = read(path).frames[0]
    if picture.alpha is not None and bool((picture.alpha < picture.full).any()):
        raise UnreadablePicture(f"{path}: has transparent areas, which cannot be trained on")
    samples = torch.from_numpy(np.atleast_3d(picture.pixels).astype(np.float64)) / picture.full
    planes = samples.permute(2, 0, 1)  # (C, H, W)
    return color.luma(planes)[0] if len(planes) == 3 else planes[0]


def load(paths: Sequence[Path], *, min_side: int, budget: int, spill: Path) -> Dataset:
    """Decode all pictures that are at least ``min_side`` pixels wide and high.

    Smaller and unreadable pictures are skipped with a warning. If the pixels exceed ``budget``
    bytes, they are written to the file ``spill``, which is memory-mapped. Raises NothingMatched if
    no picture is left.
    """
    names: list[str] = []
    sizes: list[tuple[int, int]] = []
    store = _PixelStore(budget, spill)
    for path, luma in _decoded(paths):
        if isinstance(luma, PictureError):
            log.warning("skipped: %s", luma)
        elif min(luma.shape) < min_side:
            height, width = luma.shape
            log.warning(
                "skipped: %s: %d x %d is smaller than a patch of %d x %d",
                *(path, width, height, min_side, min_side),
            )
        else:
            names.append(str(path))
            sizes.append((luma.shape[0], luma.shape[1]))
            store.add(luma)
    if not names:
        raise NothingMatched(f"--data: none of {len(paths)} pictures can be used for training")
    heights, widths = np.array(sizes, dtype=np.int64).T
    offsets = np.concatenate([[0], np.cumsum(heights * widths)[:-1]])
    return Dataset(store.pixels(), offsets, heights, widths, tuple(names))


class _PixelStore:
    """Pixels added picture by picture, in memory until they exceed a budget, then in a file."""

    def __init__(self, budget: int, spill: Path) -> None:
        self._budget = budget
        self._spill = spill
        self._in_memory: list[NDArray[np.uint8]] = []
        self._bytes = 0
        self._spilled = False
        spill.unlink(missing_ok=True)

    def add(self, luma: NDArray[np.uint8]) -> None:
        self._in_memory.append(luma.reshape(-1))
        self._bytes += luma.size
        if self._spilled or self._bytes > self._budget:
            if not self._spilled:
                log.info(
                    "pictures exceed %d bytes: memory-mapped from %s", self._budget, self._spill
                )
            self._spilled = True
            self._write()

    def _write(self) -> None:
        self._spill.parent.mkdir(parents=True, exist_ok=True)
        with self._spill.open("ab") as file:
            for chunk in self._in_memory:
                file.write(chunk.data)
        self._in_memory.clear()

    def pixels(self) -> Tensor:
        """All pixels, uint8 (N,)."""
        if not self._spilled:
            return torch.from_numpy(np.concatenate(self._in_memory))
        path = str(self._spill)
        mapped = torch.from_file(path, shared=True, size=self._bytes, dtype=torch.uint8)
        if os.name == "posix":
            self._spill.unlink()  # the mapping keeps the data until the process ends
        return mapped


def _decoded(paths: Sequence[Path]) -> Iterator[tuple[Path, NDArray[np.uint8] | PictureError]]:
    """Each path with its luma or the error, in order, decoded in threads a few pictures ahead."""
    with ThreadPoolExecutor(_DECODER_THREADS) as pool:
        remaining = iter(paths)
        queue = [(path, pool.submit(_decode, path)) for path in islice(remaining, _PREFETCHED)]
        while queue:
            path, future = queue.pop(0)
            queue += [(path, pool.submit(_decode, path)) for path in islice(remaining, 1)]
            yield path, future.result()


def _decode(path: Path) -> NDArray[np.uint8] | PictureError:
    """Luma rounded to 8 bits, uint8 (H, W), or the error."""
    try:
        pixels: NDArray[np.uint8] = (read_luma(path) * 255).round().to(torch.uint8).numpy()
        return pixels
    except PictureError as error:
        return error
