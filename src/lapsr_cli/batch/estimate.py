"""What a run would take, before it is begun: files, pixels, disk, time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lapsr_cli import image_io
from lapsr_cli.batch.limits import Limits, check
from lapsr_cli.batch.planning import Job
from lapsr_cli.batch.targets import Target, enlargement
from lapsr_cli.errors import PictureError
from lapsr_cli.image_io import SUFFIXES, Header
from lapsr_cli.pixels.picture import Size
from lapsr_cli.upscaler import Upscaler

__all__ = ["Forecast", "bytes_to_write", "forecasts", "seconds_per_pixel"]

_BYTES_PER_SAMPLE = {"JPEG": 0.2, "PNG": 0.6, "WEBP": 0.1, "TIFF": 0.7, "AVIF": 0.08, "GIF": 0.25}
"""Of photographs at the default settings, roughly; what is not named is not compressed."""
_TRIAL_SIDE = 96
_SAMPLE = 64


@dataclass(frozen=True)
class Forecast:
    """Of one picture: the size of each output, its bytes roughly, the enlargement the network has
    to make; or, in ``problem``, why there will be nothing."""

    job: Job
    header: Header | None
    sizes: dict[Target, Size]
    bytes: int
    enlargement: int
    problem: str = ""

    @property
    def input_pixels(self) -> int:
        """Of all frames."""
        return (
            0
            if self.header is None
            else (self.header.height * self.header.width * self.header.frames)
        )


def forecasts(jobs: Sequence[Job], scales: Sequence[int], limits: Limits) -> Iterator[Forecast]:
    """Look at the header of every picture; no pixel is read."""
    for job in jobs:
        try:
            header = image_io.probe(job.source.path)
            check(job, header, scales, limits)
        except PictureError as error:
            yield Forecast(job, None, {}, 0, 1, str(error))
        else:
            yield _forecast(job, header, scales)


def bytes_to_write(jobs: Sequence[Job], scales: Sequence[int], limits: Limits) -> int:
    """Of all results, roughly, from the headers of 64 pictures that are spread over them."""
    step = max(1.0, len(jobs) / _SAMPLE)
    sample = [jobs[int(number * step)] for number in range(min(len(jobs), _SAMPLE))]
    return round(step * sum(each.bytes for each in forecasts(sample, scales, limits)))


def _forecast(job: Job, header: Header, scales: Sequence[int]) -> Forecast:
    size = Size(header.height, header.width)
    sizes = {target: target.size(size) for target in job.outputs}
    samples = 0.0
    for target, path in job.outputs.items():
        each = sizes[target].height * sizes[target].width * header.frames * header.channels
        per_sample = _BYTES_PER_SAMPLE.get(SUFFIXES[path.suffix.lower()], 1.0)
        samples += each * per_sample * (header.depth // 8)
    largest = max(enlargement(target.factor(size), scales) for target in job.outputs)
    return Forecast(job, header, sizes, round(samples), largest)


def seconds_per_pixel(upscaler: Upscaler, scale: int) -> float:
    """Time of the network for an input pixel, from one small picture."""
    pixels = np.zeros((_TRIAL_SIDE, _TRIAL_SIDE, 3), np.uint8)
    began = 0.0
    for _ in range(2):  # the first pass pays for what later ones find ready
        began = time.perf_counter()
        upscaler(pixels, (scale,))
    return (time.perf_counter() - began) / _TRIAL_SIDE**2
