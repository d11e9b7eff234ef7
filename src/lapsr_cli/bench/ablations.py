"""The ablations of the MS-LapSRN paper as presets: the cost and benefit of depth, recursions and
skip connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch

from lapsr_cli.bench.quality import Original
from lapsr_cli.bench.results import AblationRow
from lapsr_cli.bench.timing import TimingOptions, repeated
from lapsr_cli.device.selection import Device
from lapsr_cli.errors import UsageError
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig, Skip

__all__ = ["Ablation", "measure", "networks"]

Ablation = Literal["params", "depth", "skips", "scales"]

_GRID = {
    "params": ((2, 5), (5, 2), (10, 1)),
    "depth": ((5, 2), (4, 8), (5, 5), (5, 8)),
    "skips": ((5, 2), (5, 5), (5, 8)),
    "scales": ((5, 2), (5, 5), (5, 8)),
}
"""Depth D and recursions R of each network. ``params``: the same number of convolutions on the
path, with 112,017 to 407,441 parameters. ``depth``: more recursions, hardly more parameters.
``skips``: none, different-source and shared-source. ``scales``: every scale of one network."""


def networks(ablation: Ablation) -> list[tuple[PyramidConfig, int]]:
    """The networks of an ablation, each with the scale at which it is timed. Raises UsageError."""
    if ablation not in _GRID:
        raise UsageError(f"--study {ablation}: must be one of {', '.join(_GRID)}")
    skips: tuple[Skip, ...] = ("ns", "ds", "ss") if ablation == "skips" else ("ss",)
    scales = (2, 4, 8) if ablation == "scales" else (4,)
    return [
        (PyramidConfig(depth=depth, recursions=recursions, skip=skip), scale)
        for depth, recursions in _GRID[ablation]
        for skip in skips
        for scale in scales
    ]


def measure(
    ablation: Ablation,
    options: TimingOptions,
    device: Device,
    weights: Mapping[str, LaplacianPyramid],
    originals: Sequence[Original] = (),
) -> Iterator[AblationRow]:
    """Time every network of an ablation on random luma of the first of ``options.sizes``.

    A network with the configuration of one of ``weights`` (models by name) uses that model, and its
    PSNR on ``originals`` is measured too. The others have random weights, which take as long.
    """
    size = options.sizes[0]
    luma = torch.rand(size.height, size.width)
    for config, scale in networks(ablation):
        for name, model in _models(config, weights).items():
            runtime = Runtime(model, device)
            timing = repeated(
                lambda runtime=runtime, scale=scale: runtime.enlarge_luma(luma, scale),  # type: ignore[misc]
                options.runs,
                options.warm_up,
                device=device.torch_device,
            )
            operations = config.operations(scale) * size.height * size.width
            yield AblationRow(
                study=ablation,
                title=config.title + (f", {name}" if name else ""),
                parameters=sum(each.numel() for each in model.parameters()),
                layers=config.layers(scale),
                scale=scale,
                seconds=timing,
                teraflops=operations / 1e12 / timing.median,
                psnr=_mean_psnr(runtime, scale, originals) if name else {},
            )


def _models(
    config: PyramidConfig, weights: Mapping[str, LaplacianPyramid]
) -> dict[str, LaplacianPyramid]:
    """The models of this configuration by name; without any, a random one named ""."""
    found = {name: model for name, model in weights.items() if model.config == config}
    if not found:
        torch.manual_seed(0)
        found = {"": LaplacianPyramid(config).requires_grad_(False).eval()}
    return found


def _mean_psnr(runtime: Runtime, scale: int, originals: Sequence[Original]) -> dict[int, float]:
    """Mean PSNR in dB by scale; empty without pictures."""
    if not originals:
        return {}
    evaluator = Evaluator(runtime)
    scores = [evaluator.score(original.luma, scale) for original in originals]
    return {scale: sum(score.psnr for score in scores) / len(scores)}
