"""From the user's options and the run directory to a trainer that is ready to run."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lapsr_cli import __version__, weights
from lapsr_cli.device.memory import MemoryPolicy
from lapsr_cli.device.selection import Device, training_precision
from lapsr_cli.errors import UsageError
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.train import checkpoint
from lapsr_cli.train.dataset import Dataset, load, training_paths
from lapsr_cli.train.distributed import ProcessGroup
from lapsr_cli.train.loop import LoopOptions, Trainer
from lapsr_cli.train.recipe import PRESETS, Recipe, flag_of
from lapsr_cli.train.run_dir import RunDirectory
from lapsr_cli.train.validation import Validator, load_validation_sets

__all__ = ["ResolvedRun", "TrainOptions", "build_trainer", "resolve"]

_DEFAULT_PRESET = "modern"


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options that the user gave; the others come from the preset or the run directory.

    ``network``: fields of PyramidConfig except ``levels``, which follows from the scales.
    ``recipe``: fields of Recipe. ``resume``: True requires an existing run, False refuses one, None
    resumes if there is one. ``decay_from``: a checkpoint of another run, to continue with a falling
    learning rate.
    """

    data: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    preset: str | None = None
    network: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    resume: bool | None = None
    decay_from: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ResolvedRun:
    """A run with all options resolved.

    ``source``: the checkpoint to continue from, of this run or of another one. ``changes``: for a
    resumed run, the options that differ from its earlier sessions, as text.
    """

    recipe: Recipe
    preset: str
    data: tuple[str, ...]
    val: tuple[str, ...]
    resumed: bool
    source: Path | None = None
    changes: tuple[str, ...] = ()


def resolve(run_dir: RunDirectory, options: TrainOptions, device: Device) -> ResolvedRun:
    """A new run, or the run in the directory with the user's changes.

    Raises UsageError if ``options.resume`` contradicts the directory, if the network, the scales,
    the optimizer or the initial model would change, and if there is no training data.
    """
    if options.resume is False and run_dir.has_checkpoint:
        raise UsageError(f"-o/--output {run_dir.path}: contains a run, but --no-resume was given")
    if options.resume and not run_dir.has_checkpoint:
        raise UsageError(
            f"--resume: {run_dir.path} contains no run ({run_dir.last} does not exist)"
        )
    if run_dir.has_checkpoint:
        return _resumed(run_dir, options)
    if not options.data:
        raise UsageError("--data is required: a folder of pictures to train on")
    if options.decay_from is not None:
        return _decaying(options.decay_from, options)
    return _new(options, device)


def _decaying(source: Path, options: TrainOptions) -> ResolvedRun:
    """The run of a checkpoint, continued until the learning rate has fallen to its minimum."""
    for name in ("init", "iterations", "schedule", "optimizer", "scales", *options.network):
        if name in options.recipe or name in options.network:
            raise UsageError(
                f"{flag_of(name)}: not with --decay-from, which continues the run of a checkpoint"
            )
    saved = checkpoint.read(source)
    begun = Recipe.from_json(saved.recipe)
    # The decay of a run that is a quarter longer is its last fifth.
    decay = options.recipe.get("decay", max(1, saved.progress.iteration // 4))
    recipe = replace(
        begun,
        **{
            **options.recipe,
            "init": None,
            "schedule": "wsd",
            "decay": decay,
            "iterations": saved.progress.iteration + decay,
        },
    )
    return ResolvedRun(
        recipe=recipe,
        preset=options.preset or _DEFAULT_PRESET,
        data=_absolute(options.data),
        val=_absolute(options.val),
        resumed=False,
        source=source,
    )


def _new(options: TrainOptions, device: Device) -> ResolvedRun:
    preset = options.preset or _DEFAULT_PRESET
    if preset not in PRESETS:
        raise UsageError(f"--preset {preset}: must be one of {', '.join(PRESETS)}")
    fast = {"precision": training_precision(device.torch_device)}
    values = {**fast, **PRESETS[preset], **options.recipe}
    recipe = Recipe(network=_network(options), **values)
    data, val = _absolute(options.data), _absolute(options.val)
    return ResolvedRun(recipe=recipe, preset=preset, data=data, val=val, resumed=False)


def _absolute(folders: Sequence[str]) -> tuple[str, ...]:
    """Absolute paths, so that a run can be resumed from another working directory."""
    return tuple(os.path.abspath(folder) for folder in folders)  # noqa: PTH100 (patterns too)


def _network(options: TrainOptions) -> PyramidConfig:
    """The network of --init, overridden by the flags; --scales determines the number of levels."""
    scales = options.recipe.get("scales", Recipe.scales)
    values = dict(options.network)
    if not values.get("shared", True):
        values = {"recursions": 1, "skip": "ns", "depth": 10 if max(scales) < 8 else 5, **values}
    if init := options.recipe.get("init"):
        values = {**asdict(weights.read_file(weights.obtain(init)).config), **values}
    return PyramidConfig(**{**values, "levels": max(scales, default=8).bit_length() - 1})


def _resumed(run_dir: RunDirectory, options: TrainOptions) -> ResolvedRun:
    config = run_dir.read_config()
    saved = Recipe.from_json(config["recipe"])
    if options.preset not in (None, config["preset"]):
        raise UsageError(
            f"--preset {options.preset}: the run in {run_dir.path} uses {config['preset']}"
        )
    for name, value in options.network.items():
        if getattr(saved.network, name) != value:
            raise UsageError(
                f"-o/--output {run_dir.path}: contains a run of {saved.network.title}, which has"
                f" {name} {getattr(saved.network, name)}, not {value}; choose another folder"
            )
    for name in ("scales", "init", "optimizer"):
        if name in options.recipe and options.recipe[name] != getattr(saved, name):
            raise UsageError(
                f"-o/--output {run_dir.path}: contains a run with {name} {getattr(saved, name)},"
                f" not {options.recipe[name]}; choose another folder"
            )
    changed = {k: v for k, v in options.recipe.items() if v != getattr(saved, k)}
    changes = [f"{flag_of(k)} {v} (was {getattr(saved, k)})" for k, v in changed.items()]
    for name, given, before in (
        ("data", _absolute(options.data), config["data"]),
        ("val", _absolute(options.val), config["val"]),
    ):
        if given and given != before:
            changes.append(f"--{name} {' '.join(given)} (was {' '.join(before)})")
    return ResolvedRun(
        recipe=Recipe(**{**vars(saved), **changed}),
        preset=config["preset"],
        data=_absolute(options.data) or config["data"],
        val=_absolute(options.val) or config["val"],
        resumed=True,
        source=run_dir.last,
        changes=tuple(changes),
    )


def build_trainer(
    run: ResolvedRun,
    run_dir: RunDirectory,
    device: Device,
    group: ProcessGroup,
    *,
    options: LoopOptions,
    started: float,
    command: Sequence[str],
    memory: int | None = None,
    compiled: bool = False,
) -> Trainer:
    """Load the pictures, set up the trainer, resume from the last checkpoint and write config.json.

    ``started``: value of the monotonic clock at which the time limit starts. ``command``: the
    command line, recorded in config.json. ``memory``: bytes of pictures on all ranks before they
    are memory-mapped; None leaves it to the memory policy. ``device`` should be fp32: it is used
    for validation; training uses the recipe's precision.

    Raises UsageError for a batch without a patch per scale and device, NothingMatched and
    PictureError for missing or unusable pictures, TrainingError for an invalid checkpoint.
    """
    recipe = run.recipe
    smallest = len(recipe.scales) * group.world_size
    if recipe.batch_size < smallest:
        raise UsageError(
            f"--batch-size {recipe.batch_size}: must be at least {smallest}, one patch for each of"
            f" {len(recipe.scales)} scales on each of {group.world_size} devices"
        )
    if recipe.adversarial and (group.world_size > 1 or compiled):
        flag = "--compile" if compiled else f"torchrun with {group.world_size} processes"
        raise UsageError(f"--adversarial {recipe.adversarial:g}: cannot be combined with {flag}")
    spill = run_dir.spill.with_suffix(f".{group.rank}")
    cpu = torch.device("cpu")
    budget = MemoryPolicy([cpu] * group.world_size, memory).dataset(cpu)
    paths = training_paths(run.data, run.val, run_dir.path)
    dataset = load(paths, min_side=recipe.patch_size, budget=budget, spill=spill)
    sets = load_validation_sets(run.val, run_dir.path, max(recipe.scales))
    degradation = recipe.degradation
    validator = Validator(sets, recipe.scales, device, group, degradation) if sets else None
    trainer = Trainer(
        recipe,
        _on_device(dataset, device.torch_device),
        validator,
        run_dir,
        device,
        group,
        options=options,
        started=started,
        source=run.source,
        compiled=compiled,
    )
    if group.is_main:
        session = {
            "from_iteration": trainer.progress.iteration,
            "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": list(command),
            "device": str(device),
            "devices": group.world_size,
            "compiled": compiled,
            "versions": _versions(),
            "git": _git(),
            "pictures": _digest(dataset),
        }
        _write_config(run_dir, run, session)
    return trainer


def _on_device(dataset: Dataset, device: torch.device) -> Dataset:
    """The dataset on the GPU if the memory policy allows it there, else where it is."""
    if device.type == "cpu" or dataset.pixels.numel() > MemoryPolicy([device]).dataset(device):
        return dataset
    return dataset.to(device)


def _write_config(run_dir: RunDirectory, run: ResolvedRun, session: Mapping[str, Any]) -> None:
    earlier = run_dir.read_config()["sessions"] if run.resumed else []
    run_dir.write_config(
        {
            "format": 1,
            "preset": run.preset,
            "recipe": run.recipe.to_json(),
            "data": run.data,
            "val": run.val,
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
    """The commit of lapsr's source and whether it has uncommitted changes; None if installed.

    An environment may lie in a checkout of something else, which does not track what is in it.
    """
    try:
        _, commit, changes = (
            subprocess.run(
                ["git", "-C", str(Path(__file__).parent), *arguments],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for arguments in (
                ["ls-files", "--error-unmatch", Path(__file__).name],
                ["rev-parse", "HEAD"],
                ["status", "--porcelain", "."],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "changed": bool(changes)}


def _digest(dataset: Dataset) -> dict[str, Any]:
    """Enough to tell whether two runs had the same pixels in the same order."""
    digest = hashlib.blake2b(dataset.pixels.numpy().data, digest_size=16)
    digest.update(dataset.heights.tobytes() + dataset.widths.tobytes())
    return {
        "count": len(dataset),
        "pixels": dataset.pixels.numel(),
        "blake2b": digest.hexdigest(),
    }
