"""What lapsr train prints: the recipe, the events of the run, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from lapsr_cli.text import counted

if TYPE_CHECKING:
    from lapsr_cli.device.selection import Device
    from lapsr_cli.train.distributed import ProcessGroup
    from lapsr_cli.train.loop import Stopped, Trainer
    from lapsr_cli.train.recipe import Recipe
    from lapsr_cli.train.setup import ResolvedRun

__all__ = ["close", "follow", "introduce"]


def introduce(settled: ResolvedRun, device: Device, ranks: ProcessGroup) -> None:
    """Print device and recipe on rank 0; silence the other ranks."""
    from lapsr_cli.cli.console import be_quiet, say, show_log

    show_log()
    if not ranks.is_main:
        be_quiet()
    say(f"device: {device}" + (f" and {ranks.world_size - 1} more" if ranks.world_size > 1 else ""))
    say(f"recipe: {settled.preset}, {_described(settled.recipe)}")
    for change in settled.changes:
        say(f"changed since the last session: {change}")
    if not settled.val:
        say("no --val: validation is off, model.safetensors holds the latest moving average")


def _described(recipe: Recipe) -> str:
    start = f", from {recipe.init}" if recipe.init else ""
    degraded = f", degraded by {recipe.degrade}" if recipe.degrade else ""
    adversarial = f", adversarial {recipe.adversarial:g}" if recipe.adversarial else ""
    return (
        f"{recipe.network.title}{start}, {', '.join(f'{s}x' for s in recipe.scales)},"
        f" {counted(recipe.iterations, 'iteration')} of {recipe.batch_size} patches"
        f" {recipe.patch_size} x {recipe.patch_size}{degraded}{adversarial},"
        f" {recipe.optimizer} {recipe.rate},"
        f" {recipe.precision}"
    )


def follow(
    trainer: Trainer, stop: Callable[[], bool], ranks: ProcessGroup, *, tensorboard: bool
) -> Stopped:
    """Print the run's events until it stops."""
    from lapsr_cli.cli.console import TrainingView, say
    from lapsr_cli.train.loop import Stopped
    from lapsr_cli.train.tensorboard import TensorBoardWriter

    writes_board = tensorboard and ranks.is_main
    logs = trainer.run_dir.path / "tensorboard"
    if trainer.progress.iteration:
        say(f"resuming from iteration {trainer.progress.iteration}")
    with (
        closing(TensorBoardWriter(logs)) if writes_board else nullcontext() as board,
        TrainingView(trainer.progress.iteration, trainer.recipe.iterations) as view,
    ):
        for event in trainer.run(stop):
            if isinstance(event, Stopped):
                return event
            view.show(event)
            if board is not None:
                board.add(event)
    raise AssertionError("a run ends with Stopped")


def close(end: Stopped, trainer: Trainer, ranks: ProcessGroup, code: int) -> int:
    """Print how the run ended. Returns the exit code: ``code`` if it was interrupted."""
    from lapsr_cli.cli.console import say

    if ranks.is_main:
        folder = trainer.run_dir
        if end.reason == "finished":
            say(f"finished: {counted(end.iteration, 'iteration')}, {folder.model}")
        else:
            say(
                f"{end.reason}: saved iteration {end.iteration} to {folder.last};"
                " run the same command again to resume"
            )
    return code if end.reason == "interrupted" else 0
