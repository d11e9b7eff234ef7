"""lapsr upscale from the outside: what is written, what is said, how it ends."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lapsr_cli import weights
from lapsr_cli.files import atomic_write
from lapsr_cli.outputs import prepare_folder
from tests.conftest import PICTURES, Ran, draw, results_in, run_lapsr

Lapsr = Callable[..., Ran]


def files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in results_in(folder)]


def test_the_pictures_of_the_readme(lapsr: Lapsr, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = lapsr("upscale", PICTURES, "-o", out, "-s", "2,4", "--offline")
    assert ran.code == 0
    sources = [p for p in PICTURES.rglob("*.*") if p.is_file()]
    assert len(files(out)) == 2 * len(sources)
    for source in sources:
        with Image.open(source) as image:
            width, height = image.size
            if image.getexif().get(0x0112, 1) > 4:
                width, height = height, width
            form = image.format
        for scale in (2, 4):
            name = f"{source.stem}_x{scale}{source.suffix}"
            with Image.open(out / source.relative_to(PICTURES).with_name(name)) as result:
                assert (result.size, result.format) == ((scale * width, scale * height), form)
                assert result.getexif().get(0x0112, 1) == 1
    assert f"{len(sources)} done ({2 * len(sources)} files)" in ran.err
    assert "device: cpu, " in ran.err
    assert "(auto: torch" in ran.err
    assert "lapsr-classic" in ran.err


def test_every_line_of_a_run_in_a_pipe(lapsr: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    ran = lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out")
    assert ran.out == ""
    assert [line.split(":")[0] for line in ran.error_lines[:2]] == ["model", "device"]
    assert len(ran.error_lines) == 3
    draw(tmp_path / "in" / "b.jpg")  # for which the other model is used
    ran = lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "--if-exists", "overwrite")
    assert [line.split(":")[0] for line in ran.error_lines[:3]] == ["model", "model", "device"]
    assert len(ran.error_lines) == 4


def test_grey_stays_grey_and_colours_stay(lapsr: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "grey.png", mode="L")
    colours = np.zeros((12, 12, 3), np.uint8)
    colours[:, :6], colours[:, 6:] = (210, 40, 30), (20, 90, 200)
    Image.fromarray(colours).save(tmp_path / "in" / "colour.png")
    assert lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "-s", "4").code == 0
    with Image.open(tmp_path / "out" / "grey_x4.png") as image:
        assert image.mode == "L"
    result = np.array(Image.open(tmp_path / "out" / "colour_x4.png")).astype(int)
    assert np.abs(result[16:32, 4:12].mean((0, 1)) - (210, 40, 30)).max() < 3
    assert np.abs(result[16:32, 36:44].mean((0, 1)) - (20, 90, 200)).max() < 3


def test_tiles_and_batches_change_no_pixel_by_more_than_a_level(
    lapsr: Lapsr, tmp_path: Path
) -> None:
    draw(tmp_path / "in" / "a.png", 70, 61)
    draw(tmp_path / "in" / "b.png", 50, 43, seed=1)
    lapsr("upscale", tmp_path / "in", "-o", tmp_path / "whole", "-t", "none", "-s", "2,8")
    tiled = ("-t", "16", "--batch-size", "3")
    lapsr("upscale", tmp_path / "in", "-o", tmp_path / "tiled", *tiled, "-s", "2,8")
    assert len(files(tmp_path / "whole")) == 4
    for name in files(tmp_path / "whole"):
        whole = np.array(Image.open(tmp_path / "whole" / name)).astype(int)
        assert np.abs(whole - np.array(Image.open(tmp_path / "tiled" / name))).max() <= 1


def test_what_is_there_is_skipped_and_counted(lapsr: Lapsr, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        draw(tmp_path / "in" / f"{name}.png")
    out = tmp_path / "out"
    lapsr("upscale", tmp_path / "in" / "a.png", "-o", out, "-s", "2,4")
    lapsr("upscale", tmp_path / "in" / "b.png", "-o", out, "-s", "2")
    before = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    ran = lapsr("upscale", tmp_path / "in", "-o", out, "-s", "2,4")
    assert ran.code == 0
    assert "2 done (3 files), 1 skipped" in ran.err
    assert all((out / name).stat().st_mtime_ns == when for name, when in before.items())
    ran = lapsr("upscale", tmp_path / "in", "-o", out, "--if-exists", "overwrite")
    assert "3 done (3 files)" in ran.err
    ran = lapsr("upscale", tmp_path / "in", "-o", out, "--if-exists", "error")
    assert ran.code == 1
    assert "3 failed" in ran.err


def test_formats_and_names_that_are_asked_for(lapsr: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    draw(tmp_path / "in" / "a.jpg", seed=1)
    out = tmp_path / "out"
    given = ("-f", "webp", "--name", "{scale}-{stem}", "-i", tmp_path / "in")
    assert lapsr("upscale", "-o", out, *given).code == 0
    assert files(out) == ["2-a_jpg.webp", "2-a_png.webp"]


def test_jpeg_keeps_its_colour_resolution(lapsr: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    lapsr("upscale", tmp_path / "a.jpg", "-o", tmp_path / "out")
    with Image.open(tmp_path / "out" / "a_x2.jpg") as image:
        assert {component[1:3] for component in image.layer} == {(1, 1)}  # type: ignore[attr-defined]


def test_one_broken_picture_stops_nothing(lapsr: Lapsr, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("a", "z"):
        draw(folder / f"{name}.png")
    (folder / "text.png").write_text("this is text")
    half = draw(folder / "half.jpg", 64, 64).read_bytes()
    (folder / "half.jpg").write_bytes(half[: len(half) // 2])
    ran = lapsr("upscale", folder, "-o", tmp_path / "out")
    assert ran.code == 1
    assert files(tmp_path / "out") == ["a_x2.png", "z_x2.png"]
    failed = [line for line in ran.error_lines if line.startswith("failed: ")]
    assert len(failed) == 2
    assert any(str(folder / "text.png") in line for line in failed)
    assert any(str(folder / "half.jpg") in line for line in failed)
    assert "2 done (2 files), 2 failed" in ran.err


def test_a_missing_input_among_good_ones(lapsr: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    ran = lapsr("upscale", tmp_path / "gone", tmp_path / "a.png", "-o", tmp_path / "out")
    assert ran.code == 1
    assert f"failed: {tmp_path / 'gone'}: no such file or folder" in ran.error_lines
    assert files(tmp_path / "out") == ["a_x2.png"]


HUGE = "1" + "0" * 5000
"""Python refuses to convert more than 4,300 digits."""


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["{tmp}/gone", "-o", "{tmp}/out"], 3, "{tmp}/gone: no such file or folder"),
        (["{tmp}/empty", "-o", "{tmp}/out"], 3, "{tmp}/empty: no pictures"),
        (["-o", "{tmp}/out"], 2, "INPUT is missing"),
        (["", "-o", "{tmp}/out"], 2, "INPUT '' is empty"),
        (["{tmp}/in"], 2, "-o"),
        (["{tmp}/in", "-o", "{tmp}/out", "-s", "0"], 2, "-s/--scale"),
        (["{tmp}/in", "-o", "{tmp}/out", "-s", "-2"], 2, "-s/--scale"),
        (["{tmp}/in", "-o", "{tmp}/out", "-s", "2,9"], 2, "-s/--scale 9"),
        (["{tmp}/in", "-o", "{tmp}/out", "-s", "65", "--cascade"], 2, "-s/--scale 65"),
        (["{tmp}/in", "-o", "{tmp}/out", "-s", "0.5"], 2, "-s/--scale 0.5"),
        (["{tmp}/in", "-o", "{tmp}/out", "-s", "nan"], 2, "-s/--scale nan"),
        (["{tmp}/in", "-o", "{tmp}/out", "--width", "0"], 2, "--width 0"),
        (["{tmp}/in", "-o", "{tmp}/out", "--long-edge", "9", "--width", "9"], 2, "--long-edge"),
        (["{tmp}/in", "-o", "{tmp}/out", "--background", "snow!"], 2, "--background snow!"),
        (["{tmp}/in", "-o", "{tmp}/out", "--compress", "10"], 2, "--compress 10"),
        (["{tmp}/in", "-o", "{tmp}/out", "--memory", "much"], 2, "--memory much"),
        (["{tmp}/in", "-o", "{tmp}/out", "--max-pixels", "0"], 2, "--max-pixels 0"),
        (["{tmp}/in", "-o", "{tmp}/out", "-s", "2,x"], 2, "-s/--scale x"),
        (["{tmp}/in", "-o", "{tmp}/out", "-s", "1/3"], 2, "-s/--scale 1/3"),
        (["{tmp}/in", "-o", "{tmp}/out", "--height", "-4"], 2, "--height -4"),
        (["{tmp}/in", "-o", "{tmp}/out", "--memory", "0"], 2, "--memory 0"),
        (["{tmp}/in", "-o", "{tmp}/out", "--device", "cpu,"], 2, "--device"),
        (["{tmp}/in", "-o", "{tmp}/out", "-s", "two"], 2, "-s/--scale two"),
        (["{tmp}/in", "-o", "{tmp}/out", "-s", ","], 2, "-s/--scale"),
        (["{tmp}/in", "-o", "{tmp}/out", "-m", "best"], 4, "model best: not known"),
        (["{tmp}/in", "-o", "{tmp}/out", "-m", "mslapsrn-d5r2", "--offline"], 4, "--offline"),
        (["{tmp}/in", "-o", "{tmp}/out", "-t", "-3"], 2, "-t/--tile -3"),
        (["{tmp}/in", "-o", "{tmp}/out", "--batch-size", "many"], 2, "--batch-size many"),
        (["{tmp}/in", "-o", "{tmp}/out", "--device", "tpu"], 2, "--device tpu"),
        (["{tmp}/in", "-o", ""], 2, "-o/--output: must not be empty"),
        (["{tmp}/in", "-o", "{tmp}/out", "--report", ""], 2, "--report: must not be empty"),
        (["{tmp}/in", "-o", "{tmp}/out", "--device", "cuda:77"], 4, "--device cuda:77"),
        (["{tmp}/in", "-o", "{tmp}/out", "--quality", "0"], 2, "--quality 0"),
        (["{tmp}/in", "-o", "{tmp}/out", "-f", "psd"], 2, "-f/--format psd"),
        (["{tmp}/in", "-o", "{tmp}/out", "--name", "{stem}", "-s", "2,4"], 2, "--name"),
        (["{tmp}/in", "-o", "{tmp}/out", "--name", "{stem.__class__}"], 2, "--name"),
        (["{tmp}/in", "-o", "{tmp}/in"], 2, "-o/--output"),
        (["{tmp}/in", "-o", "{tmp}/in/a.png"], 2, "-o/--output"),
        (["{tmp}/in", "-o", "{tmp}/in/a.png/out"], 2, "-o/--output {tmp}/in/a.png/out: "),
        (["{tmp}/in", "-o", "{tmp}/out", "--nonsense"], 2, "--nonsense"),
        (["{tmp}/in", "-o", "{tmp}/out", "-m", ""], 2, "-m/--model: must not be empty"),
        (["{tmp}/in", "-o", "{tmp}/out", "--name", ""], 2, "--name: must not be empty"),
        (["{tmp}/in", "-o", "{tmp}/out", "--name", "{stem:>9999999999}"], 2, "only {stem} and"),
        (["{tmp}/in", "-o", "{tmp}/out", "--max-pixels", "4T"], 2, "--max-pixels 4T"),
        (["{tmp}/in", "-o", "{tmp}/out", "--memory", HUGE], 2, "--memory 1000"),
        (["{tmp}/in", "-o", "{tmp}/out", "-t", HUGE], 2, "-t/--tile 1000"),
        (["{tmp}/in", "-o", "{tmp}/out", "--width", HUGE[:400]], 2, "--width 1000"),
        (["{tmp}/in", "-o", "{tmp}/out", "-s", "1e999999999"], 2, "-s/--scale 1e999999999"),
    ],
)
def test_wrong_use_is_one_line_and_its_exit_code(
    lapsr: Lapsr, tmp_path: Path, given: list[str], code: int, words: str
) -> None:
    draw(tmp_path / "in" / "a.png")
    (tmp_path / "empty").mkdir()
    ran = lapsr("upscale", *[part.replace("{tmp}", str(tmp_path)) for part in given])
    assert ran.code == code
    (line,) = ran.error_lines
    assert line.startswith("lapsr: ")
    assert words.replace("{tmp}", str(tmp_path)) in line
    assert files(tmp_path / "in") == ["a.png"]


def test_a_result_that_cannot_be_written_is_that_pictures_failure(
    lapsr: Lapsr, tmp_path: Path
) -> None:
    draw(tmp_path / "in" / "sub" / "a.png")
    draw(tmp_path / "in" / "b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("a file where a folder should be")
    ran = lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out")
    assert ran.code == 1
    assert files(tmp_path / "out") == ["b_x2.png", "sub"]
    assert f"failed: {tmp_path / 'out' / 'sub' / 'a_x2.png'}" in ran.err


def test_results_no_format_holds_are_refused_before_the_work(lapsr: Lapsr, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "long.webp", 2100, 2)
    draw(tmp_path / "in" / "a.png")
    ran = lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "-s", "8")
    assert ran.code == 1
    assert files(tmp_path / "out") == ["a_x8.png"]
    assert "long_x8.webp: 16800 x 16 pixels exceed the limit of WEBP" in ran.err


def test_results_no_memory_holds_are_refused_before_the_work(lapsr: Lapsr, tmp_path: Path) -> None:
    """A PNG whose header says 20,000 x 20,000 and whose data is a few bytes: at 8x 77 GB."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    draw(tmp_path / "in" / "a.png")
    ran = lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "-s", "8")
    assert ran.code == 1
    assert re.search(r"huge\.png: its results need 15\d\.\d GB, more memory than is free", ran.err)
    assert files(tmp_path / "out") == ["a_x8.png"]


@pytest.mark.posix
def test_a_loop_and_an_overlong_name_cost_nothing_else(lapsr: Lapsr, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    source = draw(folder / "a.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / f"{'n' * 250}.png").write_bytes(source.read_bytes())
    for _ in range(2):
        ran = lapsr("upscale", folder, "-o", tmp_path / "out", "--if-exists", "overwrite")
        assert ran.code == 1
        assert "1 done (1 file), 2 failed" in ran.err
        assert files(tmp_path / "out") == ["a_x2.png"]


def test_links_are_pictures_or_are_said(lapsr: Lapsr, tmp_path: Path, tiny: Path) -> None:
    folder = tmp_path / "in"
    draw(folder / "a.png")
    draw(tmp_path / "elsewhere" / "b.png", seed=1)
    (folder / "same.png").symlink_to("a.png")
    (folder / "gone.png").symlink_to(tmp_path / "gone.png")
    (folder / "album").symlink_to(tmp_path / "elsewhere")
    ran = lapsr("upscale", folder, "-o", tmp_path / "out", "-m", tiny)
    assert ran.code == 1
    assert files(tmp_path / "out") == ["a_x2.png", "same_x2.png"]
    assert f"failed: {folder}/gone.png: No such file or directory" in ran.error_lines
    assert ran.error_lines.count(f"links to folders are not followed: {folder}/album") == 1
    assert "2 done (2 files), 1 failed" in ran.err


def test_the_inputs_are_looked_at_before_any_model_is_fetched(lapsr: Lapsr, tmp_path: Path) -> None:
    given = ("-o", tmp_path / "out", "-m", "mslapsrn-d5r8", "--offline")
    assert lapsr("upscale", tmp_path / "typo", *given).code == 3
    assert not (tmp_path / "out").exists()


def test_runs_into_one_folder_at_once(tmp_path: Path) -> None:
    def prepare(_: int) -> None:
        prepare_folder(tmp_path / "out", "-o")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(prepare, range(400)))
    assert files(tmp_path / "out") == []


@pytest.mark.linux
def test_names_of_every_kind(tmp_path: Path) -> None:
    source = draw(tmp_path / "in" / "plain.png")
    for name in (b"new\nline.png", b"[red]bracket.png", b"not-utf8-\xff.png", b"-dash.png"):
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(source.read_bytes())
    ran = run_lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "--offline")
    assert ran.code == 0, ran.err
    results = [os.fsencode(path.name) for path in results_in(tmp_path / "out")]
    assert sorted(results) == sorted(
        [
            b"plain_x2.png",
            b"new\nline_x2.png",
            b"[red]bracket_x2.png",
            b"not-utf8-\xff_x2.png",
            b"-dash_x2.png",
        ]
    )


LITTLE_MEMORY = """
import resource, threading, torch
import lapsr_cli.batch.pipeline, lapsr_cli.cli.console
torch.set_num_threads(2)  # each takes memory: the same number on every machine
used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + {allowed}, used + {allowed}))
threading.stack_size(512 << 10)  # threads that start when memory is used up need some too
"""


def upscale_whole(picture: Path, model: Path, out: Path, mebibytes: int | None = None) -> Ran:
    """To 8x in one tile, by a process that may allocate so many MiB."""
    before = "" if mebibytes is None else LITTLE_MEMORY.format(allowed=mebibytes << 20)
    options = ("-s", "8", "-t", "none", "-f", "bmp", "-m", model, "-o", out)
    return run_lapsr("upscale", picture, *options, before=before)


@pytest.mark.linux
def test_too_little_memory_makes_tiles_smaller_and_is_reported(tmp_path: Path, tiny: Path) -> None:
    """The system really refuses. Measured: from 330 MiB on one tile is enough, and below 200 MiB
    there is not enough for the result."""
    picture = draw(tmp_path / "a.png", 720, 640, mode="L")
    assert upscale_whole(picture, tiny, tmp_path / "whole").code == 0
    ran = upscale_whole(picture, tiny, tmp_path / "parts", 265)
    assert ran.code == 0, ran.err
    assert "out of memory on cpu at 1 x 720 x 640 pixels" in ran.err
    assert f"warning: {picture}: out of memory at 1 x 720 x 640 pixels" in ran.err
    whole, parts = (np.array(Image.open(tmp_path / f / "a_x8.bmp")) for f in ("whole", "parts"))
    assert np.abs(whole.astype(int) - parts).max() <= 1


@pytest.mark.linux
@pytest.mark.parametrize(
    ("mebibytes", "code", "line"),
    [
        (120, 1, "failed: {tmp}/a.png: its results need 0.2 GB, more memory than is free"),
        (230, 4, "lapsr: --device cpu: "),  # the smallest tile does not fit
        (350, 1, "failed: {tmp}/out/a_x8.bmp: not enough memory to encode it"),
        (800, 0, "1 done (1 file), 29.5 MP in "),
    ],
)
def test_a_process_without_memory_reports_it_and_is_not_killed(
    tmp_path: Path, tiny: Path, mebibytes: int, code: int, line: str
) -> None:
    """Measured, for three samples a pixel: up to 171 MiB the picture is refused before the work, up
    to 280 no tile fits, up to 400 the result cannot be encoded. Libraries that generate code die
    when they get no memory; here nothing may."""
    ran = upscale_whole(draw(tmp_path / "a.png", 720, 640), tiny, tmp_path / "out", mebibytes)
    assert ran.code == code, ran.err
    assert any(each.startswith(line.format(tmp=tmp_path)) for each in ran.error_lines), ran.err
    assert "Traceback" not in ran.err
    assert (tmp_path / "out" / "a_x8.bmp").exists() == (code == 0)


def start(tmp_path: Path, count: int) -> subprocess.Popen[str]:
    for number in range(count):
        draw(tmp_path / "in" / f"{number:03}.png", 90, 90, seed=number)
    command = ["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-s", "2,4,8"]
    return subprocess.Popen(
        [sys.executable, "-m", "lapsr_cli", *command, "--batch-size", "1"],
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_a_result(process: subprocess.Popen[str], out: Path) -> None:
    while process.poll() is None and not list(out.glob("*_x8.png")):
        time.sleep(0.02)


@pytest.mark.posix
def test_ctrl_c_ends_with_130_and_whole_pictures(tmp_path: Path) -> None:
    process = start(tmp_path, 40)
    wait_for_a_result(process, tmp_path / "out")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "interrupted: " in err
    assert "Traceback" not in err
    assert 0 < len(files(tmp_path / "out")) < 120
    for name in files(tmp_path / "out"):
        with Image.open(tmp_path / "out" / name) as image:
            image.load()


def test_a_killed_run_leaves_only_whole_pictures_and_can_be_repeated(
    tmp_path: Path, lapsr: Lapsr
) -> None:
    process = start(tmp_path, 6)
    wait_for_a_result(process, tmp_path / "out")
    process.kill()
    process.communicate()
    for path in (tmp_path / "out").glob("*.png"):
        with Image.open(path) as image:
            image.load()
    ran = lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "-s", "2,4,8")
    assert ran.code == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 18


def test_a_model_of_ones_own(lapsr: Lapsr, tmp_path: Path) -> None:
    own = tmp_path / "own.safetensors"
    with atomic_write(own) as file:
        file.write(weights.obtain("lapsr-classic", offline=True).read_bytes())
    draw(tmp_path / "a.png")
    ran = lapsr("upscale", tmp_path / "a.png", "-o", tmp_path / "out", "-m", own)
    assert ran.code == 0
    assert f"model: {own}, MS-LapSRN D5R2" in ran.err


def test_a_run_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    """Each of these takes as long to load as a small picture takes to enlarge, or longer."""
    code = (
        "import sys; from lapsr_cli.cli import run\n"
        "assert run() == 0; print('loaded', *sorted(sys.modules))"
    )
    arguments = ["upscale", PICTURES / "lettering.png", "-o", tmp_path, "--offline"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.rpartition("loaded ")[2].split())
    assert "torch" in loaded
    heavy = {"torch._dynamo", "torch._inductor", "sympy", "scipy", "matplotlib", "pyvips", "onnx"}
    assert not loaded & heavy
