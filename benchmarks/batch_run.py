"""A run over many pictures: its memory over time, and its time compared with that of its stages.

    python benchmarks/batch_run.py --count 2000 --size 96x64
    python benchmarks/batch_run.py --count 50 --size 4000x3000 --scale 2

Writes the pictures (JPEG, smooth noise) and runs `lapsr upscale` on them in a process whose
resident memory is sampled twice a second. Then `lapsr bench --end-to-end` times each stage alone on
a tenth of the pictures, with the number of threads that the run had.
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

LAPSR = [sys.executable, "-m", "lapsr_cli"]


def draw(folder: Path, count: int, width: int, height: int) -> None:
    """Write different pictures of one size: noise at three scales, as detailed as a photograph."""
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


def run_and_watch(command: list[str]) -> tuple[float, list[float]]:
    """Seconds that a command takes, and its resident memory in MB, sampled twice a second."""
    start, samples = time.monotonic(), []
    process = subprocess.Popen(command)
    while process.poll() is None:
        try:
            samples.append(psutil.Process(process.pid).memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.5)
    if process.wait():
        raise SystemExit(f"{command}: exit code {process.returncode}")
    return time.monotonic() - start, samples


def stage_seconds(folder: Path, scale: int, model: list[str]) -> dict[str, float]:
    """Seconds of each stage alone for the pictures in a folder; stages that take no time (copies,
    on the CPU) are left out."""
    command = [*LAPSR, "bench", "--json", "--device", "cpu", "--end-to-end", str(folder)]
    command += ["--sample", "1000000", "-s", str(scale), *model]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    (row,) = json.loads(done.stdout)["stages"]
    return {stage: seconds for stage, seconds in row["seconds"].items() if seconds}


def main() -> None:
    """Run, watch, time the stages, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--size", default="96x64", help="WIDTHxHEIGHT")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--model")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    model = ["-m", options.model] if options.model else []
    with tempfile.TemporaryDirectory() as folder:
        pictures, sample = Path(folder, "in"), Path(folder, "sample")
        draw(pictures, options.count, width, height)
        sample.mkdir()
        sampled = sorted(pictures.iterdir())[: max(1, options.count // 10)]
        for path in sampled:
            (sample / path.name).write_bytes(path.read_bytes())
        command = [*LAPSR, "upscale", str(pictures), "-o", str(Path(folder, "out"))]
        command += ["-s", str(options.scale), "--device", "cpu", *model]
        seconds, memory = run_and_watch(command)
        alone = stage_seconds(sample, options.scale, model)
    factor = options.count / len(sampled)
    slowest = factor * max(alone.values())
    print(f"{options.count} pictures of {options.size} to {options.scale}x: {seconds:.1f} s in all")
    basis = f" (from {len(sampled)} of {options.count} pictures)"
    for name, value in alone.items():
        print(f"  {name} alone: {factor * value:.1f} s{basis}")
    print(f"  in all over the slowest stage: {seconds / slowest:.2f}")
    tenth = max(1, len(memory) // 10)
    steps = [statistics.median(memory[at : at + tenth]) for at in range(0, len(memory), tenth)]
    print("  resident memory, MB, by tenths of the run: " + " ".join(f"{s:.0f}" for s in steps))


if __name__ == "__main__":
    main()
