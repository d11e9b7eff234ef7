"""What to do about the slowest stage of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from lapsr_cli.device.selection import Device

__all__ = ["advice"]

_WORTH_IT = 0.95
"""Of the time; less is within the noise of a short measurement."""

_FASTER_ENCODING = {
    ".png": "-f jpg writes faster, and so does a lower --compress",
    ".avif": "-f jpg or -f webp writes faster",
}


def advice(
    bottleneck: str,
    device: Device,
    suffixes: Collection[str],
    precisions: Mapping[str, float] | None = None,
) -> str:
    """Which option of `lapsr upscale` makes a run faster, in a sentence.

    ``bottleneck``: "decode", "upload", "network", "download" or "encode". ``suffixes``: of the
    written files, such as ".png". ``precisions``: the time of the network in each precision, that
    of ``device`` included, as measured here.
    """
    if bottleneck == "decode":
        return "a faster disk or more cores; no option helps"
    if bottleneck == "encode":
        found = [text for suffix, text in _FASTER_ENCODING.items() if suffix in suffixes]
        return found[0] if found else "more cores would write faster"
    if bottleneck in ("upload", "download"):
        return "--device cuda:0,cuda:1: each GPU has its own copy engines"
    return _faster_network(device, precisions or {})


def _faster_network(device: Device, precisions: Mapping[str, float]) -> str:
    kind, current = device.torch_device.type, device.precision
    if kind == "cpu" and torch.cuda.is_available():
        return "--device cuda"
    fastest = min(precisions, key=precisions.__getitem__, default=current)
    if fastest != current and precisions[fastest] < _WORTH_IT * precisions[current]:
        ratio = precisions[fastest] / precisions[current]
        return f"--precision {fastest}, which took {ratio:.2f} of the time of {current} here"
    if kind == "cuda":
        return "--device cuda:0,cuda:1, or a model with fewer convolutions (-m)"
    if kind == "mps":
        return "a model with fewer convolutions (-m)"
    return "a GPU, or a model with fewer convolutions (-m)"
