"""OpenCV's dnn module: the network's ONNX graph on the CPU."""

from __future__ import annotations

import numpy as np

from lapsr_cli.bench.runtimes.peer import Luma, Peer, Work, package

__all__ = ["load"]


def load(work: Work) -> Peer:
    """By the new engine of OpenCV 5, Winograd convolutions on, as they are by default.

    The number of threads is OpenCV's for the whole process. Raises PeerMissing, PeerFailed.
    """
    work.on_the_cpu("opencv")
    cv2 = package("cv2", install="opencv-python-headless")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    cv2.setNumThreads(work.threads)
    graph = np.frombuffer(work.graph, np.uint8)
    network = cv2.dnn.readNetFromONNX(graph, cv2.dnn.ENGINE_NEW)
    network.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    network.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
    network.enableWinograd(True)

    def enlarge(luma: Luma) -> Luma:
        network.setInput(luma[None, None])
        picture: Luma = network.forward()[0, 0]
        return picture

    return Peer("opencv", cv2.__version__, enlarge)
