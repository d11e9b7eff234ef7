"""What `lapsr bench` measures: held against other counters, other libraries, and files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from lapsr_cli.bench import ablations as study
from lapsr_cli.bench import end_to_end as stages
from lapsr_cli.bench import quality, session, speed
from lapsr_cli.bench.ablations import StudyOptions
from lapsr_cli.bench.machine import this_machine
from lapsr_cli.bench.meters import EnergyMeter, MemoryMeter, package_counters
from lapsr_cli.bench.quality import Original
from lapsr_cli.bench.speed import SpeedOptions, size_of
from lapsr_cli.device.selection import choose
from lapsr_cli.errors import NothingMatched, UnreadablePicture, UsageError
from lapsr_cli.inference.batching import Windows
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.metrics import protocol
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from lapsr_cli.pixels.picture import Picture, Size
from lapsr_cli.upscaler import Upscaler
from tests.conftest import Ran, draw, run_lapsr, tiny_network

Lapsr = Callable[..., Ran]
SMALL = Size(20, 16)
CONFIG = PyramidConfig(depth=1, recursions=1, channels=4)


@pytest.fixture(scope="module")
def network() -> LaplacianPyramid:
    return tiny_network(CONFIG)


@pytest.fixture(scope="module")
def evaluators(network: LaplacianPyramid) -> dict[str, Evaluator]:
    return {"tiny": Evaluator(Runtime(network, choose("cpu")))}


def test_operations_are_those_that_torch_counts(small_config: PyramidConfig) -> None:
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
def test_sizes_as_people_write_them(text: str, size: Size) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "x", "10x", "ten", "0", "-4", "5x0", "0MP", "infMP", "nanMP"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"--size"):
        size_of(text)


def test_speed_says_what_was_computed(network: LaplacianPyramid) -> None:
    upscaler = Upscaler({"tiny": network}, choose("cpu"), Windows(tile=8))
    options = SpeedOptions(sizes=(SMALL,), scales=(2, 4), batch=3, runs=2)
    two, four = speed.measure([upscaler], options)
    assert (two.scale, four.scale, two.width, two.height) == (2, 4, 16, 20)
    for row in (two, four):
        pixels = 16 * 20 * row.scale**2
        rate = row.output_megapixels_per_second * row.seconds.median
        assert rate == pytest.approx(pixels / 1e6)
        operations = row.teraflops * row.seconds.median * 1e12
        assert operations == pytest.approx(CONFIG.operations(row.scale) * 16 * 20)
        assert 0 < row.seconds.least <= row.seconds.median <= row.seconds.most
        assert (row.seconds.runs, row.batch, row.content) == (2, 3, "random")
        assert row.work_ratio > 1, "windows overlap by their halo"
    whole = Upscaler({"tiny": network}, choose("cpu"), Windows(tile=None))
    (row,) = speed.measure([whole], SpeedOptions(sizes=(SMALL,), scales=(2,)))
    assert row.work_ratio == 1


def test_speed_on_pictures_cuts_and_repeats_them(network: LaplacianPyramid) -> None:
    upscaler = Upscaler({"tiny": network}, choose("cpu"))
    pictures = {
        "small": Picture(np.zeros((3, 5, 3), np.uint8)),
        "grey": Picture(np.zeros((90, 80), np.uint8)),
    }
    options = SpeedOptions(sizes=(SMALL,), scales=(2,), runs=1, pictures=pictures)
    rows = list(speed.measure([upscaler], options))
    assert [row.content for row in rows] == ["small", "grey"]
    assert {(row.width, row.height) for row in rows} == {(16, 20)}


@pytest.mark.parametrize("field", ["batch", "runs", "warm_up"])
def test_numbers_that_measure_nothing(field: str) -> None:
    with pytest.raises(UsageError, match=field.replace("_", "-")):
        SpeedOptions(sizes=(SMALL,), **{field: 0})  # type: ignore[arg-type]


def test_the_machine_is_this_one() -> None:
    machine = this_machine()
    assert machine.threads == torch.get_num_threads()
    assert machine.memory_bytes > 1 << 28
    assert machine.processor


def test_memory_of_a_block_is_what_it_held() -> None:
    meter = MemoryMeter(torch.device("cpu"))
    with meter.measured():
        held = np.ones(100 << 20, np.uint8)
        time.sleep(0.05)
        del held
    assert 95 << 20 < meter.peak_bytes < 200 << 20
    with (again := MemoryMeter(torch.device("cpu"))).measured():
        pass
    assert again.peak_bytes < 20 << 20


def test_energy_is_the_counters_difference_and_they_begin_again(tmp_path: Path) -> None:
    zones = [tmp_path / "intel-rapl:0", tmp_path / "intel-rapl:1", tmp_path / "intel-rapl:0:0"]
    for zone in zones:
        zone.mkdir()
        (zone / "max_energy_range_uj").write_text("10000000\n")

    def set_counters(first: int, second: int) -> None:
        (zones[0] / "energy_uj").write_text(f"{first}\n")
        (zones[1] / "energy_uj").write_text(f"{second}\n")

    meter = EnergyMeter(torch.device("cpu"), tmp_path)
    set_counters(1_000_000, 9_000_000)
    with meter.measured():
        set_counters(3_500_000, 1_000_000)
    assert meter.joules == pytest.approx(2.5 + 2)
    assert package_counters(tmp_path / "nothing") == []
    with (without := EnergyMeter(torch.device("cpu"), tmp_path / "nothing")).measured():
        pass
    assert without.joules is None


def test_quality_is_the_protocols(evaluators: dict[str, Evaluator]) -> None:
    """Every figure once more from the protocol's own pieces, and Lanczos by Pillow alone."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (24, 20), np.uint8))
    hr = np.asarray(noise.resize((163, 190), Image.Resampling.BICUBIC))
    original = Original("a.png", torch.from_numpy(hr / 255.0))
    rows = {row.method: row for row in quality.measure("set", [original], evaluators, 2)}
    assert list(rows) == ["bicubic", "lanczos", "tiny"]
    lr = protocol.degrade(original.luma, 2)
    size = (lr.shape[1] * 2, lr.shape[0] * 2)
    lanczos = Image.fromarray(lr.numpy().astype(np.float32)).resize(size, Image.Resampling.LANCZOS)
    enlarged = {
        "bicubic": protocol.bicubic(lr, 2),
        "lanczos": torch.from_numpy(np.asarray(lanczos).copy()),
        "tiny": evaluators["tiny"].enlarge(lr, 2),
    }
    for method, picture in enlarged.items():
        shaved = (picture.double().clamp(0, 1) * 255).round().numpy()[2:-2, 2:-2]
        difference = shaved - hr[2 : picture.shape[0] - 2, 2 : picture.shape[1] - 2]
        psnr = 10 * np.log10(255**2 / np.mean(difference**2))
        assert rows[method].psnr == pytest.approx(psnr)
        assert 0 < rows[method].ssim < 1
        assert rows[method].ifc == protocol.information_fidelity(picture, original.luma, 2)
        assert (rows[method].seconds is None) == (method != "tiny")


def test_sixteen_bits_are_scored_as_eight_bits_and_finer(tmp_path: Path) -> None:
    samples = np.asarray(Image.open(draw(tmp_path / "8" / "a.png", 90, 84, "L")))
    (tmp_path / "16").mkdir()
    Image.fromarray(samples.astype(np.uint16) * 257).save(tmp_path / "16" / "a.png")
    ((eight,), _), ((sixteen,), _) = (
        quality.read_originals(tmp_path / folder, "--dataset") for folder in ("8", "16")
    )
    assert torch.equal(eight.luma, sixteen.luma)


def test_ifc_of_a_small_picture_is_none(evaluators: dict[str, Evaluator]) -> None:
    original = Original("a.png", torch.rand(40, 40, dtype=torch.float64))
    assert {row.ifc for row in quality.measure("set", [original], evaluators, 2)} == {None}


def test_pairs_are_matched_by_name_and_scored_as_they_are(
    tmp_path: Path, evaluators: dict[str, Evaluator]
) -> None:
    draw(tmp_path / "hr" / "sub" / "a.png", 80, 64)
    draw(tmp_path / "hr" / "b.png", 40, 32, "L")
    draw(tmp_path / "lr" / "sub" / "a.bmp", 20, 16, seed=1)
    draw(tmp_path / "lr" / "b.png", 20, 16, "L", seed=2)
    pairs = quality.pairs_in(tmp_path / "lr", tmp_path / "hr", (2, 4, 8))
    assert [(Path(pair.name).as_posix(), pair.scale) for pair in pairs] == [
        ("b.png", 2),
        ("sub/a.bmp", 4),
    ]
    rows = list(quality.measure_pairs("hr", pairs, evaluators))
    assert [row.method for row in rows] == ["bicubic", "lanczos", "tiny"] * 2
    expected = protocol.score(protocol.bicubic(pairs[0].lr, 2), pairs[0].hr, 2)
    assert (rows[0].psnr, rows[0].ssim) == tuple(expected)


def test_pairs_that_are_none(tmp_path: Path) -> None:
    draw(tmp_path / "hr" / "a.png", 41, 32)
    draw(tmp_path / "lr" / "a.png", 20, 16)
    with pytest.raises(UsageError, match=r"--pairs: a\.png: 20 x 16 and 41 x 32 pixels"):
        quality.pairs_in(tmp_path / "lr", tmp_path / "hr", (2, 4, 8))
    draw(tmp_path / "lr" / "b.png", 20, 16)
    with pytest.raises(UsageError, match=r"--pairs: b is in one of the two folders only"):
        quality.pairs_in(tmp_path / "lr", tmp_path / "hr", (2, 4, 8))
    (tmp_path / "hr" / "b.png").write_bytes(b"nothing")
    with pytest.raises(UnreadablePicture, match=r"b\.png"):
        quality.pairs_in(tmp_path / "lr", tmp_path / "hr", (2, 4, 8))


def test_broken_pictures_of_a_set_are_named(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 40, 32)
    (tmp_path / "b.png").write_bytes(b"nothing")
    originals, problems = quality.read_originals(tmp_path, "--dataset")
    assert [original.name for original in originals] == ["a.png"]
    assert len(problems) == 1
    assert "b.png" in problems[0]
    (tmp_path / "a.png").unlink()
    with pytest.raises(NothingMatched, match=r"--dataset .*: no pictures in it: .*b\.png"):
        quality.read_originals(tmp_path, "--dataset")


@pytest.mark.parametrize(("count", "most"), [(1, 20), (20, 20), (21, 20), (50, 20), (7, 3), (9, 1)])
def test_a_sample_is_spread_over_the_folder(tmp_path: Path, count: int, most: int) -> None:
    for number in range(count):
        draw(tmp_path / f"{number:02}.png", 4, 4)
    (tmp_path / "00a.png").write_bytes(b"nothing")
    paths, (problem,) = stages.sample(tmp_path, most)
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
    row = stages.measure(tmp_path, stages.sample(tmp_path, 20)[0], upscaler, 2)
    assert row.pictures == 2
    assert row.input_megapixels == pytest.approx((30 * 20 + 40 * 20) / 1e6)
    assert row.output_megapixels == pytest.approx(4 * row.input_megapixels)
    assert list(row.seconds) == ["decode", "upload", "network", "download", "encode"]
    assert row.seconds[row.bottleneck] == max(row.seconds.values())
    assert row.total_seconds > 0
    assert row.advice
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["a.png", "b.jpg", "broken.png"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(NothingMatched, match=r"--end-to-end .*: no picture in it can be read"):
        stages.sample(tmp_path / "nothing", 20)


def test_studies_are_the_grid_of_the_paper() -> None:
    names = {
        preset: [f"{c.title} {s}x" for c, s in study.networks(preset)]
        for preset in ("params", "depth", "skips", "scales")
    }
    grid = {"D2R5", "D5R2", "D10R1", "D4R8", "D5R5", "D5R8"}
    assert {name.split()[1] for name in names["params"] + names["depth"]} == grid
    assert {name.split()[-2] for name in names["skips"]} >= {"NS", "DS"}
    assert {name.split()[-1] for name in names["scales"]} == {"2x", "4x", "8x"}
    parameters = {
        config.title: sum(p.numel() for p in LaplacianPyramid(config).parameters())
        for config, _ in study.networks("params")
    }
    assert parameters == {
        "MS-LapSRN D2R5": 112_017,
        "MS-LapSRN D5R2": 222_801,
        "MS-LapSRN D10R1": 407_441,
    }


def test_a_study_takes_weights_where_they_fit() -> None:
    model = LaplacianPyramid(PyramidConfig(depth=2, recursions=5)).requires_grad_(False).eval()
    other = tiny_network(CONFIG)
    original = Original("a.png", torch.rand(32, 32, dtype=torch.float64))
    options = StudyOptions(study="params", size=Size(8, 8), runs=1)
    rows = list(study.measure(options, choose("cpu"), {"mine": model, "other": other}, [original]))
    assert [row.title.partition(",")[2] for row in rows] == [" mine", "", ""]
    expected = Evaluator(Runtime(model, choose("cpu"))).score(original.luma, 4).psnr
    assert rows[0].psnr == {4: pytest.approx(expected, abs=1e-3)}
    assert rows[1].psnr == {}
    assert [row.layers for row in rows] == [24, 24, 24]


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


@pytest.mark.parametrize(("bottleneck", "words"), [("decode", "reads"), ("encode", "writes")])
def test_advice_is_about_the_bottleneck(
    network: LaplacianPyramid, bottleneck: str, words: str
) -> None:
    upscaler = Upscaler({"tiny": network}, choose("cpu"))
    assert words in stages._advice(bottleneck, upscaler, [Path("a.png")])


def test_a_known_set_stands_beside_what_was_published(
    lapsr: Lapsr, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How sets are told has tests of its own; pictures of their sizes take long."""
    draw(tmp_path / "mine" / "a.png", 40, 32)
    monkeypatch.setattr(session, "recognise", lambda sizes: "Set5")
    ran = lapsr("bench", "-m", tiny, "--dataset", tmp_path / "mine", "-s", "2,4", "--json")
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)["published"]
    assert {(row["dataset"], row["scale"]) for row in rows} == {("Set5", 2), ("Set5", 4)}


@pytest.mark.parametrize(
    ("made", "shown"), [([(2, 4, 8), (2, 4)], 4), ([(2, 8), (2, 8)], 8), ([(2,), (2, 4)], 2)]
)
def test_pictures_are_shown_at_a_scale_that_all_make(
    made: list[tuple[int, ...]], shown: int
) -> None:
    assert session._scale_to_show(made) == shown


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
    for words in ("a.png", "Quality by time", "From file to file", "Beside other runtimes"):
        assert words in text


def test_broken_pictures_of_a_timed_folder_are_named(
    lapsr: Lapsr, tiny: Path, tmp_path: Path
) -> None:
    draw(tmp_path / "set" / "a.png")
    (tmp_path / "set" / "b.png").write_bytes(b"nothing")
    ran = lapsr("bench", "-m", tiny, "--end-to-end", tmp_path / "set")
    assert ran.code == 1
    assert f"left out: {tmp_path / 'set' / 'b.png'}: not a JPEG" in ran.err
    assert "1 pictures" in ran.out


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
        (["--end-to-end", "empty"], 3, "no pict"),
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
        (["--pairs", "two", "eight", "-s", "2"], 2, "pixels are not 2 times apart"),
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
