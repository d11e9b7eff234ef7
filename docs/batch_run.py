"""A run over many pictures: its memory as it goes, and its time beside that of its stages alone.

    python docs/batch_run.py --count 2000 --size 96x64
    python docs/batch_run.py --count 50 --size 4000x3000 --scale 2

Makes the pictures (JPEG, smooth noise), enlarges them with `lapsr upscale` in a process whose
resident memory is read twice a second, then times reading, network and writing one after another
on a tenth of them, each alone, with the same number of threads as the run had.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image


def draw(folder: Path, count: int, width: int, height: int) -> None:
    """Different pictures of one size: noise at three scales, with the detail of a photograph."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        picture = np.zeros((height, width, 3), np.float32)
        for divisor, weight in ((64, 0.6), (8, 0.25), (2, 0.15)):
            small = (max(1, height // divisor), max(1, width // divisor), 3)
            noise = Image.fromarray(rng.integers(0, 256, small, np.uint8))
            layer = noise.resize((width, height), Image.Resampling.BICUBIC)
            picture += weight * np.asarray(layer, np.float32)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number:05}.jpg", quality=90)


def watched(command: list[str]) -> tuple[float, list[float]]:
    """Seconds of a command, and its resident memory in MB twice a second."""
    start, curve = time.monotonic(), []
    process = subprocess.Popen(command)
    while process.poll() is None:
        try:
            curve.append(psutil.Process(process.pid).memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.5)
    if process.wait():
        raise SystemExit(f"{command}: exit {process.returncode}")
    return time.monotonic() - start, curve


def stages(folder: Path, scale: int, model: str | None) -> dict[str, float]:
    """Seconds of each stage alone for the pictures of a folder, as `lapsr bench` measures them."""
    command = [sys.executable, "-m", "lapsr_cli", "bench", "--json", "--device", "cpu"]
    command += ["--end-to-end", str(folder), "--sample", "1000000", "-s", str(scale)]
    command += ["-m", model] if model else []
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    (row,) = json.loads(done.stdout)["stages"]
    return {stage: seconds for stage, seconds in row["seconds"].items() if seconds}


def main() -> None:
    """Run, watch, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--size", default="96x64", help="WIDTHxHEIGHT")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--model")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        pictures, few = Path(folder, "in"), Path(folder, "few")
        draw(pictures, options.count, width, height)
        few.mkdir()
        sample = sorted(pictures.iterdir())[: max(1, options.count // 10)]
        for path in sample:
            (few / path.name).write_bytes(path.read_bytes())
        model = ["-m", options.model] if options.model else []
        command = [sys.executable, "-m", "lapsr_cli", "upscale", str(pictures), "-o"]
        command += [str(Path(folder, "out")), "-s", str(options.scale), "--device", "cpu", *model]
        seconds, curve = watched(command)
        alone = stages(few, options.scale, options.model)
    share = options.count / len(sample)
    slowest = share * max(alone.values())
    tenth = max(1, len(curve) // 10)
    print(f"{options.count} pictures of {options.size} to {options.scale}x: {seconds:.1f} s in all")
    for name, value in alone.items():
        print(f"  {name} alone: {share * value:.1f} s (from {len(sample)} pictures)")
    print(f"  in all over the slowest stage: {seconds / slowest:.2f}")
    steps = [statistics.median(curve[at : at + tenth]) for at in range(0, len(curve), tenth)]
    print("  resident memory, MB, by tenths of the run: " + " ".join(f"{s:.0f}" for s in steps))


if __name__ == "__main__":
    main()
