"""A short measurement on one picture of a run, from which the time of the whole run follows."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lapsr_cli import image_io
from lapsr_cli.batch.estimate import Forecast, encoding_seconds, network_seconds
from lapsr_cli.batch.pipeline import ENCODERS
from lapsr_cli.errors import PictureError
from lapsr_cli.image_io import Encoding, Photo
from lapsr_cli.inference.batching import Task
from lapsr_cli.pixels.picture import Picture
from lapsr_cli.upscaler import Upscaler

__all__ = ["Seconds", "expected_seconds"]

_WINDOW_SECONDS = 0.8
"""Of the network on the window, as `Work` counts them, at most."""
_WINDOW_PIXELS = 1 << 20
"""Of the result, at most."""
_LEAST_SIDE = 192
"""Of the window, in pixels: smaller ones are computed as whole maps, not in strips."""
_LEAST_RUNS, _MOST_RUNS = 5, 12
_PATIENCE = 3.0
"""Seconds after which no run is begun if there have been enough."""


@dataclass(frozen=True)
class Seconds:
    """From ``least`` to ``most``: by the lower and the upper quartile of what was timed."""

    least: float
    most: float


@dataclass(frozen=True)
class _Slowness:
    """How many times the seconds of `Work` this machine takes, and the seconds that the first pass
    takes in addition, which compiles."""

    network: float
    encoding: float
    start: float = 0.0


def expected_seconds(
    found: Sequence[Forecast], upscaler: Upscaler, encoding: Encoding
) -> Seconds | None:
    """The time of a run over what was ``found``, without reading, which takes little.

    A window of the picture with the median work, or of the closest to it that is not damaged, is
    upscaled and written several times. None if there is no such picture.
    """
    feasible = [each for each in found if not each.problem]
    ordered = sorted(feasible, key=lambda each: each.work.network + each.work.encoding)
    middle = len(ordered) // 2
    for _, forecast in sorted(enumerate(ordered), key=lambda each: abs(each[0] - middle)):
        try:
            photo = image_io.open_photo(forecast.job.source.path)
            trial = _Trial(forecast, photo, upscaler, encoding, most=len(feasible))
            slowness = _measure(trial)
        except PictureError:
            continue  # the run says why
        on_cpu = upscaler.device.torch_device.type == "cpu"
        return Seconds(*(_seconds(feasible, each, on_cpu=on_cpu) for each in slowness))
    return None


def _seconds(feasible: Sequence[Forecast], slowness: _Slowness, *, on_cpu: bool) -> float:
    """Of a run in which pictures are written while the network computes others."""
    computing = slowness.start + slowness.network * sum(e.work.network for e in feasible)
    writing = [slowness.encoding * each.work.encoding for each in feasible]
    at_once = sum(writing) / ENCODERS
    if on_cpu:  # encoders and the network share its cores
        return computing + max(*writing, at_once)
    return max(computing + max(writing), at_once)


def _measure(trial: _Trial) -> tuple[_Slowness, _Slowness]:
    """The lower and the upper quartile. Raises PictureError."""
    first = trial.run()
    found: list[_Slowness] = []
    started = time.monotonic()
    while len(found) < _MOST_RUNS:
        found.append(trial.run())
        if len(found) >= _LEAST_RUNS and time.monotonic() - started > _PATIENCE:
            break
    network, encoders = (
        statistics.quantiles(each, n=4, method="inclusive")
        for each in ([one.network for one in found], [one.encoding for one in found])
    )
    start = max(0.0, first.network - network[1]) * trial.network_seconds
    return _Slowness(network[0], encoders[0], start), _Slowness(network[2], encoders[2], start)


class _Trial:
    """The first pass of the network on the middle of a picture, and the writing of its result. A
    picture smaller than the window is upscaled together with copies of itself, ``most`` in all."""

    def __init__(
        self,
        forecast: Forecast,
        photo: Photo,
        upscaler: Upscaler,
        encoding: Encoding,
        *,
        most: int,
    ) -> None:
        frame, runtime = photo.frames[0], upscaler.runner.runtimes[upscaler.name]
        self._photo, self._upscaler, self._encoding = photo, upscaler, encoding
        self._suffix = next(iter(forecast.job.outputs.values())).suffix
        self._passes = forecast.passes[:1]
        per_pixel = network_seconds(runtime, self._passes, 1 if frame.alpha is None else 3)
        pixels = _WINDOW_PIXELS // max((each.largest**2 for each in self._passes), default=1)
        if per_pixel:
            pixels = min(pixels, round(_WINDOW_SECONDS / per_pixel))
        self._window = _middle(frame, max(_LEAST_SIDE, round(pixels**0.5)))
        area = self._window.height * self._window.width
        self._copies = min(most, max(1, pixels // area))
        self.network_seconds = per_pixel * area * self._copies

    def run(self) -> _Slowness:
        """One measurement."""
        started = time.perf_counter()
        picture = self._upscaled()
        computed = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            path = Path(folder) / f"trial{self._suffix}"
            image_io.write(replace(self._photo, frames=(picture,)), path, self._encoding)
            written = time.perf_counter() - started
        expected = encoding_seconds(path, picture.height * picture.width)
        network = computed / self.network_seconds if self.network_seconds else 0.0
        return _Slowness(network, written / expected)

    def _upscaled(self) -> Picture:
        picture, model = self._window, self._upscaler.model_for(lossy=self._photo.lossy)
        for each in self._passes:
            task = Task(None, self._window, each.scales, model, self._photo.chroma_step)
            tasks = [task] * self._copies
            for result in self._upscaler.stream(tasks):
                picture = result.pyramid[each.scales[-1]]
        return picture


def _middle(picture: Picture, side: int) -> Picture:
    """A square of that side, or what there is of it."""
    top, left = (max(0, (length - side) // 2) for length in (picture.height, picture.width))
    part = slice(top, top + side), slice(left, left + side)
    return Picture(picture.pixels[part], None if picture.alpha is None else picture.alpha[part])
