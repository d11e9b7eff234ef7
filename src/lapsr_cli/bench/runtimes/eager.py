"""torch by itself: the reference network as it is written, with nothing prepared."""

from __future__ import annotations

import copy

import torch

from lapsr_cli.bench.runtimes.peer import Luma, Peer, Work

__all__ = ["load"]


def load(work: Work) -> Peer:
    """Plain (B, C, H, W) tensors, each operation on its own. The number of threads is torch's for
    the whole process."""
    torch.set_num_threads(work.threads)
    model = copy.deepcopy(work.model).to(work.device)

    def enlarge(luma: Luma) -> Luma:
        with torch.inference_mode():
            there = torch.from_numpy(luma).to(work.device)[None, None]  # (1, 1, H, W)
            picture: Luma = model(there, work.scale)[work.scale][0, 0].cpu().numpy()
        return picture

    return Peer("eager", torch.__version__, enlarge)
