"""Peak memory and energy of a block of code."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from lapsr_cli.device.memory import release_freed_memory

__all__ = ["EnergyMeter", "MemoryMeter", "package_counters"]

_INTERVAL = 0.005
_RAPL = Path("/sys/class/powercap")


class MemoryMeter:
    """Peak memory of a device inside ``measured``, in bytes.

    On CUDA, as held by torch's allocator. Elsewhere, the growth of the process's resident memory,
    sampled 200 times a second; freed memory that the process keeps is released first.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.peak_bytes = 0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the block."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            yield
            self.peak_bytes = torch.cuda.max_memory_allocated(self._device)
            return
        release_freed_memory(self._device)
        process = psutil.Process()
        before = process.memory_info().rss
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_INTERVAL):
                self.peak_bytes = max(self.peak_bytes, process.memory_info().rss - before)

        watcher = threading.Thread(target=watch, name="memory", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            self.peak_bytes = max(self.peak_bytes, process.memory_info().rss - before)


class EnergyMeter:
    """Energy used inside ``measured``, in joules: of the processor packages (RAPL, through Linux's
    powercap files below ``counters``) or of an NVIDIA GPU (NVML, if nvidia-ml-py is installed).

    None if there is no readable counter.
    """

    def __init__(self, device: torch.device, counters: Path = _RAPL) -> None:
        self._device = device
        self._counters = counters
        self.joules: float | None = None

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the block."""
        before = self._read()
        yield
        after = self._read()
        self.joules = None
        if before and after:
            self.joules = sum(
                now - then + (limit if now < then else 0)
                for (then, limit), (now, _) in zip(before, after, strict=True)
            )

    def _read(self) -> list[tuple[float, float]]:
        """Joules of every counter, and the value at which it wraps around to zero."""
        if self._device.type == "cuda":
            return _gpu_counter(self._device)
        return package_counters(self._counters)


def package_counters(folder: Path) -> list[tuple[float, float]]:
    """Joules of every processor package, and the value at which its counter wraps around to zero.

    Empty if the counters are missing or not readable.
    """
    counters = []
    for zone in sorted(folder.glob("intel-rapl:[0-9]")):
        try:
            microjoules = int((zone / "energy_uj").read_text())
            limit = int((zone / "max_energy_range_uj").read_text())
        except OSError:  # on most systems, readable by root only
            return []
        counters.append((microjoules / 1e6, limit / 1e6))
    return counters


def _gpu_counter(device: torch.device) -> list[tuple[float, float]]:
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return [(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, 0.0)]
    except pynvml.NVMLError:
        return []
