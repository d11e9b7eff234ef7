"""The devices that train together: one process each, started by torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lapsr_cli.errors import DeviceError, TrainingError

__all__ = ["Ranks", "joined", "local_device"]


@dataclass(frozen=True)
class Ranks:
    """This process is ``rank`` of ``world``; rank 0 alone speaks and writes."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def parallel(self, module: nn.Module) -> nn.Module:
        """``module`` with its gradients averaged over all ranks, which start from rank 0's."""
        if self.world == 1:
            return module
        return nn.parallel.DistributedDataParallel(module)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all ranks, known to all."""
        if self.world > 1:
            value = value.detach().clone()
            dist.all_reduce(value)
            value /= self.world
        return value

    def total(self, values: list[float]) -> list[float]:
        """Sums over all ranks, known to all."""
        if self.world == 1:
            return values
        summed = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(summed)
        totals: list[float] = summed.tolist()
        return totals

    def any(self, *flags: bool) -> list[bool]:
        """Which of them is true on any rank, known to all."""
        return [count > 0 for count in self.total([float(flag) for flag in flags])]

    def wait(self) -> None:
        """Until every rank is here."""
        if self.world > 1:
            dist.barrier()


def local_device(device: str) -> str:
    """The device of this process where ``device`` is what all were given: on a machine with
    several GPUs each process that torchrun started takes its own."""
    if _by_torchrun() and device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


def _by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Meet the other processes that torchrun started, NCCL on CUDA and gloo elsewhere."""
    if not _by_torchrun():
        yield Ranks(0, 1, device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        _meet("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise DeviceError(f"torchrun: the processes did not meet ({error})") from error
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), device)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise TrainingError(f"torchrun: another process was lost ({error})") from error
        raise
    finally:
        dist.destroy_process_group()


def _meet(backend: str) -> None:
    """torchrun may keep one store for all its restarts, with the addresses of the dead in it."""
    store, rank, world = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    own = dist.PrefixStore(f"lapsr/{restart}", store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=own, rank=rank, world_size=world)
