"""lapsr train."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lapsr_cli.cli.interrupts import stop_signal
from lapsr_cli.cli.params import GivenPath, bytes_of
from lapsr_cli.errors import INTERRUPTED, UsageError

if TYPE_CHECKING:
    from lapsr_cli.train.distributed import Ranks
    from lapsr_cli.train.loop import Stopped, Trainer
    from lapsr_cli.train.recipe import Recipe
    from lapsr_cli.train.setup import ResolvedRun

_NETWORK = ("depth", "recursions", "skip", "shared", "global_residual", "pyramid")
"""Flags that are fields of PyramidConfig; every other one of ``flags`` is a field of Recipe."""


def _of_preset(*names: str, help: str, **options: Any) -> Callable[[Any], Any]:  # noqa: A002
    """An option that, not given, is what the preset says."""
    return click.option(*names, default=None, help=help, **options)


@click.command(short_help="Train the network on your own pictures.")
@click.option("--data", multiple=True, metavar="DIR", help="Pictures to train on; repeatable.")
@click.option("--val", multiple=True, metavar="DIR", help="Pictures to validate on; repeatable.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=GivenPath(file_okay=False),
    metavar="RUN",
    help="Folder of the run; the run in it, if there is one, goes on.",
)
@click.option(
    "--preset",
    type=click.Choice(["modern", "paper"]),
    help="modern (default): Muon, cosine, moving average; paper: the authors' recipe.",
)
@click.option("--resume/--no-resume", default=None, help="RUN must, or must not, hold a run.")
@_of_preset("--init", metavar="NAME|FILE", help="Start from a model, see `lapsr weights list`.")
@_of_preset("--depth", type=int, help="D, convolutions of a recursive block.")
@_of_preset("--recursions", type=int, help="R, blocks of a level.")
@_of_preset(
    "--skip", type=click.Choice(["ss", "ds", "ns"]), help="Shared source, different source, none."
)
@_of_preset("--share/--no-share", "shared", help="MS-LapSRN, or LapSRN, which shares nothing.")
@_of_preset("--global-residual/--no-global-residual", help="Ablation: levels predict outright.")
@_of_preset("--pyramid/--no-pyramid", help="Ablation: one level, which enlarges at once.")
@_of_preset("--scales", metavar="LIST", help="Any of 2,4,8; each has its part of every batch.")
@_of_preset("--loss", type=click.Choice(["charbonnier", "l1", "l2"]), help="Penalty of a pixel.")
@_of_preset(
    "--reduction", type=click.Choice(["sum", "mean"]), help="How pixels add up (paper: sum)."
)
@_of_preset(
    "--initialization",
    type=click.Choice(["paper", "scaled"]),
    help="First weights: the authors', or such that signals keep their size.",
)
@_of_preset("--patch-size", type=int, help="Side of an HR patch in pixels, a multiple of 8.")
@_of_preset("--batch-size", type=int, help="Patches of an iteration, on all devices together.")
@_of_preset("--iterations", type=int, help="Length of the run.")
@_of_preset("--scale-augmentation", type=float, help="Shrink pictures to this or more; 1 is off.")
@_of_preset(
    "--degrade",
    metavar="LIST",
    help="Harm LR patches, and LR in validation: jpeg:60-95,blur:0-0.8,noise:0-3,clean:0.1 (share"
    " that is spared).",
)
@_of_preset(
    "--optimizer",
    type=click.Choice(["sgd", "adam", "adamw", "muon"]),
    help="sgd as published, muon the fastest.",
)
@_of_preset("--lr", "rate", type=float, help="Learning rate.")
@_of_preset(
    "--schedule", type=click.Choice(["step", "cosine", "constant"]), help="Of the learning rate."
)
@_of_preset("--lr-min", "rate_min", type=float, help="Least learning rate.")
@_of_preset("--lr-step", "rate_step", type=int, help="Iterations between drops (step).")
@_of_preset("--lr-drop", "rate_drop", type=float, help="What a drop multiplies by (step).")
@_of_preset("--warm-up", type=int, help="Iterations of linear growth at the start.")
@_of_preset("--weight-decay", type=float, help="L2 penalty of the weights.")
@_of_preset("--bias-lr-factor", "bias_rate_factor", type=float, help="Biases' rate over --lr.")
@_of_preset("--ema", type=float, help="Decay of the moving average of the weights; 0 is none.")
@_of_preset("--grad-clip", type=float, help="Largest norm of the gradient; 0 is any.")
@_of_preset(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    help="Of the features; modern takes bf16 where the device is faster in it.",
)
@_of_preset("--seed", type=int, help="Of weights and patches.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--compile", "compiled", is_flag=True, help="Use torch.compile.")
@click.option("--memory", metavar="SIZE", help="For pictures, as in 4G; more is mapped from disk.")
@click.option("--time-limit", metavar="TIME", help="Stop with a checkpoint, as in 9m or 1h30m.")
@click.option("--log-every", default=100, show_default=True, help="Iterations a line of metrics.")
@click.option("--validate-every", default=1000, show_default=True, help="Iterations.")
@click.option("--save-every", default="5m", show_default=True, help="Time between checkpoints.")
@click.option("--tensorboard", is_flag=True, help="Write RUN/tensorboard (extra [tensorboard]).")
def train(
    data: tuple[str, ...],
    val: tuple[str, ...],
    output: Path,
    preset: str | None,
    resume: bool | None,
    device: str,
    compiled: bool,
    memory: str | None,
    time_limit: str | None,
    log_every: int,
    validate_every: int,
    save_every: str,
    tensorboard: bool,
    **flags: Any,
) -> int:
    """Train on the pictures of --data into RUN, which ends up with model.safetensors for
    `lapsr upscale -m`.

    Ctrl-C, SIGTERM and --time-limit leave a checkpoint; the same command goes on from it. Several
    devices: torchrun --nproc-per-node N -m lapsr_cli train ...
    """
    started = time.monotonic()
    given = {name: value for name, value in flags.items() if value is not None}
    limit = None if time_limit is None else _seconds("--time-limit", time_limit)
    saving = _seconds("--save-every", save_every)
    budget = None if memory is None else bytes_of("--memory", memory)
    if "scales" in given:
        given["scales"] = _scales(given["scales"])

    from lapsr_cli.device.memory import keep_freed_memory
    from lapsr_cli.device.selection import choose
    from lapsr_cli.train.distributed import joined, local_device
    from lapsr_cli.train.loop import Pace
    from lapsr_cli.train.run_dir import RunFolder
    from lapsr_cli.train.setup import TrainOptions, begin, settle

    keep_freed_memory()
    chosen = choose(local_device(device))
    folder = RunFolder(output)
    wishes = TrainOptions(
        data=data,
        val=val,
        preset=preset,
        network={name: value for name, value in given.items() if name in _NETWORK},
        recipe={name: value for name, value in given.items() if name not in _NETWORK},
        resume=resume,
    )
    pace = Pace(
        log_every=log_every, validate_every=validate_every, save_every=saving, time_limit=limit
    )
    settled = settle(folder, wishes, chosen)
    with joined(chosen.torch_device) as ranks, stop_signal() as stop:
        _introduce(settled, str(chosen), ranks)
        trainer = begin(
            settled,
            folder,
            chosen,
            ranks,
            pace=pace,
            started=started,
            command=sys.argv,
            memory=budget,
            compiled=compiled,
        )
        end = _follow(trainer, stop, ranks, tensorboard=tensorboard)
    return _close(end, trainer, ranks)


def _introduce(settled: ResolvedRun, device: str, ranks: Ranks) -> None:
    """Say on rank 0 what will be done; the other ranks keep quiet from here on."""
    from lapsr_cli.cli.console import be_quiet, say, show_log

    show_log()
    if not ranks.leads:
        be_quiet()
    say(f"device: {device}" + (f" and {ranks.world - 1} more" if ranks.world > 1 else ""))
    say(f"recipe: {settled.preset}, {_described(settled.recipe)}")
    for change in settled.changes:
        say(f"changed from the run so far: {change}")
    if not settled.val:
        say("no --val: nothing is validated, model.safetensors is the latest moving average")


def _described(recipe: Recipe) -> str:
    start = f", from {recipe.init}" if recipe.init else ""
    harm = f", degraded by {recipe.degrade}" if recipe.degrade else ""
    return (
        f"{recipe.network.title}{start}, {', '.join(f'{s}x' for s in recipe.scales)},"
        f" {recipe.iterations} iterations of {recipe.batch_size} patches"
        f" {recipe.patch_size} x {recipe.patch_size}{harm}, {recipe.optimizer} {recipe.rate:g},"
        f" {recipe.precision}"
    )


def _follow(
    trainer: Trainer, stop: Callable[[], bool], ranks: Ranks, *, tensorboard: bool
) -> Stopped:
    """Show the run's events until it stops."""
    from lapsr_cli.cli.console import TrainingView, say
    from lapsr_cli.train.loop import Stopped
    from lapsr_cli.train.tensorboard import Board

    board = Board(trainer.folder.path / "tensorboard") if tensorboard and ranks.leads else None
    if trainer.progress.iteration:
        say(f"goes on from iteration {trainer.progress.iteration}")
    with TrainingView(trainer.progress.iteration, trainer.recipe.iterations) as view:
        for event in trainer.run(stop):
            if isinstance(event, Stopped):
                return event
            view.show(event)
            if board is not None:
                board.add(event)
    raise AssertionError("a run ends with Stopped")


def _close(end: Stopped, trainer: Trainer, ranks: Ranks) -> int:
    from lapsr_cli.cli.console import say

    if ranks.leads:
        folder = trainer.folder
        if end.why == "finished":
            say(f"finished: {end.iteration} iterations, {folder.model}")
        else:
            say(
                f"{end.why}: {folder.last} is at iteration {end.iteration};"
                " the same command goes on from there"
            )
    return INTERRUPTED if end.why == "interrupted" else 0


def _scales(text: str) -> tuple[int, ...]:
    try:
        scales = {int(part) for part in text.split(",")}
    except ValueError:
        scales = set()
    if not scales or not scales <= {2, 4, 8}:
        raise UsageError(f"--scales {text}: must be a list of 2, 4 and 8")
    return tuple(sorted(scales))


def _seconds(flag: str, text: str) -> float:
    """ "9m", "1h30m", "45s" or plain seconds."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text.strip())
    if not text.strip() or match is None:
        raise UsageError(f"{flag} {text}: must be a time such as 9m, 1h30m or 45s")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds
