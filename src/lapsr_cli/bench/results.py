"""What was measured: figures with their units, as the table, the JSON and the page take them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "SCHEMA",
    "Machine",
    "PeerSpeed",
    "Published",
    "Quality",
    "Results",
    "Speed",
    "Stages",
    "StudyRow",
    "Timing",
]

SCHEMA = 1
"""Of the JSON; a field that changes its meaning, or goes, raises it."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where it was measured. ``threads``: those that torch computes with. ``gpus``: their names."""

    processor: str
    cores: int
    threads: int
    memory_bytes: int
    system: str
    python: str
    torch: str
    gpus: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of repeated runs, warm-up not counted."""

    median: float
    least: float
    most: float
    runs: int


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One network enlarging pictures of one size.

    ``title``: the network in the papers' words. ``device``: as in "cpu" or "cuda:0". ``scale``: the
    one that is made. ``width``, ``height``: of the input, in
    pixels. ``batch``: pictures at a time; ``seconds`` are those of one picture.
    ``content``: "random" samples, or the name of a picture. ``output_megapixels_per_second``: of
    ``scale`` alone. ``teraflops``: 10^12 operations of the network a second, a multiplication and
    an addition being two, halos not counted. ``roofline``: the same of a matrix product, measured
    in the same run. ``work_ratio``: pixels computed over pixels needed, so 1 without tiles.
    ``peak_bytes``: of the device; on the CPU what the process took beyond what it held before.
    ``joules``: of one picture, None where the system does not tell.
    """

    model: str
    title: str
    device: str
    precision: str
    scale: int
    width: int
    height: int
    batch: int
    content: str
    seconds: Timing
    output_megapixels_per_second: float
    teraflops: float
    roofline: float
    work_ratio: float
    peak_bytes: int
    joules: float | None

    @property
    def roofline_share(self) -> float:
        """What of the matrix product's rate the network reaches, 0 to 1."""
        return self.teraflops / self.roofline


@dataclass(frozen=True, kw_only=True)
class PeerSpeed:
    """The same weights on the same luma with the same number of threads, by one runtime.

    ``peer``: "lapsr" for our own, the first of every group. ``precision``: of the features in ours;
    the others compute in fp32. ``ratio``: its median time over ours.
    ``difference``: the largest to the reference network's output, luma in [0, 1]. ``problem``: why
    there are no figures; they are None then.
    """

    peer: str
    version: str
    model: str
    device: str
    scale: int
    width: int
    height: int
    precision: str = "fp32"
    seconds: Timing | None = None
    ratio: float | None = None
    difference: float | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Stages:
    """A folder of pictures from file to file.

    ``seconds``: of each stage alone ("decode", "upload", "network", "download", "encode"), with as
    many threads as a run has for it. ``total_seconds``: of the run, all stages at the same time.
    ``bottleneck``: the stage that takes longest. ``advice``: which flag would help, in a sentence.
    """

    folder: str
    model: str
    device: str
    precision: str
    scale: int
    pictures: int
    input_megapixels: float
    output_megapixels: float
    seconds: Mapping[str, float]
    total_seconds: float
    bottleneck: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One picture at one scale: PSNR in dB, SSIM, IFC, and the seconds it took to enlarge.

    ``method``: a model's name, "bicubic" or "lanczos". ``psnr``: infinite where nothing differs.
    ``ifc``: None for pictures that are too small for its pyramid. ``seconds``: None for what needs
    no network.
    """

    method: str
    dataset: str
    picture: str
    scale: int
    psnr: float
    ssim: float
    ifc: float | None
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the papers say of a known set at one scale, and at least two places that say so. A
    figure on which they do not agree is None."""

    method: str
    dataset: str
    scale: int
    psnr: float | None
    ssim: float | None
    ifc: float | None
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """One network of a study: its size, its time for one pass, its quality if there are weights.

    ``study``: "params", "depth", "skips" or "scales". ``layers``: convolutions on the way to the
    largest picture. ``psnr``: mean over a dataset in dB, by scale.
    """

    study: str
    title: str
    parameters: int
    layers: int
    scale: int
    seconds: Timing
    teraflops: float
    psnr: Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that one call measured. ``command``: as it was given. ``date``: ISO 8601, UTC."""

    machine: Machine
    command: str
    version: str
    date: str
    speeds: tuple[Speed, ...] = ()
    peers: tuple[PeerSpeed, ...] = ()
    stages: tuple[Stages, ...] = ()
    qualities: tuple[Quality, ...] = ()
    published: tuple[Published, ...] = ()
    studies: tuple[StudyRow, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As docs/bench.md describes it: numbers, strings, lists and mappings."""
        speeds = [asdict(each) | {"roofline_share": each.roofline_share} for each in self.speeds]
        values: dict[str, Any] = _finite({"schema": SCHEMA, **asdict(self), "speeds": speeds})
        return values


def _finite(value: Any) -> Any:
    """JSON has no infinity: None for it, as for the PSNR of equal pictures."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value
