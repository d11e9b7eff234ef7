"""Results with infinity or NaN in them are not pictures, in any precision and on any path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lapsr_cli.cpu.streaming import StreamingPyramid
from lapsr_cli.device.cpu_features import this_processor
from lapsr_cli.device.selection import Device, FeaturePrecision
from lapsr_cli.errors import PictureError, WeightsError
from lapsr_cli.inference.batching import BatchRunner, Task
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.inference.tiler import TileOptions
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from lapsr_cli.pixels.picture import Picture
from lapsr_cli.upscaler import Upscaler
from lapsr_cli.weights.serialization import Weights, write_safetensors
from tests.conftest import Ran, results_in, tiny_network

CPU = torch.device("cpu")
CONFIG = PyramidConfig(depth=1, recursions=1, channels=4)


def huge(model: LaplacianPyramid) -> LaplacianPyramid:
    """With weights that are finite, and results that are not."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e30)
    return model


def blind(config: PyramidConfig = CONFIG) -> LaplacianPyramid:
    """Black stays black, everything else becomes infinite: there are no biases."""
    model = LaplacianPyramid(config).requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        parameter.fill_(1e15 if name.endswith("weight") else 0)
    return model


def grey(value: int, side: int = 8) -> Picture:
    return Picture(np.full((side, side), value, np.uint8))


def fails(model: LaplacianPyramid, precision: FeaturePrecision, whole_pixels: int) -> None:
    upscaler = Upscaler(huge(model), Device(CPU, precision, "a test"))
    engine = upscaler.runner.runtimes[""].model
    assert isinstance(engine, StreamingPyramid)
    engine.whole_pixels = whole_pixels
    with pytest.raises(PictureError, match=r"the model gave .* not finite \(infinity or NaN\)"):
        upscaler(np.full((24, 20, 3), 99, np.uint8), (2,))


@pytest.mark.parametrize("whole_pixels", [0, 10**6], ids=["strips", "whole maps"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_convolutions_of_torch(precision: FeaturePrecision, whole_pixels: int) -> None:
    fails(tiny_network(CONFIG), precision, whole_pixels)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_compiled_convolutions(precision: FeaturePrecision) -> None:
    if precision == "int8" and not this_processor().has_vnni:
        pytest.skip("needs a processor with VNNI")
    model = tiny_network(PyramidConfig(depth=2, recursions=1, levels=1))
    model.ranges = torch.tensor([-1.0, 1.0]).repeat(*model.config.ranges_shape[:-1], 1)
    fails(model, precision, whole_pixels=0)


def test_transparency_and_self_ensembles() -> None:
    upscaler = Upscaler(blind(), Device(CPU, "fp32", "a test"), tta=True)
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[2:6, 2:6, 3] = 128
    with pytest.raises(PictureError, match="not finite"):
        upscaler(pixels, (2,))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_of_a_batch_only_the_pictures_with_such_values_fail(precision: FeaturePrecision) -> None:
    runtime = Runtime(blind(), Device(CPU, precision, "a test"))
    values = [0, 255, 0, 1]
    tasks = [Task(key, grey(value), (2, 4), "blind") for key, value in enumerate(values)]
    results = {r.key: r for r in BatchRunner({"blind": runtime}, TileOptions(batch=4)).run(tasks)}
    for key, value in enumerate(values):
        if value:
            with pytest.raises(PictureError, match="model blind gave values that are not finite"):
                _ = results[key].pyramid
        else:
            assert not results[key].pyramid[4].pixels.any()


def test_a_score_is_refused() -> None:
    with pytest.raises(WeightsError, match="not finite"):
        Evaluator(Runtime(blind(), Device(CPU, "fp32", "a test"))).enlarge(torch.ones(8, 8), 2)


def model_file(folder: Path) -> Path:
    path = folder / "blind.safetensors"
    write_safetensors(Weights(CONFIG, blind().state_dict(), "a test"), path)
    return path


@pytest.mark.parametrize("options", [(), ("-s", "16", "--cascade")], ids=["one pass", "two"])
def test_upscale_fails_such_pictures_and_writes_the_others(
    lapsr: Callable[..., Ran], tmp_path: Path, options: tuple[str, ...]
) -> None:
    for name, value in (("a", 255), ("b", 0), ("c", 9)):
        Image.fromarray(grey(value).pixels).save(tmp_path / f"{name}.png")
    frames = [Image.fromarray(grey(value).pixels) for value in (0, 255)]
    frames[0].save(tmp_path / "d.gif", save_all=True, append_images=frames[1:])
    model, out = model_file(tmp_path), tmp_path / "out"
    pictures = [tmp_path / name for name in ("a.png", "b.png", "c.png", "d.gif")]
    ran = lapsr("upscale", *pictures, "-o", out, "-m", model, *(options or ("-s", "2")))
    assert ran.code == 1
    assert [path.name[0] for path in results_in(out)] == ["b"]
    failed = [line for line in ran.error_lines if line.startswith("failed: ")]
    assert sorted(failed) == [
        f"failed: {tmp_path / name}: model {model} gave values that are not finite"
        " (infinity or NaN): its weights are unusable"
        for name in ("a.png", "c.png", "d.gif")
    ]
