"""Patches per second of a training step, from a plain loop to what `lapsr train` does.

    python benchmarks/training_speed.py [--device cuda] [--rounds 3] [--batch-size 16]
        [--patch-size 96] [--seconds 10] [--only N]

Each variant runs in a process of its own, because the behaviour of malloc is set per process. The
runs are interleaved, --rounds times; the table has medians. The pictures are noise: their content
does not change the time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

VARIANTS = {
    "plain loop: reference network, fp32": "",
    "+ channels-last": "channels_last",
    "+ freed memory kept": "channels_last keep",
    "+ fused network": "channels_last keep fused",
    "+ bf16 features": "channels_last keep fused bf16",
    "+ Winograd, a share for each thread (CPU, fp32)": "channels_last keep fused winograd",
}
"""The features that each variant switches on, by its name in the table."""

PICTURES, SIDE = 16, 512
WARM_UP_STEPS = 4
TIMED_BATCHES = 20


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Mean seconds of a step, which includes making its batch, and of making a batch alone."""
    import numpy as np
    import torch

    from lapsr_cli.device.memory import keep_freed_memory
    from lapsr_cli.network.fused import FusedPyramid
    from lapsr_cli.network.pyramid import LaplacianPyramid
    from lapsr_cli.train import optimizer
    from lapsr_cli.train.dataset import Dataset
    from lapsr_cli.train.distributed import ProcessGroup
    from lapsr_cli.train.ema import Ema
    from lapsr_cli.train.gradient import ThreadedGradient, WholeBatchGradient
    from lapsr_cli.train.patches import PatchSampler
    from lapsr_cli.train.recipe import Recipe

    features = options.variant.split()
    if "keep" in features:
        keep_freed_memory()
    recipe = Recipe(
        precision="bf16" if "bf16" in features else "fp32",
        batch_size=options.batch_size,
        patch_size=options.patch_size,
    )
    device = torch.device(options.device)
    sides = np.full(PICTURES, SIDE)
    pixels = torch.randint(0, 256, (PICTURES * SIDE * SIDE,), dtype=torch.uint8, device=device)
    offsets = np.arange(PICTURES) * SIDE * SIDE
    dataset = Dataset(pixels, offsets, sides, sides, ("noise",) * PICTURES)
    patches = PatchSampler(dataset, recipe)
    model = (FusedPyramid if "fused" in features else LaplacianPyramid)(recipe.network).to(device)
    if "channels_last" in features:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    gradient: WholeBatchGradient | ThreadedGradient
    if isinstance(model, FusedPyramid) and "winograd" in features:
        gradient = ThreadedGradient(model, recipe, dataset, torch.get_num_threads())
    else:
        gradient = WholeBatchGradient(model, recipe, dataset, ProcessGroup(0, 1, device))
    steps_by = optimizer.build(model, recipe)
    ema = Ema(model, recipe.ema)

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def step(number: int) -> None:
        gradient(number)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
        steps_by.step()
        ema.update(model, number + 1)

    for number in range(WARM_UP_STEPS):
        step(number)
    steps, start = 0, now()
    while steps == 0 or now() - start < options.seconds:
        step(steps)
        steps += 1
    seconds = (now() - start) / steps
    start = now()
    for number in range(TIMED_BATCHES):
        patches.batch(number)
    return {"step": seconds, "batch": (now() - start) / TIMED_BATCHES}


def measure_all(options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """The results of every variant, one per round."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.variants}
    for _ in range(options.rounds):
        for name in options.variants:
            features = VARIANTS[name]
            command = [sys.executable, __file__, "--variant", features, "--device", options.device]
            command += ["--batch-size", str(options.batch_size)]
            command += ["--patch-size", str(options.patch_size)]
            command += ["--seconds", str(options.seconds)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name].append(json.loads(done.stdout))
    return found


def main() -> None:
    """Measure one variant and print it as JSON, or all of them and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variant", help=argparse.SUPPRESS)  # features, in a process of its own
    parser.add_argument(
        "--only",
        type=int,
        action="append",
        metavar="N",
        help="measure variant N, from 0; repeatable",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--patch-size", type=int, default=96)
    parser.add_argument("--seconds", type=float, default=10, help="duration of one measurement")
    options = parser.parse_args()
    if options.variant is not None:
        print(json.dumps(measure(options)))
        return
    names = list(VARIANTS)
    options.variants = [names[number] for number in options.only] if options.only else names
    found = measure_all(options)
    plain = statistics.median(each["step"] for each in next(iter(found.values())))
    print("| variant | patches/s | relative to the first | data, share of the step |")
    print("|---|---|---|---|")
    for name, results in found.items():
        step = statistics.median(each["step"] for each in results)
        share = statistics.median(each["batch"] / each["step"] for each in results)
        rate = options.batch_size / step
        print(f"| {name} | {rate:.1f} | {plain / step:.2f} | {100 * share:.1f} % |")


if __name__ == "__main__":
    main()
