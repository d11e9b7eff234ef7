"""Weights files: safetensors with the network's configuration, and .pth state dicts.

The metadata of a safetensors file has one key, ``lapsr``: JSON with ``format`` (1), ``config`` (the
fields of PyramidConfig) and ``origin`` (where the weights came from). Tensor names are those of
LaplacianPyramid's state dict, and ``ranges`` in a calibrated model. There is only one key so that
the same weights always give the same bytes.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lapsr_cli.errors import UsageError, WeightsError, WeightsMismatch
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from lapsr_cli.outputs import open_output
from lapsr_cli.weights.recognition import recognize

__all__ = ["Weights", "is_safetensors", "read_pth", "read_safetensors", "write_safetensors"]

_METADATA_KEY = "lapsr"
_FORMAT = 1
_RANGES = "ranges"
_TENSOR = re.compile(
    r"ranges|(conv_in|levels\.\d+\.(convs\.\d+|up|up_image|conv_res))\.(weight|bias)"
)
"""The names of LaplacianPyramid's state dict."""
_LONGEST_NAME = 60
"""Characters of a tensor's name in a message; a file may claim any."""
_STATE_DICT_KEYS = ("state_dict", "model", "params_ema", "params")
"""Under which training scripts save a state dict."""


@dataclass(frozen=True)
class Weights:
    """The configuration and the tensors of a network.

    ``tensors``: LaplacianPyramid's state dict. ``origin``: where they came from, in words.
    """

    config: PyramidConfig
    tensors: Mapping[str, Tensor]
    origin: str

    @property
    def ranges(self) -> Tensor | None:
        """Those of LaplacianPyramid; None if the network is not calibrated."""
        return self.tensors.get(_RANGES)

    def with_ranges(self, ranges: Tensor | None) -> Weights:
        """The same weights with these ranges, or without any."""
        tensors = {name: tensor for name, tensor in self.tensors.items() if name != _RANGES}
        if ranges is not None:
            tensors[_RANGES] = ranges
        return replace(self, tensors=tensors)

    def model(self, source: str) -> LaplacianPyramid:
        """The network with these weights, fp32, for inference.

        Raises WeightsMismatch, naming ``source`` and the tensor, if they do not match the
        configuration.
        """
        with torch.device("meta"):
            model = LaplacianPyramid(self.config)
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        if self.ranges is not None:
            expected[_RANGES] = self.config.ranges_shape
        for name, tensor in self.tensors.items():
            if not _is_plain(tensor):
                raise WeightsMismatch(
                    f"{source}: tensor {name} is not a dense tensor of real numbers"
                )
        given = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        for name, shape in expected.items():
            if name not in given:
                raise WeightsMismatch(f"{source}: tensor {name} is missing for {self.config.title}")
            if given[name] != shape:
                raise WeightsMismatch(
                    f"{source}: tensor {name} is {given[name]}, but {self.config.title} has {shape}"
                )
            if not self.tensors[name].float().isfinite().all():
                raise WeightsMismatch(f"{source}: tensor {name} has values that are not finite")
        if extra := sorted(given.keys() - expected.keys()):
            raise WeightsMismatch(f"{source}: tensor {extra[0]} is not part of {self.config.title}")
        if self.ranges is not None and (self.ranges[..., 0] > self.ranges[..., 1]).any():
            raise WeightsMismatch(f"{source}: its ranges are not ascending")
        tensors = {name: tensor.float().contiguous() for name, tensor in self.tensors.items()}
        model.load_state_dict(tensors, assign=True)
        return model.requires_grad_(False).eval()


def write_safetensors(weights: Weights, path: Path) -> None:
    """Write ``weights`` to ``path``, completely or not at all. Raises OSError."""
    about = {"format": _FORMAT, "config": asdict(weights.config), "origin": weights.origin}
    # Cloned, because safetensors refuses tensors that share memory.
    tensors = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.tensors.items()
    }
    with open_output(path) as file:
        file.write(save(tensors, metadata={_METADATA_KEY: json.dumps(about, sort_keys=True)}))


def is_safetensors(path: Path) -> bool:
    """Whether a file is what `write_safetensors` gives. Raises OSError."""
    try:
        with safe_open(path, framework="pt") as file:
            return _METADATA_KEY in (file.metadata() or {})
    except SafetensorError:
        return False


def read_safetensors(path: Path, config: PyramidConfig | None = None) -> Weights:
    """Read a safetensors file. ``config``: for files without one of their own.

    Raises WeightsError if the file cannot be read, if it has no configuration and none can be
    inferred, or if it is from a later version of lapsr.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a complete safetensors file ({error})") from error
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    if _METADATA_KEY not in metadata:
        return _without_metadata(tensors, config, path)
    try:
        config, origin = _parse_metadata(metadata[_METADATA_KEY], str(path))
    except (ValueError, RecursionError, UsageError) as error:
        raise WeightsError(f"{path}: its lapsr metadata is damaged ({error})") from error
    return Weights(config, tensors, origin)


def _parse_metadata(text: str, source: str) -> tuple[PyramidConfig, str]:
    """The configuration and the origin. Raises ValueError, RecursionError or UsageError if they are
    not there, WeightsError for the format of a later version."""
    match json.loads(text):
        case {"format": int(version)} if version > _FORMAT:
            raise WeightsError(f"{source}: format {version} needs a later lapsr")
        case {"format": 1, "config": dict(values), "origin": str(origin)}:
            return _config_from(values), origin
    raise ValueError("format, config or origin is missing")


def read_pth(path: Path, config: PyramidConfig | None = None) -> Weights:
    """Read a state dict saved with torch.save; no code in it is executed (weights_only).

    The tensors may be in the dict itself, or under one of the keys that training scripts use. A
    prefix "module." (data-parallel training) is removed. Raises WeightsError for anything else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    # torch raises all kinds of exceptions for damaged files.
    except Exception as error:
        raise WeightsError(f"{path}: not a state dict of tensors") from error
    for key in _STATE_DICT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not _all_tensors(content):
        raise WeightsError(f"{path}: not a state dict of tensors")
    tensors = {name.removeprefix("module."): tensor for name, tensor in content.items()}
    return _without_metadata(tensors, config, path)


def _without_metadata(
    tensors: Mapping[str, Tensor], config: PyramidConfig | None, path: Path
) -> Weights:
    """Weights from a file that does not say what network they are of. Raises WeightsError if they
    are of another network, or the configuration was not given and cannot be inferred."""
    if network := recognize(tensors):
        raise WeightsError(f"{path}: {network}; lapsr reads LapSRN and MS-LapSRN")
    return Weights(config or _infer_config(tensors, str(path)), tensors, f"import of {path.name}")


def _infer_config(tensors: Mapping[str, Tensor], source: str) -> PyramidConfig:
    """Infer a LapSRN configuration, with one block and no skip, from the tensors.

    Raises WeightsError for MS-LapSRN, whose number of recursions is not visible in the tensors, and
    for tensors of another network.
    """
    if unknown := [name for name in tensors if not _TENSOR.fullmatch(name)]:
        first = ", ".join(name[:_LONGEST_NAME] for name in unknown[:3])
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise WeightsError(
            f"{source}: not a LapSRN or MS-LapSRN network: unknown tensors {first}{more}"
        )
    levels = {name.split(".")[1] for name in tensors if name.startswith("levels.")}
    depth = sum(name.startswith("levels.0.convs.") for name in tensors) // 2
    if "conv_in.weight" not in tensors or not levels or not depth:
        raise WeightsError(f"{source}: tensors of a LapSRN or MS-LapSRN network are missing")
    if len(levels) == 1:
        raise WeightsError(
            f"{source}: the number of recursions cannot be inferred from the tensors;"
            " import it with `lapsr weights import --recursions R`"
        )
    try:
        return PyramidConfig(
            depth=depth,
            recursions=1,
            skip="ns",
            shared=False,
            levels=len(levels),
            channels=len(tensors["conv_in.weight"]),
        )
    except (UsageError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{source}: these are not the tensors of LapSRN ({error})") from error


def _config_from(values: Mapping[str, Any]) -> PyramidConfig:
    unknown = values.keys() - {field.name for field in fields(PyramidConfig)}
    if unknown:
        raise ValueError(f"unknown field {reprlib.repr(min(unknown))}")
    return PyramidConfig(**values)


def _all_tensors(content: Mapping[Any, Any]) -> bool:
    return all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


def _is_plain(tensor: Tensor) -> bool:
    """Whether its numbers can be read as fp32."""
    strided = tensor.layout == torch.strided and not tensor.is_nested
    return strided and not (tensor.is_meta or tensor.is_complex() or tensor.is_quantized)
