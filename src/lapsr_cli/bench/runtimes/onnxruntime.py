"""ONNX Runtime: the network's ONNX graph on the CPU or on CUDA."""

from __future__ import annotations

import os

import torch

from lapsr_cli.bench.runtimes.base import (
    Luma,
    OtherRuntime,
    RuntimeFailed,
    RuntimeMissing,
    Workload,
    import_package,
)

__all__ = ["load"]

_ERRORS_ONLY = 3
"""onnxruntime's log level."""


def load(workload: Workload) -> OtherRuntime:
    """All graph optimisations; ``workload.threads`` threads within an operator, one operator at a
    time (the network is a chain); threads spin between operators, which is the default.

    CUDA needs the package onnxruntime-gpu; copies to and from the device are included, as for all
    runtimes. Raises RuntimeMissing, RuntimeFailed.
    """
    # Read at import; without it, onnxruntime 1.29 and later report every run to Microsoft.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    onnxruntime = import_package("onnxruntime")
    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = workload.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    provider = _provider(workload.device, onnxruntime.get_available_providers())
    session = onnxruntime.InferenceSession(workload.graph, options, providers=[provider])
    session.disable_fallback()
    actual = session.get_providers()[0]
    if actual != provider[0]:
        raise RuntimeFailed(f"onnxruntime uses {actual} instead of {provider[0]}")

    def enlarge(luma: Luma) -> Luma:
        picture: Luma = session.run(None, {"luma": luma[None, None]})[0][0, 0]
        return picture

    return OtherRuntime("onnxruntime", onnxruntime.__version__, enlarge)


def _provider(device: torch.device, available: list[str]) -> tuple[str, dict[str, str]]:
    """The execution provider for a device, and its options."""
    if device.type == "cpu":
        return "CPUExecutionProvider", {}
    if device.type != "cuda":
        raise RuntimeFailed(f"onnxruntime is measured on the CPU and on CUDA, not on {device}")
    if "CUDAExecutionProvider" not in available:
        raise RuntimeMissing("onnxruntime has no CUDA provider: pip install onnxruntime-gpu")
    return "CUDAExecutionProvider", {"device_id": str(device.index or 0)}
