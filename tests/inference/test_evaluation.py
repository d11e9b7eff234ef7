"""Scores of a network on a device without enough memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lapsr_cli.device.selection import Device, choose
from lapsr_cli.errors import DeviceError
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.network.pyramid import PyramidConfig
from tests.conftest import Ran, draw, run_lapsr, tiny_network
from tests.inference.test_batching import overflowing

CONFIG = PyramidConfig(depth=2, recursions=1, channels=4)

Lapsr = Callable[..., Ran]

LIMITED = """
import torch
from lapsr_cli.cpu.streaming import StreamingPyramid
compute = StreamingPyramid.__call__
def limited(self, luma, scale=None, *progress):
    if luma.numel() > {most}:
        torch.empty(1 << 60, dtype=torch.uint8)  # torch reports it in its own words
    return compute(self, luma, scale, *progress)
StreamingPyramid.__call__ = limited
"""
"""A device that holds so many pixels of windows."""


def limited(runtime: Runtime, most: int) -> Runtime:
    network = runtime.model

    def compute(luma: Tensor, scale: int | None = None) -> dict[int, Tensor]:
        if luma.numel() > most:
            torch.empty(1 << 60, dtype=torch.uint8)
        pictures: dict[int, Tensor] = network(luma, scale)
        return pictures

    runtime.model = compute  # type: ignore[assignment]
    return runtime


@pytest.mark.parametrize("most", [2000, 700, 300])
def test_out_of_memory_tiles_get_smaller_and_scores_stay(
    most: int, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_network(CONFIG)
    luma = torch.rand(48, 56, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = Evaluator(Runtime(model, choose("cpu"))).enlarge(luma, 4)
    with caplog.at_level(logging.WARNING, "lapsr_cli"):
        evaluator = Evaluator(limited(Runtime(model, choose("cpu")), most))
        torch.testing.assert_close(evaluator.enlarge(luma, 4), whole, rtol=0, atol=1e-6)
        said = len(caplog.records)
        evaluator.enlarge(luma, 4)
    assert said
    assert len(caplog.records) == said, "what did not fit once is tried again"


def test_a_device_that_holds_nothing_is_an_error() -> None:
    evaluator = Evaluator(limited(Runtime(tiny_network(CONFIG), choose("cpu")), 20))
    with pytest.raises(DeviceError, match=r"--device cpu: not enough memory"):
        evaluator.enlarge(torch.rand(40, 40), 2)


def test_what_overflows_in_half_precision_has_no_score() -> None:
    model = overflowing(PyramidConfig(depth=1, recursions=1, channels=4, levels=1))
    evaluator = Evaluator(Runtime(model, Device(torch.device("cpu"), "fp16", "a test")))
    with pytest.raises(DeviceError, match=r"--precision fp16: .* overflow"):
        evaluator.enlarge(torch.rand(12, 14), 2)


@pytest.mark.parametrize(("most", "code"), [(600, 0), (10, 4)])
def test_bench_and_train_go_on_in_smaller_parts_or_end_in_one_line(
    tmp_path: Path, tiny: Path, most: int, code: int
) -> None:
    for number in range(2):
        draw(tmp_path / "set" / f"{number}.png", 96, 80, seed=number)
        draw(tmp_path / "data" / f"{number}.png", 96, 80, seed=9)
    before = LIMITED.format(most=most)
    bench = run_lapsr(
        *("bench", "--dataset", tmp_path / "set", "-m", tiny, "-s", "4", "--device", "cpu"),
        before=before,
    )
    train = run_lapsr(
        *("train", "--data", tmp_path / "data", "--val", tmp_path / "set", "-o", tmp_path / "run"),
        *("--init", tiny, "--iterations", "2", "--patch-size", "32", "--batch-size", "3"),
        *("--depth", "1", "--recursions", "1", "--device", "cpu", "--validate-every", "1"),
        before=before,
    )
    for ran in (bench, train):
        assert "Traceback" not in ran.err
        assert ran.code == code, ran.err
        said = "continuing with half of that" if code == 0 else "not enough memory for a window"
        assert said in ran.err
