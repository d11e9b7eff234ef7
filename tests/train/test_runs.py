"""Complete runs of `lapsr train`."""

from __future__ import annotations

import importlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from lapsr_cli import weights
from lapsr_cli.metrics import protocol
from lapsr_cli.pixels.color import luma
from lapsr_cli.train import checkpoint
from lapsr_cli.train.recipe import Recipe
from tests.train.runs import (
    LONG,
    NETWORK_FLAGS,
    SMALL_FLAGS,
    Drawn,
    Lapsr,
    Whole,
    begun,
    contents,
    losses,
    records,
    same,
    upscales,
)


def test_a_run_writes_all_its_files(whole: Whole, lapsr: Lapsr, drawn: Drawn) -> None:
    assert whole.code == 0
    kept = {name for name in contents(whole.path) if not name.startswith("tensorboard")}
    assert kept >= {
        "config.json",
        "metrics.jsonl",
        "curve.svg",
        "checkpoints/last.pt",
        "checkpoints/best.pt",
        "model.safetensors",
    }
    assert ET.parse(whole.path / "curve.svg").getroot().findtext("{*}title") == "whole"
    upscales(lapsr, whole.path, drawn.val / "0.png", 2)
    upscales(lapsr, whole.path, drawn.val / "0.png", 4)


def test_config_json_is_enough_to_repeat_the_run(whole: Whole, drawn: Drawn) -> None:
    config = json.loads((whole.path / "config.json").read_text())
    recipe = Recipe.from_json(config["recipe"])
    assert recipe.to_json() == checkpoint.read(whole.path / "checkpoints" / "last.pt").recipe
    assert (recipe.network.depth, recipe.network.recursions, recipe.network.levels) == (1, 1, 2)
    assert (recipe.scales, recipe.patch_size, recipe.batch_size) == ((2, 4), 16, 2)
    assert (recipe.iterations, recipe.warm_up, recipe.precision) == (LONG, 20, "fp32")
    assert (recipe.optimizer, recipe.rate, recipe.ema) == ("muon", 1e-3, 0.999)  # the preset's
    assert (config["preset"], config["data"], config["val"]) == (
        "modern",
        [str(drawn.data)],
        [str(drawn.val)],
    )
    (session,) = config["sessions"]
    assert session["command"][:4] == ["lapsr", "train", "--data", str(drawn.data)]
    assert session["versions"]["torch"] == torch.__version__
    assert {"lapsr", "python", "numpy", "platform"} <= session["versions"].keys()
    assert session["git"] is None or len(session["git"]["commit"]) == 40
    assert session["pictures"]["count"] == 5
    assert session["pictures"]["pixels"] == 4 * 40 * 36 + 33 * 47
    assert (session["from_iteration"], session["devices"]) == (0, 1)


def test_the_fingerprint_depends_on_the_pixels_only(drawn: Drawn, tmp_path: Path) -> None:
    def fingerprint(name: str, data: Path) -> str:
        begun(tmp_path / name, Drawn(data, drawn.val))
        config = json.loads((tmp_path / name / "config.json").read_text())
        return str(config["sessions"][0]["pictures"]["blake2b"])

    elsewhere = Path(shutil.copytree(drawn.data, tmp_path / "elsewhere"))
    before = fingerprint("a", drawn.data)
    assert fingerprint("b", elsewhere) == before
    with Image.open(elsewhere / "2.png") as image:
        pixels = np.array(image)
    pixels[0, 0] ^= 128
    Image.fromarray(pixels).save(elsewhere / "2.png")
    assert fingerprint("c", elsewhere) != before


def by_the_papers_protocol(
    enlarge: Callable[[torch.Tensor, int], torch.Tensor], pictures: Sequence[Path], scale: int
) -> float:
    """Mean PSNR in dB of 8-bit luma without ``scale`` pixels at each edge, in numpy."""
    found = []
    for path in pictures:
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        hr = luma(pixels.double() / 255)[0]
        height, width = (side // scale * scale for side in hr.shape)
        hr = hr[:height, :width]
        result = enlarge(protocol.degrade(hr, scale), scale)
        original, enlarged = (np.rint(255 * x.clamp(0, 1).double().numpy()) for x in (hr, result))
        difference = (original - enlarged)[scale : height - scale, scale : width - scale]
        found.append(10 * math.log10(255**2 / np.mean(difference**2)))
    return float(np.mean(found))


@pytest.mark.parametrize("scale", [2, 4])
def test_the_last_validation_is_the_papers_protocol_with_the_written_model(
    whole: Whole, drawn: Drawn, scale: int
) -> None:
    validations = [record for record in records(whole.path) if "scores" in record]
    assert [record["iteration"] for record in validations] == [LONG // 3, 2 * LONG // 3, LONG]
    means = [np.mean([v[0] for v in r["scores"]["val"].values()]) for r in validations]
    assert int(np.argmax(means)) == 2  # so model.safetensors is from the last validation
    model = weights.load(str(whole.path / "model.safetensors"))
    pictures = sorted(drawn.val.iterdir())

    def by_network(lr: torch.Tensor, scale: int) -> torch.Tensor:
        pictures: dict[int, torch.Tensor] = model(lr.float()[None, None], scale)
        return pictures[scale][0, 0]

    score = validations[-1]["scores"]["val"][str(scale)][0]
    assert score == pytest.approx(by_the_papers_protocol(by_network, pictures, scale), abs=1e-2)
    bicubic = validations[-1]["bicubic"]["val"][str(scale)][0]
    expected = by_the_papers_protocol(protocol.bicubic, pictures, scale)
    assert bicubic == pytest.approx(expected, abs=1e-9)
    assert abs(score - bicubic) > 0.1


def test_records_have_the_keys_of_version_0_1(whole: Whole) -> None:
    lines = (whole.path / "metrics.jsonl").read_text().splitlines()
    keys = {tuple(json.loads(line)) for line in lines}
    assert keys == {
        ("iteration", "loss", "rate", "patches_per_second", "seconds"),
        ("iteration", "scores", "bicubic"),
    }


def test_the_loss_decreases(whole: Whole) -> None:
    found = losses(whole.path)
    assert list(found) == list(range(3, LONG + 1, 3))
    values = list(found.values())
    assert np.mean(values[-10:]) < 0.4 * np.mean(values[:10])


def test_the_learning_rate_warms_up_and_follows_the_cosine(whole: Whole) -> None:
    rates = {r["iteration"]: r["rate"] for r in records(whole.path) if "rate" in r}
    assert rates[3] == pytest.approx(1e-3 * 3 / 20)
    done = (120 - 1 - 20) / (LONG - 20)
    cosine = 1e-6 + (1e-3 - 1e-6) * (1 + math.cos(math.pi * done)) / 2
    assert rates[120] == pytest.approx(cosine)


def test_tensorboard_has_the_values_of_the_metrics(whole: Whole) -> None:
    events = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    board = events.EventAccumulator(str(whole.path / "tensorboard"))
    board.Reload()
    shown = {scalar.step: scalar.value for scalar in board.Scalars("loss")}
    assert shown == pytest.approx(losses(whole.path), rel=1e-6)
    last = records(whole.path)[-1]
    for scale, (psnr, ssim) in last["scores"]["val"].items():
        assert board.Scalars(f"PSNR {scale}x/val")[-1].value == pytest.approx(psnr, rel=1e-6)
        assert board.Scalars(f"SSIM {scale}x/val")[-1].value == pytest.approx(ssim, rel=1e-6)


def test_a_pipe_gets_plain_lines(lapsr: Lapsr, drawn: Drawn, tmp_path: Path) -> None:
    given = (*SMALL_FLAGS, "--iterations", "4", "--log-every", "2", "--validate-every", "4")
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *given)
    assert ran.code == 0
    assert ran.out == ""
    assert not {"\x1b", "\r"} & set(ran.err)
    starts = ["device: cpu", "recipe: modern, MS-LapSRN D1R1", "iteration 2/4, loss "]
    starts += ["iteration 4/4, loss ", "iteration 4, val: 2x ", "finished: 4 iterations, "]
    assert len(ran.error_lines) == len(starts)
    for line, start in zip(ran.error_lines, starts, strict=True):
        assert line.startswith(start)
    assert ran.error_lines[4].endswith(", best so far")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_header_says_what_the_recipe_says(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path, precision: str
) -> None:
    rate = "0.0012345678"
    given = (*SMALL_FLAGS, "--iterations", "1", "--precision", precision, "--lr", rate)
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *given)
    device, recipe, *_ = ran.error_lines
    assert f", {precision} (" in device
    assert recipe.endswith(f", muon {rate}, {precision}")
    assert ", 1 iteration of 4 patches" in recipe
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert (stored["precision"], str(stored["rate"])) == (precision, rate)


def test_without_validation_the_model_is_the_last_average(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ran = lapsr("train", "--data", drawn.data, "-o", run, *SMALL_FLAGS, "--iterations", "3")
    assert ran.code == 0
    assert "no --val: validation is off" in ran.err
    saved = checkpoint.read(run / "checkpoints" / "last.pt")
    model = weights.load(str(run / "model.safetensors"))
    assert same(dict(model.state_dict()), dict(saved.ema))
    assert not same(dict(saved.ema), dict(saved.model))
    assert not (run / "checkpoints" / "best.pt").exists()


@pytest.mark.parametrize(
    ("flags", "title", "scale"),
    [
        (["--no-share", "--depth", "1", "--scales", "2,4"], "LapSRN D1 (4x)", 4),
        (["--share", *NETWORK_FLAGS, "--scales", "4", "--skip", "ds"], "MS-LapSRN D1R1 DS", 4),
        ([*NETWORK_FLAGS, "--no-global-residual", "--scales", "2,4"], "without global residual", 2),
        ([*NETWORK_FLAGS, "--no-pyramid", "--scales", "4"], "without pyramid", 4),
    ],
    ids=["LapSRN", "different-source", "no-global-residual", "no-pyramid"],
)
def test_every_kind_of_network_trains_and_upscales(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path, flags: list[str], title: str, scale: int
) -> None:
    common = ("--patch-size", "16", "--batch-size", "2", "--iterations", "2", "--device", "cpu")
    given = (*common, "--precision", "fp32", "--log-every", "1")
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *flags, *given)
    assert ran.code == 0, ran.err
    assert title in ran.error_lines[1]
    assert list(losses(tmp_path / "run")) == [1, 2]
    upscales(lapsr, tmp_path / "run", drawn.val / "0.png", scale)


def test_a_run_from_a_model_has_its_network(lapsr: Lapsr, drawn: Drawn, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = (
        "--init",
        "lapsr-classic",
        "--iterations",
        "1",
        "--patch-size",
        "16",
        "--device",
        "cpu",
    )
    tuned = ("--batch-size", "3", "--log-every", "1", "--lr", "1e-9", "--precision", "fp32")
    ran = lapsr("train", "--data", drawn.data, "-o", run, *given, *tuned)
    assert ran.code == 0, ran.err
    assert "MS-LapSRN D5R2, from lapsr-classic, 2x, 4x, 8x" in ran.error_lines[1]
    config = json.loads((run / "config.json").read_text())["recipe"]
    assert (config["network"]["depth"], config["network"]["recursions"]) == (5, 2)
    models = ("lapsr-classic", str(run / "model.safetensors"))
    initial, trained = (dict(weights.load(m, offline=True).named_parameters()) for m in models)
    for name, value in initial.items():
        torch.testing.assert_close(trained[name], value, rtol=0, atol=1e-7)
    assert not same(initial, trained)
    assert "ranges" not in safetensors.torch.load_file(run / "model.safetensors")


def test_memory_mapped_pictures_give_the_same_run(
    lapsr: Lapsr, drawn: Drawn, tmp_path: Path
) -> None:
    given = ("--data", drawn.data, *SMALL_FLAGS, "--iterations", "3", "--log-every", "1")
    assert lapsr("train", *given, "-o", tmp_path / "memory").code == 0
    ran = lapsr("train", *given, "-o", tmp_path / "mapped", "--memory", "1")
    assert ran.code == 0, ran.err
    assert "mapped from" in ran.err
    assert records(tmp_path / "memory") == records(tmp_path / "mapped")
    model = "model.safetensors"
    assert contents(tmp_path / "memory")[model] == contents(tmp_path / "mapped")[model]


def test_the_paper_preset_runs(lapsr: Lapsr, drawn: Drawn, tmp_path: Path) -> None:
    given = (*SMALL_FLAGS, "--preset", "paper", "--iterations", "2", "--log-every", "1")
    ran = lapsr("train", *drawn.given, "-o", tmp_path / "run", *given)
    assert ran.code == 0, ran.err
    assert "recipe: paper, " in ran.err
    assert "sgd 5e-06" in ran.err
    assert [r["rate"] for r in records(tmp_path / "run") if "rate" in r] == [5e-6, 5e-6]
    assert "changed since" not in lapsr("train", "-o", tmp_path / "run", "--device", "cpu").err
