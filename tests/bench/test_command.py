"""The command `lapsr bench`: its output, its JSON, and its errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import torch
from PIL import Image

from lapsr_cli.bench.inputs import Measurements
from lapsr_cli.bench.networks import NetworkOptions
from lapsr_cli.bench.timing import TimingOptions
from lapsr_cli.cli.bench import bench
from lapsr_cli.device.selection import choose
from tests.bench.test_datasets import SET5
from tests.conftest import Ran, draw, run_lapsr

Lapsr = Callable[..., Ran]


def test_every_field_of_the_options_is_an_option_with_the_same_default() -> None:
    found = [
        field for each in (NetworkOptions, TimingOptions, Measurements) for field in fields(each)
    ]
    names = [field.name for field in found]
    assert len(set(names)) == len(names)
    values = bench.make_context("bench", []).params
    assert set(values) == {*names, "html", "as_json"}
    assert {field.name: values[field.name] for field in found if field.default is not MISSING} == {
        field.name: field.default for field in found if field.default is not MISSING
    }


def test_help_has_groups_and_examples(lapsr: Lapsr) -> None:
    ran = lapsr("bench", "--help")
    headings = [line for line in ran.out.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings[0] == "Measurements:"
    assert headings[-1] == "Examples:"
    examples = ran.out.partition("Examples:\n")[2].split("\n")
    for line in filter(None, examples):
        program, command, *arguments = line.split()
        assert (program, command) == ("lapsr", "bench")
        known = {option for parameter in bench.params for option in parameter.opts}
        assert {each for each in arguments if each.startswith("-")} <= known


def test_a_table_of_speed(lapsr: Lapsr, tiny: Path) -> None:
    ran = lapsr("bench", "-m", tiny, "--size", "24,32x16", "-s", "2,8", "--runs", 2)
    assert ran.code == 0, ran.err
    assert ran.err.count("speed: ") == 1
    rows = [line.split() for line in ran.out.splitlines() if str(tiny) in line]
    assert [" ".join(row[3:7]) for row in rows] == [
        "24 x 24 2x",
        "24 x 24 8x",
        "32 x 16 2x",
        "32 x 16 8x",
    ]


def test_a_terminal_that_knows_ascii_alone(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ran = run_lapsr("bench", "-m", tiny, "--size", "16", "-s", "2", "--runs", "1")
    assert ran.code == 0, ran.err
    assert "ms \\xb1" in ran.out


def test_a_known_dataset_is_listed_with_published_figures(
    lapsr: Lapsr, tiny: Path, tmp_path: Path
) -> None:
    """Pictures of Set5's sizes; their content does not matter."""
    for number, (height, width) in enumerate(SET5):
        draw(tmp_path / "mine" / f"{number}.png", width, height, "L")
    ran = lapsr("bench", "-m", tiny, "--dataset", tmp_path / "mine", "-s", "4", "--json")
    assert ran.code == 0, ran.err
    results = json.loads(ran.out)
    assert {row["dataset"] for row in results["qualities"]} == {"Set5"}
    rows = results["published"]
    assert {(row["dataset"], row["scale"]) for row in rows} == {("Set5", 4)}


def test_threads_and_samples_are_those_asked_for(lapsr: Lapsr, tiny: Path, tmp_path: Path) -> None:
    for number in range(4):
        draw(tmp_path / "in" / f"{number}.png")
    before = torch.get_num_threads()
    few = ("--size", "8", "-s", "2", "--runs", "2", "--pictures", tmp_path / "in", "--sample", "3")
    try:
        ran = lapsr("bench", "-m", tiny, *few, "--threads", "1", "--json", "--study", "params")
        results = json.loads(ran.out)
        timed = json.loads(lapsr("bench", "-m", tiny, *few, "--threads", "1", "--json").out)
    finally:
        torch.set_num_threads(before)
    assert results["machine"]["threads"] == 1
    assert {row["seconds"]["runs"] for row in results["studies"]} == {2}
    assert [row["content"] for row in timed["speeds"]] == ["0.png", "1.png", "2.png"]


def test_json_of_everything(lapsr: Lapsr, tiny: Path, tmp_path: Path) -> None:
    draw(tmp_path / "set" / "a.png", 90, 84)
    (tmp_path / "set" / "b.png").write_bytes(b"nothing")
    page = tmp_path / "deep" / "page.html"
    ran = lapsr(
        *("bench", "-m", tiny, "--size", "16", "--runs", 1, "--device", "cpu", "--speed"),
        *("--dataset", tmp_path / "set", "--end-to-end", tmp_path / "set", "--against", "eager"),
        *("--json", "--html", page, "--study", "params", "--threads", torch.get_num_threads()),
    )
    assert ran.code == 1, ran.err
    (left_out,) = (line for line in ran.error_lines if line.startswith("left out: "))
    assert left_out.startswith(f"left out: {tmp_path / 'set' / 'b.png'}: not a JPEG")
    results = json.loads(ran.out)
    assert results["schema"] == 1
    assert [row["scale"] for row in results["speeds"]] == [2, 4, 8]
    for row in results["speeds"]:
        assert row["roofline_share"] == pytest.approx(row["teraflops"] / row["roofline"])
    assert [(row["peer"], row["scale"]) for row in results["peers"]] == [("lapsr", 4), ("eager", 4)]
    assert results["peers"][1]["difference"] == 0, "eager is the reference"
    assert [row["scale"] for row in results["stages"]] == [2]
    assert len(results["qualities"]) == 3 * 3
    assert len(results["studies"]) == 3
    assert results["command"].startswith("lapsr bench")
    text = page.read_text(encoding="utf-8")
    for words in ("a.png", "Quality against time", "End to end", "Other runtimes"):
        assert words in text


def test_broken_pictures_of_a_timed_folder_are_named(
    lapsr: Lapsr, tiny: Path, tmp_path: Path
) -> None:
    draw(tmp_path / "set" / "a.png")
    (tmp_path / "set" / "b.png").write_bytes(b"nothing")
    ran = lapsr("bench", "-m", tiny, "--end-to-end", tmp_path / "set")
    assert ran.code == 1
    assert f"left out: {tmp_path / 'set' / 'b.png'}: not a JPEG" in ran.err
    assert "1 picture," in ran.out


@pytest.mark.skipif(
    choose("auto").torch_device.type != "cpu", reason="auto is a GPU here, another device than cpu"
)
def test_a_device_named_twice_is_measured_once(lapsr: Lapsr, tiny: Path) -> None:
    options = ("--size", "16", "--runs", 1, "-s", 2, "--json")
    ran = lapsr("bench", "-m", tiny, "--device", "cpu,auto", "--precision", "fp32,bf16", *options)
    assert ran.code == 0, ran.err
    assert [row["precision"] for row in json.loads(ran.out)["speeds"]] == ["fp32", "bf16"]


def test_pictures_that_do_not_differ(lapsr: Lapsr, tiny: Path, tmp_path: Path) -> None:
    """Their PSNR is infinite, which JSON cannot say and no axis holds."""
    (tmp_path / "set").mkdir()
    Image.new("RGB", (40, 32), (90, 90, 90)).save(tmp_path / "set" / "flat.png")
    page = tmp_path / "page.html"
    dataset = ("--dataset", tmp_path / "set", "-s", 2)
    ran = lapsr("bench", "-m", tiny, *dataset, "--json", "--html", page)
    assert ran.code == 0, ran.err

    def refuse(word: str) -> None:
        pytest.fail(f"{word} is not JSON")

    results = json.loads(ran.out, parse_constant=refuse)
    assert {row["method"]: row["psnr"] for row in results["qualities"]}["bicubic"] is None
    assert "flat.png" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--dataset", "empty"], 3, "--dataset"),
        (["--end-to-end", "empty"], 3, "no readable pictures"),
        (["--pictures", "empty"], 3, "--pictures"),
        (["--dataset", "nowhere"], 2, "--dataset"),
        (["--pairs", "empty", "empty"], 3, "--pairs"),
        (["--device", "tpu"], 2, "--device tpu"),
        (["--device", "cpu,tpu"], 2, "--device tpu"),
        pytest.param(
            ["--device", "cuda"],
            4,
            "--device cuda",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
        (["--precision", "fp16", "--device", "cpu"], 4, "--precision fp16"),
        (["--precision", "fp8"], 2, "--precision fp8"),
        (["--against", "tensorrt"], 2, "--against tensorrt"),
        (["--study", "width"], 2, "--study width"),
        (["-s", "3"], 2, "-s/--scale 3"),
        (["--size", "big"], 2, "--size big"),
        (["--runs", "0"], 2, "--runs 0"),
        (["--warm-up", "0"], 2, "--warm-up 0"),
        (["--batch-size", "0"], 2, "--batch-size 0"),
        (["--threads", "-1"], 2, "--threads -1"),
        (["--threads", "1000000"], 2, "--threads 1000000"),
        (["--sample", "0"], 2, "--sample 0"),
        (["--size", ","], 2, "--size"),
        (["--device", ","], 2, "--device"),
        (["-m", "nobody"], 4, "nobody"),
        (["--dataset", "small", "-s", "2"], 2, "--dataset small: a.png: 5 x 9 pixels are too few"),
        (["--dataset", "small"], 2, "--dataset small: a.png: 5 x 9 pixels"),
        (["--pairs", "one", "two"], 2, "--pairs: a.png: 2 x 2 pixels are too few"),
        (["--pairs", "two", "eight", "-s", "2"], 2, "the scale is not one of 2x"),
        (["--size", "99999999999"], 2, "--size 99999999999"),
        (["--size", "100000x100000"], 2, "--size 100000x100000"),
        (["--html", "empty"], 2, "--html"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line(
    lapsr: Lapsr,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny: Path,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    (tmp_path / "empty").mkdir()
    draw(tmp_path / "small" / "a.png", 5, 9)
    for folder, side in (("one", 1), ("two", 2), ("eight", 8)):
        draw(tmp_path / folder / "a.png", side, side)
    monkeypatch.chdir(tmp_path)
    model = [] if "-m" in arguments else ["-m", tiny]
    ran = lapsr("bench", *model, *arguments)
    assert ran.code == code, ran.err
    assert ran.out == ""
    assert len(ran.error_lines) == 1, ran.err
    assert words in ran.err
