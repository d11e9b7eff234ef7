"""Checkpoints: the complete state of a run, from which it resumes bit for bit."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from lapsr_cli.errors import TrainingError
from lapsr_cli.files import atomic_write

__all__ = ["Checkpoint", "Progress", "read", "write"]

_FORMAT = 1


@dataclass
class Progress:
    """Counters of a run. Their names are keys of the checkpoint file.

    ``iteration``: iterations completed. ``seconds``: time spent on them. ``validated``: iteration
    of the last validation. ``best``: best mean PSNR of a validation so far, in dB.
    ``rate_factor``: multiplies the learning rate; below 1 after a loss that was not finite.
    ``loss_sum`` and ``loss_count``: losses since the last record of metrics.jsonl.
    """

    iteration: int = 0
    seconds: float = 0.0
    validated: int = 0
    best: float | None = None
    rate_factor: float = 1.0
    loss_sum: float = 0.0
    loss_count: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two iterations. Field names are keys of the checkpoint file.

    ``model`` and ``ema``: state dicts of the weights and of their moving average. Batches depend
    only on the recipe's seed and the iteration; ``random_state``, of torch's global generator, is
    there for anything else that draws random numbers. ``gradient``: state of `Gradient`, that is of
    the discriminator; not in the file if empty.
    """

    recipe: dict[str, Any]
    progress: Progress
    model: dict[str, torch.Tensor]
    ema: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    random_state: torch.Tensor
    gradient: dict[str, Any] = field(default_factory=dict)


def write(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint atomically. Raises OSError."""
    buffer = io.BytesIO()
    content = {**vars(checkpoint), "progress": asdict(checkpoint.progress)}
    if not checkpoint.gradient:
        del content["gradient"]  # version 0.1.0 does not know it
    torch.save({"format": _FORMAT, **content}, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def read(path: Path) -> Checkpoint:
    """Read a checkpoint, its tensors on the CPU, without executing any code in the file.

    Raises TrainingError, with the path in its message, if the file is missing or invalid.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != _FORMAT:
            raise TrainingError(f"{path}: written by a newer version of lapsr")
        return Checkpoint(**{**content, "progress": Progress(**content["progress"])})
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror or error}") from error
    except TrainingError:
        raise
    # For a damaged file, torch raises whatever exception its parser runs into.
    except Exception as error:
        raise TrainingError(f"{path}: not a valid checkpoint") from error
