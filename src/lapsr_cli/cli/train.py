"""lapsr train."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lapsr_cli.cli.help_groups import GroupedCommand, examples, grouped_option
from lapsr_cli.cli.interrupts import stop_signal
from lapsr_cli.cli.params import GivenPath, bytes_of, seconds_of
from lapsr_cli.cli.train_session import close, follow, introduce
from lapsr_cli.errors import UsageError

_NETWORK = ("depth", "recursions", "skip", "shared", "global_residual", "pyramid")
"""Recipe options that are fields of PyramidConfig; the others are fields of Recipe."""


def _recipe_option(group: str, *names: str, **attrs: Any) -> Callable[[Any], Any]:
    """An option whose default is that of the preset or of the resumed run."""
    return grouped_option(group, *names, default=None, **attrs)


@click.command(
    cls=GroupedCommand,
    short_help="Train the network on your own pictures.",
    epilog=examples(
        "lapsr train --data photos --val held-back -o run",
        "lapsr train --data photos --val held-back -o run-jpeg --init lapsr-photo \\",
        "    --degrade jpeg:20-80,noise:0-4,clean:0.3",
        "lapsr upscale scans -o large -s 4 -m run/model.safetensors",
    ),
)
@grouped_option(
    "Data",
    "--data",
    multiple=True,
    metavar="DIR",
    help="Folder of pictures to train on; repeatable.",
)
@grouped_option(
    "Data",
    "--val",
    multiple=True,
    metavar="DIR",
    help="Folder of pictures to validate on; repeatable.",
)
@grouped_option(
    "Data",
    "--memory",
    metavar="SIZE",
    help="Memory limit for training pictures, e.g. 4G; beyond it they are memory-mapped from disk.",
)
@grouped_option(
    "Run",
    "-o",
    "--output",
    required=True,
    type=GivenPath(file_okay=False),
    metavar="RUN",
    help="Folder of the run. If it already holds a run, training resumes.",
)
@grouped_option(
    "Run",
    "--preset",
    type=click.Choice(["modern", "paper"]),
    help="modern: Muon, cosine schedule, moving average. paper: the authors' recipe."
    "  [default: modern]",
)
@grouped_option(
    "Run",
    "--resume/--no-resume",
    default=None,
    help="Fail unless RUN holds a run to resume, or, with --no-resume, if it does.",
)
@grouped_option(
    "Run",
    "--decay-from",
    type=GivenPath(dir_okay=False),
    metavar="CHECKPOINT",
    help="Continue the run of this checkpoint in RUN, while the learning rate falls to its minimum"
    " (wsd schedule).",
)
@_recipe_option("Run", "--iterations", type=int, metavar="N", help="Length of the run.")
@grouped_option(
    "Run",
    "--time-limit",
    metavar="TIME",
    help="Stop with a checkpoint after this time, e.g. 9m or 1h30m.",
)
@grouped_option(
    "Run",
    "--log-every",
    default=100,
    show_default=True,
    metavar="N",
    help="Iterations between lines of metrics.",
)
@grouped_option(
    "Run",
    "--validate-every",
    default=1000,
    show_default=True,
    metavar="N",
    help="Iterations between validations.",
)
@grouped_option(
    "Run",
    "--save-every",
    default="5m",
    show_default=True,
    metavar="TIME",
    help="Time between checkpoints.",
)
@_recipe_option(
    "Run", "--seed", type=int, metavar="N", help="Random seed of the initial weights and patches."
)
@grouped_option(
    "Run",
    "--tensorboard",
    is_flag=True,
    help="Write TensorBoard logs to RUN/tensorboard (needs lapsr-cli[tensorboard]).",
)
@_recipe_option(
    "Network",
    "--init",
    metavar="NAME|FILE",
    help="Fine-tune this model: a name from `lapsr weights list`, or a file.",
)
@_recipe_option(
    "Network",
    "--initialization",
    type=click.Choice(["paper", "scaled"]),
    help="Initial weights: as the authors drew them, or scaled so that signals keep their size.",
)
@_recipe_option(
    "Network", "--depth", type=int, metavar="N", help="D: convolutions per recursive block."
)
@_recipe_option(
    "Network", "--recursions", type=int, metavar="N", help="R: recursive blocks per level."
)
@_recipe_option(
    "Network",
    "--skip",
    type=click.Choice(["ss", "ds", "ns"]),
    help="Skip connections: shared source, different source or none.",
)
@_recipe_option(
    "Network",
    "--share/--no-share",
    "shared",
    help="Share weights across levels and recursions (MS-LapSRN), or not (LapSRN).",
)
@_recipe_option(
    "Network",
    "--scales",
    metavar="LIST",
    help="Scales to train, any of 2,4,8; each gets an equal part of every batch.",
)
@_recipe_option(
    "Network",
    "--global-residual/--no-global-residual",
    help="Ablation: predict residuals, or the pictures themselves.",
)
@_recipe_option(
    "Network",
    "--pyramid/--no-pyramid",
    help="Ablation: upscale level by level, or in one step at a single level.",
)
@_recipe_option(
    "Patches and loss",
    "--patch-size",
    type=int,
    metavar="PIXELS",
    help="Side of an HR patch, a multiple of 8.",
)
@_recipe_option(
    "Patches and loss",
    "--batch-size",
    type=int,
    metavar="N",
    help="Patches per iteration, on all devices together.",
)
@_recipe_option(
    "Patches and loss",
    "--scale-augmentation",
    type=float,
    help="Smallest factor by which pictures are randomly downscaled, in steps of 0.1; 1 disables"
    " it.",
)
@_recipe_option(
    "Patches and loss",
    "--degrade",
    metavar="LIST",
    help="Degrade LR patches, and LR pictures in validation, e.g."
    " jpeg:60-95,blur:0-0.8,noise:0-3,clean:0.1; clean is the share left as it is. Also aspect,"
    " shot, correlation, sharpen, resize and recoded: see docs/training.md.",
)
@_recipe_option(
    "Patches and loss",
    "--loss",
    type=click.Choice(["charbonnier", "l1", "l2"]),
    help="Loss function.",
)
@_recipe_option(
    "Patches and loss",
    "--reduction",
    type=click.Choice(["sum", "mean"]),
    help="Sum the loss over pixels, as published, or average it.",
)
@_recipe_option(
    "Patches and loss",
    "--adversarial",
    type=float,
    metavar="WEIGHT",
    help="Add WEIGHT times the loss of fooling a discriminator: more plausible detail, less PSNR.",
)
@_recipe_option(
    "Optimizer",
    "--discriminator-lr",
    "discriminator_rate",
    type=float,
    help="Learning rate of the discriminator.",
)
@_recipe_option(
    "Optimizer",
    "--optimizer",
    type=click.Choice(["sgd", "adam", "adamw", "muon"]),
    help="Optimizer: sgd as published; muon converges fastest.",
)
@_recipe_option("Optimizer", "--lr", "rate", type=float, help="Learning rate.")
@_recipe_option(
    "Optimizer",
    "--schedule",
    type=click.Choice(["step", "cosine", "constant", "wsd"]),
    help="Learning rate schedule; wsd (warm-up, stable, decay) is constant but for its end.",
)
@_recipe_option("Optimizer", "--lr-min", "rate_min", type=float, help="Minimum learning rate.")
@_recipe_option(
    "Optimizer",
    "--lr-step",
    "rate_step",
    type=int,
    metavar="N",
    help="Iterations between drops (step schedule).",
)
@_recipe_option(
    "Optimizer",
    "--lr-drop",
    "rate_drop",
    type=float,
    help="Factor of a drop (step schedule).",
)
@_recipe_option(
    "Optimizer", "--warm-up", type=int, metavar="N", help="Iterations of linear warm-up."
)
@_recipe_option(
    "Optimizer",
    "--decay",
    type=int,
    metavar="N",
    help="Iterations over which the learning rate falls at the end (wsd schedule); by default a"
    " fifth of the run.",
)
@_recipe_option("Optimizer", "--weight-decay", type=float, help="L2 penalty on the weights.")
@_recipe_option(
    "Optimizer",
    "--bias-lr-factor",
    "bias_rate_factor",
    type=float,
    help="Learning rate of biases, relative to --lr.",
)
@_recipe_option(
    "Optimizer",
    "--ema",
    type=float,
    help="Decay of the moving average of the weights; 0 disables it.",
)
@_recipe_option(
    "Optimizer", "--grad-clip", type=float, help="Maximum norm of the gradient; 0 disables it."
)
@grouped_option(
    "Device",
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="auto, cpu, cuda, cuda:N or mps.",
)
@_recipe_option(
    "Device",
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    help="Precision of the features. The preset modern uses bf16 where the device is faster in it.",
)
@grouped_option("Device", "--compile", "compiled", is_flag=True, help="Use torch.compile.")
def train(
    data: tuple[str, ...],
    val: tuple[str, ...],
    output: Path,
    preset: str | None,
    resume: bool | None,
    decay_from: Path | None,
    device: str,
    compiled: bool,
    memory: str | None,
    time_limit: str | None,
    log_every: int,
    validate_every: int,
    save_every: str,
    tensorboard: bool,
    **recipe: Any,
) -> int:
    """Train the network on the pictures of --data.

    RUN receives checkpoints, metrics and model.safetensors, the best model so far, which
    `lapsr upscale -m` takes. --preset sets the defaults of the network, the patches, the loss and
    the optimizer (docs/cli.md lists them).

    Ctrl-C, SIGTERM, SIGHUP and --time-limit stop with a checkpoint; run the same command again to
    resume. For several GPUs, replace `lapsr` by `torchrun --nproc-per-node N -m lapsr_cli`.
    """
    started = time.monotonic()
    given = {name: value for name, value in recipe.items() if value is not None}
    limit = None if time_limit is None else seconds_of("--time-limit", time_limit)
    saving = seconds_of("--save-every", save_every)
    budget = None if memory is None else bytes_of("--memory", memory)
    if "scales" in given:
        given["scales"] = _scales(given["scales"])

    from lapsr_cli.device.memory import keep_freed_memory
    from lapsr_cli.device.selection import choose
    from lapsr_cli.image_io import configure_pillow
    from lapsr_cli.train.distributed import local_device, process_group
    from lapsr_cli.train.loop import LoopOptions
    from lapsr_cli.train.run_dir import RunDirectory
    from lapsr_cli.train.setup import TrainOptions, build_trainer, resolve

    keep_freed_memory()
    configure_pillow()
    chosen = choose(local_device(device))
    folder = RunDirectory(output)
    options = TrainOptions(
        data=data,
        val=val,
        preset=preset,
        network={name: value for name, value in given.items() if name in _NETWORK},
        recipe={name: value for name, value in given.items() if name not in _NETWORK},
        resume=resume,
        decay_from=decay_from,
    )
    pace = LoopOptions(
        log_every=log_every, validate_every=validate_every, save_every=saving, time_limit=limit
    )
    settled = resolve(folder, options, chosen)
    with process_group(chosen.torch_device) as ranks, stop_signal() as stop:
        introduce(settled, replace(chosen, precision=settled.recipe.precision), ranks)
        trainer = build_trainer(
            settled,
            folder,
            chosen,
            ranks,
            options=pace,
            started=started,
            command=sys.argv,
            memory=budget,
            compiled=compiled,
        )
        end = follow(trainer, stop, ranks, tensorboard=tensorboard)
    return close(end, trainer, ranks, stop.exit_code)


def _scales(text: str) -> tuple[int, ...]:
    """ "2,8" as (2, 8), ascending and without duplicates. Raises UsageError."""
    try:
        scales = {int(part) for part in text.split(",")}
    except ValueError:
        scales = set()
    if not scales or not scales <= {2, 4, 8}:
        raise UsageError(f"--scales {text}: must be a list of 2, 4 and 8")
    return tuple(sorted(scales))
