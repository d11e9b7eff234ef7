"""Data-parallel training: one process per device, started by torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lapsr_cli.errors import DeviceError, TrainingError

__all__ = ["ProcessGroup", "local_device", "process_group"]


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run; this one is ``rank`` of ``world_size`` and computes on ``device``.

    Only rank 0 prints and writes files. With a world size of 1, nothing is communicated.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process is rank 0."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """``module`` with its parameters broadcast from rank 0 and its gradients averaged."""
        if self.world_size == 1:
            return module
        return nn.parallel.DistributedDataParallel(module)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all ranks, on every rank."""
        if self.world_size > 1:
            value = value.detach().clone()
            dist.all_reduce(value)
            value /= self.world_size
        return value

    def sum(self, values: list[float]) -> list[float]:
        """Each value summed over all ranks, on every rank."""
        if self.world_size == 1:
            return values
        summed = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(summed)
        totals: list[float] = summed.tolist()
        return totals

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is true on any rank, on every rank."""
        return [count > 0 for count in self.sum([float(flag) for flag in flags])]

    def barrier(self) -> None:
        """Wait until every rank has called this."""
        if self.world_size > 1:
            dist.barrier()


def local_device(device: str) -> str:
    """The device of this process, given the --device of all: under torchrun, "auto" and "cuda"
    become the GPU with the local rank of the process."""
    if _under_torchrun() and device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Connect to the other processes of torchrun, by NCCL on CUDA and by Gloo elsewhere.

    Without torchrun, a group of this process alone. Raises DeviceError if the group cannot be set
    up and TrainingError if another process is lost later.
    """
    if not _under_torchrun():
        yield ProcessGroup(0, 1, device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        _initialize("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise DeviceError(f"torchrun: cannot connect the processes ({error})") from error
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size(), device)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise TrainingError(f"torchrun: lost another process ({error})") from error
        raise
    finally:
        dist.destroy_process_group()


def _initialize(backend: str) -> None:
    """torchrun may keep one store across restarts, which then holds addresses of processes that
    have ended; a prefix per restart separates them."""
    store, rank, world_size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    own = dist.PrefixStore(f"lapsr/{restart}", store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=own, rank=rank, world_size=world_size)
