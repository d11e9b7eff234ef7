"""Other super-resolution networks, recognized by the names of their tensors, for error messages."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["recognize"]

_NETWORKS = (
    ("an ESRGAN network (RRDBNet)", r"(model\.1\.sub|RRDB_trunk|body)\.0\.(RDB|rdb)1\.conv1\..*"),
    ("a Real-ESRGAN compact network (SRVGGNetCompact)", r"body\.0\.weight"),
    ("a HAT network", r"layers\.0\.residual_group\.overlap_attn\..*"),
    ("a SwinIR network", r"layers\.0\.residual_group\.blocks\.0\.attn\..*"),
    ("an RCAN network", r"body\.0\.body\.0\.body\.0\.weight"),
    ("an EDSR network", r"body\.0\.body\.0\.weight"),
    ("a waifu2x or Real-CUGAN network (CUNet)", r"unet1\.conv1\.conv\.0\.weight"),
)
"""Networks, and a tensor that each has. HAT also has SwinIR's, so it comes first."""


def recognize(names: Iterable[str]) -> str:
    """The network that has tensors of these names, in words; empty if it is not a known one."""
    known = list(names)
    for network, pattern in _NETWORKS:
        if any(re.fullmatch(pattern, name) for name in known):
            return network
    return ""
