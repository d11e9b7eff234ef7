"""What to do about the slowest stage of a run."""

from __future__ import annotations

from collections.abc import Collection

import torch

from lapsr_cli.device.selection import Device, training_precision

__all__ = ["advice"]

_FASTER_ENCODING = {
    ".png": "-f jpg writes faster, and so does a lower --compress",
    ".avif": "-f jpg or -f webp writes faster",
}


def advice(bottleneck: str, device: Device, suffixes: Collection[str]) -> str:
    """Which option of `lapsr upscale` makes a run faster, in a sentence.

    ``bottleneck``: "decode", "upload", "network", "download" or "encode". ``suffixes``: of the
    written files, such as ".png".
    """
    if bottleneck == "decode":
        return "a faster disk or more cores; no option helps"
    if bottleneck == "encode":
        found = [text for suffix, text in _FASTER_ENCODING.items() if suffix in suffixes]
        return found[0] if found else "more cores would write faster"
    if bottleneck in ("upload", "download"):
        return "--device cuda:0,cuda:1: each GPU has its own copy engines"
    return _faster_network(device)


def _faster_network(device: Device) -> str:
    kind = device.torch_device.type
    if kind == "cpu" and torch.cuda.is_available():
        return "--device cuda"
    if kind == "cuda" and device.precision == "fp32":
        return "--precision fp16, which uses the GPU's matrix units"
    if device.precision == "fp32" and training_precision(device.torch_device) == "bf16":
        return "--precision bf16, which this processor has instructions for"
    if kind == "cuda":
        return "--device cuda:0,cuda:1, or a model with fewer convolutions (-m)"
    if kind == "mps":
        return "a model with fewer convolutions (-m)"
    return "a GPU, or a model with fewer convolutions (-m)"
