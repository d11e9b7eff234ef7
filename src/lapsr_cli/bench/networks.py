"""The networks to measure: every model on every device in every precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lapsr_cli import weights
from lapsr_cli.device.selection import Device, Precision, choose
from lapsr_cli.errors import UsageError
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.upscaler import Upscaler
from lapsr_cli.weights.manifest import manifest

__all__ = ["Network", "NetworkOptions", "load_networks"]


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which models to measure, on which devices, in which precisions, at which scales.

    ``models``: names or files; empty: the default for lossless files. ``scales``: empty: a default
    that depends on the measurement. ``offline``: do not download models. Raises UsageError,
    naming the option.
    """

    models: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("auto",)
    precisions: tuple[Precision, ...] = ("auto",)
    scales: tuple[int, ...] = ()
    offline: bool = False

    def __post_init__(self) -> None:
        if not self.devices:
            raise UsageError("--device: needs at least one device")
        if not self.precisions:
            raise UsageError("--precision: needs at least one precision")


@dataclass(frozen=True)
class Network:
    """A model on a device in a precision. ``label`` is unique within one call of the benchmark.

    ``requested_scales``: those of NetworkOptions; empty: the default of each measurement.
    """

    name: str
    model: LaplacianPyramid
    device: Device
    label: str
    requested_scales: tuple[int, ...]

    def upscaler(self) -> Upscaler:
        """An upscaler with this network only."""
        return Upscaler({self.name: self.model}, self.device)

    def scales(self, default: Sequence[int]) -> tuple[int, ...]:
        """The requested scales in ascending order; by default, those of ``default`` that the
        network makes, or else all that it makes."""
        made = self.model.config.scales
        if self.requested_scales:
            return tuple(sorted(self.requested_scales))
        return tuple(scale for scale in default if scale in made) or made


def load_networks(options: NetworkOptions) -> list[Network]:
    """Every model on every device in every precision.

    Raises UsageError for a scale that a model does not make, ResourceError for a model or a device
    that is not available.
    """
    names = options.models or (manifest().default,)
    models = {name: weights.load(name, offline=options.offline) for name in names}
    for model in models.values():
        for scale in options.scales:
            model.config.level_of(scale)
    devices = _devices(options)
    found = []
    for device in devices:
        where = f" on {device.torch_device} in {device.precision}" if len(devices) > 1 else ""
        found += [
            Network(name, model, device, name + where, options.scales)
            for name, model in models.items()
        ]
    return found


def _devices(options: NetworkOptions) -> list[Device]:
    """Each device in each precision, once: "auto" may be the same as another in the list."""
    found: dict[tuple[torch.device, str], Device] = {}
    for name in options.devices:
        for precision in options.precisions:
            device = choose(name, precision)
            found.setdefault((device.torch_device, device.precision), device)
    return list(found.values())
