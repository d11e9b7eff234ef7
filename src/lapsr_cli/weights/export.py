"""Exporting a model for other programs, as safetensors or ONNX."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from lapsr_cli.errors import ResourceError, WeightsError
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.outputs import open_output
from lapsr_cli.weights.serialization import Weights, write_safetensors

__all__ = ["export", "is_onnx", "to_onnx"]

_PRODUCER = "lapsr"

_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def export(weights: Weights, path: Path, *, source: str) -> None:
    """Write ``weights`` to ``path``, in the format of its suffix. ``source``: named in errors.

    ONNX: input ``luma`` (1, 1, H, W) in [0, 1] with dynamic H and W; outputs ``x2``, ``x4``,
    ``x8``, one for each scale s of the model, (1, 1, sH, sW). Raises ResourceError if the extra
    [onnx] is not installed, WeightsError if the file cannot be written.
    """
    model = weights.model(source)
    try:
        if path.suffix == ".onnx":
            graph = to_onnx(model)
            with open_output(path) as file:
                file.write(graph)
        else:
            write_safetensors(weights, path)
    except OSError as error:
        raise WeightsError(f"-o/--output {path}: {error.strerror or error}") from error


class _Pictures(nn.Module):
    """The network with a tuple of outputs instead of a dict, as ONNX needs."""

    def __init__(self, model: LaplacianPyramid, scales: tuple[int, ...]) -> None:
        super().__init__()
        self.model = model
        self.scales = scales

    def forward(self, luma: Tensor) -> tuple[Tensor, ...]:
        pictures = self.model(luma, self.scales[-1])
        return tuple(pictures[scale] for scale in self.scales)


def to_onnx(
    model: LaplacianPyramid,
    scales: tuple[int, ...] | None = None,
    size: tuple[int, int] | None = None,
) -> bytes:
    """The bytes of an ONNX file: input ``luma`` (1, 1, H, W), outputs ``x2``, ``x4``, ...

    ``scales``: ascending; all of the model by default. ``size``: H and W; dynamic by default.
    Raises ResourceError if the extra [onnx] is not installed.
    """
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ResourceError(f"ONNX export requires {package}: pip install 'lapsr-cli[onnx]'")
    scales = scales or model.config.scales
    dynamic = {2: torch.export.Dim("H"), 3: torch.export.Dim("W")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), _no_compiler_cache():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Pictures(model, scales).eval(),
            (torch.rand(1, 1, *(size or (12, 17))),),
            dynamo=True,
            verbose=False,
            input_names=["luma"],
            output_names=[f"x{scale}" for scale in scales],
            dynamic_shapes=None if size else (dynamic,),
        )
    assert program is not None
    graph = program.model_proto
    graph.producer_name = _PRODUCER
    return bytes(graph.SerializeToString())


def is_onnx(path: Path) -> bool:
    """Whether a file is what `to_onnx` gives: its second field is the producer."""
    version, producer = b"\x08", bytes([0x12, len(_PRODUCER)]) + _PRODUCER.encode()
    with path.open("rb") as file:
        start = file.read(2 + len(producer))
    return start.startswith(version) and start.endswith(producer)


@contextmanager
def _no_compiler_cache() -> Iterator[None]:
    """Exporting imports torch's compiler, which then makes the folder of its cache; here one that
    is removed again, unless the user has set another."""
    if _CACHE_VARIABLE in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="lapsr-") as folder:
        os.environ[_CACHE_VARIABLE] = folder
        try:
            yield
        finally:
            os.environ.pop(_CACHE_VARIABLE, None)
