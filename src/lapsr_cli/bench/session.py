"""One call of the benchmark: takes the requested measurements, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import product

import torch

from lapsr_cli import __version__
from lapsr_cli.bench import ablations, end_to_end, quality, speed
from lapsr_cli.bench.comparison import compare
from lapsr_cli.bench.crops import examples
from lapsr_cli.bench.inputs import (
    ALL_SCALES,
    Inputs,
    Measurements,
    dataset_scales,
    read_inputs,
)
from lapsr_cli.bench.machine import this_machine
from lapsr_cli.bench.networks import Network, NetworkOptions, load_networks
from lapsr_cli.bench.published import published
from lapsr_cli.bench.results import (
    AblationRow,
    EndToEnd,
    Published,
    Quality,
    Results,
    RuntimeSpeed,
    Speed,
)
from lapsr_cli.bench.runtimes import Workload
from lapsr_cli.bench.timing import TimingOptions
from lapsr_cli.html.example import Example
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime

__all__ = ["BenchOptions", "Measured", "run"]

_RUNTIMES_SCALE = 4
_END_TO_END_SCALE = 2


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Which networks to measure, what, and how to time it.

    Without ``networks.scales``, speed and quality are measured at 2x, 4x and 8x, other runtimes at
    4x and end-to-end runs at 2x.
    """

    networks: NetworkOptions
    timing: TimingOptions
    measurements: Measurements


@dataclass(frozen=True)
class Measured:
    """The results, crops of the datasets, and a line for each picture that could not be read."""

    results: Results
    crops: Sequence[Example]
    problems: Sequence[str]


def run(
    options: BenchOptions,
    *,
    command: str = "",
    progress: Callable[[str], None] = lambda line: None,
    crops: bool = False,
) -> Measured:
    """Take all measurements of ``options``.

    ``command``: the command line, for the results. ``progress``: called with a line before each
    measurement. ``crops``: make examples of the datasets. Sets torch's number of threads for the
    process. Raises UsageError, NothingMatched and ResourceError as early as possible: models
    are loaded and pictures are read before anything is timed.
    """
    if options.timing.threads:
        torch.set_num_threads(options.timing.threads)
    networks = load_networks(options.networks)
    inputs = read_inputs(options.measurements, networks)
    session = _Session(options.timing, options.measurements, networks, inputs, progress)
    results = Results(
        machine=this_machine(),
        command=command,
        version=__version__,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        speeds=tuple(session.speeds()),
        stages=tuple(session.end_to_end()),
        peers=tuple(session.runtimes()),
        qualities=tuple(session.qualities()),
        published=tuple(session.published()),
        studies=tuple(session.ablations()),
    )
    return Measured(results, list(session.crops()) if crops else [], inputs.problems)


@dataclass(frozen=True)
class _Session:
    """One method per measurement, which yields nothing if that was not requested."""

    timing: TimingOptions
    measurements: Measurements
    networks: Sequence[Network]
    inputs: Inputs
    progress: Callable[[str], None]

    def speeds(self) -> Iterator[Speed]:
        """Pictures in memory."""
        if not self.measurements.includes_speed:
            return
        for network in self.networks:
            self.progress(f"speed: {network.label}")
            scales = network.scales(ALL_SCALES)
            yield from speed.measure(network.upscaler(), scales, self.timing, self.inputs.pictures)

    def end_to_end(self) -> Iterator[EndToEnd]:
        """A folder, from file to file."""
        folder = self.measurements.end_to_end
        if folder is None:
            return
        for network in self.networks:
            for scale in network.scales((_END_TO_END_SCALE,)):
                self.progress(f"end to end, {scale}x: {network.label}")
                yield end_to_end.measure(folder, self.inputs.files, network.upscaler(), scale)

    def runtimes(self) -> Iterator[RuntimeSpeed]:
        """lapsr and other runtimes, every size at every scale."""
        names = self.measurements.against
        if not names:
            return
        for network, size in product(self.networks, self.timing.sizes):
            for scale in network.scales((_RUNTIMES_SCALE,)):
                self.progress(f"against {', '.join(names)}, {scale}x: {network.label}")
                workload = Workload(
                    model=network.model,
                    scale=scale,
                    height=size.height,
                    width=size.width,
                    threads=torch.get_num_threads(),
                    device=network.device.torch_device,
                )
                yield from compare(
                    network.name,
                    workload,
                    names,
                    runs=self.timing.runs,
                    warm_up=self.timing.warm_up,
                    precision=network.device.precision,
                )

    def qualities(self) -> Iterator[Quality]:
        """The pairs, then every dataset."""
        if self.measurements.pairs:
            name = self.measurements.pairs[1].resolve().name
            self.progress(f"quality on {len(self.inputs.pairs)} pairs")
            yield from quality.measure_pairs(name, self.inputs.pairs, self._evaluators)
        for (name, originals), scale in product(self.inputs.datasets.items(), self._dataset_scales):
            self.progress(f"quality on {name}, {len(originals)} pictures, {scale}x")
            evaluators = {
                network.label: self._evaluators[network.label]
                for network in self.networks
                if scale in network.scales(ALL_SCALES)
            }
            yield from quality.measure(name, originals, evaluators, scale)

    def published(self) -> Iterator[Published]:
        """Published figures for the known datasets."""
        for name, scale in product(self.inputs.datasets, self._dataset_scales):
            yield from published(name, scale)

    def ablations(self) -> Iterator[AblationRow]:
        """The papers' ablations, with PSNR on the first dataset."""
        originals = next(iter(self.inputs.datasets.values()), [])
        models = {network.name: network.model for network in self.networks}
        devices = dict.fromkeys(network.device for network in self.networks)
        for name, device in product(self.measurements.ablations, devices):
            self.progress(f"ablation {name} on {device.torch_device}")
            yield from ablations.measure(name, self.timing, device, models, originals)

    def crops(self) -> Iterator[Example]:
        """Crops of every dataset at one scale that all networks make: 4x, else the largest."""
        common = set.intersection(*(set(each.scales(ALL_SCALES)) for each in self.networks))
        if not common:
            return
        scale = 4 if 4 in common else max(common)
        for originals in self.inputs.datasets.values():
            yield from examples(originals, self._evaluators, scale)

    @cached_property
    def _dataset_scales(self) -> list[int]:
        return dataset_scales(self.networks)

    @cached_property
    def _evaluators(self) -> dict[str, Evaluator]:
        return {each.label: Evaluator(Runtime(each.model, each.device)) for each in self.networks}
