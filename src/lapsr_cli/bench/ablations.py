"""The MS-LapSRN paper's ablations as presets: what depth, recursion and skips cost and give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from lapsr_cli.bench.quality import Original
from lapsr_cli.bench.results import StudyRow
from lapsr_cli.bench.timing import repeated
from lapsr_cli.device.selection import Device
from lapsr_cli.errors import UsageError
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig, Skip
from lapsr_cli.pixels.picture import Size

__all__ = ["Study", "StudyOptions", "measure", "networks"]

Study = Literal["params", "depth", "skips", "scales"]

_GRID = {
    "params": ((2, 5), (5, 2), (10, 1)),
    "depth": ((5, 2), (4, 8), (5, 5), (5, 8)),
    "skips": ((5, 2), (5, 5), (5, 8)),
    "scales": ((5, 2), (5, 5), (5, 8)),
}
"""D and R. ``params``: as many convolutions on the way, from 112,017 to 407,441 parameters.
``depth``: more recursions with hardly more parameters.
``skips``: no, different-source and shared-source skips. ``scales``: all pictures of one network."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """``size``: of the input that is timed. ``runs``: counted, after ``warm_up`` that are not."""

    study: Study
    size: Size
    runs: int = 3
    warm_up: int = 1


def networks(study: Study) -> list[tuple[PyramidConfig, int]]:
    """The networks of a study, and the scale at which each is timed. Raises UsageError."""
    if study not in _GRID:
        raise UsageError(f"--study {study}: must be one of {', '.join(_GRID)}")
    skips: tuple[Skip, ...] = ("ns", "ds", "ss") if study == "skips" else ("ss",)
    scales = (2, 4, 8) if study == "scales" else (4,)
    return [
        (PyramidConfig(depth=depth, recursions=recursions, skip=skip), scale)
        for depth, recursions in _GRID[study]
        for skip in skips
        for scale in scales
    ]


def measure(
    options: StudyOptions,
    device: Device,
    weights: Mapping[str, LaplacianPyramid],
    originals: Sequence[Original] = (),
) -> Iterator[StudyRow]:
    """Time every network of a study on random samples.

    Of ``weights`` those of a network in the study also have their quality on ``originals``.
    Networks without weights are drawn at random, which takes as long.
    """
    luma = torch.rand(options.size.height, options.size.width)
    for config, scale in networks(options.study):
        named = {name: model for name, model in weights.items() if model.config == config}
        if not named:
            torch.manual_seed(0)
            named = {"": LaplacianPyramid(config).requires_grad_(False).eval()}
        for name, model in named.items():
            runtime = Runtime(model, device)
            timing = repeated(
                lambda runtime=runtime, scale=scale: runtime.enlarge_luma(luma, scale),  # type: ignore[misc]
                options.runs,
                options.warm_up,
                device=device.torch_device,
            )
            pixels = options.size.height * options.size.width
            yield StudyRow(
                study=options.study,
                title=config.title + (f", {name}" if name else ""),
                parameters=sum(each.numel() for each in model.parameters()),
                layers=config.layers(scale),
                scale=scale,
                seconds=timing,
                teraflops=config.operations(scale) * pixels / 1e12 / timing.median,
                psnr=_quality(runtime, scale, originals) if name else {},
            )


def _quality(runtime: Runtime, scale: int, originals: Sequence[Original]) -> dict[int, float]:
    """Mean PSNR in dB by scale; nothing without pictures."""
    if not originals:
        return {}
    evaluator = Evaluator(runtime)
    scores = [evaluator.score(original.luma, scale) for original in originals]
    return {scale: sum(score.psnr for score in scores) / len(scores)}
