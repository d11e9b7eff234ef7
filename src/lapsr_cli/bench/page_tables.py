"""The page's tables: every figure that a chart shows, and those that no chart does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from markupsafe import Markup

from lapsr_cli.bench.results import PeerSpeed, Published, Quality, Speed, StudyRow, Timing
from lapsr_cli.bench.summary import means
from lapsr_cli.bench.units import decibels, duration, memory, significant
from lapsr_cli.html.table import Table, table

__all__ = ["peer_tables", "quality_tables", "speed_table", "study_tables"]

_STUDIES = {
    "params": "Parameters",
    "depth": "Depth and recursions",
    "skips": "Skip connections",
    "scales": "Scales trained together",
}


def speed_table(speeds: Sequence[Speed]) -> list[Markup]:
    """Every measurement, folded away."""
    if not speeds:
        return []
    headings = (
        "model", "device", "precision", "input", "scale", "batch", "content", "median", "least",
        "most", "runs", "MP/s out", "TFLOP/s", "of matrix product", "pixels computed", "memory",
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
        f"{100 * speed.roofline_share:.0f} %",
        f"{speed.work_ratio:.2f} x",
        memory(speed.peak_bytes),
        _known(speed.joules),
    )


def _timing(seconds: Timing) -> tuple[str, str, str]:
    return duration(seconds.median), duration(seconds.least), duration(seconds.most)


def _known(value: float | None) -> str:
    return "–" if value is None else significant(value)


def peer_tables(peers: Sequence[PeerSpeed]) -> list[Markup]:
    """A table for each model, device, scale and size."""

    def group(peer: PeerSpeed) -> str:
        size = f"{peer.width} x {peer.height}"
        words = f"{peer.model} on {peer.device}, {size} to {peer.scale}x"
        return words if peer.precision == "fp32" else f"{words}, lapsr in {peer.precision}"

    return [
        table(
            Table(
                caption=caption,
                headings=("runtime", "version", "median", "ratio", "difference"),
                rows=[_peer_row(peer) for peer in rows],
                columns="llrrr",
            )
        )
        for caption, rows in groupby(peers, key=group)
    ]


def _peer_row(peer: PeerSpeed) -> tuple[str, ...]:
    if peer.seconds is None:
        return peer.peer, peer.version, peer.problem
    return (
        peer.peer,
        peer.version,
        duration(peer.seconds.median),
        "–" if peer.ratio is None else f"{peer.ratio:.2f} x",
        "–" if peer.difference is None else f"{peer.difference:.1e}" if peer.difference else "0",
    )


def quality_tables(qualities: Sequence[Quality], published: Sequence[Published]) -> list[Markup]:
    """For each set a table of methods by scales, then where the published figures stand, then
    every picture, folded away."""
    found: list[Markup] = []
    for dataset in dict.fromkeys(
        [*(q.dataset for q in qualities), *(p.dataset for p in published)]
    ):
        own = [each for each in qualities if each.dataset == dataset]
        others = [each for each in published if each.dataset == dataset]
        found.append(table(_methods(dataset, own, others)))
        if others:
            found.append(table(_sources(others), folded="Where the published figures stand"))
        if own:
            found.append(table(_pictures(own), folded="Every picture"))
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
    """As the papers print them: 31.39 / .8823 / 3.56."""
    return " / ".join(
        [
            "–" if psnr is None else decibels(psnr),
            "–" if ssim is None else f"{ssim:.4f}".removeprefix("0"),
            "–" if ifc is None else f"{ifc:.2f}",
        ]
    )


def _sources(published: Iterable[Published]) -> Table:
    rows = [(f"{each.method}, {each.scale}x", "; ".join(each.sources) or "–") for each in published]
    return Table(headings=("figure", "stands in"), rows=rows, columns="ll")


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


def study_tables(studies: Sequence[StudyRow]) -> list[Markup]:
    """A table for each study."""
    return [
        table(_study(name, [row for row in studies if row.study == name]))
        for name in dict.fromkeys(row.study for row in studies)
    ]


def _study(name: str, rows: Sequence[StudyRow]) -> Table:
    scales = sorted({scale for row in rows for scale in row.psnr})
    return Table(
        caption=_STUDIES.get(name, name),
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
