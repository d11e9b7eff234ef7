"""Facts about this machine, and its rate of matrix products: the roofline of all convolutions."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil
import torch

from lapsr_cli.bench.results import Machine
from lapsr_cli.bench.timing import repeated
from lapsr_cli.device.cpu_features import this_processor
from lapsr_cli.device.selection import Device

__all__ = ["matrix_product_rate", "this_machine"]

_SIDES = {"cpu": 2048, "mps": 4096, "cuda": 8192}
"""Side of the square matrices: large enough for the launch time to be negligible."""
_SMALL_SIDE = 256
_LONGEST_PRODUCT = 5.0
"""Seconds that a product of large matrices may take."""
_RUNS = 5


def this_machine() -> Machine:
    """The facts that measurements depend on."""
    gpus = tuple(
        torch.cuda.get_device_name(number)
        for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    )
    return Machine(
        processor=_processor(),
        cpu_level=this_processor().level,
        cores=psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        torch=torch.__version__,
        gpus=gpus,
    )


def matrix_product_rate(device: Device) -> float:
    """torch's matrix product in the precision of ``device``, in 10^12 operations per second, the
    best of five. Direct convolutions cannot exceed it; Winograd convolutions, which need fewer
    operations than are counted, can."""
    small, side = _SMALL_SIDE, _SIDES[device.torch_device.type]
    rate = _product_rate(device, small)
    # A CPU that does not multiply in half precision takes most of a minute for a large product.
    return rate if 2 * side**3 / 1e12 > _LONGEST_PRODUCT * rate else _product_rate(device, side)


def _product_rate(device: Device, side: int) -> float:
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.randn(side, side, generator=generator).to(device.torch_device, device.dtype)
        for _ in range(2)
    )
    with torch.inference_mode():
        timing = repeated(lambda: left @ right, _RUNS, device=device.torch_device)
    return 2 * side**3 / timing.least / 1e12


def _processor() -> str:
    """The processor's name, as reported by the system."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
