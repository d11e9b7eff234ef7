"""The training loop: iterations, validation, checkpoints, and what is reported about them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from lapsr_cli import __version__
from lapsr_cli.device.selection import Device
from lapsr_cli.errors import TrainingError, UsageError
from lapsr_cli.train import checkpoint, optimizer
from lapsr_cli.train.adversarial import AdversarialGradient
from lapsr_cli.train.checkpoint import Checkpoint, Progress
from lapsr_cli.train.dataset import Dataset
from lapsr_cli.train.distributed import ProcessGroup
from lapsr_cli.train.ema import Ema
from lapsr_cli.train.gradient import Gradient, gradient_for
from lapsr_cli.train.initial import initial_model
from lapsr_cli.train.recipe import Recipe
from lapsr_cli.train.run_dir import RunDirectory
from lapsr_cli.train.validation import Scores, Validator, mean_psnr
from lapsr_cli.weights.serialization import Weights, write_safetensors

__all__ = ["Event", "LoopOptions", "Step", "Stopped", "Trainer", "Validated"]

log = logging.getLogger(__name__)

StopReason = Literal["finished", "time limit", "interrupted"]

_RATE_FACTOR_AFTER_DIVERGENCE = 0.5
"""Multiplies the learning rate after the first loss that is not finite."""


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Intervals of the loop, none of which affects the result.

    ``log_every``, ``validate_every``: in iterations. ``save_every``: seconds between checkpoints.
    ``time_limit``: seconds after which the run stops with a checkpoint; None is no limit.

    Raises UsageError, with the flag in its message, for intervals below 1.
    """

    log_every: int = 100
    validate_every: int = 1000
    save_every: float = 300.0
    time_limit: float | None = None

    def __post_init__(self) -> None:
        for flag, value in (("log", self.log_every), ("validate", self.validate_every)):
            if value < 1:
                raise UsageError(f"--{flag}-every {value}: must be at least 1")


@dataclass(frozen=True)
class Step:
    """An iteration is complete.

    ``loss``: mean over the iterations since the last logged step. ``rate``: learning rate.
    ``logged``: whether the step is recorded in metrics.jsonl.
    """

    iteration: int
    loss: float
    rate: float
    patches_per_second: float
    logged: bool


@dataclass(frozen=True)
class Validated:
    """The moving average was validated. ``best``: whether its mean PSNR is the best so far."""

    iteration: int
    scores: Scores
    bicubic: Scores
    best: bool


@dataclass(frozen=True)
class Stopped:
    """The run stopped and wrote a checkpoint."""

    iteration: int
    reason: StopReason


Event = Step | Validated | Stopped


class Trainer:
    """A run, from its first iteration or its last checkpoint.

    ``dataset``: on the device to train on. ``validator``: if None, the latest moving average is
    saved as the best. ``started``: value of the monotonic clock at which the time limit starts.
    ``source``: checkpoint to continue from. ``compiled``: use torch.compile.

    Raises TrainingError if the checkpoint is invalid or belongs to another network.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        validator: Validator | None,
        run_dir: RunDirectory,
        device: Device,
        group: ProcessGroup,
        *,
        options: LoopOptions,
        started: float,
        source: Path | None = None,
        compiled: bool = False,
    ) -> None:
        self.recipe = recipe
        self.validator = validator
        self.run_dir = run_dir
        self.group = group
        self.options = options
        # A run that continues gets its weights from a checkpoint; its --init may no longer exist.
        init = None if source else recipe.init
        self.model = initial_model(replace(recipe, init=init)).to(device.torch_device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = Ema(self.model, recipe.ema)
        self.optimizer = optimizer.build(self.model, recipe)
        self.gradient: Gradient = (
            AdversarialGradient(self.model, recipe, dataset)
            if recipe.adversarial
            else gradient_for(self.model, recipe, dataset, group, compiled=compiled)
        )
        self.progress = Progress()
        self._reads_every_step = device.torch_device.type == "cpu"
        self._pending_losses: list[Tensor] = []
        self._rate = 0.0
        self._bicubic: Scores = {}
        self._start = started
        self._saved_at = self._read_at = self._counted_at = time.monotonic()
        if source is not None:
            self._continue(source)

    def _continue(self, source: Path) -> None:
        self._restore(checkpoint.read(source), source)
        if source != self.run_dir.last:  # validations and records of this run begin here
            self.progress.best, self.progress.validated = None, self.progress.iteration
            self.progress.loss_sum, self.progress.loss_count = 0.0, 0
        if self.group.is_main:
            self.run_dir.drop_records_after(self.progress.iteration, self.progress.validated)

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Train until the recipe's iterations are done, ``stop`` returns True or the time is over.

        A checkpoint is written in each case. Raises TrainingError if the loss is not finite a
        second time.
        """
        (fresh,) = self.group.any(not self.run_dir.has_checkpoint)  # before rank 0 writes one
        if fresh:
            self._save()
        while True:
            reason, save = self._check_stop(stop)
            if self._pending_losses and (save or reason or self._reading_is_due()):
                step = self._read_losses()
                if step is None:
                    continue
                yield step
            if self._validation_is_due() and reason in (None, "finished"):
                yield self._validate()
            elif save or reason:
                self._save()
            if reason:
                yield Stopped(self.progress.iteration, reason)
                return
            self._step()

    def _check_stop(self, stop: Callable[[], bool]) -> tuple[StopReason | None, bool]:
        """Why the run stops now, if it does, and whether a checkpoint is due.

        All ranks get the same answer, even if only one of them received the signal.
        """
        now = time.monotonic()
        limit = self.options.time_limit
        stopped, timed_out, save = self.group.any(
            stop(),
            limit is not None and now - self._start > limit,
            now - self._saved_at > self.options.save_every,
        )
        if stopped:
            return "interrupted", save
        if self.progress.iteration >= self.recipe.iterations:
            return "finished", save
        return ("time limit" if timed_out else None), save

    def _step(self) -> None:
        progress, recipe = self.progress, self.recipe
        self._rate = progress.rate_factor * optimizer.rate_at(recipe, progress.iteration)
        optimizer.set_rate(self.optimizer, self._rate)
        loss = self.gradient(progress.iteration)
        if recipe.grad_clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.grad_clip)
        self.optimizer.step()
        progress.iteration += 1
        self.ema.update(self.model, progress.iteration)
        self._pending_losses.append(loss)

    def _read_losses(self) -> Step | None:
        """Copy the pending losses from the device; None if the run was rolled back because a loss
        or a weight is not finite."""
        progress = self.progress
        losses = self.group.mean(torch.stack(self._pending_losses)).tolist()
        count = len(self._pending_losses)
        self._pending_losses.clear()
        if not (all(map(math.isfinite, losses)) and _is_finite(self.model)):
            self._roll_back()
            return None
        now = time.monotonic()
        speed = count * self.recipe.batch_size / (now - self._read_at)
        self._read_at = now
        progress.loss_sum += math.fsum(losses)
        progress.loss_count += count
        logged = progress.iteration % self.options.log_every == 0
        loss = progress.loss_sum / progress.loss_count
        step = Step(progress.iteration, loss, self._rate, speed, logged)
        if logged:
            progress.loss_sum, progress.loss_count = 0.0, 0
            others = {name: value.item() for name, value in self.gradient.losses.items()}
            self._record(
                loss=loss,
                **others,
                rate=self._rate,
                patches_per_second=speed,
                seconds=self._seconds(),
            )
        return step

    def _roll_back(self) -> None:
        """Return to the last checkpoint with half the learning rate; fail the second time."""
        diverged_at = self.progress.iteration
        saved = checkpoint.read(self.run_dir.last)
        self.group.barrier()  # all ranks have read it before rank 0 replaces it
        if self.progress.rate_factor < 1:
            raise TrainingError(
                f"loss is not finite again at iteration {diverged_at}, even with half the learning"
                f" rate; {self.run_dir.last} is at iteration {saved.progress.iteration};"
                " try a lower --lr"
            )
        self._restore(saved, self.run_dir.last)
        self.progress.rate_factor = _RATE_FACTOR_AFTER_DIVERGENCE
        if self.group.is_main:
            self.run_dir.drop_records_after(self.progress.iteration, self.progress.validated)
        log.warning(
            "loss is not finite at iteration %d: back to iteration %d with half the learning rate",
            diverged_at,
            saved.progress.iteration,
        )
        self._save()

    def _reading_is_due(self) -> bool:
        """Reading a loss waits for the device, so on a GPU it is done only when needed."""
        logged = self.progress.iteration % self.options.log_every == 0
        return self._reads_every_step or logged or self._validation_is_due()

    def _validation_is_due(self) -> bool:
        iteration = self.progress.iteration
        ends = iteration >= self.recipe.iterations
        due = iteration > 0 and (ends or iteration % self.options.validate_every == 0)
        return due and self.validator is not None and self.progress.validated != iteration

    def _validate(self) -> Validated:
        assert self.validator is not None
        self._bicubic = self._bicubic or self.validator.bicubic()
        scores = self.validator.score(self.ema.model)
        mean = mean_psnr(scores)
        best = self.progress.best is None or mean > self.progress.best
        if best:
            self.progress.best = mean
        self.progress.validated = self.progress.iteration
        self._record(scores=scores, bicubic=self._bicubic)
        self._save(best=best)
        if self.group.is_main:
            self.run_dir.draw_curve()
        self._read_at = time.monotonic()
        return Validated(self.progress.iteration, scores, self._bicubic, best)

    def _seconds(self) -> float:
        """Time spent on the run, in this session and earlier ones."""
        return self.progress.seconds + time.monotonic() - self._counted_at

    def _record(self, **values: object) -> None:
        if self.group.is_main:
            self.run_dir.append_record({"iteration": self.progress.iteration, **values})

    def _save(self, *, best: bool = False) -> None:
        """Write the files of the best model first and last.pt at the end.

        A run killed in between repeats the same iterations and writes the same files.
        """
        if self.group.is_main:
            state = self._checkpoint()
            if best:
                checkpoint.write(state, self.run_dir.best)
            if best or self.validator is None or not self.run_dir.model.is_file():
                self._write_model()
            checkpoint.write(state, self.run_dir.last)
        self.group.barrier()
        self._saved_at = time.monotonic()

    def _write_model(self) -> None:
        tensors = self.ema.model.state_dict()
        origin = f"lapsr train {__version__}, {self.progress.iteration} iterations"
        write_safetensors(Weights(self.recipe.network, tensors, origin), self.run_dir.model)

    def _checkpoint(self) -> Checkpoint:
        self.progress.seconds = self._seconds()
        self._counted_at = time.monotonic()
        return Checkpoint(
            recipe=self.recipe.to_json(),
            progress=self.progress,
            model=self.model.state_dict(),
            ema=self.ema.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            gradient=self.gradient.state_dict(),
            random_state=torch.get_rng_state(),
        )

    def _restore(self, saved: Checkpoint, source: Path) -> None:
        if saved.recipe["network"] != self.recipe.to_json()["network"]:
            raise TrainingError(f"{source}: not a checkpoint of {self.recipe.network.title}")
        try:
            self.model.load_state_dict(saved.model)
            self.ema.model.load_state_dict(saved.ema)
            optimizer.load(self.optimizer, saved.optimizer)
            self.gradient.load_state_dict(saved.gradient)
            torch.set_rng_state(saved.random_state)
        except (RuntimeError, TypeError, ValueError, KeyError) as error:
            raise TrainingError(f"{source}: not a valid checkpoint") from error
        self.progress = saved.progress
        self._pending_losses.clear()
        self._counted_at = time.monotonic()


def _is_finite(model: nn.Module) -> bool:
    return bool(torch.stack([value.isfinite().all() for value in model.parameters()]).all())
