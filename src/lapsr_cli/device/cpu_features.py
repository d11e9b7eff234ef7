"""Which instructions the CPU engine may use: what this processor has, capped by ``LAPSR_CPU``."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from lapsr_cli.errors import UsageError

__all__ = ["CAPS", "Processor", "capped", "this_processor"]

CAPS = ("native", "avx512", "avx2", "sse4")
"""Values of the environment variable ``LAPSR_CPU``, most capable first."""

_BEYOND = {
    "avx512": ("amx-",),
    "avx2": ("amx-", "avx10", "avx512", "evex512"),
    "sse4": ("amx-", "avx", "evex", "f16c", "fma", "sha512", "sm3", "sm4", "vaes", "vpcl", "xop"),
}
"""How LLVM's names of the x86 features begin that each cap excludes."""

_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA = 158, 0x1023, 18


@dataclass(frozen=True)
class Processor:
    """A target to compile for.

    ``features``: LLVM's feature names, each with + or - before it, separated by commas.
    ``vector_bytes`` and ``registers``: size and number of the widest vector registers.
    """

    name: str
    features: str
    vector_bytes: int
    registers: int

    @property
    def level(self) -> str:
        """Its instruction set in a word: "amx", "avx512", "avx2", "sse4" or "neon"."""
        if self.has("amx-tile"):
            return "amx"
        if self.vector_bytes == 16:
            return "neon" if self.has("neon") else "sse4"
        return {64: "avx512", 32: "avx2"}[self.vector_bytes]

    @property
    def has_vnni(self) -> bool:
        """Whether it has dot products of bytes (x86's VNNI) in its widest vectors."""
        return (self.vector_bytes == 64 and self.has("avx512vnni")) or (
            self.vector_bytes == 32 and self.has("avxvnni")
        )

    def has_amx(self, itemsize: int) -> bool:
        """Whether it has matrix products (x86's AMX) of int8, ``itemsize`` 1, or of bf16, 2."""
        return self.vector_bytes == 64 and self.has({1: "amx-int8", 2: "amx-bf16"}[itemsize])

    def has(self, feature: str) -> bool:
        """Whether it has the feature of that LLVM name."""
        return f"+{feature}" in self.features.split(",")


@cache
def this_processor() -> Processor:
    """The one this runs on, capped by ``LAPSR_CPU``. Raises UsageError for an unknown cap."""
    cap = os.environ.get("LAPSR_CPU") or "native"
    if cap not in CAPS:
        raise UsageError(f"LAPSR_CPU={cap}: must be one of {', '.join(CAPS)}")
    features: dict[str, bool] = dict(llvm.get_host_cpu_features())
    if cap == "native" and features.get("amx-tile") and not _may_use_tiles():
        features |= {feature: False for feature in features if feature.startswith("amx")}
    return capped(llvm.get_host_cpu_name(), features, cap)


def capped(name: str, features: dict[str, bool], cap: str) -> Processor:
    """The processor ``name`` with those of its ``features`` that ``cap`` allows. Caps are of x86;
    elsewhere they change nothing."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        excluded = _BEYOND.get(cap, ())
        features = {f: there and not f.startswith(excluded) for f, there in features.items()}
    text = ",".join(f"{'+' if there else '-'}{feature}" for feature, there in features.items())
    if features.get("avx512f"):
        return Processor(name, text, vector_bytes=64, registers=32)
    if features.get("avx2") and features.get("fma"):
        return Processor(name, text, vector_bytes=32, registers=16)
    return Processor(name, text, vector_bytes=16, registers=32 if features.get("neon") else 16)


def _may_use_tiles() -> bool:
    """Ask Linux, which saves the tile registers of a process only once it has asked for them
    (Documentation/arch/x86/xstate.rst)."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA) == 0)
