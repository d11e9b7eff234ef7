"""The training loop: one iteration after another, with what has to happen in between."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from lapsr_cli import __version__
from lapsr_cli.device.selection import Device
from lapsr_cli.errors import TrainingError, UsageError
from lapsr_cli.train import checkpoint, optimizer
from lapsr_cli.train.checkpoint import Checkpoint, Progress
from lapsr_cli.train.dataset import Pictures
from lapsr_cli.train.distributed import Ranks
from lapsr_cli.train.ema import Ema
from lapsr_cli.train.initial import initial_model
from lapsr_cli.train.loss import PyramidLoss
from lapsr_cli.train.patches import Patches
from lapsr_cli.train.recipe import Recipe
from lapsr_cli.train.run_dir import RunFolder
from lapsr_cli.train.validation import Scores, Validator, mean_psnr
from lapsr_cli.weights.stored import Weights, write_safetensors

__all__ = ["Event", "Pace", "Step", "Stopped", "Trainer", "Validated"]

log = logging.getLogger(__name__)

Why = Literal["finished", "time limit", "interrupted"]

_SECOND_CHANCE = 0.5
"""What the learning rate is multiplied by when the loss first ceases to be a number."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """When things happen between iterations; none of it changes the result.

    ``log_every`` and ``validate_every`` are iterations, ``save_every`` and ``time_limit`` seconds;
    without ``time_limit`` the run ends with its iterations.
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
    """An iteration is done. ``loss``: mean since the last that was read; in units of the recipe.
    ``logged``: whether it went to the metrics."""

    iteration: int
    loss: float
    rate: float
    patches_per_second: float
    logged: bool


@dataclass(frozen=True)
class Validated:
    """The moving average was scored."""

    iteration: int
    scores: Scores
    bicubic: Scores
    best: bool


@dataclass(frozen=True)
class Stopped:
    """The run ends here; there is a checkpoint."""

    iteration: int
    why: Why


Event = Step | Validated | Stopped


class Trainer:
    """One run, from its first iteration or from its last checkpoint.

    ``pictures`` lie on the device. ``validator`` may be None: then the last moving average counts
    as the best. ``started``: when, by the monotonic clock, the time limit began to count.
    ``compiled``: use torch.compile.
    """

    def __init__(
        self,
        recipe: Recipe,
        pictures: Pictures,
        validator: Validator | None,
        folder: RunFolder,
        device: Device,
        ranks: Ranks,
        *,
        pace: Pace,
        started: float,
        compiled: bool = False,
    ) -> None:
        self.recipe = recipe
        self.validator = validator
        self.folder = folder
        self.ranks = ranks
        self.pace = pace
        self.patches = Patches(pictures, recipe, ranks.rank, ranks.world)
        # What a run began with may be gone; where it goes on from is in its checkpoint.
        init = None if folder.holds_a_run else recipe.init
        self.model = initial_model(replace(recipe, init=init)).to(device.torch_device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = Ema(self.model, recipe.ema)
        self.optimizer = optimizer.build(self.model, recipe)
        objective = PyramidLoss(self.model, recipe, ranks.world)
        if compiled:
            objective.compile(dynamic=False)
        self.objective = ranks.parallel(objective)
        self.progress = Progress()
        self._reads_always = device.torch_device.type == "cpu"
        self._unread: list[Tensor] = []
        self._rate = 0.0
        self._bicubic: Scores = {}
        self._start = started
        self._saved_at = self._read_at = self._counted_at = time.monotonic()

    def resume(self) -> int:
        """Go on from the folder's last checkpoint; the iteration it is from."""
        self._restore(checkpoint.read(self.folder.last))
        if self.ranks.leads:
            self.folder.forget_after(self.progress.iteration, self.progress.validated)
        return self.progress.iteration

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Train to the end, or until ``stop`` or the time limit says so; then a checkpoint is
        written. Raises TrainingError if the loss ceases to be a number twice."""
        (fresh,) = self.ranks.any(not self.folder.holds_a_run)  # asked before rank 0 writes
        if fresh:
            self._save()
        while True:
            why, save = self._pause(stop)
            if self._unread and (save or why or self._reading_is_due()):
                step = self._read_loss()
                if step is None:
                    continue
                yield step
            if self._validation_is_due() and why in (None, "finished"):
                yield self._validate()
            elif save or why:
                self._save()
            if why:
                yield Stopped(self.progress.iteration, why)
                return
            self._step()

    def _pause(self, stop: Callable[[], bool]) -> tuple[Why | None, bool]:
        """Why the run ends here, if it does, and whether a checkpoint is due: the same on every
        rank, whichever saw it first."""
        now = time.monotonic()
        limit = self.pace.time_limit
        stopped, over, save = self.ranks.any(
            stop(),
            limit is not None and now - self._start > limit,
            now - self._saved_at > self.pace.save_every,
        )
        if stopped:
            return "interrupted", save
        if self.progress.iteration >= self.recipe.iterations:
            return "finished", save
        return ("time limit" if over else None), save

    def _step(self) -> None:
        progress, recipe = self.progress, self.recipe
        self._rate = progress.rate_factor * optimizer.rate_at(recipe, progress.iteration)
        optimizer.set_rate(self.optimizer, self._rate)
        loss = self.objective(self.patches.batch(progress.iteration))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.grad_clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.grad_clip)
        self.optimizer.step()
        progress.iteration += 1
        self.ema.update(self.model, progress.iteration)
        self._unread.append(loss.detach())

    def _read_loss(self) -> Step | None:
        """Bring the unread losses over; None if some were no numbers and the run was set back."""
        progress = self.progress
        losses = self.ranks.mean(torch.stack(self._unread)).tolist()
        count = len(self._unread)
        self._unread.clear()
        if not (all(map(math.isfinite, losses)) and _all_numbers(self.model)):
            self._set_back()
            return None
        now = time.monotonic()
        speed = count * self.recipe.batch_size / (now - self._read_at)
        self._read_at = now
        progress.loss_sum += math.fsum(losses)
        progress.loss_count += count
        logged = progress.iteration % self.pace.log_every == 0
        loss = progress.loss_sum / progress.loss_count
        step = Step(progress.iteration, loss, self._rate, speed, logged)
        if logged:
            progress.loss_sum, progress.loss_count = 0.0, 0
            self._record(
                loss=loss, rate=self._rate, patches_per_second=speed, seconds=self._seconds()
            )
        return step

    def _set_back(self) -> None:
        """The loss is not a number: the last checkpoint again, at half the rate, once."""
        lost_at = self.progress.iteration
        saved = checkpoint.read(self.folder.last)
        self.ranks.wait()  # all have read it before it is written again
        if self.progress.rate_factor < 1:
            raise TrainingError(
                f"the loss is not a number again at iteration {lost_at}, at half the rate too;"
                f" {self.folder.last} is from iteration {saved.progress.iteration};"
                " give a lower --lr"
            )
        self._restore(saved)
        self.progress.rate_factor = _SECOND_CHANCE
        if self.ranks.leads:
            self.folder.forget_after(self.progress.iteration, self.progress.validated)
        log.warning(
            "the loss is not a number at iteration %d: back to iteration %d, at half the rate",
            lost_at,
            saved.progress.iteration,
        )
        self._save()

    def _reading_is_due(self) -> bool:
        """Reading waits for the device, so elsewhere than on the CPU it is done seldom."""
        logged = self.progress.iteration % self.pace.log_every == 0
        return self._reads_always or logged or self._validation_is_due()

    def _validation_is_due(self) -> bool:
        iteration = self.progress.iteration
        ends = iteration >= self.recipe.iterations
        due = iteration > 0 and (ends or iteration % self.pace.validate_every == 0)
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
        if self.ranks.leads:
            self.folder.draw_curve()
        self._read_at = time.monotonic()
        return Validated(self.progress.iteration, scores, self._bicubic, best)

    def _seconds(self) -> float:
        """Spent on the run, in this session and those before."""
        return self.progress.seconds + time.monotonic() - self._counted_at

    def _record(self, **values: object) -> None:
        if self.ranks.leads:
            self.folder.add_record({"iteration": self.progress.iteration, **values})

    def _save(self, *, best: bool = False) -> None:
        """Write what goes with the best, then the last checkpoint: a run that is killed in between
        does these iterations again and writes the same."""
        if self.ranks.leads:
            state = self._checkpoint()
            if best:
                checkpoint.write(state, self.folder.best)
            if best or self.validator is None or not self.folder.model.is_file():
                self._write_model()
            checkpoint.write(state, self.folder.last)
        self.ranks.wait()
        self._saved_at = time.monotonic()

    def _write_model(self) -> None:
        tensors = self.ema.model.state_dict()
        origin = f"lapsr train {__version__}, {self.progress.iteration} iterations"
        write_safetensors(Weights(self.recipe.network, tensors, origin), self.folder.model)

    def _checkpoint(self) -> Checkpoint:
        self.progress.seconds = self._seconds()
        self._counted_at = time.monotonic()
        return Checkpoint(
            recipe=self.recipe.to_json(),
            progress=self.progress,
            model=self.model.state_dict(),
            ema=self.ema.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            random_state=torch.get_rng_state(),
        )

    def _restore(self, saved: Checkpoint) -> None:
        if saved.recipe["network"] != self.recipe.to_json()["network"]:
            raise TrainingError(f"{self.folder.last}: is not of {self.recipe.network.title}")
        try:
            self.model.load_state_dict(saved.model)
            self.ema.model.load_state_dict(saved.ema)
            optimizer.load(self.optimizer, saved.optimizer)
            torch.set_rng_state(saved.random_state)
        except (RuntimeError, TypeError, ValueError, KeyError) as error:
            raise TrainingError(f"{self.folder.last}: not a whole checkpoint of lapsr") from error
        self.progress = saved.progress
        self._unread.clear()
        self._counted_at = time.monotonic()


def _all_numbers(model: nn.Module) -> bool:
    return bool(torch.stack([value.isfinite().all() for value in model.parameters()]).all())
