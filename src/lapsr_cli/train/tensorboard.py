"""TensorBoard logs, if the extra [tensorboard] is installed."""

from __future__ import annotations

from pathlib import Path

from lapsr_cli.errors import ResourceError
from lapsr_cli.train.loop import Step, Stopped, Validated

__all__ = ["TensorBoardWriter"]


class TensorBoardWriter:
    """Writes scalars to ``folder``. Raises ResourceError if the extra is not installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ResourceError(
                "--tensorboard requires an extra: pip install 'lapsr-cli[tensorboard]'"
            ) from error
        self._writer = SummaryWriter(str(folder))

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()

    def add(self, event: Step | Validated | Stopped) -> None:
        """Write the values of an event; steps count only if they are logged."""
        add, at = self._writer.add_scalar, event.iteration
        if isinstance(event, Step) and event.logged:
            add("loss", event.loss, at)
            add("learning rate", event.rate, at)
            add("patches per second", event.patches_per_second, at)
        elif isinstance(event, Validated):
            for name, scales in event.scores.items():
                for scale, (psnr, ssim) in scales.items():
                    add(f"PSNR {scale}x/{name}", psnr, at)
                    add(f"SSIM {scale}x/{name}", ssim, at)
            self._writer.flush()
