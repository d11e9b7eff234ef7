"""Patches per second of a training step, from the plain loop to what `lapsr train` does.

    python docs/training_speed.py [--device cuda] [--rounds 3] [--batch-size 16] [--patch-size 96]

Every variant is a process of its own (how malloc behaves is a matter of the process), taken in turn
`--rounds` times; the table has medians. The pictures are noise: what they show costs nothing.
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
    "+ bf16 features (what lapsr train does)": "channels_last keep fused bf16",
}


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step and of making its batch, means over about ten seconds."""
    import numpy as np
    import torch

    from lapsr_cli.device.selection import keep_freed_memory
    from lapsr_cli.network.fused import FusedPyramid
    from lapsr_cli.network.pyramid import LaplacianPyramid
    from lapsr_cli.train import optimizer
    from lapsr_cli.train.dataset import Pictures
    from lapsr_cli.train.ema import Ema
    from lapsr_cli.train.loss import PyramidLoss
    from lapsr_cli.train.patches import Patches
    from lapsr_cli.train.recipe import Recipe

    tricks = options.variant.split()
    if "keep" in tricks:
        keep_freed_memory()
    recipe = Recipe(
        precision="bf16" if "bf16" in tricks else "fp32",
        batch_size=options.batch_size,
        patch_size=options.patch_size,
    )
    device = torch.device(options.device)
    sides = np.full(16, 512)
    pixels = torch.randint(0, 256, (16 * 512 * 512,), dtype=torch.uint8, device=device)
    offsets = np.arange(16) * 512 * 512
    patches = Patches(Pictures(pixels, offsets, sides, sides, ("noise",) * 16), recipe)
    model = (FusedPyramid if "fused" in tricks else LaplacianPyramid)(recipe.network).to(device)
    if "channels_last" in tricks:
        model.to(memory_format=torch.channels_last)
    objective, adam, ema = (
        PyramidLoss(model, recipe),
        optimizer.build(model, recipe),
        Ema(model, 0.9),
    )

    def finished() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def step(number: int) -> None:
        loss = objective(patches.batch(number))
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
        adam.step()
        ema.update(model, number + 1)

    for number in range(4):
        step(number)
    steps, start = 0, finished()
    while finished() - start < 10:
        step(steps)
        steps += 1
    seconds = (finished() - start) / steps
    start = finished()
    for number in range(20):
        patches.batch(number)
    return {"step": seconds, "batch": (finished() - start) / 20}


def main() -> None:
    """Measure one variant, or all of them in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--patch-size", type=int, default=96)
    options = parser.parse_args()
    if options.variant is not None:
        print(json.dumps(measure(options)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(options.rounds):
        for name, tricks in VARIANTS.items():
            command = [sys.executable, __file__, "--variant", tricks, "--device", options.device]
            command += ["--batch-size", str(options.batch_size)]
            command += ["--patch-size", str(options.patch_size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name].append(json.loads(done.stdout))
    plain = statistics.median(each["step"] for each in next(iter(found.values())))
    print("| variant | patches/s | of the plain loop | data, share of the step |")
    print("|---|---|---|---|")
    for name, results in found.items():
        step = statistics.median(each["step"] for each in results)
        share = statistics.median(each["batch"] / each["step"] for each in results)
        rate = options.batch_size / step
        print(f"| {name} | {rate:.1f} | {plain / step:.2f} | {100 * share:.1f} % |")


if __name__ == "__main__":
    main()
