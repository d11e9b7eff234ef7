"""A folder of pictures from file to file: each stage alone, then all at the same time."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from lapsr_cli import image_io
from lapsr_cli.batch import pipeline
from lapsr_cli.batch.planning import Selection, plan
from lapsr_cli.batch.targets import Target
from lapsr_cli.bench.results import Stages
from lapsr_cli.bench.timing import finish
from lapsr_cli.device.selection import Device, training_precision
from lapsr_cli.device.transfer import Transfer
from lapsr_cli.errors import NothingMatched, UnreadablePicture
from lapsr_cli.files import find
from lapsr_cli.image_io import READABLE, Photo, suffix_for
from lapsr_cli.inference.batching import Task
from lapsr_cli.pixels.picture import Picture
from lapsr_cli.upscaler import Upscaler

__all__ = ["measure", "sample"]

_FASTER_WRITING = {
    ".png": "-f jpg writes faster, and so does a lower --compress",
    ".avif": "-f jpg or -f webp writes faster",
}


def measure(folder: Path, paths: Sequence[Path], upscaler: Upscaler, scale: int) -> Stages:
    """Time the pictures ``paths`` of a folder, which ``sample`` gives.

    Each stage is timed alone, with the threads that a run has for it; results go to a temporary
    folder. Raises UnreadablePicture for one that is damaged behind its header.
    """
    clock = _Clock()
    with clock.running("decode"), ThreadPoolExecutor(pipeline.DECODERS) as pool:
        photos = list(pool.map(image_io.read, paths))
    enlarged = _enlarge(photos, upscaler, scale, clock)
    _copy(photos, enlarged, upscaler.device.torch_device, clock)
    with tempfile.TemporaryDirectory() as results:
        _encode(photos, paths, enlarged, Path(results), clock)
    enlarged.clear()
    pixels = sum(frame.height * frame.width for photo in photos for frame in photo.frames)
    photos.clear()
    with tempfile.TemporaryDirectory() as results:
        total = _run(paths, upscaler, scale, Path(results))
    bottleneck = max(clock.seconds, key=lambda stage: clock.seconds[stage])
    return Stages(
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
        advice=_advice(bottleneck, upscaler, paths),
    )


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("decode", "upload", "network", "download", "encode"), 0.0)

    @contextmanager
    def running(self, stage: str) -> Iterator[None]:
        """What happens in here belongs to ``stage``."""
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start


def sample(folder: Path, most: int) -> tuple[list[Path], list[str]]:
    """At most ``most`` pictures of a folder whose header can be read, evenly spread over it, and a
    line for each file whose header cannot.

    Raises NothingMatched if there is none.
    """
    found = find([str(folder)], READABLE)
    problems = [f"{path}: {reason}" for path, reason in found.problems.items()]
    readable = []
    for source in found.sources:
        try:
            image_io.probe(source.path)
            readable.append(source.path)
        except UnreadablePicture as error:
            problems.append(str(error))
    if not readable:
        raise NothingMatched(f"--end-to-end {folder}: no picture in it can be read")
    step = max(1.0, len(readable) / most)
    taken = [readable[int(number * step)] for number in range(min(len(readable), most))]
    return taken, problems


def _enlarge(
    photos: Sequence[Photo], upscaler: Upscaler, scale: int, clock: _Clock
) -> dict[tuple[int, int], Picture]:
    """Every frame, by the numbers of its picture and of itself."""
    tasks = [
        Task((number, index), frame, (scale,), upscaler.model_for(lossy=photo.lossy))
        for number, photo in enumerate(photos)
        for index, frame in enumerate(photo.frames)
    ]
    for _ in upscaler.stream(tasks[:1]):  # the first pass pays for what later ones find ready
        pass
    with clock.running("network"):
        return {result.key: result.pyramid[scale] for result in upscaler.stream(tasks)}


def _copy(
    photos: Sequence[Photo],
    enlarged: dict[tuple[int, int], Picture],
    device: torch.device,
    clock: _Clock,
) -> None:
    """The copies alone, which the network's time held; the CPU has none."""
    if device.type == "cpu":
        return
    transfer = Transfer(device)
    with clock.running("upload"):
        for photo in photos:
            for frame in photo.frames:
                transfer.upload(torch.from_numpy(frame.pixels))
        finish(device)
    for picture in enlarged.values():
        there = torch.from_numpy(picture.pixels).to(device)
        with clock.running("download"):
            transfer.download([there]).wait()
    copies = clock.seconds["upload"] + clock.seconds["download"]
    clock.seconds["network"] = max(0.0, clock.seconds["network"] - copies)


def _encode(
    photos: Sequence[Photo],
    paths: Sequence[Path],
    enlarged: dict[tuple[int, int], Picture],
    results: Path,
    clock: _Clock,
) -> None:
    def write(number: int) -> None:
        photo = photos[number]
        frames = tuple(enlarged[number, index] for index in range(len(photo.frames)))
        path = results / f"{number}{suffix_for(paths[number].suffix)}"
        image_io.write(_with(photo, frames), path)

    with clock.running("encode"), ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, range(len(photos))))


def _with(photo: Photo, frames: tuple[Picture, ...]) -> Photo:
    return Photo(frames, photo.form, photo.lossy, photo.metadata, photo.timing)


def _run(paths: Sequence[Path], upscaler: Upscaler, scale: int, results: Path) -> float:
    """Seconds of the whole run, every stage at the same time."""
    selection = Selection(
        inputs=tuple(map(str, paths)), output=results, targets=(Target(scale=str(scale)),)
    )
    works = plan(selection).works
    start = time.perf_counter()
    for _ in pipeline.run(works, [upscaler], selection):
        pass
    return time.perf_counter() - start


def _advice(bottleneck: str, upscaler: Upscaler, paths: Sequence[Path]) -> str:
    """Which flag of `lapsr upscale` would help, in a sentence."""
    if bottleneck == "decode":
        return "no flag reads faster: a faster disk or more cores would"
    if bottleneck == "encode":
        suffixes = {suffix_for(path.suffix) for path in paths}
        found = [_FASTER_WRITING[suffix] for suffix in suffixes & set(_FASTER_WRITING)]
        return found[0] if found else "more cores would write faster"
    if bottleneck in ("upload", "download"):
        return "--device cuda:0,cuda:1: a second GPU has copies of its own"
    return _faster_network(upscaler.device)


def _faster_network(device: Device) -> str:
    kind = device.torch_device.type
    if kind == "cpu" and torch.cuda.is_available():
        return "--device cuda"
    if kind == "cuda" and device.precision == "fp32":
        return "--precision fp16 computes in the GPU's matrix units"
    if device.precision == "fp32" and training_precision(device.torch_device) == "bf16":
        return "--precision bf16: this processor multiplies in it"
    if kind == "cuda":
        return "--device cuda:0,cuda:1, or a network with fewer convolutions (-m)"
    return "a GPU, or a network with fewer convolutions (-m)"
