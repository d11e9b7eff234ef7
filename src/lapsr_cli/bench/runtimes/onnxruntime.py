"""ONNX Runtime: the network's ONNX graph, on the CPU or by CUDA."""

from __future__ import annotations

import os

import torch

from lapsr_cli.bench.runtimes.peer import Luma, Peer, PeerFailed, PeerMissing, Work, package

__all__ = ["load"]

_ERRORS_ALONE = 3


def load(work: Work) -> Peer:
    """All graph optimisations, ``work.threads`` threads inside an operator, one operator at a time
    (the network is a chain), spinning between operators as by default.

    CUDA needs the package onnxruntime-gpu; copies to the device and back are counted, as for all.
    Raises PeerMissing, PeerFailed.
    """
    # Read when the package is loaded; without it every run is told to Microsoft since 1.29.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    onnxruntime = package("onnxruntime")
    onnxruntime.set_default_logger_severity(_ERRORS_ALONE)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = work.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ALONE
    provider = _provider(work.device, onnxruntime.get_available_providers())
    session = onnxruntime.InferenceSession(work.graph, options, providers=[provider])
    session.disable_fallback()
    taken = session.get_providers()[0]
    if taken != provider[0]:
        raise PeerFailed(f"onnxruntime took {taken} and not {provider[0]}")

    def enlarge(luma: Luma) -> Luma:
        picture: Luma = session.run(None, {"luma": luma[None, None]})[0][0, 0]
        return picture

    return Peer("onnxruntime", onnxruntime.__version__, enlarge)


def _provider(device: torch.device, available: list[str]) -> tuple[str, dict[str, str]]:
    """The execution provider for a device, and its options."""
    if device.type == "cpu":
        return "CPUExecutionProvider", {}
    if device.type != "cuda":
        raise PeerFailed(f"onnxruntime is compared on the CPU and on CUDA, not on {device}")
    if "CUDAExecutionProvider" not in available:
        raise PeerMissing("this onnxruntime computes on the CPU alone: pip install onnxruntime-gpu")
    return "CUDAExecutionProvider", {"device_id": str(device.index or 0)}
