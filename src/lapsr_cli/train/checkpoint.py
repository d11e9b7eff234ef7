"""The state of a run on disk: everything needed to go on as if nothing had happened."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lapsr_cli.errors import TrainingError
from lapsr_cli.files import atomic_write

__all__ = ["Checkpoint", "Progress", "read", "write"]

_FORMAT = 1


@dataclass
class Progress:
    """How far a run is.

    ``iteration``: how many are done. ``seconds``: spent on them. ``validated``: the iteration that
    was validated last. ``best``: the best mean PSNR of a validation so far, in dB. ``rate_factor``:
    what the learning rate is multiplied by since the loss ceased to be a number, else 1.
    ``loss_sum`` and ``loss_count``: since the last line of metrics.
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
    """A run between two iterations.

    Batches come from the recipe's seed and the iteration alone; ``random_state``, torch's own
    generator, is kept for whatever else may draw from it.
    """

    recipe: dict[str, Any]
    progress: Progress
    model: dict[str, torch.Tensor]
    ema: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    random_state: torch.Tensor


def write(checkpoint: Checkpoint, path: Path) -> None:
    """Write it whole or not at all. Raises OSError."""
    buffer = io.BytesIO()
    content = {**vars(checkpoint), "progress": asdict(checkpoint.progress)}
    torch.save({"format": _FORMAT, **content}, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def read(path: Path) -> Checkpoint:
    """Read it back, on the CPU; nothing in it is executed. Raises TrainingError with its name."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != _FORMAT:
            raise TrainingError(f"{path}: this checkpoint needs a later lapsr")
        return Checkpoint(**{**content, "progress": Progress(**content["progress"])})
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror or error}") from error
    except TrainingError:
        raise
    # torch raises whatever its parser trips over in a damaged file.
    except Exception as error:
        raise TrainingError(f"{path}: not a whole checkpoint of lapsr") from error
