"""Tables of the HTML page: all figures, including those that no chart shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from markupsafe import Markup

from lapsr_cli.bench.results import (
    AblationRow,
    Published,
    Quality,
    RuntimeSpeed,
    Speed,
    Timing,
)
from lapsr_cli.bench.summary import means
from lapsr_cli.bench.units import decibels, duration, memory, significant
from lapsr_cli.html.table import Table, table

__all__ = ["ablation_tables", "quality_tables", "runtime_tables", "speed_table"]

_ABLATIONS = {
    "params": "Parameters",
    "depth": "Depth and recursions",
    "skips": "Skip connections",
    "scales": "Scales trained together",
}


def speed_table(speeds: Sequence[Speed]) -> list[Markup]:
    """All measurements in one collapsed table."""
    if not speeds:
        return []
    headings = (
        "model", "device", "precision", "input", "scale", "batch", "content", "median", "min",
        "max", "runs", "output MP/s", "TFLOP/s", "roofline share", "pixels computed", "memory",
        "joules",
    )  # fmt: skip
    content = Table(
        headings=headings,
        rows=[_speed_row(speed) for speed in speeds],
        columns="lll" + "r" * (len(headings) - 3),
    )
    return [table(content, folded="All figures")]


def _speed_row(speed: Speed) -> tuple[str, ...]:
    return (
        speed.model,
        speed.device,
        speed.precision,
        f"{speed.width} x {speed.height}",
        f"{speed.scale}x",
        f"{speed.batch}",
        speed.content,
        *_timing(speed.seconds),
        f"{speed.seconds.runs}",
        significant(speed.output_megapixels_per_second),
        significant(speed.teraflops),
        "–" if speed.roofline_share is None else f"{100 * speed.roofline_share:.0f} %",
        f"{speed.work_ratio:.2f} x",
        memory(speed.peak_bytes),
        _or_dash(speed.joules),
    )


def _timing(seconds: Timing) -> tuple[str, str, str]:
    return duration(seconds.median), duration(seconds.least), duration(seconds.most)


def _or_dash(value: float | None) -> str:
    return "–" if value is None else significant(value)


def runtime_tables(speeds: Sequence[RuntimeSpeed]) -> list[Markup]:
    """One table per model, device, scale and size."""

    def caption_of(speed: RuntimeSpeed) -> str:
        size = f"{speed.width} x {speed.height}"
        caption = f"{speed.model} on {speed.device}, {size}, {speed.scale}x"
        if speed.precision == "fp32":
            return caption
        return f"{caption}, lapsr in {speed.precision}"

    return [
        table(
            Table(
                caption=caption,
                headings=("runtime", "version", "median", "ratio", "difference"),
                rows=[_runtime_row(speed) for speed in group],
                columns="llrrr",
            )
        )
        for caption, group in groupby(speeds, key=caption_of)
    ]


def _runtime_row(speed: RuntimeSpeed) -> tuple[str, ...]:
    if speed.seconds is None:
        return speed.peer, speed.version, speed.problem
    return (
        speed.peer,
        speed.version,
        duration(speed.seconds.median),
        "–" if speed.ratio is None else f"{speed.ratio:.2f} x",
        "–" if speed.difference is None else f"{speed.difference:.1e}" if speed.difference else "0",
    )


def quality_tables(qualities: Sequence[Quality], published: Sequence[Published]) -> list[Markup]:
    """For each dataset: methods by scales; then, collapsed, the sources of published figures and
    the figures of every picture."""
    found: list[Markup] = []
    for dataset in dict.fromkeys(
        [*(q.dataset for q in qualities), *(p.dataset for p in published)]
    ):
        own = [each for each in qualities if each.dataset == dataset]
        others = [each for each in published if each.dataset == dataset]
        found.append(table(_methods(dataset, own, others)))
        if others:
            found.append(table(_sources(others), folded="Sources of the published figures"))
        if own:
            found.append(table(_pictures(own), folded="All pictures"))
    return found


def _methods(dataset: str, own: Sequence[Quality], published: Sequence[Published]) -> Table:
    scales = sorted({each.scale for each in own} | {each.scale for each in published})
    rows: dict[str, dict[int, str]] = {}
    for mean in means(own):
        figures = _figures(mean.psnr, mean.ssim, mean.ifc)
        rows.setdefault(mean.method, {})[mean.scale] = figures
    for each in published:
        figures = _figures(each.psnr, each.ssim, each.ifc)
        rows.setdefault(f"{each.method}, published", {})[each.scale] = figures
    pictures = len({each.picture for each in own})
    return Table(
        caption=f"{dataset}, {pictures} pictures" if pictures else dataset,
        headings=("", *(f"{scale}x" for scale in scales)),
        rows=[
            (method, *(by_scale.get(scale, "–") for scale in scales))
            for method, by_scale in rows.items()
        ],
    )


def _figures(psnr: float | None, ssim: float | None, ifc: float | None) -> str:
    """In the style of the papers: 31.39 / .8823 / 3.56."""
    return " / ".join(
        [
            "–" if psnr is None else decibels(psnr),
            "–" if ssim is None else f"{ssim:.4f}".removeprefix("0"),
            "–" if ifc is None else f"{ifc:.2f}",
        ]
    )


def _sources(published: Iterable[Published]) -> Table:
    rows = [(f"{each.method}, {each.scale}x", "; ".join(each.sources) or "–") for each in published]
    return Table(headings=("figure", "sources"), rows=rows, columns="ll")


def _pictures(own: Sequence[Quality]) -> Table:
    rows = [
        (
            each.picture,
            each.method,
            f"{each.scale}x",
            decibels(each.psnr),
            f"{each.ssim:.4f}",
            "–" if each.ifc is None else f"{each.ifc:.2f}",
            "–" if each.seconds is None else duration(each.seconds),
        )
        for each in sorted(own, key=lambda each: (each.picture, each.scale))
    ]
    headings = ("picture", "method", "scale", "PSNR", "SSIM", "IFC", "time")
    return Table(headings=headings, rows=rows, columns="llrrrrr")


def ablation_tables(rows: Sequence[AblationRow]) -> list[Markup]:
    """One table per ablation."""
    return [
        table(_ablation(name, [row for row in rows if row.study == name]))
        for name in dict.fromkeys(row.study for row in rows)
    ]


def _ablation(name: str, rows: Sequence[AblationRow]) -> Table:
    scales = sorted({scale for row in rows for scale in row.psnr})
    return Table(
        caption=_ABLATIONS.get(name, name),
        headings=(
            "network", "parameters", "layers", "scale", "median", "TFLOP/s",
            *(f"PSNR {scale}x" for scale in scales),
        ),
        rows=[
            (
                row.title,
                f"{row.parameters:,}",
                f"{row.layers}",
                f"{row.scale}x",
                duration(row.seconds.median),
                significant(row.teraflops),
                *(decibels(row.psnr[s]) if s in row.psnr else "–" for s in scales),
            )
            for row in rows
        ],
    )  # fmt: skip
