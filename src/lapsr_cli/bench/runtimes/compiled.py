"""torch.compile of the reference network."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from lapsr_cli.bench.runtimes.peer import Luma, Peer, Work, files_that_vanish

__all__ = ["load"]


def load(work: Work) -> Peer:
    """Compiled for the one size, in the layout that the compiler chooses. It needs a C++ compiler
    for the CPU, Triton for CUDA. Raises PeerFailed where they are missing."""
    torch.set_num_threads(work.threads)
    model = copy.deepcopy(work.model).to(work.device)

    def picture_of(luma: Tensor) -> Tensor:
        picture: Tensor = model(luma, work.scale)[work.scale]
        return picture

    compiled = torch.compile(picture_of, fullgraph=True, dynamic=False)

    def enlarge(luma: Luma) -> Luma:
        with torch.inference_mode():
            there = torch.from_numpy(luma).to(work.device)[None, None]  # (1, 1, H, W)
            picture: Luma = compiled(there)[0, 0].cpu().numpy()
        return picture

    with files_that_vanish():
        enlarge(np.zeros((work.height, work.width), np.float32))
    return Peer("compile", torch.__version__, enlarge)
