"""OpenCV's dnn module: the network's ONNX graph on the CPU."""

from __future__ import annotations

import numpy as np

from lapsr_cli.bench.runtimes.base import Luma, OtherRuntime, Workload, import_package

__all__ = ["load"]


def load(workload: Workload) -> OtherRuntime:
    """OpenCV 5's new engine with Winograd convolutions, which are its defaults.

    The number of threads is set for OpenCV in the whole process. Raises RuntimeMissing,
    RuntimeFailed.
    """
    workload.require_cpu("opencv")
    cv2 = import_package("cv2", install="opencv-python-headless")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    cv2.setNumThreads(workload.threads)
    graph = np.frombuffer(workload.graph, np.uint8)
    network = cv2.dnn.readNetFromONNX(graph, cv2.dnn.ENGINE_NEW)
    network.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    network.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
    network.enableWinograd(True)

    def enlarge(luma: Luma) -> Luma:
        network.setInput(luma[None, None])  # (1, 1, H, W)
        picture: Luma = network.forward()[0, 0]
        return picture

    return OtherRuntime("opencv", cv2.__version__, enlarge)
