"""Charts of the HTML page: time by input size, quality against time, stages of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from markupsafe import Markup

from lapsr_cli.bench.results import EndToEnd, Quality, Speed
from lapsr_cli.bench.summary import Mean, means
from lapsr_cli.bench.units import decibels, duration, significant
from lapsr_cli.html.bars import Bar, Bars, bars
from lapsr_cli.html.chart import Axis, Chart, Point, Series, charts

__all__ = ["quality_against_time", "stage_bars", "time_by_size"]


def time_by_size(speeds: Sequence[Speed]) -> list[Markup]:
    """One chart per scale, one line per model, device and precision."""
    scales = sorted({speed.scale for speed in speeds})
    found = [
        Chart(
            title=f"{scale}x",
            x=Axis(label="input megapixels", tick=significant_tick, logarithmic=True),
            y=Axis(label="time per picture", tick=duration_tick, logarithmic=True),
            series=_lines([speed for speed in speeds if speed.scale == scale]),
        )
        for scale in scales
    ]
    return [charts(found)] if found else []


def _lines(speeds: Sequence[Speed]) -> list[Series]:
    several_batches = len({speed.batch for speed in speeds}) > 1
    several_contents = len({speed.content for speed in speeds}) > 1

    def label(speed: Speed) -> str:
        words = [speed.model, speed.device, speed.precision]
        words += [f"batch of {speed.batch}"] * several_batches
        words += [speed.content] * several_contents
        return ", ".join(words)

    return [
        Series(label=name, points=[_timed(speed) for speed in group])
        for name, group in groupby(sorted(speeds, key=label), key=label)
    ]


def _timed(speed: Speed) -> Point:
    size = f"{speed.width} x {speed.height}"
    text = f"{speed.title}, {size}, {speed.scale}x: {duration(speed.seconds.median)}"
    return Point(speed.width * speed.height / 1e6, speed.seconds.median, text)


def quality_against_time(qualities: Sequence[Quality]) -> list[Markup]:
    """The papers' figure: one chart per dataset and scale, one point per model. Methods without a
    network (bicubic) are horizontal lines; infinite means are omitted."""
    finite = [mean for mean in means(qualities) if math.isfinite(mean.psnr)]
    found = [
        _scatter(dataset, scale, list(group))
        for (dataset, scale), group in groupby(finite, key=lambda m: (m.dataset, m.scale))
    ]
    drawn = [chart for chart in found if chart.series]
    return [charts(drawn)] if drawn else []


def _scatter(dataset: str, scale: int, group: Sequence[Mean]) -> Chart:
    return Chart(
        title=f"{dataset}, {scale}x",
        x=Axis(label="time per picture", tick=duration_tick, logarithmic=True),
        y=Axis(label="PSNR in dB", tick=significant_tick),
        series=[
            Series(label=mean.method, points=[_scored(mean, mean.seconds)], joined=False)
            for mean in group
            if mean.seconds is not None
        ],
        levels=[
            (f"{mean.method} {decibels(mean.psnr)}", mean.psnr)
            for mean in group
            if mean.seconds is None
        ],
    )


def _scored(mean: Mean, seconds: float) -> Point:
    text = f"{mean.method}: {decibels(mean.psnr)} dB, {duration(seconds)}"
    return Point(seconds, mean.psnr, text)


def stage_bars(runs: Iterable[EndToEnd]) -> list[Markup]:
    """One bar chart per run, the bottleneck highlighted."""
    return [bars(_stages(run)) for run in runs]


def _stages(run: EndToEnd) -> Bars:
    rate = run.output_megapixels / run.total_seconds
    return Bars(
        title=f"{run.folder}: {run.pictures} pictures, {run.model}, {run.scale}x on {run.device}"
        f" in {run.precision}",
        bars=[
            Bar(label=name, value=seconds, text=duration(seconds), strong=name == run.bottleneck)
            for name, seconds in run.seconds.items()
        ]
        + [Bar(label="whole run", value=run.total_seconds, text=duration(run.total_seconds))],
        remark=f"{significant(run.input_megapixels)} megapixels in,"
        f" {significant(run.output_megapixels)} out, {significant(rate)} per second. {run.advice}",
    )


def duration_tick(seconds: float) -> str:
    """Tick label of a round duration: 5 ms, not 5.00 ms."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.999 * size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds * 1e6:g} µs"


def significant_tick(value: float) -> str:
    """Tick label of a round value."""
    return f"{value:.4g}"
