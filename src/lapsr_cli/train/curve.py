"""The picture of a run: loss and PSNR over iterations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

__all__ = ["draw"]


def draw(records: Sequence[dict[str, Any]], *, title: str) -> bytes:
    """A PNG of the loss (logarithmic) and, below it, the PSNR of every set and scale.

    ``records``: the lines of metrics.jsonl. Bicubic's PSNR is the dotted line of the same colour.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    losses = [(r["iteration"], r["loss"]) for r in records if "loss" in r]
    validations = [r for r in records if "scores" in r]
    figure = Figure(figsize=(9, 7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True)
    figure.suptitle(title)
    if losses:
        top.plot(*zip(*losses, strict=True), linewidth=1, color="0.25")
        top.set_yscale("log")
    top.set_ylabel("loss")
    top.grid(alpha=0.3, which="both")
    baselines = {name: scales for r in validations for name, scales in r["bicubic"].items()}
    for (name, scale), points in _psnrs(validations).items():
        (line,) = bottom.plot(*zip(*points, strict=True), marker=".", label=f"{name} {scale}x")
        bottom.axhline(
            baselines[name][scale][0], color=line.get_color(), linestyle=":", linewidth=1
        )
    if validations:
        bottom.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="dotted: bicubic")
    bottom.set_ylabel("PSNR in dB")
    bottom.set_xlabel("iterations")
    bottom.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _psnrs(validations: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """(iteration, PSNR) of each set and scale."""
    points: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for record in validations:
        for name, scales in record["scores"].items():
            for scale, (psnr, _) in scales.items():
                points.setdefault((name, scale), []).append((record["iteration"], psnr))
    return points
