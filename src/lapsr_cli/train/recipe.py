"""What is trained and how: one frozen object that a run can be repeated from."""

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
Schedule = Literal["step", "cosine", "constant"]
TrainingPrecision = Literal["fp32", "bf16"]

_CHOICES = {
    "initialization": Initialization,
    "loss": Loss,
    "reduction": Reduction,
    "schedule": Schedule,
    "optimizer": Optimizer,
    "precision": TrainingPrecision,
}

_FROM_ONE = ("batch_size", "iterations", "rate_step")
_FROM_ZERO = ("warm_up", "weight_decay", "bias_rate_factor", "grad_clip", "rate_min", "seed")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A network and how it is trained.

    ``scales``: each has an equal part of every batch and a pyramid loss of its own (MS-LapSRN
    section 3.4); the largest gives the number of levels. ``reduction``: how a part's loss adds up,
    "sum" over pixels and levels divided by the batch, as in the authors' files, or "mean" over the
    pixels of each level, summed over levels. ``init``: a model to start from; without it
    ``initialization`` draws the weights, "paper" as the authors did, "scaled" so that signals keep
    their size. ``patch_size``: side of an HR patch. ``scale_augmentation``: patches are taken
    from pictures shrunk to this or more, in steps of a tenth (1 is off). ``rate``: learning rate;
    "step" multiplies it by ``rate_drop`` every ``rate_step`` iterations, "cosine" follows half a
    wave from ``rate`` to ``rate_min`` over all ``iterations``; both begin with ``warm_up``
    iterations of linear growth. ``bias_rate_factor``: rate of biases over ``rate``. ``ema``: decay
    of the moving average of the weights, 0 is none. ``grad_clip``: largest norm of the gradient, 0
    is any. ``degrade``: what LR patches suffer besides shrinking.

    Raises UsageError, naming the flag, for values that cannot work.
    """

    network: PyramidConfig = field(default_factory=PyramidConfig)
    scales: tuple[int, ...] = (2, 4, 8)
    init: str | None = None
    initialization: Initialization = "scaled"
    loss: Loss = "charbonnier"
    reduction: Reduction = "mean"
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
        for name in _FROM_ONE:
            if not getattr(self, name) >= 1:
                raise UsageError(f"{flag_of(name)} {getattr(self, name)}: must be at least 1")
        for name in _FROM_ZERO:
            limit = 2**63 if name == "seed" else math.inf
            if not 0 <= getattr(self, name) < limit:
                raise UsageError(
                    f"{flag_of(name)} {getattr(self, name)}: must be at least 0 and below {limit}"
                )
        self._check_scales()
        if self.patch_size < 16 or self.patch_size % 8:
            raise UsageError(f"--patch-size {self.patch_size}: must be a multiple of 8 from 16")
        if self.batch_size < len(self.scales):
            raise UsageError(f"--batch-size {self.batch_size}: less than a patch for each scale")
        if not 0 < self.rate < math.inf:
            raise UsageError(f"--lr {self.rate}: must be above 0")
        if not 0 <= self.ema < 1:
            raise UsageError(f"--ema {self.ema}: must be from 0 to below 1")
        if not 0 < self.rate_drop <= 1:
            raise UsageError(f"--lr-drop {self.rate_drop}: must be above 0 and at most 1")
        if not 0.1 <= self.scale_augmentation <= 1:
            raise UsageError(f"--scale-augmentation {self.scale_augmentation}: must be 0.1 to 1")
        self.degradation  # noqa: B018 (parsed for its errors)

    def _check_scales(self) -> None:
        if not self.scales or not set(self.scales) <= {2, 4, 8}:
            raise UsageError(f"--scales {self.scales_text}: must be a list of 2, 4 and 8")
        for scale in self.scales:
            if scale not in self.network.scales:
                raise UsageError(
                    f"--scales {self.scales_text}: {self.network.title} makes the scales"
                    f" {', '.join(map(str, self.network.scales))}"
                )

    @property
    def scales_text(self) -> str:
        """The scales as on the command line."""
        return ",".join(map(str, self.scales))

    @property
    def degradation(self) -> Degradation:
        """``degrade``, parsed."""
        return Degradation.parse(self.degrade)

    def to_json(self) -> dict[str, Any]:
        """A dict that JSON holds and ``from_json`` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """The inverse of ``to_json``. Raises UsageError or TypeError for what is no recipe."""
        network = PyramidConfig(**values["network"])
        return cls(**{**values, "network": network, "scales": tuple(values["scales"])})


def flag_of(name: str) -> str:
    """What a field is called on the command line: "bias_rate_factor" is --bias-lr-factor."""
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
"""What the named recipes change of Recipe's defaults.

"paper": MS-LapSRN section 4.1 and the authors' init_MSLapSRN_opts.m: SGD with momentum 0.9, rate
5e-6 halved every 100 epochs of 1,000 iterations and never below 1e-6. "modern": the defaults.
"""
