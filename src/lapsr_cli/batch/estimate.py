"""What a run would take, before it is begun: files, pixels, disk, time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lapsr_cli import image_io
from lapsr_cli.batch.file_sizes import expected_bytes
from lapsr_cli.batch.limits import Limits, check
from lapsr_cli.batch.planning import Job
from lapsr_cli.batch.targets import Pass, Target, enlargement, passes
from lapsr_cli.errors import PictureError
from lapsr_cli.image_io import READABLE, SUFFIXES, Encoding, Header
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.pixels.picture import Size
from lapsr_cli.upscaler import Upscaler

__all__ = [
    "Forecast",
    "Survey",
    "Work",
    "encoding_seconds",
    "forecasts",
    "network_seconds",
    "survey",
]

_OPERATIONS_PER_SECOND = 0.134e12
"""Of the network in fp32 on two cores with AVX2."""
_ENCODING_NS = {
    "JPEG": 9, "PNG": 290, "WEBP": 120, "TIFF": 170, "AVIF": 690, "GIF": 390, "BMP": 14
}  # fmt: skip
"""Nanoseconds per output pixel of a colour photograph there, at the default settings."""
_SAMPLE = 64
_KINDS = {
    "JPEG": (True,), "AVIF": (True,), "HEIF": (True,), "WEBP": (True, False), "TIFF": (True, False),
    "PNG": (False,), "BMP": (False,), "GIF": (False,),
}  # fmt: skip
"""Whether what is in a format may be compressed with loss."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a picture takes on the machine that was measured, two cores with AVX2: seconds of the
    network, and of one encoder. A run finds out how much faster or slower its machine is in each.
    ``pixels``: written.
    """

    network: float = 0.0
    encoding: float = 0.0
    pixels: int = 0


@dataclass(frozen=True)
class Forecast:
    """Of one picture: its format, the size of each output, their bytes, roughly, the passes of the
    network and the work; or, in ``problem``, why there will be nothing."""

    job: Job
    form: str = ""
    sizes: Mapping[Target, Size] = field(default_factory=dict)
    bytes: int = 0
    passes: Sequence[Pass] = ()
    work: Work = field(default_factory=Work)
    problem: str = ""


def forecasts(
    jobs: Sequence[Job], upscaler: Upscaler, limits: Limits, encoding: Encoding
) -> Iterator[Forecast]:
    """Look at the header of every picture; no pixel is read."""
    for job in jobs:
        try:
            header = image_io.probe(job.source.path)
            check(job, header, upscaler.config.scales, limits)
            yield _forecast(job, header, upscaler, encoding)
        except (PictureError, OSError) as error:
            yield Forecast(job, problem=str(error))


@dataclass(frozen=True)
class Survey:
    """Of all pictures of a run: the bytes it writes, roughly, the work on each picture, and the
    kinds of inputs: whether some are compressed with loss, and some without. Where only reading
    would tell, both."""

    bytes: int
    works: Mapping[Path, Work]
    kinds: frozenset[bool]


def survey(jobs: Sequence[Job], upscaler: Upscaler, limits: Limits, encoding: Encoding) -> Survey:
    """Look at the headers of 64 pictures that are spread over all of them. Each stands for those
    from it to the next."""
    step = max(1.0, len(jobs) / _SAMPLE)
    sample = [jobs[int(number * step)] for number in range(min(len(jobs), _SAMPLE))]
    found = list(forecasts(sample, upscaler, limits, encoding))
    works = {job.source.path: found[int(number / step)].work for number, job in enumerate(jobs)}
    forms = {READABLE.get(job.source.path.suffix.lower(), "") for job in jobs}
    forms |= {each.form for each in found}
    kinds = frozenset(lossy for form in forms for lossy in _KINDS.get(form, ()))
    return Survey(round(step * sum(each.bytes for each in found)), works, kinds)


def _forecast(job: Job, header: Header, upscaler: Upscaler, encoding: Encoding) -> Forecast:
    """Raises OSError if the file has vanished."""
    source_bytes = job.source.path.stat().st_size
    size = Size(header.height, header.width)
    scales = upscaler.config.scales
    sizes = {target: target.size(size) for target in job.outputs}
    needed = passes({enlargement(each.factor(size), scales) for each in job.outputs}, scales)
    seconds, written_bytes, written = 0.0, 0, 0
    for target, path in job.outputs.items():
        pixels = sizes[target].height * sizes[target].width * header.frames
        form = SUFFIXES[path.suffix.lower()]
        written_bytes += expected_bytes(source_bytes, header, form, pixels, encoding)
        seconds += encoding_seconds(path, pixels)
        written += pixels
    runtime = upscaler.runner.runtimes[upscaler.name]
    lumas = 3 if header.channels in (2, 4) else 1  # see pixels.planes
    read = size.height * size.width * header.frames
    network = read * network_seconds(runtime, needed, lumas)
    work = Work(network=network, encoding=seconds, pixels=written)
    return Forecast(job, header.form, sizes, written_bytes, needed, work)


def network_seconds(runtime: Runtime, needed: Sequence[Pass], lumas: int) -> float:
    """Of `Work`, for an input pixel: the passes ``needed``, each on so many ``lumas``."""
    operations = sum(each.operations(runtime.config) for each in needed)
    return operations * lumas * runtime.passes_per_luma / _OPERATIONS_PER_SECOND


def encoding_seconds(path: Path, pixels: int) -> float:
    """Of `Work`, for a file of ``pixels``."""
    return pixels * _ENCODING_NS[SUFFIXES[path.suffix.lower()]] / 1e9
