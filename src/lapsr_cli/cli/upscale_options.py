"""The options of lapsr upscale, parsed for the batch modules."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lapsr_cli.cli.params import bytes_of, colour, pixels_of, positive_or_auto
from lapsr_cli.errors import UsageError

if TYPE_CHECKING:
    from lapsr_cli.batch.limits import Limits
    from lapsr_cli.batch.planning import IfExists, Selection
    from lapsr_cli.batch.targets import Target
    from lapsr_cli.device.memory import MemoryPolicy
    from lapsr_cli.device.selection import Device, Precision
    from lapsr_cli.inference.tiler import TileOptions
    from lapsr_cli.upscaler import Upscaler

__all__ = ["UpscaleOptions"]


@dataclass(frozen=True, kw_only=True)
class UpscaleOptions:
    """The values as given on the command line.

    The methods parse them. They raise UsageError, naming the option, for a value that is invalid.
    """

    inputs: tuple[str, ...]
    more_inputs: tuple[str, ...]
    output: Path
    scales: str | None
    width: int | None
    height: int | None
    long_edge: int | None
    cascade: bool
    model: str | None
    denoise: float | None
    form: str
    quality: int
    compress: int
    lossless: bool
    background: str | None
    strip_metadata: bool
    name: str | None
    if_exists: IfExists
    recursive: bool
    device: str
    precision: Precision
    tta: bool
    tile: str
    batch_size: str
    memory: str | None
    max_pixels: str | None
    fail_fast: bool
    dry_run: bool
    report_file: Path | None
    as_json: bool
    offline: bool
    verbose: bool

    def selection(self) -> Selection:
        """Which pictures, which sizes, where to and how encoded."""
        from lapsr_cli.batch.planning import Selection
        from lapsr_cli.image_io import Encoding

        return Selection(
            inputs=self.inputs + self.more_inputs,
            output=self._folder(),
            targets=self._targets(),
            form=self.form.lower().lstrip("."),
            encoding=Encoding(
                quality=self.quality,
                compress=self.compress,
                lossless=self.lossless,
                background=colour(self.background),
                strip_metadata=self.strip_metadata,
            ),
            name=self.name,
            recursive=self.recursive,
            if_exists=self.if_exists,
        )

    def _folder(self) -> Path:
        """Where the results go. Raises UsageError for the name of a picture, not to make a folder
        of that name."""
        from lapsr_cli.image_io import READABLE, suffix_for

        path = self.output
        if path.suffix.lower() in READABLE and not os.path.isdir(path):
            form = suffix_for(path.suffix)[1:].lower()
            instead = shlex.join(["-o", str(path.parent), "--name", path.stem, "-f", form])
            raise UsageError(
                f"-o/--output {path}: must be a folder; for one picture, use {instead}"
            )
        return path

    def _targets(self) -> tuple[Target, ...]:
        """Scales in ascending order without duplicates, then the size in pixels."""
        from lapsr_cli.batch.targets import Target

        size = self._size_in_pixels()
        scales = self.scales if self.scales is not None else "" if size else "2"
        parts = [part.strip() for part in scales.split(",") if part.strip()]
        by_label = {target.label: target for target in (Target(scale=part) for part in parts)}
        return (*sorted(by_label.values(), key=lambda target: float(target.label)), *size)

    def _size_in_pixels(self) -> tuple[Target, ...]:
        """The target of --width, --height and --long-edge; empty if none of them is given."""
        from lapsr_cli.batch.targets import Target

        boxed = self.width is not None or self.height is not None
        if self.long_edge is not None and boxed:
            raise UsageError("--long-edge: cannot be combined with --width or --height")
        if self.long_edge is not None:
            return (Target(long_edge=self.long_edge),)
        return (Target(width=self.width, height=self.height),) if boxed else ()

    def tiling(self) -> TileOptions:
        """How pictures are cut into tiles, and how many tiles go into one pass."""
        from lapsr_cli.inference.tiler import TileOptions

        tile = None
        if self.tile != "none":
            tile = positive_or_auto("-t/--tile", self.tile, "auto, none")
        batch = positive_or_auto("--batch-size", self.batch_size, "auto")
        return TileOptions(tile=tile, batch=batch)

    def limits(self) -> Limits:
        """The memory for pictures, and which pictures are refused."""
        from lapsr_cli.batch.limits import Limits

        values = {}
        if self.max_pixels is not None:
            values["max_pixels"] = pixels_of("--max-pixels", self.max_pixels)
        return Limits(
            memory=self._memory_policy().pictures(),
            most=self._memory_limit(),
            cascade=self.cascade,
            **values,
        )

    @cached_property
    def devices(self) -> list[Device]:
        """The devices that compute, one for each name."""
        from lapsr_cli.device.selection import choose

        return [choose(name.strip(), self.precision) for name in self.device.split(",")]

    def _memory_policy(self) -> MemoryPolicy:
        from lapsr_cli.device.memory import MemoryPolicy

        devices = [device.torch_device for device in self.devices]
        return MemoryPolicy(devices, self._memory_limit())

    def _memory_limit(self) -> int | None:
        return None if self.memory is None else bytes_of("--memory", self.memory)

    def upscalers(self) -> list[Upscaler]:
        """One per device."""
        from lapsr_cli.upscaler import Upscaler

        policy = self._memory_policy()
        return [
            Upscaler.from_weights(
                self.model,
                device=device,
                tiling=self.tiling(),
                offline=self.offline,
                tta=self.tta,
                memory=policy.tiles(device.torch_device),
                denoise=self.denoise,
            )
            for device in self.devices
        ]
