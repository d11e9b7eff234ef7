"""One call of the bench: what is asked for is measured, piece by piece, into one result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from itertools import product
from pathlib import Path

import torch

from lapsr_cli import __version__, weights
from lapsr_cli.bench import ablations as study
from lapsr_cli.bench import end_to_end as stages
from lapsr_cli.bench import quality, speed
from lapsr_cli.bench.ablations import Study, StudyOptions
from lapsr_cli.bench.comparison import compare
from lapsr_cli.bench.crops import examples
from lapsr_cli.bench.datasets import recognise
from lapsr_cli.bench.machine import this_machine
from lapsr_cli.bench.published import published
from lapsr_cli.bench.quality import Original, Pair
from lapsr_cli.bench.results import PeerSpeed, Published, Quality, Results, Speed, Stages, StudyRow
from lapsr_cli.bench.runtimes import Work, check_names
from lapsr_cli.bench.speed import SpeedOptions
from lapsr_cli.device.selection import Device, Precision, choose
from lapsr_cli.errors import UsageError
from lapsr_cli.html.example import Example
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.pixels.picture import Picture, Size
from lapsr_cli.upscaler import Upscaler
from lapsr_cli.weights.manifest import manifest

__all__ = ["BenchOptions", "Measured", "run"]

_ALL = (2, 4, 8)
_PEER_SCALE = 4
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


@dataclass(frozen=True)
class Measured:
    """The results, crops to look at, and a line for every picture that could not be read."""

    results: Results
    crops: Sequence[Example]
    problems: Sequence[str]


def run(options: BenchOptions, command: str, say: Callable[[str], None]) -> Measured:
    """Measure all that is asked for; ``say`` is told what is being measured, a line each.

    Raises UsageError, NothingMatched and ResourceError as the parts do; before anything is
    measured where that can be known.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    networks = list(_networks(options))
    material = _read(options, networks)
    session = _Session(options, networks, material, say)
    results = Results(
        machine=this_machine(),
        command=command,
        version=__version__,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        speeds=tuple(session.speeds()),
        stages=tuple(session.stages()),
        peers=tuple(session.peers()),
        qualities=tuple(session.qualities()),
        published=tuple(session.published()),
        studies=tuple(session.studies()),
    )
    return Measured(results, list(session.crops()), material.problems)


@dataclass(frozen=True)
class _Network:
    """A model on a device in a precision; ``label`` tells it from the others of the call."""

    name: str
    model: LaplacianPyramid
    device: Device
    label: str

    def upscaler(self) -> Upscaler:
        """Of this network alone."""
        return Upscaler({self.name: self.model}, self.device)


def _networks(options: BenchOptions) -> Iterator[_Network]:
    """Every model on every device in every precision. Raises UsageError for a scale asked for that
    a model does not make."""
    names = options.models or (manifest().default,)
    models = {name: weights.load(name, offline=options.offline) for name in names}
    chosen = (choose(d, p) for d in options.devices for p in options.precisions)
    devices: dict[tuple[torch.device, str], Device] = {}
    for device in chosen:  # "auto" may be one of the others
        devices.setdefault((device.torch_device, device.precision), device)
    for device in devices.values():
        for name, model in models.items():
            for scale in options.scales:
                model.config.level_of(scale)
            where = f" on {device.torch_device} in {device.precision}" if len(devices) > 1 else ""
            yield _Network(name, model, device, name + where)


def _scales(options: BenchOptions, network: _Network, default: tuple[int, ...]) -> tuple[int, ...]:
    """Those asked for, else those of ``default`` that the network makes, else all it makes."""
    made = network.model.config.scales
    return options.scales or tuple(scale for scale in default if scale in made) or made


def _scales_of_all(options: BenchOptions, networks: Sequence[_Network]) -> list[int]:
    """Those at which any network is scored, in order."""
    return sorted({scale for each in networks for scale in _scales(options, each, _ALL)})


def _scale_to_show(made: Sequence[Sequence[int]]) -> int | None:
    """4x if every network makes it, else the largest that all make, if there is one."""
    common = set.intersection(*map(set, made))
    return 4 if 4 in common else max(common, default=None)


@dataclass(frozen=True)
class _Material:
    """The user's pictures, read before anything is measured. ``files``: of the folder that is timed
    from file to file. ``datasets``: by what each is called: its set's name, or its folder's.
    ``problems``: a line for each file that could not be read."""

    pictures: Mapping[str, Picture]
    files: Sequence[Path]
    datasets: Mapping[str, Sequence[Original]]
    pairs: Sequence[Pair]
    problems: Sequence[str]


def _read(options: BenchOptions, networks: Sequence[_Network]) -> _Material:
    problems: list[str] = []
    pictures: dict[str, Picture] = {}
    if options.pictures:
        found, unread = quality.read_pictures(options.pictures, "--pictures")
        pictures = dict(list(found.items())[: options.sample])
        problems += unread
    files: list[Path] = []
    if options.end_to_end:
        files, unread = stages.sample(options.end_to_end, options.sample)
        problems += unread
    datasets: dict[str, list[Original]] = {}
    for folder in options.datasets:
        originals, unread = quality.read_originals(folder, "--dataset")
        for scale in _scales_of_all(options, networks):
            quality.check_sizes(originals, scale, f"--dataset {folder}")
        name = recognise([original.size for original in originals]) or folder.resolve().name
        datasets[name if name not in datasets else str(folder)] = originals
        problems += unread
    pairs: list[Pair] = []
    if options.pairs:
        made = set.intersection(*(set(_scales(options, network, ())) for network in networks))
        pairs = quality.pairs_in(*options.pairs, sorted(made))
    return _Material(pictures, files, datasets, pairs, problems)


@dataclass(frozen=True)
class _Session:
    """What one call measures, kind by kind; each is empty where it was not asked for."""

    options: BenchOptions
    networks: Sequence[_Network]
    material: _Material
    say: Callable[[str], None]

    def speeds(self) -> Iterator[Speed]:
        """Pictures in memory."""
        if not (self.options.speed or self.options.only_speed):
            return
        for network in self.networks:
            self.say(f"speed: {network.label}")
            scales = self._scales(network, _ALL)
            options = replace(self.options.speeds, scales=scales, pictures=self.material.pictures)
            yield from speed.measure([network.upscaler()], options)

    def stages(self) -> Iterator[Stages]:
        """A folder from file to file."""
        if self.options.end_to_end is None:
            return
        for network in self.networks:
            for scale in self._scales(network, (_FOLDER_SCALE,)):
                self.say(f"from file to file, {scale}x: {network.label}")
                files = self.material.files
                yield stages.measure(self.options.end_to_end, files, network.upscaler(), scale)

    def peers(self) -> Iterator[PeerSpeed]:
        """Other runtimes, every size at every scale."""
        if not self.options.against:
            return
        for network, size in product(self.networks, self.options.sizes):
            for scale in self._scales(network, (_PEER_SCALE,)):
                names = ", ".join(self.options.against)
                self.say(f"against {names}, {scale}x: {network.label}")
                work = Work(
                    model=network.model,
                    scale=scale,
                    height=size.height,
                    width=size.width,
                    threads=torch.get_num_threads(),
                    device=network.device.torch_device,
                )
                yield from compare(
                    network.name,
                    work,
                    self.options.against,
                    runs=self.options.runs,
                    warm_up=self.options.warm_up,
                    precision=network.device.precision,
                )

    def qualities(self) -> Iterator[Quality]:
        """The pairs, then every dataset."""
        if self.material.pairs and self.options.pairs:
            self.say(f"quality on {len(self.material.pairs)} pairs")
            name = self.options.pairs[1].resolve().name
            yield from quality.measure_pairs(name, self.material.pairs, self._evaluators)
        for (name, originals), scale in product(self.material.datasets.items(), self._all_scales):
            self.say(f"quality on {name}, {len(originals)} pictures, {scale}x")
            fit = {
                network.label: self._evaluators[network.label]
                for network in self.networks
                if scale in self._scales(network, _ALL)
            }
            yield from quality.measure(name, originals, fit, scale)

    def published(self) -> Iterator[Published]:
        """Of the datasets that are known sets."""
        for name, scale in product(self.material.datasets, self._all_scales):
            yield from published(name, scale)

    def studies(self) -> Iterator[StudyRow]:
        """The papers' ablations, with quality on the first dataset."""
        originals = next(iter(self.material.datasets.values()), [])
        models = {network.name: network.model for network in self.networks}
        devices = dict.fromkeys(network.device for network in self.networks)
        for name, device in product(self.options.studies, devices):
            self.say(f"study {name} on {device.torch_device}")
            options = StudyOptions(
                study=name,
                size=self.options.sizes[0],
                runs=self.options.runs,
                warm_up=self.options.warm_up,
            )
            yield from study.measure(options, device, models, originals)

    def crops(self) -> Iterator[Example]:
        """Of every dataset, at one scale that every network makes."""
        if not (self.options.crops and self.material.datasets):
            return
        scale = _scale_to_show([self._scales(each, _ALL) for each in self.networks])
        for originals in self.material.datasets.values():
            if scale is not None:
                yield from examples(originals, self._evaluators, scale)

    def _scales(self, network: _Network, default: tuple[int, ...]) -> tuple[int, ...]:
        return _scales(self.options, network, default)

    @property
    def _all_scales(self) -> list[int]:
        return _scales_of_all(self.options, self.networks)

    @cached_property
    def _evaluators(self) -> dict[str, Evaluator]:
        return {each.label: Evaluator(Runtime(each.model, each.device)) for each in self.networks}
