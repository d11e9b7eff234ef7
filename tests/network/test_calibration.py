"""Calibration ranges, and the network in int8 that uses them."""

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
from lapsr_cli.network.calibration import _input_ranges, patterns, ranges_of
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import LaplacianPyramid, Level, PyramidConfig
from lapsr_cli.weights.serialization import Weights, read_safetensors, write_safetensors
from tests.conftest import PICTURES, SMALL_CONFIGS, Ran, random_network, tiny_network
from tests.cpu.kernels.test_int8 import needs_vnni

CONFIGS_OF_64 = [replace(config, channels=64, levels=2) for config in SMALL_CONFIGS[:4]]


class Reimplementation:
    """The network once more. ``convolve`` computes a convolution of the recursive blocks from its
    activated input and its level, block and place."""

    def __init__(
        self,
        model: LaplacianPyramid,
        convolve: Callable[[torch.nn.Conv2d, Tensor, tuple[int, int, int]], Tensor],
    ) -> None:
        self.model, self.convolve = model, convolve

    def pictures(self, luma: Tensor) -> list[Tensor]:
        model, outputs = self.model, []
        features = model.conv_in(luma)
        for number in range(len(model.config.scales)):
            level = model.level(number + 1)
            features = level.upsample(F.leaky_relu(self.body(level, number, features), 0.2))
            residual = level.conv_res(
                features if model.config.shared else F.leaky_relu(features, 0.2)
            )
            luma = level.add_image(luma, residual)
            outputs.append(luma)
        return outputs

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


def test_ranges_are_the_extremes_of_each_input_channel(small_config: PyramidConfig) -> None:
    model = random_network(small_config).float()
    config = small_config
    shape = (len(config.scales), config.recursions, config.depth, config.channels)
    lowest, highest = torch.full(shape, torch.inf), torch.full(shape, -torch.inf)

    def convolve(conv: torch.nn.Conv2d, inputs: Tensor, place: tuple[int, int, int]) -> Tensor:
        lowest[place] = torch.minimum(lowest[place], inputs.amin((0, 2, 3)))
        highest[place] = torch.maximum(highest[place], inputs.amax((0, 2, 3)))
        outputs: Tensor = conv(inputs)
        return outputs

    for pattern in patterns():
        Reimplementation(model, convolve).pictures(pattern)
    expected = torch.stack([lowest, highest], dim=-1)
    torch.testing.assert_close(ranges_of(model), expected)


def test_pictures_stay_within_the_ranges_of_the_patterns() -> None:
    """For the default network; up to a step of int8, in all but 2 % of the channels."""
    model = weights.load("lapsr-classic")
    assert model.ranges is not None
    lowest, highest = model.ranges.unbind(-1)
    steps = (highest - lowest) / 255
    for path in sorted(PICTURES.glob("*.png")):
        pixels = np.atleast_3d(read(path).frames[0].pixels)[:96, :96]
        luma = protocol.luma_of(torch.from_numpy(np.array(pixels)).permute(2, 0, 1))
        low, high = _input_ranges(model, luma[None, None].float()).unbind(-1)
        beyond = torch.maximum(high - highest, lowest - low)
        assert (beyond > steps).float().mean() < 0.02


@needs_vnni
@pytest.mark.parametrize("config", CONFIGS_OF_64, ids=lambda config: config.title)
def test_int8_is_equal_to_the_reimplementation(config: PyramidConfig) -> None:
    """In float64. Ties may be rounded differently, which later layers see, so the difference is
    compared with the error of int8 itself."""
    model = tiny_network(config)
    model.ranges = ranges_of(model)
    params = [[[QuantParams.of_range(r) for r in b] for b in level] for level in model.ranges]

    def convolve(conv: torch.nn.Conv2d, inputs: Tensor, place: tuple[int, int, int]) -> Tensor:
        level, block, number = place
        input_params = params[level][block][number]
        input_scales = input_params.scales[:, None, None]
        zero_points = input_params.zero_points[:, None, None]
        codes = (inputs / input_scales + zero_points + 0.5).floor().clamp(0, 255) - zero_points
        weights, scales = quantized_weights(conv.weight.float() * input_scales)
        return F.conv2d(codes, weights * scales.double()[:, None, None, None], conv.bias, padding=1)

    strips = StreamingPyramid(FusedPyramid.copy_of(model), "int8", strip_pixels=200)
    luma = torch.stack([drawn(37, 29, seed)[None] for seed in (1, 2)])
    outputs = strips(luma.float())
    exact = model.double()(luma)
    reimplementation = Reimplementation(model, convolve).pictures(luma)
    for scale, expected in zip(config.scales, reimplementation, strict=True):
        difference = (outputs[scale] - expected).square().mean().sqrt()
        error = (expected - exact[scale]).square().mean().sqrt()
        assert error > 0
        assert difference < 0.1 * error


@needs_vnni
@pytest.mark.parametrize("name", ["lapsr-classic", "lapsr-photo"])
@pytest.mark.parametrize("folder", ["Set5", "Set14"])
def test_int8_loses_less_than_a_tenth_of_a_decibel(
    shared: Callable[[str], Path], name: str, folder: str
) -> None:
    """At 4x by the papers' protocol, with the models that come with lapsr."""
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
    """Write the default model, with other ``ranges`` if given."""
    found = read_safetensors(weights.obtain("lapsr-classic"))
    changed = found if ranges is None else found.with_ranges(ranges)
    write_safetensors(changed, path)
    return changed


def test_ranges_are_stored_with_the_weights(tmp_path: Path) -> None:
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


def test_ranges_are_exported_but_not_kept_by_training(
    tmp_path: Path, lapsr: Callable[..., Ran]
) -> None:
    """They are valid for the weights they were measured with only."""
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
    tmp_path: Path, lapsr: Callable[..., Ran], tiny: Path
) -> None:
    output = tmp_path / "mine.safetensors"
    ran = lapsr("weights", "calibrate", tiny, "-o", output)
    assert ran.code == 0, ran.err
    assert str(output) in ran.out
    plain, mine = (read_safetensors(path) for path in (tiny, output))
    assert plain.ranges is None
    assert mine.ranges is not None
    assert all(torch.equal(mine.tensors[name], tensor) for name, tensor in plain.tensors.items())
    assert "calibrated" in lapsr("weights", "info", output).out


@pytest.mark.parametrize(
    ("output", "code", "problem"),
    [
        ("a.onnx", 2, "-o/--output a.onnx: must end in .safetensors"),
        ("{file}/a.safetensors", 2, "-o/--output {file}: "),
    ],
)
def test_calibrate_refuses_outputs_it_cannot_write(
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
    outputs = [
        np.asarray(Image.open(next((tmp_path / precision).glob("*.png")))).astype(int)
        for precision in ("fp32", "int8")
    ]
    assert 0 < np.abs(outputs[0] - outputs[1]).mean() < 1


@needs_vnni
def test_int8_needs_ranges_and_channels_that_fill_vectors(
    tmp_path: Path, lapsr: Callable[..., Ran], tiny: Path, uncalibrated: Path
) -> None:
    source = tmp_path / "in.png"
    Image.new("L", (8, 8)).save(source)
    ran = lapsr("upscale", source, "-m", tiny, "--precision", "int8", "-o", tmp_path / "out")
    assert ran.code == 4
    assert "--precision int8: MS-LapSRN D1R1 was not calibrated" in ran.err
    model = weights.load(str(tiny))
    model.ranges = ranges_of(model)
    with pytest.raises(UsageError, match="--precision int8: does not support 4 channels"):
        Runtime(model, choose("cpu", "int8"))
    with pytest.raises(WeightsError):
        Runtime(weights.load(str(uncalibrated)), choose("cpu", "int8"))


def test_int8_needs_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Processor("haswell", "+avx2,+fma", vector_bytes=32, registers=16)
    monkeypatch.setattr(device, "this_processor", lambda: old)
    with pytest.raises(DeviceError, match=r"int8: needs .* \(VNNI\), which .* \(haswell"):
        choose("cpu", "int8")
