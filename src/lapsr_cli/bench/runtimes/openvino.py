"""OpenVINO: the network's ONNX graph on the CPU."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from lapsr_cli.bench.runtimes.peer import Luma, Peer, Work, package

__all__ = ["load"]


def load(work: Work) -> Peer:
    """One picture at a time as soon as possible, in fp32: left alone it takes bf16 where the CPU
    multiplies in it. Raises PeerMissing, PeerFailed."""
    work.on_the_cpu("openvino")
    openvino = _import_in_private()
    core = openvino.Core()
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": work.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        # A thread bound to a core waits for whatever else runs there: up to twice the time.
        "ENABLE_CPU_PINNING": False,
    }
    compiled = core.compile_model(core.read_model(work.graph), "CPU", settings)
    request = compiled.create_infer_request()

    def enlarge(luma: Luma) -> Luma:
        picture: Luma = request.infer([luma[None, None]], share_inputs=True)[0][0, 0]
        return picture

    return Peer("openvino", openvino.__version__.partition("-")[0], enlarge)


def _import_in_private() -> ModuleType:
    """OpenVINO, without the event that its import sends to Google Analytics unless its telemetry
    package is missing, and without the files it keeps for that in the user's home."""
    telemetry = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return package("openvino")
    finally:
        del sys.modules["openvino_telemetry"]
        if telemetry is not None:
            sys.modules["openvino_telemetry"] = telemetry
