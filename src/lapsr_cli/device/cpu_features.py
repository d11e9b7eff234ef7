"""What this processor can do."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

__all__ = ["Processor", "this_processor"]

_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA = 158, 0x1023, 18


@dataclass(frozen=True)
class Processor:
    """What code is compiled for. ``features``: LLVM's names with + or - before them;
    ``vector_bytes`` and ``registers``: of the widest vectors that it computes with."""

    name: str
    features: str
    vector_bytes: int
    registers: int

    @property
    def multiplies_bytes(self) -> bool:
        """Whether it has x86's dot products of bytes (VNNI) in its widest vectors."""
        features = self.features.split(",")
        return (self.vector_bytes == 64 and "+avx512vnni" in features) or (
            self.vector_bytes == 32 and "+avxvnni" in features
        )

    def multiplies_tiles_of(self, size: int) -> bool:
        """Whether it has x86's matrix products (AMX) of bytes, ``size`` 1, or of bf16, 2."""
        feature = {1: "+amx-int8", 2: "+amx-bf16"}[size]
        return self.vector_bytes == 64 and feature in self.features.split(",")


@cache
def this_processor() -> Processor:
    """The one that this runs on."""
    features: dict[str, bool] = dict(llvm.get_host_cpu_features())
    name: str = llvm.get_host_cpu_name()
    if features.get("amx-tile") and not _may_use_tiles():
        features |= {feature: False for feature in features if feature.startswith("amx")}
    text = ",".join(f"{'+' if there else '-'}{feature}" for feature, there in features.items())
    if features.get("avx512f"):
        return Processor(name, text, vector_bytes=64, registers=32)
    if features.get("avx2") and features.get("fma"):
        return Processor(name, text, vector_bytes=32, registers=16)
    arm = features.get("neon", False)
    return Processor(name, text, vector_bytes=16, registers=32 if arm else 16)


def _may_use_tiles() -> bool:
    """Ask Linux, which saves the tiles of a process only once it has asked
    (Documentation/arch/x86/xstate.rst)."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA) == 0)
