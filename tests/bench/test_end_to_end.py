"""End-to-end runs: which pictures are taken, what is reported, and advice that can be followed."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from lapsr_cli.bench import end_to_end
from lapsr_cli.bench.advice import advice
from lapsr_cli.bench.precisions import seconds_by_precision
from lapsr_cli.cli.upscale import upscale
from lapsr_cli.device.cpu_features import this_processor
from lapsr_cli.device.selection import Device, FeaturePrecision, choose
from lapsr_cli.errors import NothingMatched
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.upscaler import Upscaler
from tests.conftest import draw

STAGES = ["decode", "upload", "network", "download", "encode"]
PRECISIONS: tuple[FeaturePrecision, ...] = ("fp32", "bf16", "fp16")
DEVICES = [
    Device(torch.device(name), precision, "asked for")
    for name, precision in product(("cpu", "cuda:0", "mps"), PRECISIONS)
]


@pytest.mark.parametrize(("count", "most"), [(1, 20), (20, 20), (21, 20), (50, 20), (7, 3), (9, 1)])
def test_a_sample_is_evenly_spaced_over_the_folder(tmp_path: Path, count: int, most: int) -> None:
    for number in range(count):
        draw(tmp_path / f"{number:02}.png", 4, 4)
    (tmp_path / "00a.png").write_bytes(b"nothing")
    paths, (problem,) = end_to_end.sample(tmp_path, most)
    assert "00a.png" in problem
    taken = [int(path.stem) for path in paths]
    assert len(taken) == min(most, count)
    assert taken[0] == 0
    gaps = np.diff([*taken, count])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_stages_of_a_folder(tmp_path: Path, network: LaplacianPyramid) -> None:
    draw(tmp_path / "a.png", 30, 20)
    draw(tmp_path / "deep" / "b.jpg", 40, 20)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    upscaler = Upscaler({"tiny": network}, choose("cpu"))
    run = end_to_end.measure(tmp_path, end_to_end.sample(tmp_path, 20)[0], upscaler, 2)
    assert run.pictures == 2
    assert run.input_megapixels == pytest.approx((30 * 20 + 40 * 20) / 1e6)
    assert run.output_megapixels == pytest.approx(4 * run.input_megapixels)
    assert list(run.seconds) == STAGES
    assert run.seconds[run.bottleneck] == max(run.seconds.values())
    assert run.total_seconds > 0
    suffixes = {".png", ".jpg"}
    assert run.advice == advice(run.bottleneck, upscaler.device, suffixes, run.precisions)
    assert bool(run.precisions) == (run.bottleneck == "network")
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["a.png", "b.jpg", "broken.png"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(NothingMatched, match=r"--end-to-end .*: no readable pictures"):
        end_to_end.sample(tmp_path / "nothing", 20)


@pytest.mark.parametrize(
    ("bottleneck", "suffix", "words"),
    [
        ("decode", ".png", "faster disk"),
        ("encode", ".png", "-f jpg writes"),
        ("encode", ".avif", "-f webp writes"),
        ("encode", ".jpg", "cores would write"),
        ("upload", ".png", "copy engines"),
        ("network", ".png", "-m"),
    ],
)
def test_advice_is_about_the_bottleneck(bottleneck: str, suffix: str, words: str) -> None:
    device = Device(torch.device("mps"), "fp16", "asked for")
    assert words in advice(bottleneck, device, [suffix])


@pytest.mark.parametrize(
    ("current", "expected"), [("fp32", "int8"), ("bf16", "int8"), ("int8", None)]
)
def test_advice_on_precision_is_what_was_measured(
    current: FeaturePrecision, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a Zen 5, which multiplies in bf16, but is slower in it than in fp32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    measured = {"fp32": 0.253, "bf16": 0.336, "int8": 0.203}
    device = Device(torch.device("cpu"), current, "asked for")
    said = advice("network", device, [".png"], measured)
    if expected:
        ratio = f"{measured[expected] / measured[current]:.2f}"
        assert said == f"--precision {expected}, which took {ratio} of the time of {current} here"
    else:
        assert "--precision" not in said


def test_a_gain_within_the_noise_is_no_advice() -> None:
    device = Device(torch.device("mps"), "fp32", "asked for")
    assert "--precision" not in advice("network", device, [], {"fp32": 1.0, "fp16": 0.97})
    assert "--precision fp16" in advice("network", device, [], {"fp32": 1.0, "fp16": 0.9})


def test_each_precision_is_timed_that_the_device_has() -> None:
    """bf16 unless it is far slower, as without instructions for it; int8 where the processor has
    dot products of bytes; fp16 never."""
    measured = seconds_by_precision(Upscaler.from_weights("lapsr-classic", device="cpu"), 2)
    others = {"fp32", "int8"} if this_processor().has_vnni else {"fp32"}
    assert set(measured) - {"bf16"} == others
    assert min(measured.values()) > 0


@pytest.mark.parametrize("stage", STAGES)
def test_advice_names_options_of_upscale(stage: str) -> None:
    known = {option for parameter in upscale.params for option in parameter.opts}
    for device, suffix in product(DEVICES, (".png", ".jpg", ".avif", ".webp", ".tif")):
        named = re.findall(r"(?<!\w)--?[a-z][a-z-]*", advice(stage, device, [suffix]))
        assert set(named) <= known
