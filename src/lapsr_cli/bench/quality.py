"""How good networks are on a folder of pictures at full size, or on real pairs of LR and HR."""

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
from lapsr_cli.image_io import READABLE
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.metrics import protocol
from lapsr_cli.pixels.picture import Picture

__all__ = [
    "Original",
    "Pair",
    "check_sizes",
    "measure",
    "measure_pairs",
    "pairs_in",
    "read_originals",
    "read_pictures",
]

_WARM_UP_SIDE = 32


@dataclass(frozen=True)
class Original:
    """A picture at full size: its name below the folder, and its luma (H, W), float64 in [0, 1]."""

    name: str
    luma: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.luma.shape
        return height, width


@dataclass(frozen=True)
class Pair:
    """A small picture and the same at full size: their name, their luma, and the scale between."""

    name: str
    lr: Tensor
    hr: Tensor
    scale: int


def read_pictures(folder: Path, flag: str) -> tuple[dict[str, Picture], list[str]]:
    """The first frame of every picture of a folder, by its path below it, and a line for each file
    that cannot be read. Raises NothingMatched, naming ``flag``, if there is none."""
    found = find([str(folder)], READABLE)
    pictures: dict[str, Picture] = {}
    problems = [f"{path}: {reason}" for path, reason in found.problems.items()]
    for source in found.sources:
        try:
            pictures[str(source.relative)] = image_io.read(source.path).frames[0]
        except UnreadablePicture as error:
            problems.append(str(error))
    if not pictures:
        reasons = f": {'; '.join(problems)}" if problems else ""
        raise NothingMatched(f"{flag} {folder}: no pictures in it{reasons}")
    return pictures, problems


def read_originals(folder: Path, flag: str) -> tuple[list[Original], list[str]]:
    """The luma of ``read_pictures``."""
    pictures, problems = read_pictures(folder, flag)
    return [Original(name, _luma(picture)) for name, picture in pictures.items()], problems


def check_sizes(originals: Sequence[Original], scale: int, flag: str) -> None:
    """Raise UsageError, naming ``flag``, for a picture of which nothing is left to score: ``scale``
    pixels go at each edge."""
    for original in originals:
        height, width = original.size
        if min(height, width) < 3 * scale:
            raise UsageError(
                f"{flag}: {original.name}: {width} x {height} pixels are too few to be scored at"
                f" {scale}x; at least {3 * scale} x {3 * scale}"
            )


def pairs_in(lr_folder: Path, hr_folder: Path, scales: Sequence[int]) -> list[Pair]:
    """The pictures of two folders that have the same path below them but for the suffix, in the
    order of the small ones.

    Raises UsageError for one without its like, for sizes that are not ``scales`` apart or too
    small, UnreadablePicture for one that cannot be read.
    """
    small, problems = read_originals(lr_folder, "--pairs")
    large, more_problems = read_originals(hr_folder, "--pairs")
    if problems or more_problems:
        raise UnreadablePicture((problems + more_problems)[0])
    originals = {_stem(each): each for each in large}
    unmatched = {_stem(each) for each in small} ^ set(originals)
    if unmatched:
        raise UsageError(f"--pairs: {min(unmatched)} is in one of the two folders only")
    return [_pair(each, originals[_stem(each)], scales) for each in small]


def _stem(original: Original) -> str:
    return str(Path(original.name).with_suffix(""))


def _pair(lr: Original, hr: Original, scales: Sequence[int]) -> Pair:
    for scale in scales:
        if hr.size == (scale * lr.size[0], scale * lr.size[1]):
            check_sizes([hr], scale, "--pairs")
            return Pair(lr.name, lr.luma, hr.luma, scale)
    sizes = " and ".join(f"{width} x {height}" for height, width in (lr.size, hr.size))
    wanted = ", ".join(map(str, scales))
    raise UsageError(f"--pairs: {lr.name}: {sizes} pixels are not {wanted} times apart")


def measure(
    dataset: str,
    originals: Sequence[Original],
    networks: Mapping[str, Evaluator],
    scale: int,
) -> Iterator[Quality]:
    """The papers' protocol: every picture is shrunk, and enlarged by every method."""
    _warm_up(networks, scale)
    for original in originals:
        lr = protocol.degrade(original.luma, scale)
        yield from _of_pair(dataset, Pair(original.name, lr, original.luma, scale), networks)


def measure_pairs(
    dataset: str, pairs: Sequence[Pair], networks: Mapping[str, Evaluator]
) -> Iterator[Quality]:
    """Every small picture as it is, enlarged by every method and held against its original."""
    for scale in sorted({pair.scale for pair in pairs}):
        _warm_up(networks, scale)
    for pair in pairs:
        yield from _of_pair(dataset, pair, networks)


def _of_pair(dataset: str, pair: Pair, networks: Mapping[str, Evaluator]) -> Iterator[Quality]:
    yield _scored(dataset, pair, "bicubic", protocol.bicubic(pair.lr, pair.scale), None)
    yield _scored(dataset, pair, "lanczos", _lanczos(pair.lr, pair.scale), None)
    for name, evaluator in networks.items():
        start = time.perf_counter()
        enlarged = evaluator.enlarge(pair.lr, pair.scale)
        yield _scored(dataset, pair, name, enlarged, time.perf_counter() - start)


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
    """The first pass pays for what later ones find ready."""
    for evaluator in networks.values():
        evaluator.enlarge(torch.zeros(_WARM_UP_SIDE, _WARM_UP_SIDE), scale)


def _lanczos(lr: Tensor, scale: int) -> Tensor:
    """Pillow's, of three lobes: LR (H, W) -> (scale H, scale W)."""
    height, width = lr.shape
    image = Image.fromarray(lr.numpy().astype(np.float32))
    enlarged = image.resize((scale * width, scale * height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(enlarged).copy())


def _luma(picture: Picture) -> Tensor:
    """(H, W), float64 in [0, 1]; transparency does not count."""
    pixels = np.atleast_3d(picture.pixels).copy()
    return protocol.luma_of(torch.from_numpy(pixels).permute(2, 0, 1))
