"""Time of whole pictures in memory, from samples to samples, computed as by `lapsr upscale`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lapsr_cli.bench.machine import matrix_product_rate
from lapsr_cli.bench.meters import EnergyMeter, MemoryMeter
from lapsr_cli.bench.results import Speed, Timing
from lapsr_cli.bench.timing import TimingOptions, repeated
from lapsr_cli.inference.batching import Task
from lapsr_cli.pixels.picture import Picture, Size
from lapsr_cli.upscaler import Upscaler

__all__ = ["measure"]


def measure(
    upscaler: Upscaler,
    scales: Sequence[int],
    options: TimingOptions,
    pictures: Mapping[str, Picture] | None = None,
) -> Iterator[Speed]:
    """Time a network at each of ``options.sizes`` and each of ``scales``.

    ``pictures``: by name, cropped or repeated to each size; without them the samples are random.
    The device's rate of a matrix product is measured first.
    """
    roofline = matrix_product_rate(upscaler.device)
    for size in options.sizes:
        for scale in scales:
            for content, picture in _contents(size, pictures or {}):
                yield _speed(upscaler, scale, content, picture, roofline, options)


def _contents(size: Size, pictures: Mapping[str, Picture]) -> Iterator[tuple[str, Picture]]:
    if not pictures:
        rng = np.random.default_rng(0)
        yield "random", Picture(rng.integers(0, 256, (size.height, size.width, 3), np.uint8))
    for name, picture in pictures.items():
        yield name, _fitted(picture, size)


def _fitted(picture: Picture, size: Size) -> Picture:
    """``picture`` cropped from the upper left to ``size``, or repeated where it is smaller."""
    rows = np.arange(size.height) % picture.height
    columns = np.arange(size.width) % picture.width
    return Picture(picture.pixels[rows][:, columns])


def _speed(
    upscaler: Upscaler,
    scale: int,
    content: str,
    picture: Picture,
    roofline: float,
    options: TimingOptions,
) -> Speed:
    task = Task(0, picture, (scale,), upscaler.name)
    tasks = [task] * options.batch

    def upscale() -> None:
        for _ in upscaler.stream(tasks):
            pass

    device = upscaler.device.torch_device
    memory, energy = MemoryMeter(device), EnergyMeter(device)
    with memory.measured():
        upscale()  # the first warm-up run
    with energy.measured():
        timing = repeated(upscale, options.runs, options.warm_up - 1, device=device)
    seconds = _per_picture(timing, options.batch)
    pixels = picture.height * picture.width
    computed = sum(tile.shape[0] * tile.shape[1] for tile in upscaler.runner.cut(task))
    upscaled = (options.warm_up - 1 + options.runs) * options.batch
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
        work_ratio=computed / pixels,
        peak_bytes=memory.peak_bytes,
        joules=None if energy.joules is None else energy.joules / upscaled,
    )


def _per_picture(timing: Timing, batch: int) -> Timing:
    return Timing(
        median=timing.median / batch,
        least=timing.least / batch,
        most=timing.most / batch,
        runs=timing.runs,
    )
