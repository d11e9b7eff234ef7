"""Ranges of what convolutions read, and the network in 8 bits that they are for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lapsr_cli import weights
from lapsr_cli.bench.quality import read_originals
from lapsr_cli.cpu.quantization import QuantParams, quantized_weights
from lapsr_cli.cpu.streaming import StreamingPyramid
from lapsr_cli.device import selection as device
from lapsr_cli.device.cpu_features import Processor
from lapsr_cli.device.selection import choose
from lapsr_cli.errors import DeviceError, UsageError, WeightsError, WeightsMismatch
from lapsr_cli.image_io import read
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.metrics import protocol
from lapsr_cli.network.calibration import _read_in, patterns, ranges_of
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import LaplacianPyramid, Level, PyramidConfig
from lapsr_cli.weights.serialization import Weights, read_safetensors, write_safetensors
from tests.conftest import PICTURES, SMALL_CONFIGS, Ran, random_network, tiny_network
from tests.cpu.kernels.test_int8 import needs_vnni

CONFIGS_OF_64 = [replace(config, channels=64, levels=2) for config in SMALL_CONFIGS[:4]]


class Walk:
    """The network once more, written out: ``convolve`` says what a convolution does with what it
    reads, which is activated, given level, block and place."""

    def __init__(
        self,
        model: LaplacianPyramid,
        convolve: Callable[[torch.nn.Conv2d, Tensor, tuple[int, int, int]], Tensor],
    ) -> None:
        self.model, self.convolve = model, convolve

    def pictures(self, luma: Tensor) -> list[Tensor]:
        model, made = self.model, []
        features = model.conv_in(luma)
        for number in range(len(model.config.scales)):
            level = model.level(number + 1)
            features = level.upsample(F.leaky_relu(self.body(level, number, features), 0.2))
            residual = level.conv_res(
                features if model.config.shared else F.leaky_relu(features, 0.2)
            )
            luma = level.add_image(luma, residual)
            made.append(luma)
        return made

    def body(self, level: Level, number: int, source: Tensor) -> Tensor:
        x = source
        for block in range(self.model.config.recursions):
            h = x
            for place, conv in enumerate(level.convs):
                assert isinstance(conv, torch.nn.Conv2d)
                h = self.convolve(conv, F.leaky_relu(h, 0.2), (number, block, place))
            x = {"ss": h + source, "ds": h + x, "ns": h}[self.model.config.skip]
        return x


def drawn(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(
        height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def test_the_least_and_the_most_that_each_channel_reads(small_config: PyramidConfig) -> None:
    model = random_network(small_config).float()
    config = small_config
    shape = (len(config.scales), config.recursions, config.depth, config.channels)
    lowest, highest = torch.full(shape, torch.inf), torch.full(shape, -torch.inf)

    def convolve(conv: torch.nn.Conv2d, read_in: Tensor, where: tuple[int, int, int]) -> Tensor:
        lowest[where] = torch.minimum(lowest[where], read_in.amin((0, 2, 3)))
        highest[where] = torch.maximum(highest[where], read_in.amax((0, 2, 3)))
        made: Tensor = conv(read_in)
        return made

    for pattern in patterns():
        Walk(model, convolve).pictures(pattern)
    expected = torch.stack([lowest, highest], dim=-1)
    torch.testing.assert_close(ranges_of(model), expected)


def test_pictures_stay_within_what_patterns_span() -> None:
    """By what the default network reads of photographs and drawings."""
    model = weights.load("lapsr-classic")
    assert model.ranges is not None
    lowest, highest = model.ranges.unbind(-1)
    steps = (highest - lowest) / 255
    for path in sorted(PICTURES.glob("*.png")):
        pixels = np.atleast_3d(read(path).frames[0].pixels)[:96, :96]
        luma = protocol.luma_of(torch.from_numpy(np.array(pixels)).permute(2, 0, 1))
        low, high = _read_in(model, luma[None, None].float()).unbind(-1)
        beyond = torch.maximum(high - highest, lowest - low)
        assert (beyond > steps).float().mean() < 0.02


@needs_vnni
@pytest.mark.parametrize("config", CONFIGS_OF_64, ids=lambda config: config.title)
def test_the_network_in_8_bits_is_the_one_written_out(config: PyramidConfig) -> None:
    """Against float64: a rounding that falls the other way may go through some layers, so what is
    apart is compared with what 8 bits cost."""
    model = tiny_network(config)
    model.ranges = ranges_of(model)
    params = [[[QuantParams.of_range(r) for r in b] for b in level] for level in model.ranges]

    def convolve(conv: torch.nn.Conv2d, read_in: Tensor, where: tuple[int, int, int]) -> Tensor:
        number, block, place = where
        reads = params[number][block][place]
        read_steps, zeros = reads.steps[:, None, None], reads.zeros[:, None, None]
        codes = (read_in / read_steps + zeros + 0.5).floor().clamp(0, 255) - zeros
        rounded, steps = quantized_weights(conv.weight.float() * read_steps)
        return F.conv2d(codes, rounded * steps.double()[:, None, None, None], conv.bias, padding=1)

    strips = StreamingPyramid(FusedPyramid.copy_of(model), "int8", strip_pixels=200)
    luma = torch.stack([drawn(37, 29, seed)[None] for seed in (1, 2)])
    made = strips(luma.float())
    exact = model.double()(luma)
    for scale, expected in zip(config.scales, Walk(model, convolve).pictures(luma), strict=True):
        apart = (made[scale] - expected).square().mean().sqrt()
        cost = (expected - exact[scale]).square().mean().sqrt()
        assert cost > 0
        assert apart < 0.1 * cost


@needs_vnni
@pytest.mark.parametrize("name", ["lapsr-classic", "lapsr-photo"])
@pytest.mark.parametrize("folder", ["Set5", "Set14"])
def test_within_a_tenth_of_a_decibel(shared: Callable[[str], Path], name: str, folder: str) -> None:
    """The models that come with lapsr, by the papers' protocol."""
    model = weights.load(name)
    originals, _ = read_originals(shared(f"data/test/{folder}"), "")
    scores = [
        [
            Evaluator(Runtime(model, choose("cpu", precision))).score(each.luma, 4).psnr
            for each in originals
        ]
        for precision in ("fp32", "int8")
    ]
    in_fp32, in_int8 = map(np.mean, scores)
    assert in_fp32 - 0.1 < in_int8 != in_fp32


def calibrated(path: Path, ranges: Tensor | None = None) -> Weights:
    """The default model, its ranges replaced."""
    found = read_safetensors(weights.obtain("lapsr-classic"))
    changed = found if ranges is None else found.with_ranges(ranges)
    write_safetensors(changed, path)
    return changed


def test_ranges_are_stored_beside_the_weights(tmp_path: Path) -> None:
    written = calibrated(tmp_path / "a.safetensors")
    assert written.ranges is not None
    model = weights.load(str(tmp_path / "a.safetensors"))
    assert model.ranges is not None
    assert torch.equal(model.ranges, written.ranges)


@pytest.mark.parametrize(
    ("ranges", "problem"),
    [
        (
            torch.zeros(3, 2, 4, 64, 2),
            r"tensor ranges is \(3, 2, 4, 64, 2\), but MS-LapSRN",
        ),
        (torch.full((3, 2, 5, 64, 2), torch.nan), "tensor ranges has values that are not finite"),
        (torch.tensor([1.0, -1.0]).expand(3, 2, 5, 64, 2), "its ranges are not ascending"),
    ],
)
def test_damaged_ranges_are_refused(tmp_path: Path, ranges: Tensor, problem: str) -> None:
    path = tmp_path / "a.safetensors"
    calibrated(path, ranges)
    with pytest.raises(WeightsMismatch, match=problem):
        weights.load(str(path))


def test_ranges_are_exported_and_not_trained_on(tmp_path: Path, lapsr: Callable[..., Ran]) -> None:
    """They belong to these weights and no others."""
    output = tmp_path / "same.safetensors"
    assert lapsr("weights", "export", "lapsr-classic", "-o", output).code == 0
    assert read_safetensors(output).ranges is not None
    run = tmp_path / "run"
    arguments = ("--patch-size", "32", "--iterations", "1", "--batch-size", "3")
    ran = lapsr("train", "--data", PICTURES, "--init", output, "-o", run, *arguments)
    assert ran.code == 0, ran.err
    assert read_safetensors(run / "model.safetensors").ranges is None


@pytest.fixture
def uncalibrated(tmp_path: Path) -> Path:
    """lapsr-classic without its ranges."""
    path = tmp_path / "uncalibrated.safetensors"
    classic = read_safetensors(weights.obtain("lapsr-classic", offline=True))
    write_safetensors(classic.with_ranges(None), path)
    return path


def test_calibrate_writes_a_model_for_int8(
    tmp_path: Path, lapsr: Callable[..., Ran], uncalibrated: Path
) -> None:
    output = tmp_path / "mine.safetensors"
    ran = lapsr("weights", "calibrate", uncalibrated, "-o", output)
    assert ran.code == 0, ran.err
    assert str(output) in ran.out
    plain, mine = (read_safetensors(path) for path in (uncalibrated, output))
    assert plain.ranges is None
    assert mine.ranges is not None
    assert all(torch.equal(mine.tensors[name], tensor) for name, tensor in plain.tensors.items())
    assert "calibrated" in lapsr("weights", "info", output).out


@pytest.mark.parametrize(
    ("output", "code", "problem"),
    [
        ("a.onnx", 2, "-o/--output a.onnx: must end in .safetensors"),
        ("{file}/a.safetensors", 4, "-o/--output {file}/a.safetensors: "),
    ],
)
def test_calibrate_that_cannot(
    lapsr: Callable[..., Ran], tiny: Path, output: str, code: int, problem: str
) -> None:
    ran = lapsr("weights", "calibrate", tiny, "-o", output.format(file=tiny))
    assert ran.code == code, ran.err
    assert problem.format(file=tiny) in ran.err


@needs_vnni
def test_upscale_in_int8(tmp_path: Path, lapsr: Callable[..., Ran]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    source = tmp_path / "in.png"
    Image.fromarray(pixels).resize((112, 80), Image.Resampling.BICUBIC).save(source)
    for precision in ("fp32", "int8"):
        ran = lapsr(
            "upscale", source, "-o", tmp_path / precision, "-s", "2", "--precision", precision
        )
        assert ran.code == 0, ran.err
    made = [
        np.asarray(Image.open(next((tmp_path / precision).iterdir()))).astype(int)
        for precision in ("fp32", "int8")
    ]
    assert 0 < np.abs(made[0] - made[1]).mean() < 1


@needs_vnni
def test_int8_needs_ranges_and_fitting_channels(
    tmp_path: Path, lapsr: Callable[..., Ran], tiny: Path, uncalibrated: Path
) -> None:
    source = tmp_path / "in.png"
    Image.new("L", (8, 8)).save(source)
    ran = lapsr("upscale", source, "-m", tiny, "--precision", "int8", "-o", tmp_path / "out")
    assert ran.code == 4
    assert "--precision int8: MS-LapSRN D1R1 was not calibrated" in ran.err
    model = weights.load(str(tiny))
    model.ranges = ranges_of(model)
    with pytest.raises(UsageError, match="--precision int8: not for 4 channels"):
        Runtime(model, choose("cpu", "int8"))
    with pytest.raises(WeightsError):
        Runtime(weights.load(str(uncalibrated)), choose("cpu", "int8"))


def test_int8_needs_dot_products_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Processor("haswell", "+avx2,+fma", vector_bytes=32, registers=16)
    monkeypatch.setattr(device, "this_processor", lambda: old)
    with pytest.raises(DeviceError, match=r"--precision int8: this processor \(haswell\) has no"):
        choose("cpu", "int8")
