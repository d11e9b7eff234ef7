"""One call of the bench: what is asked for is measured, piece by piece, into one result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import torch

from lapsr_cli import __version__, weights
from lapsr_cli.bench import quality, speed, stages, study
from lapsr_cli.bench.comparison import compare
from lapsr_cli.bench.crops import examples
from lapsr_cli.bench.datasets import recognise
from lapsr_cli.bench.machine import this_machine
from lapsr_cli.bench.peers import Work, check_names
from lapsr_cli.bench.published import published
from lapsr_cli.bench.quality import Original, Pair
from lapsr_cli.bench.results import Results
from lapsr_cli.bench.speed import SpeedOptions
from lapsr_cli.bench.study import Study, StudyOptions
from lapsr_cli.device import Device, Precision, choose
from lapsr_cli.errors import UsageError
from lapsr_cli.evaluation import Evaluator
from lapsr_cli.image_io import Picture
from lapsr_cli.model import LaplacianPyramid
from lapsr_cli.page.example import Example
from lapsr_cli.runtime import Runtime
from lapsr_cli.sizes import Size
from lapsr_cli.upscaler import Upscaler
from lapsr_cli.weights.manifest import manifest

__all__ = ["BenchOptions", "Measured", "run"]

_STUDY_SCALE = 4
_FOLDER_SCALE = 2


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What to measure, on what, how often.

    ``models``: names or files; none is the default for lossless files. ``scales``: none are those
    that each network makes; comparisons are then at 4x and folders at 2x. ``threads``: of torch
    and of the peers, 0 is as many as torch takes. ``sample``: pictures of ``end_to_end``.
    Without ``end_to_end``, ``datasets``, ``pairs``, ``against`` and ``studies`` the speed is
    measured; with them only if ``speed`` says so. ``crops``: make examples of the datasets.
    """

    sizes: tuple[Size, ...]
    models: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("auto",)
    precisions: tuple[Precision, ...] = ("auto",)
    scales: tuple[int, ...] = ()
    batch: int = 1
    runs: int = 3
    warm_up: int = 1
    threads: int = 0
    pictures: Path | None = None
    end_to_end: Path | None = None
    sample: int = 20
    datasets: tuple[Path, ...] = ()
    pairs: tuple[Path, Path] | None = None
    against: tuple[str, ...] = ()
    studies: tuple[Study, ...] = ()
    speed: bool = False
    crops: bool = False
    offline: bool = False

    def __post_init__(self) -> None:
        for flag, values in (("size", self.sizes), ("device", self.devices)):
            if not values:
                raise UsageError(f"--{flag}: name at least one")
        if not self.precisions:
            raise UsageError("--precision: name at least one")
        cores = os.cpu_count() or 1
        if not 0 <= self.threads <= cores:  # torch crashes at some thousand
            raise UsageError(f"--threads {self.threads}: must be from 1 to {cores}, the cores here")
        if self.sample < 1:
            raise UsageError(f"--sample {self.sample}: must be at least 1")
        check_names(self.against)
        for name in self.studies:
            study.networks(name)
        self.speeds  # noqa: B018 (made for its errors)

    @property
    def only_speed(self) -> bool:
        """Whether nothing else is asked for."""
        others = (self.end_to_end, self.datasets, self.pairs, self.against, self.studies)
        return not any(others)

    @property
    def speeds(self) -> SpeedOptions:
        """The part that is about speed."""
        return SpeedOptions(
            sizes=self.sizes,
            scales=self.scales,
            batch=self.batch,
            runs=self.runs,
            warm_up=self.warm_up,
        )


@dataclass
class Measured:
    """The results, crops to look at, and a line for every picture that could not be read."""

    results: Results
    crops: list[Example] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Network:
    """A model on a device in a precision; ``label`` tells it from the others of the call."""

    name: str
    model: LaplacianPyramid
    device: Device
    label: str


def run(options: BenchOptions, command: str, say: Callable[[str], None]) -> Measured:
    """Measure all that is asked for; ``say`` is told what is being measured, a line each.

    Raises UsageError, NothingMatched and ResourceError as the parts do, before anything is
    measured where that can be known.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    networks = list(_networks(options))
    for network in networks:
        for scale in options.scales:
            network.model.config.level_of(scale)
    measured = Measured(
        Results(
            machine=this_machine(),
            command=command,
            version=__version__,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
    )
    material = _read(options, networks, measured)
    if options.speed or options.only_speed:
        _measure_speed(options, networks, material, measured, say)
    if options.end_to_end:
        _measure_stages(options, options.end_to_end, networks, material, measured, say)
    _measure_peers(options, networks, measured, say)
    _measure_quality(options, networks, material, measured, say)
    _measure_studies(options, networks, material, measured, say)
    return measured


@dataclass(frozen=True)
class _Material:
    """The user's pictures, read before anything is measured. ``datasets``: by what each is called:
    its set's name, or its folder's. ``pairs``: by the scale that lies between. ``files``: of the
    folder that is timed from file to file."""

    pictures: Mapping[str, Picture]
    files: Sequence[Path]
    datasets: Mapping[str, Sequence[Original]]
    pairs: Sequence[Pair]


def _read(options: BenchOptions, networks: Sequence[_Network], measured: Measured) -> _Material:
    pictures: dict[str, Picture] = {}
    if options.pictures:
        pictures, problems = quality.read_pictures(options.pictures, "--pictures")
        measured.problems += problems
    files: list[Path] = []
    if options.end_to_end:
        files, problems = stages.sample(options.end_to_end, options.sample)
        measured.problems += problems
    datasets: dict[str, list[Original]] = {}
    for folder in options.datasets:
        originals, problems = quality.read_originals(folder, "--dataset")
        measured.problems += problems
        for scale in _scales_of_all(options, networks):
            quality.check_sizes(originals, scale, f"--dataset {folder}")
        name = recognise([original.size for original in originals]) or folder.resolve().name
        datasets[name if name not in datasets else str(folder)] = originals
    pairs: list[Pair] = []
    if options.pairs:
        made = set.intersection(*(set(_scales(options, network, ())) for network in networks))
        pairs = quality.pairs_in(*options.pairs, sorted(made))
    few = dict(list(pictures.items())[: options.sample])
    return _Material(few, files, datasets, pairs)


def _networks(options: BenchOptions) -> Iterator[_Network]:
    names = options.models or (manifest().default,)
    models = {name: weights.load(name, offline=options.offline) for name in names}
    devices = [choose(d, p) for d in options.devices for p in options.precisions]
    for device in devices:
        for name, model in models.items():
            where = f" on {device.torch_device} in {device.precision}" if len(devices) > 1 else ""
            yield _Network(name, model, device, name + where)


def _upscaler(network: _Network) -> Upscaler:
    return Upscaler({network.name: network.model}, network.device)


def _scales(options: BenchOptions, network: _Network, default: tuple[int, ...]) -> tuple[int, ...]:
    """Those asked for, else those of ``default`` that the network makes, else all it makes."""
    makes = network.model.config.scales
    return options.scales or tuple(s for s in default if s in makes) or makes


def _scales_of_all(options: BenchOptions, networks: Sequence[_Network]) -> list[int]:
    """Those at which any network is scored, in order."""
    return sorted({s for network in networks for s in _scales(options, network, (2, 4, 8))})


def _measure_speed(
    options: BenchOptions,
    networks: Sequence[_Network],
    material: _Material,
    measured: Measured,
    say: Callable[[str], None],
) -> None:
    for network in networks:
        say(f"speed: {network.label}")
        scales = _scales(options, network, (2, 4, 8))
        speeds = replace(options.speeds, scales=scales, pictures=material.pictures)
        rows = tuple(speed.measure([_upscaler(network)], speeds))
        measured.results = replace(measured.results, speeds=measured.results.speeds + rows)


def _measure_stages(
    options: BenchOptions,
    folder: Path,
    networks: Sequence[_Network],
    material: _Material,
    measured: Measured,
    say: Callable[[str], None],
) -> None:
    for network in networks:
        for scale in _scales(options, network, (_FOLDER_SCALE,)):
            say(f"from file to file, {scale}x: {network.label}")
            row = stages.measure(folder, material.files, _upscaler(network), scale)
            measured.results = replace(measured.results, stages=(*measured.results.stages, row))


def _measure_peers(
    options: BenchOptions,
    networks: Sequence[_Network],
    measured: Measured,
    say: Callable[[str], None],
) -> None:
    if not options.against:
        return
    for network in networks:
        for size in options.sizes:
            for scale in _scales(options, network, (_STUDY_SCALE,)):
                say(f"against {', '.join(options.against)}, {scale}x: {network.label}")
                work = Work(
                    model=network.model,
                    scale=scale,
                    height=size.height,
                    width=size.width,
                    threads=torch.get_num_threads(),
                    device=network.device.torch_device,
                )
                rows = compare(
                    network.name, work, options.against, runs=options.runs, warm_up=options.warm_up
                )
                measured.results = replace(measured.results, peers=(*measured.results.peers, *rows))


def _measure_quality(
    options: BenchOptions,
    networks: Sequence[_Network],
    material: _Material,
    measured: Measured,
    say: Callable[[str], None],
) -> None:
    if not (material.datasets or material.pairs):
        return
    evaluators = _evaluators(networks)
    if material.pairs and options.pairs:
        say(f"quality on {len(material.pairs)} pairs")
        name = options.pairs[1].resolve().name
        rows = tuple(quality.measure_pairs(name, material.pairs, evaluators))
        measured.results = replace(measured.results, qualities=rows)
    made = {network.label: _scales(options, network, (2, 4, 8)) for network in networks}
    for name, originals in material.datasets.items():
        for scale in _scales_of_all(options, networks):
            say(f"quality on {name}, {len(originals)} pictures, {scale}x")
            fit = {label: each for label, each in evaluators.items() if scale in made[label]}
            rows = tuple(quality.measure(name, originals, fit, scale))
            measured.results = replace(
                measured.results,
                qualities=measured.results.qualities + rows,
                published=measured.results.published + published(name, scale),
            )
        if options.crops:
            measured.crops += examples(originals, evaluators, _scale_to_show(made.values()))


def _scale_to_show(made: Iterable[Sequence[int]]) -> int:
    """4x if every network makes it, else the largest that every one makes."""
    common = set.intersection(*map(set, made))
    if not common:
        raise UsageError("--html: the models have no scale in common to show pictures at")
    return 4 if 4 in common else max(common)


def _evaluators(networks: Sequence[_Network]) -> dict[str, Evaluator]:
    return {
        network.label: Evaluator(Runtime(network.model, network.device)) for network in networks
    }


def _measure_studies(
    options: BenchOptions,
    networks: Sequence[_Network],
    material: _Material,
    measured: Measured,
    say: Callable[[str], None],
) -> None:
    originals = next(iter(material.datasets.values()), [])
    models = {network.name: network.model for network in networks}
    for name in options.studies:
        for device in dict.fromkeys(network.device for network in networks):
            say(f"study {name} on {device.torch_device}")
            wanted = StudyOptions(
                study=name, size=options.sizes[0], runs=options.runs, warm_up=options.warm_up
            )
            rows = tuple(study.measure(wanted, device, models, originals))
            measured.results = replace(measured.results, studies=measured.results.studies + rows)
