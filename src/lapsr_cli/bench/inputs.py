"""What to measure, and the user's pictures for it, all read before anything is timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lapsr_cli.bench import ablations, end_to_end, quality
from lapsr_cli.bench.ablations import Ablation
from lapsr_cli.bench.datasets import recognise
from lapsr_cli.bench.networks import Network
from lapsr_cli.bench.quality import Original, Pair
from lapsr_cli.bench.runtimes import check_names
from lapsr_cli.errors import UsageError
from lapsr_cli.pixels.picture import Picture

__all__ = ["ALL_SCALES", "Inputs", "Measurements", "dataset_scales", "read_inputs"]

ALL_SCALES = (2, 4, 8)


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """What to measure; the speed if ``end_to_end``, ``datasets``, ``pairs``, ``against`` and
    ``ablations`` are empty.

    ``speed``: measure the speed in addition to the others. ``pictures``: a folder to use for the
    speed instead of random samples. ``end_to_end``: a folder whose pictures are processed from file
    to file. ``sample``: how many pictures of ``pictures`` and ``end_to_end`` are used.
    ``datasets``: folders of HR pictures, for quality. ``pairs``: a folder of LR and one of HR
    pictures, for quality. ``against``: names of other runtimes. Raises UsageError, naming the
    option.
    """

    speed: bool = False
    pictures: Path | None = None
    end_to_end: Path | None = None
    sample: int = 20
    datasets: tuple[Path, ...] = ()
    pairs: tuple[Path, Path] | None = None
    against: tuple[str, ...] = ()
    ablations: tuple[Ablation, ...] = ()

    def __post_init__(self) -> None:
        if self.sample < 1:
            raise UsageError(f"--sample {self.sample}: must be at least 1")
        check_names(self.against)
        for ablation in self.ablations:
            ablations.networks(ablation)

    @property
    def includes_speed(self) -> bool:
        """Whether the speed is measured."""
        others = (self.end_to_end, self.datasets, self.pairs, self.against, self.ablations)
        return self.speed or not any(others)


@dataclass(frozen=True)
class Inputs:
    """The user's pictures.

    ``pictures``: by name, for the speed. ``files``: for the end-to-end run. ``datasets``: by the
    name of a known dataset or of the folder. ``problems``: a line for each file that could
    not be read.
    """

    pictures: Mapping[str, Picture]
    files: Sequence[Path]
    datasets: Mapping[str, Sequence[Original]]
    pairs: Sequence[Pair]
    problems: Sequence[str]


def read_inputs(measurements: Measurements, networks: Sequence[Network]) -> Inputs:
    """Read the pictures of every folder.

    Raises NothingMatched for a folder without readable pictures, UsageError for a picture too small
    to score and for pictures that cannot be paired, UnreadablePicture for a damaged one of a pair.
    """
    problems: list[str] = []
    pictures: dict[str, Picture] = {}
    if measurements.pictures:
        found, unread = quality.read_pictures(measurements.pictures, "--pictures")
        pictures = dict(list(found.items())[: measurements.sample])
        problems += unread
    files: list[Path] = []
    if measurements.end_to_end:
        files, unread = end_to_end.sample(measurements.end_to_end, measurements.sample)
        problems += unread
    datasets: dict[str, list[Original]] = {}
    for folder in measurements.datasets:
        originals, unread = quality.read_originals(folder, "--dataset")
        for scale in dataset_scales(networks):
            quality.check_sizes(originals, scale, f"--dataset {folder}")
        name = recognise([original.size for original in originals]) or folder.resolve().name
        datasets[name if name not in datasets else str(folder)] = originals
        problems += unread
    pairs: list[Pair] = []
    if measurements.pairs:
        common = set.intersection(*(set(network.scales(())) for network in networks))
        pairs = quality.read_pairs(*measurements.pairs, sorted(common))
    return Inputs(pictures, files, datasets, pairs, problems)


def dataset_scales(networks: Sequence[Network]) -> list[int]:
    """The scales at which any network is scored on datasets, in ascending order."""
    return sorted({scale for network in networks for scale in network.scales(ALL_SCALES)})
