"""Weights files: safetensors with the network's configuration in the metadata, and .pth dicts.

The metadata holds one key, ``lapsr``: JSON with ``format`` (1), ``config`` (the fields of
PyramidConfig) and ``origin`` (where the weights came from, in words). Tensor names are those of
LaplacianPyramid's state dict, and ``ranges`` in a model that was calibrated. One key only, so that
the same weights always give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lapsr_cli.errors import UsageError, WeightsError, WeightsMismatch
from lapsr_cli.files import atomic_write
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig

__all__ = ["Weights", "read_pth", "read_safetensors", "write_safetensors"]

_METADATA_KEY = "lapsr"
_FORMAT = 1
_RANGES = "ranges"


@dataclass(frozen=True)
class Weights:
    """A network's configuration, its tensors, where they came from, and its ranges if there are
    any: (levels, R, D, C, 2), as in LaplacianPyramid."""

    config: PyramidConfig
    tensors: Mapping[str, Tensor]
    origin: str
    ranges: Tensor | None = None

    def model(self, source: str) -> LaplacianPyramid:
        """The network with these weights, fp32, for inference.

        Raises WeightsMismatch, naming ``source`` and the tensor, if they do not fit.
        """
        with torch.device("meta"):
            model = LaplacianPyramid(self.config)
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        given = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        for name, shape in expected.items():
            if name not in given:
                raise WeightsMismatch(f"{source}: tensor {name} is missing for {self.config.title}")
            if given[name] != shape:
                raise WeightsMismatch(
                    f"{source}: tensor {name} is {given[name]}, but {self.config.title} has {shape}"
                )
            tensor = self.tensors[name]
            if tensor.layout != torch.strided or tensor.is_meta or tensor.is_complex():
                raise WeightsMismatch(f"{source}: tensor {name} does not hold plain real numbers")
            if not tensor.float().isfinite().all():
                raise WeightsMismatch(f"{source}: tensor {name} holds values that are not finite")
        if extra := sorted(given.keys() - expected.keys()):
            raise WeightsMismatch(f"{source}: tensor {extra[0]} is not part of {self.config.title}")
        tensors = {name: tensor.float().contiguous() for name, tensor in self.tensors.items()}
        model.load_state_dict(tensors, assign=True)
        model.ranges = self._checked_ranges(source)
        return model.requires_grad_(False).eval()

    def _checked_ranges(self, source: str) -> Tensor | None:
        if self.ranges is None:
            return None
        config = self.config
        shape = (len(config.scales), config.recursions, config.depth, config.channels, 2)
        if self.ranges.shape != shape:
            raise WeightsMismatch(
                f"{source}: its ranges are {tuple(self.ranges.shape)}, but {config.title}"
                f" has {shape}"
            )
        lowest, highest = self.ranges.unbind(-1)
        if not (self.ranges.isfinite().all() and (lowest <= highest).all()):
            raise WeightsMismatch(f"{source}: its ranges do not go from lower to higher numbers")
        return self.ranges.float()


def write_safetensors(weights: Weights, path: Path) -> None:
    """Write ``weights`` at ``path``, whole or not at all. Raises OSError."""
    about = {"format": _FORMAT, "config": asdict(weights.config), "origin": weights.origin}
    ranges = {} if weights.ranges is None else {_RANGES: weights.ranges}
    # A copy each: safetensors refuses tensors that share memory.
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in {**weights.tensors, **ranges}.items()
    }
    with atomic_write(path) as file:
        file.write(save(tensors, metadata={_METADATA_KEY: json.dumps(about, sort_keys=True)}))


def read_safetensors(path: Path, config: PyramidConfig | None = None) -> Weights:
    """Read a weights file; ``config`` is used for one that does not carry its own.

    Raises WeightsError if it cannot be read, carries no configuration or one of a later lapsr.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error})") from error
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    if _METADATA_KEY not in metadata:
        return Weights(
            config or _guess_config(tensors, str(path)), tensors, f"import of {path.name}"
        )
    try:
        about = json.loads(metadata[_METADATA_KEY])
        if about["format"] != _FORMAT:
            raise WeightsError(f"{path}: format {about['format']} needs a later lapsr")
        ranges = tensors.pop(_RANGES, None)
        return Weights(_config_from(about["config"]), tensors, str(about["origin"]), ranges)
    except (ValueError, TypeError, KeyError, AttributeError, UsageError) as error:
        raise WeightsError(f"{path}: its lapsr metadata is damaged ({error})") from error


def read_pth(path: Path, config: PyramidConfig | None = None) -> Weights:
    """Read a state dict saved by torch.save. Nothing in it is executed (weights_only).

    A prefix "module." (data-parallel training) is taken off, and a dict that holds the tensors
    under "state_dict" or "model" is opened. Raises WeightsError for anything else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    # torch raises whatever its parser trips over in a damaged file.
    except Exception as error:
        raise WeightsError(f"{path}: not a state dict of tensors") from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not _all_tensors(content):
        raise WeightsError(f"{path}: not a state dict of tensors")
    tensors = {str(name).removeprefix("module."): tensor for name, tensor in content.items()}
    return Weights(config or _guess_config(tensors, str(path)), tensors, f"import of {path.name}")


def _guess_config(tensors: Mapping[str, Tensor], source: str) -> PyramidConfig:
    """The configuration that tensors alone can tell: LapSRN's, which has one block and no skip.

    Raises WeightsError for MS-LapSRN, whose recursions leave no trace in the tensors, and for
    tensors of another network.
    """
    levels = {name.split(".")[1] for name in tensors if name.startswith("levels.")}
    depth = sum(name.startswith("levels.0.convs.") for name in tensors) // 2
    if "conv_in.weight" not in tensors or not levels or not depth:
        raise WeightsError(f"{source}: these are not the tensors of a LapSRN or MS-LapSRN network")
    if len(levels) == 1:
        raise WeightsError(
            f"{source}: its tensors do not tell the number of recursions:"
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
    except (UsageError, TypeError) as error:
        raise WeightsError(f"{source}: these are not the tensors of LapSRN ({error})") from error


def _config_from(values: Mapping[str, Any]) -> PyramidConfig:
    unknown = values.keys() - {field.name for field in fields(PyramidConfig)}
    if unknown:
        raise ValueError(f"unknown field {min(unknown)}")
    return PyramidConfig(**values)


def _all_tensors(content: Mapping[Any, Any]) -> bool:
    return all(isinstance(value, Tensor) for value in content.values())
