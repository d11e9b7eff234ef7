"""A run over many pictures: its memory as it goes, and its time beside that of its stages alone.

    python docs/batch_run.py --count 2000 --size 96x64
    python docs/batch_run.py --count 50 --size 4000x3000 --scale 2

Makes the pictures (JPEG, smooth noise), enlarges them with `lapsr upscale` in a process whose
resident memory is read twice a second, then times reading, network and writing one after another
on a tenth of them, each alone, with the same number of threads as the run had.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
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
    """Seconds of each stage alone for the pictures of a folder."""
    from lapsr_cli import image_io
    from lapsr_cli.device import keep_freed_memory
    from lapsr_cli.image_io import Photo
    from lapsr_cli.passes import Task
    from lapsr_cli.upscaler import Upscaler

    keep_freed_memory()
    upscaler = Upscaler.from_weights(model, device="cpu")
    paths = sorted(folder.iterdir())
    times: dict[str, float] = {}

    def timed(name: str, start: float) -> None:
        times[name] = times.get(name, 0.0) + time.monotonic() - start

    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        photos = list(pool.map(image_io.read, paths))
    timed("read", start)
    start = time.monotonic()
    tasks = [
        Task(i, photo.frames[0], (scale,), upscaler.model_for(lossy=photo.lossy))
        for i, photo in enumerate(photos)
    ]
    results = [(result.key, result.pyramid[scale]) for result in upscaler.stream(tasks)]
    timed("network", start)
    with tempfile.TemporaryDirectory() as out, ThreadPoolExecutor(os.cpu_count()) as pool:

        def write(index: int) -> None:
            key, picture = results[index]
            image_io.write(Photo((picture,), "JPEG", lossy=True), Path(out) / f"{key}.jpg")

        start = time.monotonic()
        list(pool.map(write, range(len(results))))
        timed("write", start)
    return times


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
