"""Time of whole pictures, from samples to samples, as a run of `lapsr upscale` computes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lapsr_cli.bench.machine import matrix_product_rate
from lapsr_cli.bench.meters import EnergyMeter, MemoryMeter
from lapsr_cli.bench.results import Speed, Timing
from lapsr_cli.bench.timing import repeated
from lapsr_cli.errors import UsageError
from lapsr_cli.image_io import MAX_PIXELS
from lapsr_cli.inference.batching import Task
from lapsr_cli.pixels.picture import Picture, Size
from lapsr_cli.upscaler import Upscaler

__all__ = ["SpeedOptions", "measure", "size_of"]

_NAMED = {
    "720p": Size(720, 1280),
    "1080p": Size(1080, 1920),
    "1440p": Size(1440, 2560),
    "4k": Size(2160, 3840),
}


@dataclass(frozen=True, kw_only=True)
class SpeedOptions:
    """What is timed: every one of ``scales`` at every one of ``sizes``.

    ``batch``: pictures at a time. ``runs``: counted, after ``warm_up`` that are not.
    ``pictures``: to time on, by name, cut and repeated to the sizes; without them random samples.
    """

    sizes: tuple[Size, ...]
    scales: tuple[int, ...] = (2, 4, 8)
    batch: int = 1
    runs: int = 3
    warm_up: int = 1
    pictures: Mapping[str, Picture] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"--batch-size {self.batch}: must be at least 1")
        if self.runs < 1:
            raise UsageError(f"--runs {self.runs}: must be at least 1")
        if self.warm_up < 1:
            raise UsageError(f"--warm-up {self.warm_up}: must be at least 1")


def size_of(text: str) -> Size:
    """ "256" (a square), "640x480" (width x height), "1080p", "4k", "12MP" (4:3: 4000 x 3000).

    Raises UsageError for anything else.
    """
    word = text.strip().lower()
    if word in _NAMED:
        return _NAMED[word]
    width, cross, height = word.partition("x")
    try:
        if word.endswith("mp"):
            pixels = float(word[:-2]) * 1e6
            size = Size(round((pixels * 3 / 4) ** 0.5), round((pixels * 4 / 3) ** 0.5))
        else:
            size = Size(int(height), int(width)) if cross else Size(int(word), int(word))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--size {text}: must be as in 256, 640x480, 1080p or 12MP") from error
    if min(size.height, size.width) < 1:
        raise UsageError(f"--size {text}: has no pixels")
    if size.height * size.width > MAX_PIXELS:
        raise UsageError(f"--size {text}: must be at most {MAX_PIXELS} pixels")
    return size


def measure(upscalers: Sequence[Upscaler], options: SpeedOptions) -> Iterator[Speed]:
    """Time every network on every device; the roofline of each device is measured beforehand."""
    rates: dict[tuple[str, str], float] = {}
    for upscaler in upscalers:
        device = upscaler.device
        where = (str(device.torch_device), device.precision)
        if where not in rates:
            rates[where] = matrix_product_rate(device)
        for size in options.sizes:
            for scale in options.scales:
                for content, picture in _contents(size, options):
                    yield _speed(upscaler, scale, content, picture, rates[where], options)


def _contents(size: Size, options: SpeedOptions) -> Iterator[tuple[str, Picture]]:
    if not options.pictures:
        rng = np.random.default_rng(0)
        yield "random", Picture(rng.integers(0, 256, (size.height, size.width, 3), np.uint8))
    for name, picture in options.pictures.items():
        yield name, _fitted(picture, size)


def _fitted(picture: Picture, size: Size) -> Picture:
    """Cut to ``size`` from the upper left, and repeated where it is smaller."""
    rows = np.arange(size.height) % picture.height
    columns = np.arange(size.width) % picture.width
    return Picture(picture.pixels[rows][:, columns])


def _speed(
    upscaler: Upscaler,
    scale: int,
    content: str,
    picture: Picture,
    roofline: float,
    options: SpeedOptions,
) -> Speed:
    task = Task(0, picture, (scale,), upscaler.name)
    tasks = [task] * options.batch

    def enlarge() -> None:
        for _ in upscaler.stream(tasks):
            pass

    device = upscaler.device.torch_device
    memory, energy = MemoryMeter(device), EnergyMeter(device)
    with memory.measured():
        enlarge()  # the first of the warm-up
    with energy.measured():
        timing = repeated(enlarge, options.runs, options.warm_up - 1, device=device)
    seconds = _per_picture(timing, options.batch)
    pixels = picture.height * picture.width
    windows = sum(tile.shape[0] * tile.shape[1] for tile in upscaler.passes.cut(task))
    enlarged = (options.warm_up - 1 + options.runs) * options.batch
    return Speed(
        model=upscaler.name,
        title=upscaler.config.title,
        device=str(device),
        precision=upscaler.device.precision,
        scale=scale,
        width=picture.width,
        height=picture.height,
        batch=options.batch,
        content=content,
        seconds=seconds,
        output_megapixels_per_second=pixels * scale**2 / 1e6 / seconds.median,
        teraflops=upscaler.config.operations(scale) * pixels / 1e12 / seconds.median,
        roofline=roofline,
        work_ratio=windows / pixels,
        peak_bytes=memory.peak_bytes,
        joules=None if energy.joules is None else energy.joules / enlarged,
    )


def _per_picture(timing: Timing, batch: int) -> Timing:
    return Timing(
        median=timing.median / batch,
        least=timing.least / batch,
        most=timing.most / batch,
        runs=timing.runs,
    )
