"""The authors' model files: MATLAB 5 .mat, a MatConvNet DagNN.

``net.params`` contains names and values. Convolutions are stored as (kh, kw, in, out), transposed
ones as (kh, kw, out, in); both are correlations as in torch, where they are (out, in, kh, kw) and
(in, out, kh, kw), so that the same permutation serves both. MATLAB drops trailing axes of length 1.
The number of recursions and the kind of skip are read from ``net.layers``, the graph.
Source: the files in pretrained_models/ of github.com/phoenix104104/LapSRN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapsr_cli.errors import UsageError, WeightsError
from lapsr_cli.network.pyramid import PyramidConfig, Skip
from lapsr_cli.weights.serialization import Weights

__all__ = ["read_mat"]

_LAYERS = {"upconv": "up", "residual_conv": "conv_res", "img_up": "up_image"}


def read_mat(path: Path) -> Weights:
    """Read one of the authors' .mat files. Raises WeightsError for any other content."""
    import scipy.io  # only for .mat files: loading it takes longer than a small picture

    try:
        content = scipy.io.loadmat(path, simplify_cells=True)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    # scipy raises all kinds of exceptions for damaged files.
    except Exception as error:
        raise WeightsError(f"{path}: not a MATLAB 5 file ({type(error).__name__})") from error
    try:
        return _convert(content["net"], f"the authors' {path.name}")
    except (KeyError, TypeError, IndexError, ValueError, UsageError) as error:
        raise WeightsError(f"{path}: not an MS-LapSRN or LapSRN model of MatConvNet") from error


def _convert(net: Mapping[str, Any], origin: str) -> Weights:
    values = {str(p["name"]): np.asarray(p["value"], np.float32) for p in net["params"]}
    graph = {str(layer["name"]): _names(layer["inputs"]) for layer in net["layers"]}
    config = _shared_config(values, graph) if "upconv_f" in values else _plain_config(values)
    tensors: dict[str, Tensor] = {}
    for name, value in values.items():
        layer, kind = name.rsplit("_", 1)
        target = _target(layer, config.levels)
        if kind == "b":
            tensors[f"{target}.bias"] = torch.from_numpy(value.reshape(-1))
        else:
            tensors[f"{target}.weight"] = torch.from_numpy(_four_axes(target, value))
    return Weights(config, tensors, origin)


def _names(inputs: Any) -> list[str]:
    return [inputs] if isinstance(inputs, str) else [str(name) for name in inputs]


def _shared_config(
    values: Mapping[str, NDArray[np.float32]], graph: Mapping[str, list[str]]
) -> PyramidConfig:
    blocks = [int(m[1]) for name in graph if (m := re.search(r"level1_R(\d+)_conv1$", name))]
    scales = [int(m[1]) for name in graph if (m := re.search(r"_(\d)x_output$", name))]
    return PyramidConfig(
        depth=sum(re.fullmatch(r"conv\d+_f", name) is not None for name in values),
        recursions=max(blocks),
        skip=_skip(graph),
        levels=max(scales).bit_length() - 1,
        channels=values["input_conv_f"].shape[-1],
    )


def _skip(graph: Mapping[str, list[str]]) -> Skip:
    """The kind of skip; shared and different source differ in what is added to the second block."""
    for name, inputs in graph.items():
        if name.endswith("level1_R2_output"):
            return "ss" if any(i.endswith("input_conv") for i in inputs) else "ds"
    return "ss" if any(name.endswith("level1_R1_output") for name in graph) else "ns"


def _plain_config(values: Mapping[str, NDArray[np.float32]]) -> PyramidConfig:
    return PyramidConfig(
        depth=sum(re.fullmatch(r"level1_conv\d+_f", name) is not None for name in values),
        recursions=1,
        skip="ns",
        shared=False,
        levels=max(int(m[1]) for name in values if (m := re.match(r"level(\d+)_", name))),
        channels=values["input_conv_f"].shape[-1],
    )


def _target(layer: str, levels: int) -> str:
    """Our name of the authors' layer. LapSRN numbers its levels in descending order."""
    if layer == "input_conv":
        return "conv_in"
    level = 0
    if match := re.fullmatch(r"level(\d+)_(.+)", layer):
        level, layer = levels - int(match[1]), match[2]
    if match := re.fullmatch(r"conv(\d+)", layer):
        return f"levels.{level}.convs.{int(match[1]) - 1}"
    return f"levels.{level}.{_LAYERS.get(layer, layer)}"


def _four_axes(target: str, value: NDArray[np.float32]) -> NDArray[np.float32]:
    """(kh, kw, a, b) -> (b, a, kh, kw), with dropped axes of length 1 restored."""
    if target == "conv_in":
        value = value.reshape(*value.shape[:2], 1, -1)
    value = value.reshape(*value.shape, *[1] * (4 - value.ndim))
    return np.ascontiguousarray(value.transpose(3, 2, 0, 1))
