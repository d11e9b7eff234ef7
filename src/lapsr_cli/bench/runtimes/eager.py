"""torch in eager mode: the reference network as written."""

from __future__ import annotations

import copy

import torch

from lapsr_cli.bench.runtimes.base import Luma, OtherRuntime, Workload

__all__ = ["load"]


def load(workload: Workload) -> OtherRuntime:
    """Contiguous (B, C, H, W) tensors, one operation after another. The number of threads is set
    for torch in the whole process."""
    torch.set_num_threads(workload.threads)
    model = copy.deepcopy(workload.model).to(workload.device)

    def enlarge(luma: Luma) -> Luma:
        with torch.inference_mode():
            on_device = torch.from_numpy(luma).to(workload.device)[None, None]  # (1, 1, H, W)
            pictures = model(on_device, workload.scale)
            picture: Luma = pictures[workload.scale][0, 0].cpu().numpy()
        return picture

    return OtherRuntime("eager", torch.__version__, enlarge)
