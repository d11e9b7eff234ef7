"""The papers' ablations: which networks they have, and which of them get weights."""

from __future__ import annotations

import pytest
import torch

from lapsr_cli.bench import ablations
from lapsr_cli.bench.quality import Original
from lapsr_cli.bench.timing import TimingOptions
from lapsr_cli.device.selection import choose
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from lapsr_cli.pixels.picture import Size


def test_networks_are_the_grid_of_the_paper() -> None:
    titles = {
        preset: [f"{config.title} {scale}x" for config, scale in ablations.networks(preset)]
        for preset in ("params", "depth", "skips", "scales")
    }
    grid = {"D2R5", "D5R2", "D10R1", "D4R8", "D5R5", "D5R8"}
    assert {title.split()[1] for title in titles["params"] + titles["depth"]} == grid
    assert {title.split()[-2] for title in titles["skips"]} >= {"NS", "DS"}
    assert {title.split()[-1] for title in titles["scales"]} == {"2x", "4x", "8x"}
    parameters = {
        config.title: sum(p.numel() for p in LaplacianPyramid(config).parameters())
        for config, _ in ablations.networks("params")
    }
    assert parameters == {
        "MS-LapSRN D2R5": 112_017,
        "MS-LapSRN D5R2": 222_801,
        "MS-LapSRN D10R1": 407_441,
    }


def test_weights_are_used_by_the_network_they_fit(network: LaplacianPyramid) -> None:
    model = LaplacianPyramid(PyramidConfig(depth=2, recursions=5)).requires_grad_(False).eval()
    weights = {"mine": model, "other": network}
    original = Original("a.png", torch.rand(32, 32, dtype=torch.float64))
    options = TimingOptions(sizes=(Size(8, 8), Size(4096, 4096)), runs=1)
    rows = list(ablations.measure("params", options, choose("cpu"), weights, [original]))
    assert [row.title.partition(",")[2] for row in rows] == [" mine", "", ""]
    expected = Evaluator(Runtime(model, choose("cpu"))).score(original.luma, 4).psnr
    assert rows[0].psnr == {4: pytest.approx(expected, abs=1e-3)}
    assert rows[1].psnr == {}
    assert [row.layers for row in rows] == [24, 24, 24]
