"""lapsr upscale: what every option does, and what is said about it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import zlib
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from lapsr_cli import weights
from lapsr_cli.batch.report import Outcome, Output
from lapsr_cli.cli import upscale_session
from lapsr_cli.cli.params import pixels_of
from lapsr_cli.cli.upscale import upscale as command
from lapsr_cli.cli.upscale_options import UpscaleOptions
from lapsr_cli.device.selection import choose
from lapsr_cli.errors import UsageError
from lapsr_cli.image_io import probe
from lapsr_cli.pixels.resize import resize
from lapsr_cli.text import counted
from lapsr_cli.upscaler import Upscaler
from lapsr_cli.weights.manifest import manifest
from tests import drawn_files
from tests.conftest import ROOT, Ran, draw, results_in, run_lapsr

Lapsr = Callable[..., Ran]
Json = dict[str, Any]


def names(folder: Path) -> list[str]:
    """Every file below a folder."""
    return [str(path.relative_to(folder)) for path in results_in(folder)]


@pytest.fixture
def upscale(lapsr: Lapsr, tmp_path: Path, tiny: Path) -> Lapsr:
    """From the folder "in" to the folder "out"."""

    def run(*arguments: str | Path) -> Ran:
        return lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "-m", tiny, *arguments)

    return run


# Sizes


def test_a_scale_between_is_shrunk_from_the_next_one(upscale: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png", 30, 20)
    assert upscale("-s", "2,2.5,3,4,1").code == 0
    assert names(tmp_path / "out") == sorted(
        f"a_x{scale}.png" for scale in ("1", "2", "2.5", "3", "4")
    )
    pictures = {
        name: np.array(Image.open(tmp_path / "out" / name)) for name in names(tmp_path / "out")
    }
    large = torch.from_numpy(pictures["a_x4.png"].astype(np.float64)).permute(2, 0, 1)
    for name, factor in (("a_x3.png", 0.75), ("a_x2.5.png", 0.625)):
        exact = resize(large, factor).clamp(0, 255).permute(1, 2, 0).numpy()
        assert pictures[name].shape == exact.shape
        assert np.abs(pictures[name] - exact).max() < 0.501
    assert np.array_equal(pictures["a_x1.png"], np.array(Image.open(tmp_path / "in" / "a.png")))


@pytest.mark.parametrize(
    ("given", "name", "size"),
    [
        (["--width", "50"], "a_w50.png", (50, 33)),
        (["--height", "50"], "a_h50.png", (75, 50)),
        (["--width", "50", "--height", "20"], "a_w50h20.png", (30, 20)),
        (["--long-edge", "100"], "a_e100.png", (100, 67)),
        (["--long-edge", "10"], "a_e10.png", (10, 7)),
        (["--width", "1"], "a_w1.png", (1, 1)),
    ],
)
def test_sizes_in_pixels(
    upscale: Lapsr, tmp_path: Path, given: list[str], name: str, size: tuple[int, int]
) -> None:
    draw(tmp_path / "in" / "a.png", 30, 20)
    assert upscale(*given).code == 0
    assert names(tmp_path / "out") == [name]
    with Image.open(tmp_path / "out" / name) as image:
        assert image.size == size


def test_scales_and_a_size_in_one_run(upscale: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png", 30, 20)
    assert upscale("-s", "2.0,4", "--long-edge", "75").code == 0
    assert names(tmp_path / "out") == ["a_2.png", "a_4.png", "a_e75.png"]


def test_a_size_out_of_reach_fails_its_picture_only(upscale: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "large.png", 30, 20)
    draw(tmp_path / "in" / "small.png", 6, 4)
    ran = upscale("--width", "100")
    assert ran.code == 1
    assert names(tmp_path / "out") == ["large_w100.png"]
    assert "small.png: 6 x 4 pixels would be enlarged 16.7 times, more than 8; --cascade" in ran.err
    assert upscale("--width", "100", "--cascade").code == 0
    with Image.open(tmp_path / "out" / "small_w100.png") as image:
        assert image.size == (100, 67)


# What pictures are


def test_alpha_and_sixteen_bits_survive(upscale: Lapsr, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (9, 8, 4), np.uint8)).save(tmp_path / "in" / "rgba.png")
    Image.fromarray(rng.integers(0, 256, (9, 8, 2), np.uint8), "LA").save(
        tmp_path / "in" / "la.png"
    )
    Image.fromarray(rng.integers(0, 65536, (9, 8), np.uint16)).save(tmp_path / "in" / "deep.png")
    ran = upscale("-s", "2,3")
    assert ran.code == 0, ran.err
    for stem, mode in (("rgba", "RGBA"), ("la", "LA"), ("deep", "I;16")):
        for scale in (2, 3):
            with Image.open(tmp_path / "out" / f"{stem}_x{scale}.png") as image:
                assert (image.mode, image.size) == (mode, (8 * scale, 9 * scale))
    deep = np.array(Image.open(tmp_path / "out" / "deep_x2.png"))
    assert len(np.unique(deep)) > 256 - 8 * 8 or len(np.unique(deep % 257)) > 1


def half_clear(path: Path) -> Path:
    pixels = np.full((12, 12, 4), (200, 30, 30, 255), np.uint8)
    pixels[:, 6:, 3] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_transparent_pictures_asked_for_as_jpeg_become_png(upscale: Lapsr, tmp_path: Path) -> None:
    half_clear(tmp_path / "in" / "clear.png")
    draw(tmp_path / "in" / "solid.png")
    ran = upscale("-f", "jpg")
    assert ran.code == 0, ran.err
    assert names(tmp_path / "out") == ["clear_x2.png", "solid_x2.jpg"]
    (warning,) = (line for line in ran.error_lines if line.startswith("warning: "))
    assert f"{tmp_path / 'in' / 'clear.png'}: transparent: written as PNG, not JPEG" in warning
    ran = upscale("-f", "jpg")
    assert "0 done (0 files), 2 skipped" in ran.err
    assert "warning" not in ran.err


def test_transparent_pictures_keep_their_format_or_become_png(
    upscale: Lapsr, tmp_path: Path
) -> None:
    """By content: a BMP with alpha, a PNG under the name of a JPEG."""
    clear = half_clear(tmp_path / "in" / "clear.png")
    shutil.copy(clear, tmp_path / "in" / "named.jpg")
    samples = np.random.default_rng(0).integers(0, 256, (6, 8, 4), np.uint8)
    (tmp_path / "in" / "alpha.bmp").write_bytes(drawn_files.bmp(samples))
    draw(tmp_path / "in" / "solid.bmp")
    ran = upscale()
    assert ran.code == 0, ran.err
    expected = ["alpha_x2.png", "clear_x2.png", "named_x2.png", "solid_x2.bmp"]
    assert names(tmp_path / "out") == expected
    assert "alpha.bmp: transparent: written as PNG, not BMP" in ran.err
    assert "named.jpg: transparent: written as PNG, not JPEG" in ran.err


def test_a_file_whose_suffix_is_none_is_judged_by_its_content(
    lapsr: Lapsr, tmp_path: Path, tiny: Path
) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "text.txt").write_text("no picture")
    draw(tmp_path / "a.png").rename(tmp_path / "picture.txt")
    for name, reason in (
        ("empty", "empty file"),
        ("text", "not a JPEG, PNG"),
        ("picture", "cannot write .txt; give -f"),
    ):
        path = tmp_path / f"{name}.txt"
        ran = lapsr("upscale", path, "-s", "2", "-m", tiny, "-o", tmp_path / "out")
        assert ran.code == 1
        assert f"{path}: {reason}" in ran.err


def test_bits_that_are_lost_are_said(upscale: Lapsr, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(tmp_path / "in" / "a.png")
    assert "warning: " not in upscale().err
    ran = upscale("-f", "jpg")
    (warning,) = (line for line in ran.error_lines if line.startswith("warning: "))
    assert warning.endswith("a.png: 16-bit samples reduced to 8 bits, the most that JPEG has")
    assert "1 warning" in ran.error_lines[-1]


def test_a_background_flattens(upscale: Lapsr, tmp_path: Path) -> None:
    half_clear(tmp_path / "in" / "clear.png")
    ran = upscale("-f", "jpg", "--background", "#0000ff", "--quality", "100")
    assert ran.code == 0, ran.err
    assert names(tmp_path / "out") == ["clear_x2.jpg"]
    result = np.array(Image.open(tmp_path / "out" / "clear_x2.jpg")).astype(int)
    assert np.abs(result[:, 16:] - (0, 0, 255)).max() <= 3
    assert np.abs(result[:, :8].mean((0, 1)) - (200, 30, 30)).max() < 40


# Which pictures, and what they are called


@pytest.mark.linux
def test_names_of_every_kind_are_mirrored_and_told(tmp_path: Path, tiny: Path) -> None:
    """In a process of its own: a run must not depend on how this one's streams are encoded."""
    source = draw(tmp_path / "in" / "sub" / "plain.png").read_bytes()
    odd = [b"new\nline.png", b"not-utf8-\xff.png", b"{scale}.png", b"sp ace.png"]
    for name in odd:
        (tmp_path / "in" / "sub" / os.fsdecode(name)).write_bytes(source)
    (tmp_path / "in" / os.fsdecode(b"bad\n\xfe.png")).write_text("no picture")
    large = draw(tmp_path / "large.png", 30, 30)
    large.rename(tmp_path / "in" / os.fsdecode(b"large\xfd.png"))
    report = tmp_path / "report.json"
    command = ("upscale", tmp_path / "in", "-o", tmp_path / "out", "-m", tiny)
    ran = run_lapsr(*command, "--json", "--report", report, "--max-pixels", "400")
    assert ran.code == 1
    results = {os.fsencode(path.name) for path in (tmp_path / "out" / "sub").iterdir()}
    assert results == {name.replace(b".png", b"_x2.png") for name in (*odd, b"plain.png")}
    failed = sorted(line for line in ran.error_lines if line.startswith("failed: "))
    assert len(failed) == 2
    assert "bad\\n" in failed[0]
    assert "large" in failed[1]
    lines = ran.outcomes
    assert len(lines) == 7
    stored = json.loads(report.read_bytes())
    assert sorted(stored["pictures"], key=str) == sorted(lines, key=str)
    json.dumps(lines, ensure_ascii=False).encode()  # no half of a surrogate pair is in it
    assert any("not-utf8-\\xff.png" in line["source"] for line in lines)


def test_one_stem_in_two_formats(upscale: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    draw(tmp_path / "in" / "a.jpg")
    assert upscale("-f", "png").code == 0
    assert names(tmp_path / "out") == ["a_jpg_x2.png", "a_png_x2.png"]
    ran = upscale("-f", "png")
    assert "0 done (0 files), 2 skipped" in ran.err


def test_names_that_differ_in_case_only(upscale: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    if (tmp_path / "in" / "A.png").exists():
        pytest.skip("this file system takes them for one")
    draw(tmp_path / "in" / "a.PNG", seed=1)
    draw(tmp_path / "in" / "A.png", seed=2)
    assert upscale().code == 0
    assert names(tmp_path / "out") == ["A_x2.png", "a_x2.PNG", "a_x2.png"]


def test_outputs_inside_the_input_are_no_inputs(lapsr: Lapsr, tmp_path: Path, tiny: Path) -> None:
    draw(tmp_path / "a.png")
    command = ("upscale", tmp_path, "-o", tmp_path / "out", "-m", tiny)
    assert lapsr(*command).code == 0
    ran = lapsr(*command)
    assert "0 done (0 files), 1 skipped" in ran.err
    assert names(tmp_path / "out") == ["a_x2.png"]


def test_trees_are_mirrored_or_left_alone(upscale: Lapsr, tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.png", "sub/deep/c.jpg", "b.png/d.png"):
        draw(tmp_path / "in" / name)
    assert upscale("--no-recursive").code == 0
    assert names(tmp_path / "out") == ["a_x2.png"]
    assert upscale().code == 0
    assert names(tmp_path / "out") == [
        "a_x2.png",
        "b.png/d_x2.png",
        "sub/b_x2.png",
        "sub/deep/c_x2.jpg",
    ]


def test_a_pattern_names_files_whether_or_not_folders_are_searched(
    lapsr: Lapsr, tmp_path: Path, tiny: Path
) -> None:
    for name in ("s1/a.png", "s2/b.png", "s2/deep/c.png"):
        draw(tmp_path / "in" / name)
    command = ("upscale", "-o", tmp_path / "out", "-m", tiny, "--no-recursive")
    assert lapsr(*command, tmp_path / "in" / "s*" / "*.png").code == 0
    assert names(tmp_path / "out") == ["s1/a_x2.png", "s2/b_x2.png"]


def test_what_is_missing_is_made_and_nothing_else(upscale: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    assert upscale("-s", "2").code == 0
    before = (tmp_path / "out" / "a_x2.png").stat().st_mtime_ns
    ran = upscale("-s", "2,4", "--if-exists", "error")
    assert ran.code == 1
    assert f"{tmp_path / 'out' / 'a_x2.png'} exists already" in ran.err
    assert names(tmp_path / "out") == ["a_x2.png"]
    assert "1 done (1 file)" in upscale("-s", "2,4").err
    assert (tmp_path / "out" / "a_x2.png").stat().st_mtime_ns == before
    assert "1 done (2 files)" in upscale("-s", "2,4", "--if-exists", "overwrite").err
    assert (tmp_path / "out" / "a_x2.png").stat().st_mtime_ns != before


# A folder of the worst


def chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + check


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    return png[:33] + chunk(kind, data) + png[33:]


def broken_files(png: bytes, jpg: bytes) -> dict[str, bytes]:
    """Thirty files that are no whole pictures, by name."""
    huge = chunk(b"IHDR", (10**6).to_bytes(4, "big") * 2 + png[24:29])
    flipped = png[:60] + bytes([png[60] ^ 0xFF]) + png[61:]
    return {
        "empty.png": b"",
        "empty.jpg": b"",
        "empty.tiff": b"",
        "one.webp": b"R",
        "text.png": b"this is text",
        "text.jpg": b"\n".join([b"this too"] * 50),
        "html.gif": b"<!doctype html><title>404</title>",
        "zip.tiff": b"PK\3\4" + bytes(40),
        "script.bmp": b"#!/bin/sh\n",
        "zeros.webp": bytes(500),
        "noise.avif": bytes(np.random.default_rng(0).integers(0, 256, 400, np.uint8)),
        "noise.png": png[:8] + bytes(np.random.default_rng(1).integers(0, 256, 400, np.uint8)),
        "magic.png": png[:8],
        "header.png": png[:33],
        "half.png": png[: len(png) // 2],
        "crc.png": flipped,
        "headercrc.png": png[:20] + bytes([png[20] ^ 1]) + png[21:],
        "huge.png": png[:8] + huge + png[33:],
        "nodata.png": png[:33] + chunk(b"IEND", b""),
        "soi.jpg": jpg[:2],
        "magic.jpg": jpg[:4],
        "third.jpg": jpg[: len(jpg) // 3],
        "half.jpg": jpg[: len(jpg) // 2],
        "bm.bmp": b"BM" + bytes(10),
        "tiff.tif": b"II*\0" + (10**6).to_bytes(4, "little") + bytes(20),
        "gif.gif": b"GIF89a" + bytes(7),
        "webp.webp": b"RIFF" + (1000).to_bytes(4, "little") + b"WEBPVP8 " + bytes(30),
        "icc.png": with_chunk(png, b"iCCP", b"profile\0\0" + zlib.compress(b"no profile" * 30)),
    }


DESCRIBED_BADLY = {"icc.png"}


@pytest.fixture
def worst(tmp_path: Path) -> set[str]:
    """Thirty good pictures and more than thirty others, whose names come back."""
    folder = tmp_path / "in"
    for number in range(30):
        suffix = ("png", "jpg", "webp", "tiff", "bmp", "gif")[number % 6]
        draw(folder / f"good{number:02}.{suffix}", 16, 12, seed=number)
    png = draw(tmp_path / "source.png", 40, 40).read_bytes()
    jpg = draw(tmp_path / "source.jpg", 40, 40).read_bytes()
    broken = broken_files(png, jpg)
    for name, data in broken.items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "folder.jpg").mkdir()  # a folder is no broken picture, whatever its name
    return {*broken, "pipe.jpg", "dangling.png", "loop.png"}


@pytest.mark.posix
def test_every_good_picture_of_a_bad_folder_is_done(
    upscale: Lapsr, tmp_path: Path, worst: set[str]
) -> None:
    ran = upscale("--report", tmp_path / "report.json")
    assert ran.code == 1
    results = names(tmp_path / "out")
    assert len(results) == 30
    assert all(name.startswith("good") for name in results)
    failed = [line for line in ran.error_lines if line.startswith("failed: ")]
    assert len(failed) == len(worst)
    for name in worst:
        (line,) = (each for each in failed if f"{tmp_path / 'in' / name}: " in each)
        assert ("--strip-metadata" in line) == (name in DESCRIBED_BADLY), line
    assert f"30 done (30 files), {len(worst)} failed" in ran.error_lines[-1]
    assert len(ran.error_lines) == 2 + len(worst) + 1
    stored = json.loads((tmp_path / "report.json").read_text())
    assert (stored["done"], stored["failed"]) == (30, len(worst))
    ran = upscale("--strip-metadata", "--if-exists", "overwrite")
    assert ran.code == 1
    assert {"icc_x2.png"} < set(names(tmp_path / "out"))
    assert f"31 done (31 files), {len(worst) - 1} failed, 1 warning" in ran.error_lines[-1]


BAD_EXIF = {
    "cut short": b"II*\0\x08\0\0\0\xff\xff" + bytes(6),
    "pointing beyond its end": b"II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\xff\xff" + bytes(6),
}


@pytest.mark.parametrize("exif", BAD_EXIF.values(), ids=BAD_EXIF)
def test_damaged_exif_fails_its_picture_unless_it_is_left_out(
    upscale: Lapsr, tmp_path: Path, exif: bytes
) -> None:
    png = draw(tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "in" / "a.png").write_bytes(with_chunk(png, b"eXIf", exif))
    ran = upscale()
    assert ran.code == 1
    assert "--strip-metadata" in ran.err
    ran = upscale("--strip-metadata")
    assert ran.code == 0
    assert "warning: " in ran.err


# Reports


def test_json_lines_are_outcomes_and_the_report_holds_them(upscale: Lapsr, tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "done.png"):
        draw(tmp_path / "in" / name)
    (tmp_path / "in" / "bad.png").write_text("no picture")
    (tmp_path / "out").mkdir()
    draw(tmp_path / "out" / "done_x2.png")
    report = tmp_path / "sub" / "report.json"
    ran = upscale("--json", "--report", report)
    assert ran.code == 1
    lines = ran.outcomes
    for line in lines:
        assert list(line) == [field.name for field in fields(Outcome)]
        for output in line["outputs"]:
            assert list(output) == [field.name for field in fields(Output)]
    by_name = {Path(line["source"]).name: line for line in lines}
    assert {name: line["status"] for name, line in by_name.items()} == {
        "a.png": "done",
        "b.jpg": "done",
        "done.png": "skipped",
        "bad.png": "failed",
    }
    (output,) = by_name["b.jpg"]["outputs"]
    path = tmp_path / "out" / "b_x2.jpg"
    assert output == {
        "path": str(path),
        "scale": "2",
        "width": 40,
        "height": 32,
        "frames": 1,
        "bytes": path.stat().st_size,
    }
    stored: Json = json.loads(report.read_text())
    assert stored["pictures"] == lines
    assert [stored[key] for key in ("format", "done", "skipped", "failed")] == [1, 2, 1, 1]
    assert stored["exit_code"] == ran.code
    assert stored["interrupted"] is False
    assert stored["scales"] == ["2"]
    assert stored["megapixels"] == pytest.approx(2 * 40 * 32 / 1e6, abs=5e-4)


def test_a_report_replaces_reports_only(upscale: Lapsr, tmp_path: Path) -> None:
    picture = draw(tmp_path / "in" / "a.png")
    before, other = picture.read_bytes(), tmp_path / "other.json"
    other.write_text("[1, 2]")
    for place in (picture, other):
        ran = upscale("--report", place)
        assert ran.code == 2
        assert ran.error_lines == [
            f"lapsr: --report {place}: already exists and is not a report of lapsr"
        ]
    assert picture.read_bytes() == before
    assert other.read_text() == "[1, 2]"
    assert not (tmp_path / "out" / "a_x2.png").exists()
    report = tmp_path / "report.json"
    report.touch()
    for status in ("done", "skipped"):
        assert upscale("--report", report).code == 0
        assert json.loads(report.read_text())["pictures"][0]["status"] == status


def test_a_report_where_none_can_be_written(upscale: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    (tmp_path / "file").touch()
    ran = upscale("--report", tmp_path / "file" / "report.json")
    assert ran.code == 2
    (line,) = ran.error_lines
    assert line.startswith(f"lapsr: --report {tmp_path / 'file'}: ")
    assert not (tmp_path / "out" / "a_x2.png").exists()


@pytest.mark.parametrize("name", ["big.png", "an album/BIG.JPEG", "-big.heic"])
def test_an_output_named_like_a_picture_is_refused_with_what_works(
    lapsr: Lapsr, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It would become a folder of that name."""
    monkeypatch.chdir(tmp_path)
    draw(Path("a.png"), 9, 8)
    ran = lapsr("upscale", "a.png", "-m", tiny, "-o", name)
    assert ran.code == 2
    (line,) = ran.error_lines
    start, _, works = line.partition("use ")
    assert start == f"lapsr: -o/--output {name}: must be a folder; for one picture, "
    assert names(tmp_path) == sorted(["a.png", *(f for f in names(tmp_path) if "home" in f)])
    assert lapsr("upscale", "a.png", "-m", tiny, *shlex.split(works)).code == 0
    wanted = Path(name.replace("heic", "jpg").replace("JPEG", "jpeg"))
    with Image.open(wanted) as image:
        assert image.size == (18, 16)
    wanted.unlink()
    Path(name).mkdir()  # on purpose
    assert lapsr("upscale", "a.png", "-m", tiny, "-o", name).code == 0
    assert names(Path(name)) == ["a_x2.png"]


@pytest.mark.parametrize(
    ("limit", "pixels"),
    [("600", 600), ("1k", 1000), ("4M", 4 * 10**6), ("3gp", 3 * 10**9), ("12MP", 12 * 10**6)],
)
def test_pixels_have_decimal_units(limit: str, pixels: int) -> None:
    assert pixels_of("--max-pixels", limit) == pixels


def test_max_pixels_with_a_unit(upscale: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "small.png", 50, 20)
    draw(tmp_path / "in" / "large.png", 50, 21)
    ran = upscale("--max-pixels", "1k")
    assert ran.code == 1
    assert "large.png: 50 x 21 x 1 frames are 1050 pixels, more than --max-pixels 1000" in ran.err
    assert names(tmp_path / "out") == ["small_x2.png"]


def test_each_device_is_resolved_once(
    monkeypatch: pytest.MonkeyPatch, tiny: Path, tmp_path: Path
) -> None:
    asked: list[bool] = []
    found = torch.cuda.is_available

    def ask() -> bool:
        asked.append(found())
        return asked[-1]

    monkeypatch.setattr(torch.cuda, "is_available", ask)
    arguments = ["a.png", "-o", str(tmp_path), "-m", str(tiny), "--device", "cpu, cpu"]
    options = UpscaleOptions(**command.make_context("upscale", arguments).params)
    options.limits()
    upscalers = options.upscalers()
    assert len(asked) == 2
    assert [upscaler.device for upscaler in upscalers] == options.devices


def of_every_kind(folder: Path) -> None:
    draw(folder / "a.png", 31, 20)
    draw(folder / "sub" / "b.jpg", 17, 13)
    draw(folder / "large.png", 90, 80)
    draw(folder / "wide.webp", 2100, 2)
    half_clear(folder / "clear.png")
    frames = [Image.new("RGB", (9, 8), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "text.png").write_text("no picture")


@pytest.mark.parametrize(
    "given",
    [
        ["-s", "2,2.5"],
        ["-s", "8", "-f", "jpg"],
        ["-s", "8", "-f", "webp"],
        ["--long-edge", "100", "-f", "tiff"],
        ["--long-edge", "100", "--cascade"],
        ["--max-pixels", "2000"],
    ],
)
def test_a_dry_run_names_what_a_real_one_writes(
    upscale: Lapsr, tmp_path: Path, given: list[str]
) -> None:
    of_every_kind(tmp_path / "in")
    dry = upscale(*given, "--dry-run")
    assert not (tmp_path / "out").exists()
    promised = dict(line.split("  ") for line in dry.out.splitlines())
    real = upscale(*given)
    assert sorted(promised) == [str(tmp_path / "out" / name) for name in names(tmp_path / "out")]
    for name, size in promised.items():
        with Image.open(name) as image:
            assert f"{image.width} x {image.height}" == size
    assert dry.code == real.code == 1
    assert len([line for line in dry.error_lines if line.startswith("would fail: ")]) == len(
        [line for line in real.error_lines if line.startswith("failed: ")]
    )
    assert f"{counted(len(promised), 'file')} from " in dry.error_lines[-1]


def test_a_dry_run_tells_disk_and_time(upscale: Lapsr, tmp_path: Path) -> None:
    """BMP takes three bytes a pixel; eight passes over 4,000 small windows take some seconds."""
    (tmp_path / "in").mkdir()
    Image.new("RGB", (6000, 4000)).save(tmp_path / "in" / "a.png")
    ran = upscale("-f", "bmp", "--dry-run", "--tta")
    assert "about 288 MB" in ran.error_lines[-1]
    seconds = re.search(r"about ([\d.]+)( to [\d.]+)? (s|min|h)$", ran.error_lines[-1])
    assert seconds
    assert float(seconds[1]) > 0


def test_a_dry_run_skips_and_speaks_json(upscale: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "new\nline.png", 10, 6)
    draw(tmp_path / "in" / "b.png")
    draw(tmp_path / "out" / "b_x2.png")
    ran = upscale("--dry-run", "--json")
    assert ran.code == 0
    assert [json.loads(line) for line in ran.out.splitlines()] == [
        {"path": str(tmp_path / "out" / "new\nline_x2.png"), "width": 20, "height": 12}
    ]
    assert "1 file from 1 picture, 1 skipped, 0 would fail" in ran.error_lines[-1]
    assert len(upscale("--dry-run").out.splitlines()) == 1


def test_the_first_failure_ends_a_run_that_says_so(upscale: Lapsr, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "000.png").write_text("no picture")
    for number in range(1, 200):
        draw(tmp_path / "in" / f"{number:03}.png", 60, 60)
    report = tmp_path / "report.json"
    ran = upscale("--fail-fast", "-s", "8", "--memory", "1M", "--report", report)
    assert ran.code == 1
    assert ran.error_lines[-1].startswith("stopped at the first failure: ")
    assert " not started" in ran.error_lines[-1]
    done = len(names(tmp_path / "out"))
    assert done < 199
    stored = json.loads(report.read_text())
    assert (stored["done"], stored["failed"], stored["exit_code"]) == (done, 1, 1)


def test_too_many_pixels_are_refused(upscale: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png", 20, 20)
    draw(tmp_path / "in" / "b.png", 20, 21)
    ran = upscale("--max-pixels", "400")
    assert ran.code == 1
    assert names(tmp_path / "out") == ["a_x2.png"]
    assert "420 pixels, more than --max-pixels 400" in ran.err


def test_json_has_lines_of_progress_within_a_picture(
    lapsr: Lapsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every field as docs/report.md has it; not more often than allowed."""
    draw(tmp_path / "a.png", 200, 300)
    command = ("upscale", tmp_path / "a.png", "-o", tmp_path / "out", "--offline", "--json")
    monkeypatch.setattr(upscale_session, "_PROGRESS_INTERVAL", 0.0)
    ran = lapsr(*command)
    *progress, outcome = map(json.loads, ran.out.splitlines())
    assert [outcome] == ran.outcomes
    section = (ROOT / "docs" / "report.md").read_text(encoding="utf-8").partition("## Progress")[2]
    fields = re.findall(r"^\| (.*?) \|", section.partition("\n## ")[0], re.MULTILINE)
    documented = [name for field in fields for name in re.findall(r"`(\w+)`", field)]
    assert all(list(line) == documented for line in progress)
    shares = [line["share"] for line in progress]
    assert shares == sorted(shares)
    assert len({share for share in shares if 0 < share < 0.9}) > 2
    assert (progress[-1]["writing"], outcome["status"]) == (1, "done")
    monkeypatch.setattr(upscale_session, "_PROGRESS_INTERVAL", 1000.0)
    assert len(lapsr(*command, "--if-exists", "overwrite").out.splitlines()) == 1


def test_little_memory_changes_no_pixel(upscale: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png", 150, 140)
    for number in range(5):
        draw(tmp_path / "in" / f"{number}.png", 30, 30, seed=number)
    assert upscale("-s", "2,4").code == 0
    whole = {n: np.array(Image.open(tmp_path / "out" / n)) for n in names(tmp_path / "out")}
    ran = upscale("-s", "2,4", "--memory", "1500k", "--if-exists", "overwrite", "--json")
    assert ran.code == 0
    windows = {Path(line["source"]).name: line["windows"] for line in ran.outcomes}
    assert windows["a.png"] > 10
    for name, pixels in whole.items():
        again = np.array(Image.open(tmp_path / "out" / name))
        assert np.abs(pixels.astype(int) - again).max() <= 1


def test_frames_that_do_not_fit_are_refused_by_name(upscale: Lapsr, tmp_path: Path) -> None:
    """Those of an animation, by what all of them hold, objects included; pages go one by one."""
    folder = tmp_path / "in"
    draw(folder / "a.png", 150, 140)
    frames = [Image.new("L", (8, 8), number % 256) for number in range(500)]
    for name in ("many.gif", "many.tif"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=10)
    frames[0].save(folder / "few.gif", save_all=True, append_images=frames[1:9], duration=10)
    large = Image.new("RGB", (400, 300))
    frames[0].save(folder / "unequal.tif", save_all=True, append_images=[large])
    ran = upscale("-s", "2,4", "--memory", "3M", "--report", tmp_path / "report.json")
    assert ran.code == 1
    done = ("a", "png"), ("few", "gif"), ("many", "tif"), ("unequal", "tif")
    assert names(tmp_path / "out") == [
        f"{n}_x{scale}.{form}" for n, form in done for scale in (2, 4)
    ]
    need = 500 * (64 * probe(folder / "many.gif").channels * 38 + 8192) / 1e6
    stored = json.loads((tmp_path / "report.json").read_text())["pictures"]
    (failed,) = (each for each in stored if each["status"] == "failed")
    assert failed["message"] == (
        f"{folder / 'many.gif'}: its results of 500 frames need {need:.1f} MB, more than --memory"
        " allows"
    )
    assert "many.gif: its results of 500 frames" in upscale("--memory", "3M", "--dry-run").err


def test_the_mean_of_eight_on_the_command_line(upscale: Lapsr, tmp_path: Path) -> None:
    """A picture that equals its mirror image has an enlargement that does too, by -x alone."""
    left = np.array(Image.open(draw(tmp_path / "left.png", 12, 20)))
    (tmp_path / "in").mkdir()
    Image.fromarray(np.concatenate([left, left[:, ::-1]], axis=1)).save(tmp_path / "in" / "a.png")

    def asymmetry(*given: str) -> int:
        assert upscale("-s", "4", "--if-exists", "overwrite", *given).code == 0
        result = np.array(Image.open(tmp_path / "out" / "a_x4.png")).astype(int)
        return int(np.abs(result - result[:, ::-1]).max())

    assert asymmetry("-x") <= 1
    assert asymmetry() > 1


@pytest.mark.parametrize(
    ("inputs", "models"),
    [
        (["a.png", "b.bmp"], ["lapsr-classic"]),
        (["a.jpg"], ["lapsr-photo"]),
        (["a.jpg", "b.png"], ["lapsr-classic", "lapsr-photo"]),
        (["a.webp"], ["lapsr-classic", "lapsr-photo"]),  # with or without loss
    ],
)
def test_the_models_that_are_needed_are_named(
    lapsr: Lapsr, tmp_path: Path, inputs: list[str], models: list[str]
) -> None:
    """And every line before the run fits 80 columns."""
    for name in inputs:
        draw(tmp_path / "in" / name, 8, 8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ran = lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "--offline")
    finally:
        torch.set_num_threads(threads)
    assert ran.code == 0
    named = re.findall(r"^model: ([\w-]+), MS-LapSRN", ran.err, re.MULTILINE)
    assert named == models
    assert ("(lossy)" in ran.err) == ("(lossless)" in ran.err) == (len(models) == 2)
    assert "device: cpu, 1 thread, " in ran.err
    assert max(map(len, ran.error_lines)) <= 80


def test_lossy_files_have_a_default_of_their_own(lapsr: Lapsr, tmp_path: Path) -> None:
    """Without -m, that is with the models that come with lapsr; by content, not by name."""
    smooth = Image.open(draw(tmp_path / "in" / "a.png", 12, 12))
    smooth.save(tmp_path / "in" / "b.jpg")
    smooth.save(tmp_path / "in" / "c.webp", lossless=True)
    smooth.save(tmp_path / "in" / "d.webp", quality=60)
    smooth.save(tmp_path / "in" / "e.png", "JPEG")
    given = ("upscale", tmp_path / "in", "--offline", "--json", "-o")
    ran = lapsr(*given, tmp_path / "out")
    assert ran.code == 0
    chosen = {Path(each["source"]).name: each["model"] for each in ran.outcomes}
    lossless, lossy = manifest().defaults
    assert chosen == {
        "a.png": lossless,
        "b.jpg": lossy,
        "c.webp": lossless,
        "d.webp": lossy,
        "e.png": lossy,
    }
    for name in (lossless, lossy):
        assert f"model: {name}, " in ran.err
    ran = lapsr(*given, tmp_path / "one", "-m", lossless)
    assert {json.loads(line)["model"] for line in ran.out.splitlines()} == {lossless}
    photo, other = (np.array(Image.open(tmp_path / n / "b_x2.jpg")) for n in ("out", "one"))
    assert not np.array_equal(photo, other)


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_denoise_is_one_model_between_the_two(lapsr: Lapsr, tmp_path: Path, share: float) -> None:
    """For lossless and lossy files: the bytes of the model whose weights are the mean of both."""
    lossless, lossy = (load_file(weights.obtain(name)) for name in manifest().defaults)
    with safe_open(weights.obtain(manifest().default), "numpy") as file:
        about = file.metadata()
    mean = {k: (1 - share) * lossless[k] + share * lossy[k] for k in lossless if k != "ranges"}
    save_file(mean, tmp_path / "mean.safetensors", about)
    draw(tmp_path / "in" / "a.png", 40, 30)
    draw(tmp_path / "in" / "b.jpg", 40, 30)
    given = ("upscale", tmp_path / "in", "--json", "-o")
    ran = lapsr(*given, tmp_path / "out", "--denoise", str(share))
    assert ran.code == 0
    assert lapsr(*given, tmp_path / "mean", "-m", tmp_path / "mean.safetensors").code == 0
    for result in ("a_x2.png", "b_x2.jpg"):
        ours, expected = (np.array(Image.open(tmp_path / n / result)) for n in ("out", "mean"))
        assert np.abs(ours.astype(int) - expected).max() <= 1
    names = {0: "lapsr-classic", 0.25: "0.75 lapsr-classic + 0.25 lapsr-photo", 1: "lapsr-photo"}
    name = names[share]
    assert {each["model"] for each in ran.outcomes} == {name}
    assert f"model: {name}, MS-LapSRN D5R2" in ran.err
    again = lapsr(*given, tmp_path / "out", "--denoise", "0.5")
    assert f"made with {name};" in again.err
    assert "2 skipped" in lapsr(*given, tmp_path / "out", "--denoise", str(share)).err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--denoise", "1.5"], "--denoise 1.5: must be between 0 and 1"),
        (["--denoise", "nan"], "--denoise nan: must be between 0 and 1"),
        (["--denoise", "0.5", "-m", "lapsr-photo"], "--denoise 0.5: cannot be combined with"),
    ],
)
def test_a_wrong_denoise_is_refused(
    lapsr: Lapsr, tmp_path: Path, given: list[str], words: str
) -> None:
    draw(tmp_path / "in" / "a.png")
    ran = lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", *given)
    assert ran.code == 2
    assert f"lapsr: {words}" in ran.error_lines[-1]
    assert not (tmp_path / "out").exists()


def test_a_model_between_two_has_no_ranges_for_int8() -> None:
    device = replace(choose("cpu"), precision="int8")
    with pytest.raises(UsageError, match=r"--denoise 0.5: must be 0 or 1 with --precision int8"):
        Upscaler.from_weights(device=device, denoise=0.5)
