"""OpenVINO: the network's ONNX graph on the CPU."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from lapsr_cli.bench.runtimes.base import Luma, OtherRuntime, Workload, import_package

__all__ = ["load"]


def load(workload: Workload) -> OtherRuntime:
    """One picture at a time, optimised for latency, in fp32: by default OpenVINO computes in bf16
    if the CPU has instructions for it. Raises RuntimeMissing, RuntimeFailed."""
    workload.require_cpu("openvino")
    openvino = _import_without_telemetry()
    core = openvino.Core()
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": workload.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        # A pinned thread waits for others on its core: up to twice the time.
        "ENABLE_CPU_PINNING": False,
    }
    compiled = core.compile_model(core.read_model(workload.graph), "CPU", settings)
    request = compiled.create_infer_request()

    def enlarge(luma: Luma) -> Luma:
        picture: Luma = request.infer([luma[None, None]], share_inputs=True)[0][0, 0]
        return picture

    return OtherRuntime("openvino", openvino.__version__.partition("-")[0], enlarge)


def _import_without_telemetry() -> ModuleType:
    """Import OpenVINO as if its telemetry package were not installed: otherwise the import sends an
    event to Google Analytics and leaves files in the user's home directory."""
    telemetry = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return import_package("openvino")
    finally:
        del sys.modules["openvino_telemetry"]
        if telemetry is not None:
            sys.modules["openvino_telemetry"] = telemetry
