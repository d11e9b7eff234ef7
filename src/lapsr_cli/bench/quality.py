"""PSNR, SSIM and IFC of networks on a folder of HR pictures, or on pairs of LR and HR pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lapsr_cli import image_io
from lapsr_cli.bench.results import Quality
from lapsr_cli.errors import NothingMatched, UnreadablePicture, UsageError
from lapsr_cli.files import find
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.metrics import protocol
from lapsr_cli.pixels.picture import Picture

__all__ = [
    "Original",
    "Pair",
    "check_sizes",
    "measure",
    "measure_pairs",
    "read_originals",
    "read_pairs",
    "read_pictures",
]

_WARM_UP_SIDE = 32


@dataclass(frozen=True)
class Original:
    """An HR picture: its path relative to the folder, and its luma (H, W), float64 in [0, 1]."""

    name: str
    luma: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.luma.shape
        return height, width


@dataclass(frozen=True)
class Pair:
    """An LR picture and its original: the name of the LR picture, the luma of both as (h, w) and
    (scale h, scale w), float64 in [0, 1], and the scale between them."""

    name: str
    lr: Tensor
    hr: Tensor
    scale: int


def read_pictures(folder: Path, flag: str) -> tuple[dict[str, Picture], list[str]]:
    """The first frame of every picture in a folder, by relative path, and a line for each file that
    cannot be read. Raises NothingMatched, naming the option ``flag``, if there are no pictures."""
    found = find([str(folder)], image_io.READABLE)
    pictures: dict[str, Picture] = {}
    problems = [f"{path}: {reason}" for path, reason in found.problems.items()]
    for source in found.sources:
        try:
            pictures[str(source.relative)] = image_io.read(source.path).frames[0]
        except UnreadablePicture as error:
            problems.append(str(error))
    if not pictures:
        reasons = f": {'; '.join(problems)}" if problems else ""
        raise NothingMatched(f"{flag} {folder}: no readable pictures{reasons}")
    return pictures, problems


def read_originals(folder: Path, flag: str) -> tuple[list[Original], list[str]]:
    """As ``read_pictures``, but the luma only."""
    pictures, problems = read_pictures(folder, flag)
    return [Original(name, _luma(picture)) for name, picture in pictures.items()], problems


def check_sizes(originals: Sequence[Original], scale: int, flag: str) -> None:
    """Raise UsageError, naming ``flag``, for a picture too small to score: ``scale`` pixels at each
    edge are not scored."""
    for original in originals:
        height, width = original.size
        if min(height, width) < 3 * scale:
            raise UsageError(
                f"{flag}: {original.name}: {width} x {height} pixels are too few to score at"
                f" {scale}x; it takes {3 * scale} x {3 * scale}"
            )


def read_pairs(lr_folder: Path, hr_folder: Path, scales: Sequence[int]) -> list[Pair]:
    """The pictures of two folders, paired by relative path without suffix, in the order of
    ``lr_folder``. The scale of a pair is the one of ``scales`` by which its sizes differ.

    Raises UsageError for a picture without a counterpart, whose sizes differ by none of ``scales``
    or that is too small to score; UnreadablePicture for one that cannot be read.
    """
    lr_pictures, problems = read_originals(lr_folder, "--pairs")
    hr_pictures, more_problems = read_originals(hr_folder, "--pairs")
    if problems or more_problems:
        raise UnreadablePicture((problems + more_problems)[0])
    hr_by_stem = {_stem(each): each for each in hr_pictures}
    unmatched = {_stem(each) for each in lr_pictures} ^ set(hr_by_stem)
    if unmatched:
        raise UsageError(f"--pairs: {min(unmatched)} is in only one of the two folders")
    return [_pair(each, hr_by_stem[_stem(each)], scales) for each in lr_pictures]


def _stem(original: Original) -> str:
    return str(Path(original.name).with_suffix(""))


def _pair(lr: Original, hr: Original, scales: Sequence[int]) -> Pair:
    for scale in scales:
        if hr.size == (scale * lr.size[0], scale * lr.size[1]):
            check_sizes([hr], scale, "--pairs")
            return Pair(lr.name, lr.luma, hr.luma, scale)
    sizes = " and ".join(f"{width} x {height}" for height, width in (lr.size, hr.size))
    expected = ", ".join(f"{scale}x" for scale in scales)
    raise UsageError(f"--pairs: {lr.name}: {sizes} pixels: the scale is not one of {expected}")


def measure(
    dataset: str,
    originals: Sequence[Original],
    networks: Mapping[str, Evaluator],
    scale: int,
) -> Iterator[Quality]:
    """The papers' protocol: downscale every original, upscale it by every method, and score it."""
    _warm_up(networks, scale)
    for original in originals:
        lr = protocol.degrade(original.luma, scale)
        yield from _all_methods(dataset, Pair(original.name, lr, original.luma, scale), networks)


def measure_pairs(
    dataset: str, pairs: Sequence[Pair], networks: Mapping[str, Evaluator]
) -> Iterator[Quality]:
    """Upscale the LR picture of every pair by every method, and score it against the HR picture."""
    for scale in sorted({pair.scale for pair in pairs}):
        _warm_up(networks, scale)
    for pair in pairs:
        yield from _all_methods(dataset, pair, networks)


def _all_methods(dataset: str, pair: Pair, networks: Mapping[str, Evaluator]) -> Iterator[Quality]:
    yield _scored(dataset, pair, "bicubic", protocol.bicubic(pair.lr, pair.scale), None)
    yield _scored(dataset, pair, "lanczos", _lanczos(pair.lr, pair.scale), None)
    for name, evaluator in networks.items():
        start = time.perf_counter()
        upscaled = evaluator.enlarge(pair.lr, pair.scale)
        yield _scored(dataset, pair, name, upscaled, time.perf_counter() - start)


def _scored(
    dataset: str, pair: Pair, method: str, picture: Tensor, seconds: float | None
) -> Quality:
    score = protocol.score(picture, pair.hr, pair.scale)
    return Quality(
        method=method,
        dataset=dataset,
        picture=pair.name,
        scale=pair.scale,
        psnr=score.psnr,
        ssim=score.ssim,
        ifc=protocol.information_fidelity(picture, pair.hr, pair.scale),
        seconds=seconds,
    )


def _warm_up(networks: Mapping[str, Evaluator], scale: int) -> None:
    """One small pass per network, which compiles kernels and allocates memory."""
    for evaluator in networks.values():
        evaluator.enlarge(torch.zeros(_WARM_UP_SIDE, _WARM_UP_SIDE), scale)


def _lanczos(lr: Tensor, scale: int) -> Tensor:
    """Pillow's Lanczos filter with three lobes: LR (H, W) -> (scale H, scale W)."""
    height, width = lr.shape
    image = Image.fromarray(lr.numpy().astype(np.float32))
    upscaled = image.resize((scale * width, scale * height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(upscaled).copy())


def _luma(picture: Picture) -> Tensor:
    """(H, W), float64 in [0, 1]; alpha is ignored."""
    pixels = np.atleast_3d(picture.pixels).copy()
    return protocol.luma_of(torch.from_numpy(pixels).permute(2, 0, 1))
