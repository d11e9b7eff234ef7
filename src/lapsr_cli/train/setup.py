"""From what the user asked for and what the run folder holds to a trainer that is ready to go."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lapsr_cli import __version__, weights
from lapsr_cli.device.memory import free_memory
from lapsr_cli.device.selection import Device, training_precision
from lapsr_cli.errors import UsageError
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.train.dataset import Pictures, load, paths_in
from lapsr_cli.train.distributed import Ranks
from lapsr_cli.train.loop import Pace, Trainer
from lapsr_cli.train.recipe import PRESETS, Recipe, flag_of
from lapsr_cli.train.run_dir import RunFolder
from lapsr_cli.train.validation import Validator, open_sets

__all__ = ["ResolvedRun", "TrainOptions", "begin", "settle"]

_DEFAULT_PRESET = "modern"
_MEMORY_SHARE = 0.4
"""Of the free memory for the pictures before they are mapped; joining them takes it twice."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What the user gave, and nothing else: the rest comes from the preset or from the run.

    ``network``: fields of PyramidConfig but levels, which the scales give. ``recipe``: fields of
    Recipe. ``resume``: True must find a run in the folder, False must not, None takes either.
    """

    data: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    preset: str | None = None
    network: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    resume: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ResolvedRun:
    """What will be done, and what was changed of a run that goes on, in words."""

    recipe: Recipe
    preset: str
    data: tuple[str, ...]
    val: tuple[str, ...]
    resumed: bool
    changes: tuple[str, ...] = ()


def settle(folder: RunFolder, wishes: TrainOptions, device: Device) -> ResolvedRun:
    """A new run, or the one in the folder with the user's changes.

    Raises UsageError for what cannot be: a run where none may be or none where one must be,
    another network or start than the run's, no pictures named.
    """
    if wishes.resume is False and folder.holds_a_run:
        raise UsageError(f"-o/--output {folder.path}: holds a run, and --no-resume was given")
    if wishes.resume and not folder.holds_a_run:
        raise UsageError(f"--resume: {folder.path} holds no run ({folder.last} is not there)")
    return _resumed(folder, wishes) if folder.holds_a_run else _new(wishes, device)


def _new(wishes: TrainOptions, device: Device) -> ResolvedRun:
    if not wishes.data:
        raise UsageError("--data is missing: name folders of pictures to train on")
    preset = wishes.preset or _DEFAULT_PRESET
    if preset not in PRESETS:
        raise UsageError(f"--preset {preset}: must be one of {', '.join(PRESETS)}")
    fast = {"precision": training_precision(device.torch_device)}
    values = {**fast, **PRESETS[preset], **wishes.recipe}
    recipe = Recipe(network=_network(wishes), **values)
    data, val = _absolute(wishes.data), _absolute(wishes.val)
    return ResolvedRun(recipe=recipe, preset=preset, data=data, val=val, resumed=False)


def _absolute(folders: Sequence[str]) -> tuple[str, ...]:
    """So that a run can go on from another working directory."""
    return tuple(os.path.abspath(folder) for folder in folders)  # noqa: PTH100 (patterns too)


def _network(wishes: TrainOptions) -> PyramidConfig:
    """The network of the flags, on top of that of --init; the scales give the levels."""
    scales = wishes.recipe.get("scales", Recipe.scales)
    values = dict(wishes.network)
    if not values.get("shared", True):
        values = {"recursions": 1, "skip": "ns", "depth": 10 if max(scales) < 8 else 5, **values}
    if init := wishes.recipe.get("init"):
        values = {**asdict(weights.read_file(weights.obtain(init)).config), **values}
    return PyramidConfig(**{**values, "levels": max(scales, default=8).bit_length() - 1})


def _resumed(folder: RunFolder, wishes: TrainOptions) -> ResolvedRun:
    config = folder.read_config()
    saved = Recipe.from_json(config["recipe"])
    if wishes.preset not in (None, config["preset"]):
        raise UsageError(f"--preset {wishes.preset}: {folder.path} began with {config['preset']}")
    for name, value in wishes.network.items():
        if getattr(saved.network, name) != value:
            raise UsageError(
                f"-o/--output {folder.path}: holds a run of {saved.network.title}, which has"
                f" {name} {getattr(saved.network, name)}, not {value}; give another folder"
            )
    for name in ("scales", "init", "optimizer"):
        if name in wishes.recipe and wishes.recipe[name] != getattr(saved, name):
            raise UsageError(
                f"-o/--output {folder.path}: its run has {name} {getattr(saved, name)}, not"
                f" {wishes.recipe[name]}; give another folder"
            )
    changed = {k: v for k, v in wishes.recipe.items() if v != getattr(saved, k)}
    changes = [f"{flag_of(k)} {v} (was {getattr(saved, k)})" for k, v in changed.items()]
    for name, given, before in (
        ("data", _absolute(wishes.data), config["data"]),
        ("val", _absolute(wishes.val), config["val"]),
    ):
        if given and given != before:
            changes.append(f"--{name} {' '.join(given)} (was {' '.join(before)})")
    return ResolvedRun(
        recipe=Recipe(**{**vars(saved), **changed}),
        preset=config["preset"],
        data=_absolute(wishes.data) or config["data"],
        val=_absolute(wishes.val) or config["val"],
        resumed=True,
        changes=tuple(changes),
    )


def begin(
    settled: ResolvedRun,
    folder: RunFolder,
    device: Device,
    ranks: Ranks,
    *,
    pace: Pace,
    started: float,
    command: Sequence[str],
    memory: int | None = None,
    compiled: bool = False,
) -> Trainer:
    """Read the pictures and set up the trainer, at its last checkpoint if there is one.

    ``started``: when, by the monotonic clock, the time of the run began to count. ``memory``: bytes
    that the pictures may take before they are mapped from the disk; None is 0.4 of what is free.
    ``device`` should be fp32: validation takes it as it is, training has the recipe's precision.
    """
    recipe = settled.recipe
    if recipe.batch_size < len(recipe.scales) * ranks.world:
        raise UsageError(
            f"--batch-size {recipe.batch_size}: less than a patch for each of"
            f" {len(recipe.scales)} scales on each of {ranks.world} devices"
        )
    spill = folder.spill.with_suffix(f".{ranks.rank}")
    free = int(free_memory(torch.device("cpu")) * _MEMORY_SHARE) if memory is None else memory
    budget = free // ranks.world
    paths = paths_in(settled.data, "--data", folder.path)
    pictures = load(paths, smallest=recipe.patch_size, budget=budget, spill=spill)
    sets = open_sets(settled.val, folder.path, max(recipe.scales))
    harm = recipe.degradation
    validator = Validator(sets, recipe.scales, device, ranks, harm) if sets else None
    trainer = Trainer(
        recipe,
        _on_device(pictures, device.torch_device),
        validator,
        folder,
        device,
        ranks,
        pace=pace,
        started=started,
        compiled=compiled,
    )
    iteration = trainer.resume() if settled.resumed else 0
    if ranks.leads:
        session = {
            "from_iteration": iteration,
            "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": list(command),
            "device": str(device),
            "devices": ranks.world,
            "compiled": compiled,
            "versions": _versions(),
            "git": _git(),
            "pictures": _identity(pictures),
        }
        _write_config(folder, settled, session)
    return trainer


def _on_device(pictures: Pictures, device: torch.device) -> Pictures:
    """On a GPU, all of them if its free memory is more than ample."""
    if device.type == "cpu" or pictures.pixels.numel() > free_memory(device) * _MEMORY_SHARE:
        return pictures
    return pictures.to(device)


def _write_config(folder: RunFolder, settled: ResolvedRun, session: Mapping[str, Any]) -> None:
    earlier = folder.read_config()["sessions"] if settled.resumed else []
    folder.write_config(
        {
            "format": 1,
            "preset": settled.preset,
            "recipe": settled.recipe.to_json(),
            "data": settled.data,
            "val": settled.val,
            "sessions": [*earlier, session],
        }
    )


def _versions() -> dict[str, str]:
    return {
        "lapsr": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
    }


def _git() -> dict[str, Any] | None:
    """The commit of lapsr's own source, and whether it was changed since; None if installed."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(Path(__file__).parent), *arguments],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "."])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "changed": bool(changes)}


def _identity(pictures: Pictures) -> dict[str, Any]:
    """Enough to tell whether another run saw the same pixels in the same order."""
    digest = hashlib.blake2b(pictures.pixels.numpy().data, digest_size=16)
    digest.update(pictures.heights.tobytes() + pictures.widths.tobytes())
    return {
        "count": len(pictures),
        "pixels": pictures.pixels.numel(),
        "blake2b": digest.hexdigest(),
    }
