"""Every script in benchmarks/ runs, on toy sizes, and prints what it claims to measure."""

from __future__ import annotations

import json
import math
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lapsr_cli import weights
from lapsr_cli.bench.quality import read_originals
from lapsr_cli.device.selection import choose
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.pixels.resize import resize
from tests.conftest import ROOT, draw

FOLDER = ROOT / "benchmarks"


def run(script: str, *arguments: str | Path) -> str:
    """Standard output of a script."""
    done = subprocess.run(
        [sys.executable, FOLDER / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # networks this small gain nothing from threads
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(table: str) -> list[list[str]]:
    """The cells of a Markdown table, headings included."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert set("".join(rows[1])) == {"-"}
    return rows[:1] + rows[2:]


def test_the_readme_lists_every_script() -> None:
    named = re.findall(r"benchmarks/(\w+\.py)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(path.name for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_command_lines_in_the_help_use_options_of_the_script(path: Path) -> None:
    description, _, options = run(path.name, "--help").partition("options:")
    examples = [line for line in description.splitlines() if line.startswith("    ")]
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", "\n".join(examples)))
    assert used
    assert used <= set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", options))


def test_training_speed() -> None:
    """The slowest and the fastest variant in fp32."""
    toy = ("--rounds", "1", "--batch-size", "3", "--patch-size", "16", "--seconds", "0")
    output = run("training_speed.py", *toy, "--only", "0", "--only", "5")
    heading, plain, *others = rows_of(output)
    assert heading == ["variant", "patches/s", "relative to the first", "data, share of the step"]
    assert plain[0].startswith("plain loop")
    assert plain[2] == "1.00"
    assert [name for name, *_ in others] == ["+ Winograd, a share for each thread (CPU, fp32)"]
    for _, rate, ratio, share in (plain, *others):
        rounding = 0.05 + 0.05 * float(ratio) + 0.005 * float(plain[1]) + 1e-3
        assert float(rate) == pytest.approx(float(ratio) * float(plain[1]), abs=rounding)
        assert float(share.removesuffix(" %")) > 0


def test_photo_quality(tiny: Path, tmp_path: Path) -> None:
    """Without noise, quality 0 is the protocol itself; compression and noise cost PSNR."""
    draw(tmp_path / "set" / "a.png", 60, 52)
    draw(tmp_path / "set" / "b.jpg", 48, 40, seed=1)
    options = ("-m", tiny, "--scale", "2", "--quality", "0", "--quality", "20")
    heading, clean, jpeg = rows_of(run("photo_quality.py", tmp_path / "set", *options))
    assert heading == ["model", "noise", "quality", "2x"]
    assert (clean[:3], jpeg[:3]) == ([str(tiny), "0", "none"], [str(tiny), "0", "20"])
    evaluator = Evaluator(Runtime(weights.load(str(tiny)), choose("cpu")))
    originals, _ = read_originals(tmp_path / "set", "folder")
    scores = [evaluator.score(original.luma, 2) for original in originals]
    psnr = statistics.mean(score.psnr for score in scores)
    ssim = statistics.mean(score.ssim for score in scores)
    assert clean[3] == f"{psnr:.2f} / {ssim:.4f}"
    assert float(jpeg[3].split()[0]) < psnr
    _, noisy = rows_of(
        run("photo_quality.py", tmp_path / "set", *options[:5], "0", "--noise", "25")
    )
    assert float(noisy[3].split()[0]) < psnr


def test_chroma_quality(tiny: Path, tmp_path: Path) -> None:
    """Grey pictures are left out; without compression there is nothing to restore."""
    draw(tmp_path / "set" / "a.png", 60, 52)
    draw(tmp_path / "set" / "b.png", 60, 52, "L")
    options = ("-m", tiny, "--scale", "2", "--quality", "0", "--quality", "20")
    heading, *rows = rows_of(run("chroma_quality.py", tmp_path / "set", *options))
    assert heading == ["scale", "quality", "chroma", "Cb", "Cr", "RGB", "seconds"]
    assert [row[1:3] for row in rows] == [
        [quality, way] for quality in ("none", "20") for way in ("bicubic", "restored")
    ]
    clean, same, coded, restored = (row[3:6] for row in rows)
    assert clean == same
    assert coded != restored
    picture = torch.from_numpy(np.array(Image.open(tmp_path / "set" / "a.png"))).permute(2, 0, 1)
    lr = resize(picture, 0.5)
    result = Runtime(weights.load(str(tiny)), choose("cpu"))(lr[None], (2,))[2][0]
    error = (result.double() - picture)[:, 2:-2, 2:-2].square().mean().item()
    assert float(clean[2]) == pytest.approx(10 * math.log10(255**2 / error), abs=0.006)


def test_file_sizes(tiny: Path, tmp_path: Path) -> None:
    """A fit for every format, and the same once more from the rows it kept."""
    for number in range(6):
        draw(tmp_path / "set" / f"{number}.png", 40, 30, "L" if number % 2 else "RGB", seed=number)
    options = (tmp_path / "set", "-m", tiny, "--crop", "16", "--rows", tmp_path / "rows.json")
    table = run("file_sizes.py", *options)
    heading, *rows = rows_of(table)
    assert heading[:5] == ["output", "constants", "slope", "growth", "colour"]
    assert [row[0] for row in rows] == [
        f"{form}, {kind} input"
        for form in ("JPEG", "WEBP", "AVIF", "PNG", "TIFF", "GIF", "WEBP lossless")
        for kind in ("lossless", "lossy")
    ]
    for row in rows:
        constants = [float(each) for each in row[1].split()]
        assert constants == sorted(constants), "higher quality takes more bits"
        assert all(re.fullmatch(r"\d+%", error) for error in row[-3:-1])
        sums = re.findall(r"(\w+)(?: \d+)? [+-]\d+%", row[-1])
        assert sums == (["jpg"] * 5 + ["webp"] * 2 if "lossy input" in row[0] else ["png"])
    assert run("file_sizes.py", *options) == table
    kept = json.loads((tmp_path / "rows.json").read_text())
    assert len(kept) == 6 * 2 * (2 * 18 + 6 * 7), "two inputs with every quality, six with one"


def test_batch_run(tiny: Path) -> None:
    output = run("batch_run.py", "--count", "12", "--size", "24x16", "--model", tiny)
    first, *stages, ratio, memory = output.splitlines()
    assert re.fullmatch(r"12 pictures of 24x16 to 2x: [\d.]+ s in all", first)
    assert [line.split()[0] for line in stages] == ["decode", "network", "encode"]
    assert all(line.endswith("(from 1 of 12 pictures)") for line in stages)
    assert float(ratio.rpartition(" ")[2]) > 0
    megabytes = [int(each) for each in memory.partition("run: ")[2].split()]
    assert max(megabytes) > 10


RED_OVER_WHITE_OR_BLACK = {"text": 133, "fine print": 230, "ring": 98, "shadow": 2}
"""What was attained: the network makes strokes of middle brightness darker over white and brighter
over black, and blurs their chroma; no alpha does both."""


@pytest.mark.parametrize(
    ("pictures", "scales"),
    [(["text", "fine print", "ring", "shadow"], [2, 4]), (["fine print"], [8])],
)
def test_transparency(pictures: list[str], scales: list[int]) -> None:
    """What is black or white is within 6 levels of the same picture enlarged without alpha (fine
    print: 8), over white, over black, and over its own colour."""
    options = [f"--picture={picture}" for picture in pictures]
    options += [f"--scale={scale}" for scale in scales]
    heading, *rows = rows_of(run("transparency.py", *options))
    assert heading[3:] == ["over white", "over black", "over own", "over grey"]
    assert len(rows) == len(pictures) * 3 * len(scales)
    for shape, colour, _, *cells in rows:
        over_white, over_black, over_own, _ = (int(cell.split()[0]) for cell in cells)
        limit = 8 if shape == "fine print" else 6
        assert over_own <= 2
        assert max(over_white, over_black) <= (
            RED_OVER_WHITE_OR_BLACK[shape] + 1 if colour == "red" else limit
        )
