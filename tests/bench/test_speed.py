"""Speed: sizes as written on the command line, counts of operations, times of pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lapsr_cli.bench import speed
from lapsr_cli.bench.machine import this_machine
from lapsr_cli.bench.results import Results
from lapsr_cli.bench.sizes import parse_size
from lapsr_cli.bench.timing import TimingOptions
from lapsr_cli.cli.bench_tables import show
from lapsr_cli.device.selection import choose
from lapsr_cli.errors import UsageError
from lapsr_cli.inference.tiler import TileOptions
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from lapsr_cli.pixels.picture import Picture, Size
from lapsr_cli.upscaler import Upscaler

SMALL = Size(20, 16)


def test_operations_match_torchs_flop_counter(small_config: PyramidConfig) -> None:
    model = LaplacianPyramid(small_config).requires_grad_(False)
    for scale in small_config.scales:
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 1, 6, 5), scale)
        assert small_config.operations(scale) * 30 == counter.get_total_flops()


def test_operations_of_the_published_network() -> None:
    """D5R2 at 256 x 256 to 4x: 268 GFLOP by an independent count."""
    config = PyramidConfig(depth=5, recursions=2)
    assert config.operations(4) * 256**2 / 1e9 == pytest.approx(268, abs=1)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256", Size(256, 256)),
        ("640x480", Size(480, 640)),
        (" 640X480 ", Size(480, 640)),
        ("1080p", Size(1080, 1920)),
        ("4k", Size(2160, 3840)),
        ("12MP", Size(3000, 4000)),
        ("0.0012mp", Size(30, 40)),
    ],
)
def test_valid_sizes(text: str, size: Size) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "10x", "ten", "0", "-4", "5x0", "0MP", "infMP", "nanMP"])
def test_invalid_sizes(text: str) -> None:
    with pytest.raises(UsageError, match=r"--size"):
        parse_size(text)


def test_speed_reports_what_was_computed(config: PyramidConfig, network: LaplacianPyramid) -> None:
    upscaler = Upscaler({"tiny": network}, choose("cpu"), TileOptions(tile=8))
    options = TimingOptions(sizes=(SMALL,), batch=3, runs=2)
    two, four = speed.measure(upscaler, (2, 4), options)
    assert (two.scale, four.scale, two.width, two.height) == (2, 4, 16, 20)
    for row in (two, four):
        pixels = 16 * 20 * row.scale**2
        rate = row.output_megapixels_per_second * row.seconds.median
        assert rate == pytest.approx(pixels / 1e6)
        operations = row.teraflops * row.seconds.median * 1e12
        assert operations == pytest.approx(config.operations(row.scale) * 16 * 20)
        assert 0 < row.seconds.least <= row.seconds.median <= row.seconds.most
        assert (row.seconds.runs, row.batch, row.content) == (2, 3, "random")
        assert row.work_ratio > 1, "tiles overlap by their halo"
    whole = Upscaler({"tiny": network}, choose("cpu"), TileOptions(tile=None))
    (row,) = speed.measure(whole, (2,), TimingOptions(sizes=(SMALL,)))
    assert row.work_ratio == 1


@pytest.mark.parametrize(
    ("precision", "roofline", "shown"),
    [("fp32", 0.05, "400%"), ("fp32", 0.04, "?"), ("bf16", 0.04, "?"), ("int8", 0.04, "500%")],
)
def test_an_impossible_share_of_the_roofline_is_not_shown(
    network: LaplacianPyramid,
    precision: str,
    roofline: float,
    shown: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Winograd saves three multiplications of four at most."""
    options = TimingOptions(sizes=(SMALL,), runs=1)
    (row,) = speed.measure(Upscaler({"tiny": network}, choose("cpu")), (2,), options)
    row = replace(row, precision=precision, roofline=roofline, teraflops=0.2)
    show(Results(machine=this_machine(), command="", version="", date="", speeds=(row,)))
    printed = capsys.readouterr().out
    assert f" {shown} " in printed
    assert ("measure again on a quiet machine" in printed) == (shown == "?")


def test_pictures_are_cropped_and_repeated(network: LaplacianPyramid) -> None:
    upscaler = Upscaler({"tiny": network}, choose("cpu"))
    pictures = {
        "small": Picture(np.zeros((3, 5, 3), np.uint8)),
        "grey": Picture(np.zeros((90, 80), np.uint8)),
    }
    options = TimingOptions(sizes=(SMALL,), runs=1)
    rows = list(speed.measure(upscaler, (2,), options, pictures))
    assert [row.content for row in rows] == ["small", "grey"]
    assert {(row.width, row.height) for row in rows} == {(16, 20)}


@pytest.mark.parametrize("field", ["batch", "runs", "warm_up"])
def test_counts_must_be_positive(field: str) -> None:
    with pytest.raises(UsageError, match=field.replace("_", "-")):
        TimingOptions(sizes=(SMALL,), **{field: 0})


def test_the_machine_is_this_one() -> None:
    machine = this_machine()
    assert machine.threads == torch.get_num_threads()
    assert machine.memory_bytes > 1 << 28
    assert machine.processor


def test_the_machine_reports_the_instruction_set_in_use() -> None:
    """As capped by LAPSR_CPU, which is read once per process."""
    code = "from lapsr_cli.bench.machine import this_machine; print(this_machine().cpu_level)"
    native, sse4 = (
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "LAPSR_CPU": cap},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()
        for cap in ("native", "sse4")
    )
    assert native in ("amx", "avx512", "avx2", "sse4", "neon")
    assert sse4 == ("neon" if native == "neon" else "sse4")
