"""The training curve of a run as an SVG file: loss and PSNR over iterations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from lapsr_cli.html.chart import Axis, Chart, Point, Series
from lapsr_cli.html.svg import svg_document

__all__ = ["draw"]

_MARKERS = 20
"""Markers of a series: more would hide its line."""


def draw(records: Sequence[dict[str, Any]], *, title: str) -> bytes:
    """An SVG of the loss (logarithmic) and, below it, the PSNR of every validation set and scale.

    ``records``: the lines of metrics.jsonl. Bicubic's PSNR is a dotted line in the colour of the
    same set and scale. Values that are not finite, and losses of 0, are left out.
    """
    return svg_document(title, [_loss_chart(records), _psnr_chart(records)]).encode()


def _loss_chart(records: Iterable[dict[str, Any]]) -> Chart:
    points = [
        Point(record["iteration"], record["loss"], "")
        for record in records
        if "loss" in record and 0 < record["loss"] < math.inf
    ]
    mark_every = 1 if len(points) == 1 else 0  # a single point has no line
    return Chart(
        title="Training loss",
        x=_ITERATIONS,
        y=Axis(label="Loss (logarithmic)", tick=lambda value: f"{value:.4g}", logarithmic=True),
        series=[Series(label="loss", points=points, mark_every=mark_every)],
    )


def _psnr_chart(records: Sequence[dict[str, Any]]) -> Chart:
    validations = [record for record in records if "scores" in record]
    baselines = {name: scales for each in validations for name, scales in each["bicubic"].items()}
    return Chart(
        title="Validation",
        x=_ITERATIONS,
        y=Axis(label="PSNR (dB)", tick=lambda value: f"{value:.4g}"),
        series=[
            _psnr_series(f"{name} {scale}x", points, baselines[name][scale][0])
            for (name, scale), points in _psnrs(validations).items()
        ],
        reference="bicubic" if validations else "",
    )


def _psnr_series(label: str, points: Sequence[tuple[int, float]], bicubic: float) -> Series:
    return Series(
        label=label,
        points=[
            Point(iteration, psnr, f"{label}, iteration {iteration}: {psnr:.2f} dB")
            for iteration, psnr in points
            if math.isfinite(psnr)
        ],
        mark_every=math.ceil(len(points) / _MARKERS),
        reference=bicubic if math.isfinite(bicubic) else None,
    )


def _psnrs(validations: Iterable[dict[str, Any]]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """(iteration, PSNR in dB) of every validation, by set and scale."""
    points: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for record in validations:
        for name, scales in record["scores"].items():
            for scale, (psnr, _) in scales.items():
                points.setdefault((name, scale), []).append((record["iteration"], psnr))
    return points


_ITERATIONS = Axis(label="Iteration", tick=lambda value: f"{value:,.10g}")
