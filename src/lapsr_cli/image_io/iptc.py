"""IPTC-IIM records, bare or in a Photoshop resource block (Adobe, Image Resource Blocks)."""

from __future__ import annotations

import struct

__all__ = ["RESOURCE", "records", "resource_block"]

RESOURCE = 0x0404
"""The number of the Photoshop resource that holds IPTC records."""


def records(data: bytes) -> bytes | None:
    """The records in a Photoshop block or in bare records; None if there are none."""
    if data.startswith(b"\x1c"):
        return data.rstrip(b"\0") or None
    data = data.removeprefix(b"Photoshop 3.0\0")
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        (kind,) = struct.unpack_from(">H", data, at + 4)
        start = at + 6 + (data[at + 6] + 2) // 2 * 2  # a length and a name, padded to an even size
        if start + 4 > len(data):
            return None
        (size,) = struct.unpack_from(">I", data, start)
        if kind == RESOURCE:
            return data[start + 4 : start + 4 + size] or None
        at = start + 4 + (size + 1) // 2 * 2
    return None


def resource_block(iptc: bytes) -> bytes:
    """A Photoshop block that contains only the records."""
    return b"8BIM" + struct.pack(">HHI", RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
