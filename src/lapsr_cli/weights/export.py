"""Writing a model for other programs: safetensors or ONNX, by the file's ending."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from lapsr_cli.errors import ResourceError, UsageError, WeightsError
from lapsr_cli.files import whole_file
from lapsr_cli.model import LaplacianPyramid
from lapsr_cli.weights.stored import Weights, write_safetensors

__all__ = ["export"]


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
            _write_onnx(model, path)
        else:
            raise UsageError(f"-o/--output {path}: must end in .safetensors or .onnx")
    except OSError as error:
        raise WeightsError(f"-o/--output {path}: {error.strerror or error}") from error


class _AllScales(nn.Module):
    """The network with its pictures as a tuple, which ONNX has names for."""

    def __init__(self, model: LaplacianPyramid) -> None:
        super().__init__()
        self.model = model

    def forward(self, luma: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(luma).values())


def _write_onnx(model: LaplacianPyramid, path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ResourceError(f"ONNX export needs {package}: pip install 'lapsr-cli[onnx]'")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _AllScales(model).eval(),
            (torch.rand(1, 1, 12, 17),),
            dynamo=True,
            verbose=False,
            input_names=["luma"],
            output_names=[f"x{scale}" for scale in model.config.scales],
            dynamic_shapes=({2: torch.export.Dim("H"), 3: torch.export.Dim("W")},),
        )
    assert program is not None
    with whole_file(path) as file:
        file.write(program.model_proto.SerializeToString())
