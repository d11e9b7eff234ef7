"""A folder of pictures from file to file: each stage alone, then a run in which they overlap."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from lapsr_cli import image_io
from lapsr_cli.batch import pipeline
from lapsr_cli.batch.planning import Selection, plan
from lapsr_cli.batch.targets import Target
from lapsr_cli.bench.advice import advice
from lapsr_cli.bench.precisions import seconds_by_precision
from lapsr_cli.bench.results import EndToEnd
from lapsr_cli.bench.timing import synchronize
from lapsr_cli.device.transfer import Transfer
from lapsr_cli.errors import NothingMatched, UnreadablePicture
from lapsr_cli.files import find
from lapsr_cli.image_io import Photo
from lapsr_cli.inference.batching import Task
from lapsr_cli.pixels.picture import Picture
from lapsr_cli.upscaler import Upscaler

__all__ = ["measure", "sample"]

_Upscaled = dict[tuple[int, int], Picture]
"""Results by (number of the picture, number of the frame)."""


def measure(folder: Path, paths: Sequence[Path], upscaler: Upscaler, scale: int) -> EndToEnd:
    """Time the pictures ``paths`` of ``folder``, as ``sample`` selects them.

    Each stage is timed alone, with as many threads as it has in a run; results are written to a
    temporary folder. Raises UnreadablePicture for a file that is damaged after its header.
    """
    clock = _StageClock()
    with clock.running("decode"), ThreadPoolExecutor(pipeline.DECODERS) as pool:
        photos = list(pool.map(image_io.read, paths))
    upscaled = _upscale(photos, upscaler, scale, clock)
    _copy(photos, upscaled, upscaler.device.torch_device, clock)
    suffixes = [image_io.suffix_for(path.suffix) for path in paths]
    with tempfile.TemporaryDirectory() as output:
        _encode(photos, suffixes, upscaled, Path(output), clock)
    upscaled.clear()
    pixels = sum(frame.height * frame.width for photo in photos for frame in photo.frames)
    photos.clear()  # the run below needs this memory
    with tempfile.TemporaryDirectory() as output:
        total = _run(paths, upscaler, scale, Path(output))
    bottleneck = max(clock.seconds, key=lambda stage: clock.seconds[stage])
    precisions = seconds_by_precision(upscaler, scale) if bottleneck == "network" else {}
    return EndToEnd(
        folder=str(folder),
        model=upscaler.name,
        device=str(upscaler.device.torch_device),
        precision=upscaler.device.precision,
        scale=scale,
        pictures=len(paths),
        input_megapixels=pixels / 1e6,
        output_megapixels=pixels * scale**2 / 1e6,
        seconds=clock.seconds,
        total_seconds=total,
        bottleneck=bottleneck,
        precisions=precisions,
        advice=advice(bottleneck, upscaler.device, suffixes, precisions),
    )


class _StageClock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("decode", "upload", "network", "download", "encode"), 0.0)

    @contextmanager
    def running(self, stage: str) -> Iterator[None]:
        """Add the time of the block to ``stage``."""
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start


def sample(folder: Path, most: int) -> tuple[list[Path], list[str]]:
    """At most ``most`` pictures with a readable header, evenly spaced over the folder, and a line
    for each file whose header cannot be read.

    Raises NothingMatched if there are no pictures.
    """
    found = find([str(folder)], image_io.READABLE)
    problems = [f"{path}: {reason}" for path, reason in found.problems.items()]
    readable = []
    for source in found.sources:
        try:
            image_io.probe(source.path)
            readable.append(source.path)
        except UnreadablePicture as error:
            problems.append(str(error))
    if not readable:
        raise NothingMatched(f"--end-to-end {folder}: no readable pictures")
    step = max(1.0, len(readable) / most)
    taken = [readable[int(number * step)] for number in range(min(len(readable), most))]
    return taken, problems


def _upscale(
    photos: Sequence[Photo], upscaler: Upscaler, scale: int, clock: _StageClock
) -> _Upscaled:
    """Upscale every frame of every picture."""
    tasks = [
        Task(
            (number, index),
            frame,
            (scale,),
            upscaler.model_for(lossy=photo.lossy),
            photo.chroma_step,
        )
        for number, photo in enumerate(photos)
        for index, frame in enumerate(photo.frames)
    ]
    for _ in upscaler.stream(tasks[:1]):  # warm-up: compiles kernels, allocates memory
        pass
    with clock.running("network"):
        return {result.key: result.pyramid[scale] for result in upscaler.stream(tasks)}


def _copy(
    photos: Sequence[Photo],
    upscaled: Mapping[tuple[int, int], Picture],
    device: torch.device,
    clock: _StageClock,
) -> None:
    """Time the copies to and from a GPU, and subtract them from the network's time, which includes
    them. The CPU has none."""
    if device.type == "cpu":
        return
    transfer = Transfer(device)
    with clock.running("upload"):
        for photo in photos:
            for frame in photo.frames:
                transfer.upload(torch.from_numpy(frame.pixels))
        synchronize(device)
    for picture in upscaled.values():
        on_device = torch.from_numpy(picture.pixels).to(device)
        with clock.running("download"):
            transfer.download([on_device]).wait()
    copies = clock.seconds["upload"] + clock.seconds["download"]
    clock.seconds["network"] = max(0.0, clock.seconds["network"] - copies)


def _encode(
    photos: Sequence[Photo],
    suffixes: Sequence[str],
    upscaled: Mapping[tuple[int, int], Picture],
    output: Path,
    clock: _StageClock,
) -> None:
    def write(number: int) -> None:
        photo = photos[number]
        frames = tuple(upscaled[number, index] for index in range(len(photo.frames)))
        image_io.write(replace(photo, frames=frames), output / f"{number}{suffixes[number]}")

    with clock.running("encode"), ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, range(len(photos))))


def _run(paths: Sequence[Path], upscaler: Upscaler, scale: int, output: Path) -> float:
    """Seconds of a complete run, as by `lapsr upscale`."""
    selection = Selection(
        inputs=tuple(map(str, paths)), output=output, targets=(Target(scale=str(scale)),)
    )
    jobs = plan(selection).jobs
    start = time.perf_counter()
    for _ in pipeline.run(jobs, [upscaler], selection):
        pass
    return time.perf_counter() - start
