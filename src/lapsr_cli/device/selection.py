"""Which device computes, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from lapsr_cli.device.cpu_features import this_processor
from lapsr_cli.errors import DeviceError, UsageError
from lapsr_cli.text import counted

__all__ = [
    "Device",
    "FeaturePrecision",
    "Precision",
    "choose",
    "training_precision",
]

FeaturePrecision = Literal["fp32", "bf16", "fp16", "int8"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]

_DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.float32,  # before the first of the recursive blocks and after the last
}


@dataclass(frozen=True)
class Device:
    """A device, the precision of the features on it, and why it was chosen, in words."""

    torch_device: torch.device
    precision: FeaturePrecision
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        """Of the features, except within recursive blocks computed in int8."""
        return _DTYPES[self.precision]

    def __str__(self) -> str:
        if self.torch_device.type == "cuda":
            name = torch.cuda.get_device_name(self.torch_device)
        elif self.torch_device.type == "cpu":
            name = f"{counted(torch.get_num_threads(), 'thread')}, {this_processor().level}"
        else:
            name = "Apple GPU"
        return f"{self.torch_device}, {name}, {self.precision} ({self.reason})"


def choose(device: str = "auto", precision: Precision = "auto") -> Device:
    """Resolve ``device``: "auto", "cpu", "cuda", "cuda:N" or "mps".

    "auto" is the first of CUDA, MPS and CPU that torch finds. Precision "auto" is fp32. Raises
    DeviceError if the device is not available, UsageError for an unknown name.
    """
    if precision not in ("auto", *_DTYPES):
        raise UsageError(f"--precision {precision}: must be auto, fp32, bf16, fp16 or int8")
    chosen, reason = _choose_device(device)
    if chosen.type == "cpu" and precision == "fp16":
        raise DeviceError("--precision fp16: not on the CPU; use fp32, bf16 or int8")
    if precision == "int8":
        _check_int8(chosen)
    return Device(chosen, "fp32" if precision == "auto" else precision, reason)


def _check_int8(device: torch.device) -> None:
    """Raise DeviceError for a device that lapsr has no int8 kernels for."""
    if device.type != "cpu":
        raise DeviceError(f"--precision int8: on the CPU only, not on {device}; use fp16 or bf16")
    processor = this_processor()
    if not processor.has_vnni:
        raise DeviceError(
            f"--precision int8: needs dot products of bytes (VNNI), which this processor"
            f" ({processor.name}, {processor.level}) does not have; use fp32"
        )


def _choose_device(device: str) -> tuple[torch.device, str]:
    cuda = torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    if device == "auto":
        if cuda:
            return torch.device("cuda:0"), "auto"
        if mps:
            return torch.device("mps"), "auto: no CUDA device"
        return torch.device("cpu"), f"auto: torch {torch.__version__} finds no GPU"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"--device {device}: must be auto, cpu, cuda, cuda:N or mps") from error
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {device}: must be auto, cpu, cuda, cuda:N or mps")
    if chosen.type == "cuda" and not cuda:
        raise DeviceError(f"--device {device}: torch {torch.__version__} finds no CUDA device")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"--device {device}: there are {torch.cuda.device_count()} CUDA devices")
    if chosen.type == "mps" and not mps:
        raise DeviceError(f"--device {device}: torch {torch.__version__} finds no MPS device")
    return chosen, "asked for"


def training_precision(device: torch.device) -> Literal["fp32", "bf16"]:
    """The precision that ``device`` trains fastest in: bf16 where the hardware multiplies in it."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # torch tells what the CPU can do since 2.9.
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return "bf16" if found.get("avx512_bf16") or found.get("amx_bf16") else "fp32"
    return "fp32"
