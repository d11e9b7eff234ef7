"""How much memory is free, who may take which share of it, and what happens to freed blocks."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

__all__ = [
    "MemoryPolicy",
    "ensure_allocatable",
    "free_memory",
    "is_out_of_memory",
    "keep_freed_memory",
    "release_freed_memory",
]

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGEST_THRESHOLD = 32 << 20  # bytes, that glibc takes
_STRICT_OVERCOMMIT = "2"

_NO_MEMORY = (
    "can't allocate memory",
    "could not create a primitive",
    "could not create a memory",
    "can't start new thread",
)
"""What torch's allocator, oneDNN and Python's threads say; oneDNN has no other words for it."""


class MemoryPolicy:
    """Who may take how much: pictures in main memory, tiles on the devices, a training set.

    ``devices``: those that compute, one entry for each network; entries of one device share its
    memory. ``limit``: bytes of main memory for the whole run (``--memory``). Without it a run takes
    0.65 of what is free: outputs of the network and the allocator need the rest.
    """

    _USABLE = 0.65
    _PICTURES = 0.4
    """Of the main memory a run may take, where tiles on the CPU take the rest."""
    _GPU_TILES = 0.4
    _DATASET = 0.4
    """Of the free memory: concatenating the pictures of a training set takes twice their size."""

    def __init__(self, devices: Sequence[torch.device], limit: int | None = None) -> None:
        self._devices = tuple(devices)
        self._limit = limit

    def pictures(self) -> int:
        """Bytes that pictures may take which were read and are not written yet."""
        return int(self._main_memory() * (self._PICTURES if self._uses_cpu else 1))

    def tiles(self, device: torch.device) -> int:
        """Bytes that a pass of one network may take on ``device``."""
        if device.type == "cpu":
            memory = self._main_memory() * (1 - self._PICTURES)
        else:
            memory = free_memory(device) * self._GPU_TILES
        return int(memory / max(1, self._devices.count(device)))

    def dataset(self, device: torch.device) -> int:
        """Bytes that a training set may take on ``device``, where each entry has one of its own."""
        if device.type == "cpu":
            memory = free_memory(device) * self._DATASET if self._limit is None else self._limit
        else:
            memory = free_memory(device) * self._DATASET
        return int(memory / max(1, self._devices.count(device)))

    @property
    def _uses_cpu(self) -> bool:
        return any(device.type == "cpu" for device in self._devices)

    def _main_memory(self) -> float:
        """Bytes of main memory that the run may take."""
        if self._limit is not None:
            return self._limit
        return free_memory(torch.device("cpu")) * self._USABLE


class _Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2 (malloc.h)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def free_memory(device: torch.device) -> int:
    """Bytes that a run may still take on ``device``.

    On the CPU the least of what the machine has, what this process's limits leave (``ulimit``) and
    what its control groups leave (containers); and what this process freed and keeps.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    left = [int(psutil.virtual_memory().available)]
    if sys.platform == "linux":
        left += [*_left_by_limits(), *_left_in_groups(Path("/"))]
    return max(0, min(left)) + _kept()


def _kept() -> int:
    """Bytes of freed blocks that this process has not given back; 0 where glibc does not tell."""
    if not (mallinfo := _of_glibc("mallinfo2")):
        return 0
    mallinfo.restype = _Mallinfo
    return int(mallinfo().fordblks)


def _left_by_limits() -> Iterator[int]:
    process = psutil.Process()
    memory = process.memory_info()
    for kind, used in ((psutil.RLIMIT_AS, memory.vms), (psutil.RLIMIT_DATA, memory.data)):
        limit, _ = process.rlimit(kind)
        if limit != psutil.RLIM_INFINITY:
            yield limit - used


def _left_in_groups(root: Path) -> Iterator[int]:
    """Of Linux's control groups: this process's and those around it, as far as they can be seen
    (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst)."""
    own = root / "proc/self/cgroup"
    for line in own.read_text().splitlines() if own.exists() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = base / path.lstrip("/")
        for each in (group, *group.parents):
            if each.is_relative_to(base):
                yield from _left_in_group(each, *names)


def _left_in_group(group: Path, limit: str, usage: str, cache: str) -> Iterator[int]:
    """None if it has no limit. What the system would drop first from its cache of files is free."""
    try:
        most = (group / limit).read_text().strip()
        used = int((group / usage).read_text())
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:  # the outermost group has none; in a container those outside are not there
        return
    if most != "max":
        cached = dict(line.split() for line in lines).get(cache, 0)
        yield int(most) - used + int(cached)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python failed for want of memory; on the CPU torch has no class for it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def ensure_allocatable(size: int) -> None:
    """See that the system would give this process so many bytes more now. Raises MemoryError.

    For what cannot say so itself: a library that finds no place for code it generates, or for a
    thread's stack, ends the process.
    """
    if not _would_give(size):
        release_freed_memory(torch.device("cpu"))
        if not _would_give(size):
            raise MemoryError(f"the system refuses {size} bytes")


def _would_give(size: int) -> bool:
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}
    try:
        mmap.mmap(-1, size, **private).close()
    except OSError:
        return False
    return True


def keep_freed_memory() -> None:
    """Let this process keep the large blocks it frees, where the C library is glibc.

    glibc gives a feature map back to the system when it is freed, and the next one is made of
    pages that have to be cleared and mapped first: up to half the time of a pass on the CPU.
    Threads take from one arena: those of their own give memory back whatever is said. Where the
    system counts what a process might use (``ulimit``, strict overcommit), maps of whole pictures
    go back to it all the same: code and threads find no place in memory that is kept.
    This changes the whole process, so it is for programs, not for importing code.
    """
    if mallopt := _of_glibc("mallopt"):
        if _is_counted():
            mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        else:
            mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_ARENA_MAX, 1)


def _is_counted() -> bool:
    """Whether memory is refused, or may be, that nobody has written to."""
    overcommit = Path("/proc/sys/vm/overcommit_memory")
    if overcommit.exists() and overcommit.read_text().strip() == _STRICT_OVERCOMMIT:
        return True
    return next(_left_by_limits(), None) is not None


def release_freed_memory(device: torch.device) -> None:
    """Give back what this process keeps of freed blocks: of a GPU to its driver, otherwise to the
    system, where the C library is glibc. Code that is compiled meanwhile gets its memory there."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif malloc_trim := _of_glibc("malloc_trim"):
        malloc_trim(0)


def _of_glibc(name: str) -> Any:
    """A function of the C library that only glibc has; None elsewhere."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
