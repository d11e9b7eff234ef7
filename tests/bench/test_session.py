"""One call of the benchmark, from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapsr_cli.bench.inputs import Measurements
from lapsr_cli.bench.networks import NetworkOptions
from lapsr_cli.bench.session import BenchOptions, Measured, run
from lapsr_cli.bench.timing import TimingOptions
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.pixels.picture import Size
from lapsr_cli.weights.serialization import Weights, write_safetensors
from tests.conftest import draw, tiny_network

UP_TO_2X = PyramidConfig(depth=1, recursions=1, channels=4, levels=1)
UP_TO_4X = PyramidConfig(depth=1, recursions=1, channels=4, levels=2)
UP_TO_8X = PyramidConfig(depth=1, recursions=1, channels=4, levels=3)
ONLY_4X = PyramidConfig(depth=1, recursions=1, channels=4, levels=2, pyramid=False)


def measured_on_a_dataset(
    folder: Path, configs: list[PyramidConfig], scales: tuple[int, ...]
) -> Measured:
    """The quality of networks of these configurations on one picture."""
    models = []
    for number, config in enumerate(configs):
        path = folder / f"{number}.safetensors"
        write_safetensors(Weights(config, tiny_network(config).state_dict(), "a test"), path)
        models.append(str(path))
    draw(folder / "set" / "a.png", 48, 40)
    options = BenchOptions(
        networks=NetworkOptions(models=tuple(models), devices=("cpu",), scales=scales),
        timing=TimingOptions(sizes=(Size(8, 8),)),
        measurements=Measurements(datasets=(folder / "set",)),
    )
    return run(options, crops=True)


@pytest.mark.parametrize(
    ("configs", "scales", "shown"),
    [
        ([UP_TO_8X, UP_TO_4X], (), 4),
        ([UP_TO_8X, UP_TO_8X], (2, 8), 8),
        ([UP_TO_2X, UP_TO_4X], (), 2),
    ],
)
def test_crops_are_at_a_scale_that_all_networks_make(
    tmp_path: Path, configs: list[PyramidConfig], scales: tuple[int, ...], shown: int
) -> None:
    (crop,) = measured_on_a_dataset(tmp_path, configs, scales).crops
    assert crop.title == f"a.png, {shown}x"
    assert len(crop.pictures) == len(configs) + 2, "bicubic, every network, the original"


def test_networks_without_a_common_scale_are_scored_each_at_its_own(tmp_path: Path) -> None:
    measured = measured_on_a_dataset(tmp_path, [UP_TO_2X, ONLY_4X], ())
    assert measured.crops == []
    scored = {(Path(row.method).stem, row.scale) for row in measured.results.qualities}
    baselines = {(name, scale) for name in ("bicubic", "lanczos") for scale in (2, 4)}
    assert scored == {("0", 2), ("1", 4)} | baselines


def test_without_measurements_it_is_the_speed(tiny: Path) -> None:
    lines: list[str] = []
    options = BenchOptions(
        networks=NetworkOptions(models=(str(tiny),), devices=("cpu",), scales=(4, 2)),
        timing=TimingOptions(sizes=(Size(8, 8),), runs=1),
        measurements=Measurements(),
    )
    results = run(options, command="lapsr bench", progress=lines.append).results
    assert [row.scale for row in results.speeds] == [2, 4]
    assert (results.stages, results.peers, results.qualities, results.studies) == ((), (), (), ())
    assert results.command == "lapsr bench"
    assert lines == [f"speed: {tiny}"]
