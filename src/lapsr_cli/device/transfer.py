"""Samples between main memory and the device's.

On CUDA copies go through pinned memory on streams of their own, so that one pass is uploaded and
another downloaded while the network computes a third. Elsewhere they are plain copies.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Download", "Transfer"]


class Download:
    """Tensors on their way to main memory."""

    def __init__(self, tensors: list[Tensor], arrived: torch.cuda.Event | None = None) -> None:
        self._tensors = tensors
        self._arrived = arrived

    def wait(self) -> list[Tensor]:
        """The tensors in main memory, once they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensors


class Transfer:
    """Copies to and from one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            self._up = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._down = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @property
    def overlaps(self) -> bool:
        """Whether copies go on while the device computes."""
        return self._device.type == "cuda"

    def upload(self, samples: Tensor) -> Tensor:
        """The same samples on the device; on CUDA the current stream waits for them."""
        if not self.overlaps:
            return samples.to(self._device)
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._up):
            there = samples.pin_memory().to(self._device, non_blocking=True)
        current.wait_stream(self._up)
        there.record_stream(current)  # or its memory would be free for the next upload
        return there

    def download(self, tensors: Sequence[Tensor]) -> Download:
        """Begin to copy to main memory what the current stream makes."""
        if not self.overlaps:
            return Download([tensor.cpu() for tensor in tensors])
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            copies = []
            for tensor in tensors:
                tensor.record_stream(self._down)
                pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                copies.append(pinned.copy_(tensor, non_blocking=True))
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._down)
        return Download(copies, arrived)
