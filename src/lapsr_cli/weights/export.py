"""Writing a model for other programs: safetensors or ONNX, by the file's ending."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from lapsr_cli.errors import ResourceError, UsageError, WeightsError
from lapsr_cli.files import atomic_write
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.weights.stored import Weights, write_safetensors

__all__ = ["export", "to_onnx"]


def export(weights: Weights, path: Path, *, source: str) -> None:
    """Write ``weights``, read from ``source``, at ``path``.

    ONNX: input ``luma`` (1, 1, H, W) in [0, 1] with H and W free, outputs ``x2``, ``x4``, ``x8``,
    one for each scale of the model. Raises UsageError for another ending, ResourceError where the
    extra [onnx] is not installed, WeightsError if the file cannot be written.
    """
    model = weights.model(source)
    try:
        if path.suffix == ".safetensors":
            write_safetensors(weights, path)
        elif path.suffix == ".onnx":
            graph = to_onnx(model)
            with atomic_write(path) as file:
                file.write(graph)
        else:
            raise UsageError(f"-o/--output {path}: must end in .safetensors or .onnx")
    except OSError as error:
        raise WeightsError(f"-o/--output {path}: {error.strerror or error}") from error


class _Pictures(nn.Module):
    """The network with its pictures as a tuple, which ONNX has names for."""

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
    """The network as an ONNX file's bytes: input ``luma`` (1, 1, H, W), outputs ``x2``, ``x4``, ...

    ``scales``: ascending, all of the model by default. ``size``: H and W, free by default. Raises
    ResourceError where the extra [onnx] is not installed.
    """
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ResourceError(f"ONNX export needs {package}: pip install 'lapsr-cli[onnx]'")
    scales = scales or model.config.scales
    free = {2: torch.export.Dim("H"), 3: torch.export.Dim("W")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Pictures(model, scales).eval(),
            (torch.rand(1, 1, *(size or (12, 17))),),
            dynamo=True,
            verbose=False,
            input_names=["luma"],
            output_names=[f"x{scale}" for scale in scales],
            dynamic_shapes=None if size else (free,),
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())
