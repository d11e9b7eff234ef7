"""torch.compile of the reference network."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from lapsr_cli.bench.runtimes.base import Luma, OtherRuntime, Workload, temporary_compiler_cache

__all__ = ["load"]


def load(workload: Workload) -> OtherRuntime:
    """Compiled for one input size, in the memory layout that the compiler chooses.

    Needs a C++ compiler on the CPU, Triton on CUDA. Raises RuntimeFailed if they are missing.
    """
    torch.set_num_threads(workload.threads)
    model = copy.deepcopy(workload.model).to(workload.device)

    def largest_picture(luma: Tensor) -> Tensor:
        picture: Tensor = model(luma, workload.scale)[workload.scale]
        return picture

    compiled = torch.compile(largest_picture, fullgraph=True, dynamic=False)

    def enlarge(luma: Luma) -> Luma:
        with torch.inference_mode():
            on_device = torch.from_numpy(luma).to(workload.device)[None, None]  # (1, 1, H, W)
            picture: Luma = compiled(on_device)[0, 0].cpu().numpy()
        return picture

    with temporary_compiler_cache():
        enlarge(np.zeros((workload.height, workload.width), np.float32))
    return OtherRuntime("compile", torch.__version__, enlarge)
