"""What was measured, with units: the data behind the tables, the JSON and the HTML page.

Field names are the keys of the JSON, which docs/bench.md describes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "SCHEMA",
    "AblationRow",
    "EndToEnd",
    "Machine",
    "Published",
    "Quality",
    "Results",
    "RuntimeSpeed",
    "Speed",
    "Timing",
]

SCHEMA = 1
"""Version of the JSON schema; increased when a field is removed or changes its meaning."""

_WINOGRAD_SAVES = 4
"""Multiplications of a 3x3 convolution over those of Winograd's F(4x4, 3x3): 144 / 36."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine of the measurements.

    ``cpu_level``: the instruction set that the CPU engine uses ("amx", "avx512", "avx2", "sse4" or
    "neon"), which LAPSR_CPU may limit. ``cores``: physical ones, if the system reports them.
    ``threads``: of torch. ``memory_bytes``: the main memory. ``gpus``: the names of all CUDA
    devices.
    """

    processor: str
    cpu_level: str
    cores: int
    threads: int
    memory_bytes: int
    system: str
    python: str
    torch: str
    gpus: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one call over repeated runs, warm-up excluded."""

    median: float
    least: float
    most: float
    runs: int


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Time, memory and energy of one network on pictures of one size.

    ``title``: the network as the papers name it. ``device``: "cpu" or "cuda:0". ``scale``: the only
    scale computed. ``width``, ``height``: of the input, in pixels. ``batch``: pictures per call;
    ``seconds`` are per picture. ``content``: "random", or the name of a picture.
    ``output_megapixels_per_second``: of ``scale``, without the pyramid's smaller pictures.
    ``teraflops``: the network's operations in 10^12 per second; a multiply-add counts as two, halos
    are excluded. ``roofline``: the same for a matrix product, measured in the same call of
    `lapsr bench`. ``work_ratio``: pixels computed over pixels needed; 1 without tiles.
    ``peak_bytes``: on CUDA, what torch allocated; elsewhere, the growth of the process.
    ``joules``: per picture; None if the system has no readable counter.
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
    def roofline_share(self) -> float | None:
        """``teraflops`` over ``roofline``. Winograd convolutions, which need fewer operations than
        are counted, may bring it above 1, but not above 4. None if it is: the roofline was measured
        beside other work. int8, whose roofline is that of fp32, has no such limit."""
        share = self.teraflops / self.roofline
        return share if share <= _WINOGRAD_SAVES or self.precision == "int8" else None


@dataclass(frozen=True, kw_only=True)
class RuntimeSpeed:
    """One runtime on the same weights, luma and number of threads as the others.

    ``peer``: name of the runtime; "lapsr" comes first in each group. ``precision``: of the features
    in lapsr; the other runtimes compute in fp32. ``ratio``: median time over that of lapsr.
    ``difference``: largest absolute difference from the reference network, luma in [0, 1].
    ``problem``: why nothing could be measured; the figures are then None.
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
class EndToEnd:
    """A folder of pictures from file to file.

    ``seconds``: of each stage alone ("decode", "upload", "network", "download", "encode"), with as
    many threads as it has in a run. ``total_seconds``: of a run, in which the stages overlap.
    ``bottleneck``: the slowest stage. ``precisions``: if that is the network, seconds of a short
    measurement in each precision of the device. ``advice``: which option would help, in a sentence.
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
    precisions: Mapping[str, float]
    advice: str


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One picture, upscaled by one method to one scale: PSNR in dB, SSIM, IFC and the time taken.

    ``method``: a model's name, "bicubic" or "lanczos". ``psnr``: infinite for equal pictures.
    ``ifc``: None if the picture is too small for IFC's pyramid. ``seconds``: None for the two
    methods without a network.
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
    """Published figures for a known dataset at one scale.

    ``sources``: at least two publications. A figure on which they disagree is None.
    """

    method: str
    dataset: str
    scale: int
    psnr: float | None
    ssim: float | None
    ifc: float | None
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """One network of an ablation: its size, the time of one pass, and PSNR if it has weights.

    ``study``: "params", "depth", "skips" or "scales". ``layers``: convolutions on the path to the
    largest picture. ``psnr``: mean over the first dataset in dB, by scale.
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
    """All results of one call. ``command``: the command line. ``date``: ISO 8601, UTC."""

    machine: Machine
    command: str
    version: str
    date: str
    speeds: tuple[Speed, ...] = ()
    peers: tuple[RuntimeSpeed, ...] = ()
    stages: tuple[EndToEnd, ...] = ()
    qualities: tuple[Quality, ...] = ()
    published: tuple[Published, ...] = ()
    studies: tuple[AblationRow, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The JSON of docs/bench.md: numbers, strings, lists and mappings."""
        speeds = [asdict(each) | {"roofline_share": each.roofline_share} for each in self.speeds]
        values: dict[str, Any] = _finite({"schema": SCHEMA, **asdict(self), "speeds": speeds})
        return values


def _finite(value: Any) -> Any:
    """``value`` with None for infinities, which JSON lacks (PSNR of equal pictures)."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value
