"""The recipe of a run: the network and every hyperparameter, enough to repeat the run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lapsr_cli.errors import UsageError
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.train.degrade import Degradation

__all__ = ["PRESETS", "Loss", "Optimizer", "Recipe", "Reduction", "Schedule", "flag_of"]

Initialization = Literal["paper", "scaled"]
Loss = Literal["charbonnier", "l1", "l2"]
Reduction = Literal["sum", "mean"]
Optimizer = Literal["sgd", "adam", "adamw", "muon"]
Schedule = Literal["step", "cosine", "constant", "wsd"]
TrainingPrecision = Literal["fp32", "bf16"]

_CHOICES = {
    "initialization": Initialization,
    "loss": Loss,
    "reduction": Reduction,
    "schedule": Schedule,
    "optimizer": Optimizer,
    "precision": TrainingPrecision,
}

_POSITIVE = ("batch_size", "iterations", "rate_step", "decay")
_NON_NEGATIVE = (
    "warm_up",
    "weight_decay",
    "bias_rate_factor",
    "grad_clip",
    "rate_min",
    "adversarial",
    "discriminator_rate",
)
_ADDED = ("decay", "adversarial", "discriminator_rate")
"""Fields that version 0.1.0 does not know."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A network and how it is trained. Field names are keys of config.json and of checkpoints.

    ``scales``: the scales to train, each with an equal part of every batch and a pyramid loss of
    its own (MS-LapSRN section 3.4); the largest determines the number of levels. ``init``: name or
    file of a model to start from; without it, weights are drawn as ``initialization`` says: "paper"
    as by the authors, "scaled" so that features keep the variance of the input.

    ``loss``: penalty per pixel. ``reduction``: "sum" over pixels and levels divided by the batch
    size, as in the authors' code, or "mean" over the pixels of each level, summed over levels.

    ``adversarial``: weight of the adversarial loss that is added; 0 is none.
    ``discriminator_rate``: learning rate of its discriminator.

    ``patch_size``: side of an HR patch in pixels. ``batch_size``: patches per iteration on all
    devices together. ``scale_augmentation``: pictures are downscaled by a random factor from this
    to 1, in steps of 0.1; 1 turns it off. ``degrade``: degradation of LR patches beyond
    downscaling, see `Degradation.parse`.

    ``rate``: learning rate. ``schedule``: "step" multiplies it by ``rate_drop`` every ``rate_step``
    iterations, but not below ``rate_min``; "cosine" lowers it from ``rate`` to ``rate_min`` over
    ``iterations``, in half a period; "wsd" (warm-up, stable, decay) keeps it, and lowers it to
    ``rate_min`` in the last ``decay`` iterations, by default a fifth of the run. ``warm_up``:
    iterations of linear increase at the start.
    ``bias_rate_factor``: learning rate of biases divided by ``rate``. ``ema``: decay of the moving
    average of the weights; 0 turns it off. ``grad_clip``: maximum norm of the gradient; 0 turns
    clipping off. ``precision``: of the features.

    Raises UsageError, with the flag in its message, for invalid values.
    """

    network: PyramidConfig = field(default_factory=PyramidConfig)
    scales: tuple[int, ...] = (2, 4, 8)
    init: str | None = None
    initialization: Initialization = "scaled"
    loss: Loss = "charbonnier"
    reduction: Reduction = "mean"
    adversarial: float = 0.0
    discriminator_rate: float = 1e-4
    patch_size: int = 96
    batch_size: int = 16
    iterations: int = 300_000
    scale_augmentation: float = 0.5
    degrade: str = ""
    optimizer: Optimizer = "muon"
    rate: float = 1e-3
    schedule: Schedule = "cosine"
    rate_min: float = 1e-6
    rate_step: int = 100_000
    rate_drop: float = 0.5
    warm_up: int = 100
    decay: int | None = None
    weight_decay: float = 0.0
    bias_rate_factor: float = 1.0
    ema: float = 0.999
    grad_clip: float = 0.5
    precision: TrainingPrecision = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                allowed = ", ".join(get_args(kind))
                raise UsageError(f"--{name} {getattr(self, name)}: must be one of {allowed}")
        self._check_ranges()
        self._check_scales()
        self._check_patches()
        self.degradation  # noqa: B018 (parsed for its errors)

    def _check_ranges(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value >= 1:
                raise UsageError(f"{flag_of(name)} {value}: must be at least 1")
        for name in _NON_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(
                    f"{flag_of(name)} {getattr(self, name)}: must be finite and at least 0"
                )
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed {self.seed}: must be at least 0 and less than 2^63")
        if not 0 < self.rate < math.inf:
            raise UsageError(f"--lr {self.rate}: must be finite and greater than 0")
        if not 0 <= self.ema < 1:
            raise UsageError(f"--ema {self.ema}: must be at least 0 and less than 1")
        if not 0 < self.rate_drop <= 1:
            raise UsageError(f"--lr-drop {self.rate_drop}: must be greater than 0 and at most 1")

    def _check_scales(self) -> None:
        if not self.scales or not set(self.scales) <= {2, 4, 8}:
            raise UsageError(f"--scales {self.scales_text}: must be a list of 2, 4 and 8")
        for scale in self.scales:
            if scale not in self.network.scales:
                raise UsageError(
                    f"--scales {self.scales_text}: {self.network.title} has no {scale}x output,"
                    f" only {', '.join(f'{each}x' for each in self.network.scales)}"
                )

    def _check_patches(self) -> None:
        if self.patch_size < 16 or self.patch_size % 8:
            raise UsageError(
                f"--patch-size {self.patch_size}: must be a multiple of 8, at least 16"
            )
        if self.batch_size < len(self.scales):
            raise UsageError(
                f"--batch-size {self.batch_size}: must be at least {len(self.scales)},"
                " one patch per scale"
            )
        if not 0.1 <= self.scale_augmentation <= 1:
            raise UsageError(
                f"--scale-augmentation {self.scale_augmentation}: must be between 0.1 and 1"
            )

    @property
    def decay_iterations(self) -> int:
        """Iterations of decay at the end of the schedule "wsd"."""
        return min(self.decay or max(1, self.iterations // 5), self.iterations)

    @property
    def scales_text(self) -> str:
        """The scales as on the command line, e.g. "2,4,8"."""
        return ",".join(map(str, self.scales))

    @property
    def degradation(self) -> Degradation:
        """``degrade``, parsed."""
        return Degradation.parse(self.degrade)

    def to_json(self) -> dict[str, Any]:
        """The recipe as a dict for JSON, which ``from_json`` reads.

        Without the fields that version 0.1.0 does not know, where they have their defaults.
        """
        defaults = {each.name: each.default for each in dataclasses.fields(self)}
        values = dataclasses.asdict(self)
        return {k: v for k, v in values.items() if k not in _ADDED or v != defaults[k]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """The inverse of ``to_json``. Raises UsageError or TypeError if it is not a recipe."""
        network = PyramidConfig(**values["network"])
        return cls(**{**values, "network": network, "scales": tuple(values["scales"])})


def flag_of(name: str) -> str:
    """The flag of a field: "--bias-lr-factor" for "bias_rate_factor"."""
    return "--" + name.replace("rate", "lr").replace("_", "-")


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "initialization": "paper",
        "reduction": "sum",
        "patch_size": 128,
        "batch_size": 64,
        "iterations": 1_000_000,
        "optimizer": "sgd",
        "rate": 5e-6,
        "schedule": "step",
        "warm_up": 0,
        "weight_decay": 1e-4,
        "bias_rate_factor": 0.1,
        "ema": 0.0,
        "grad_clip": 0.0,
        "precision": "fp32",
    },
    "modern": {},
}
"""The fields of each preset that differ from the defaults of Recipe.

"paper": MS-LapSRN section 4.1 and the authors' init_MSLapSRN_opts.m: SGD with momentum 0.9,
learning rate 5e-6, halved every 100 epochs of 1,000 iterations, never below 1e-6. "modern": the
defaults.
"""
