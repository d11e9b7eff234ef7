"""The tables of `lapsr bench`, on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from lapsr_cli.bench.results import PeerSpeed, Published, Results, Speed, Stages, StudyRow, Timing
from lapsr_cli.bench.summary import Mean, means
from lapsr_cli.bench.units import duration, memory, significant
from lapsr_cli.lines import shown

__all__ = ["show"]

_UNSEEN = 200
"""Columns where nobody looks: in a file or a pipe nothing is folded."""


def show(results: Results) -> None:
    """All that was measured, a table for each kind, the machine above."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNSEEN
    machine = results.machine
    gpus = "".join(f", {name}" for name in machine.gpus)
    console.print(
        f"{machine.processor}, {machine.threads} threads on {machine.cores} cores,"
        f" {memory(machine.memory_bytes)}{gpus}; {machine.system}, Python {machine.python},"
        f" torch {machine.torch}, lapsr {results.version}"
    )
    parts: list[Table | str | None] = [
        _speeds(results.speeds),
        _peers(results.peers),
        *(_stages(each) for each in results.stages),
        *_qualities(results),
        _studies(results.studies),
    ]
    for part in parts:
        if part is not None:
            console.print()
            console.print(part)


def _table(title: str, *headings: str, words: int = 1) -> Table:
    """The first ``words`` columns are words, the rest figures."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < words else "right")
    return table


def _speeds(speeds: Sequence[Speed]) -> Table | None:
    if not speeds:
        return None
    headings = ["model", "device", "on", "input", "scale", "a picture", "least to most"]
    headings += ["MP/s out", "TFLOP/s", "of the roof", "halo", "memory", "energy"]
    table = _table("Speed", *headings, words=3)
    for each in speeds:
        batch = f" x {each.batch}" if each.batch > 1 else ""
        table.add_row(
            each.model,
            f"{each.device} {each.precision}",
            shown(each.content),
            f"{each.width} x {each.height}{batch}",
            f"{each.scale}x",
            duration(each.seconds.median),
            _spread(each.seconds),
            significant(each.output_megapixels_per_second),
            significant(each.teraflops),
            f"{each.roofline_share:.0%}",
            f"{each.work_ratio:.2f}",
            memory(each.peak_bytes),
            "" if each.joules is None else f"{significant(each.joules)} J",
        )
    table.caption = (
        "of the roof: of the rate of a matrix product; halo: pixels computed over needed"
    )
    table.caption_justify = "left"
    return table


def _spread(timing: Timing) -> str:
    return f"{duration(timing.least)} to {duration(timing.most)}"


def _peers(peers: Sequence[PeerSpeed]) -> Table | None:
    if not peers:
        return None
    headings = ["runtime", "version", "model", "input", "scale", "a picture", "least to most"]
    table = _table("The same weights by other runtimes", *headings, "ratio", "difference", words=3)
    for each in peers:
        row = [each.peer, each.version, each.model, f"{each.width} x {each.height}"]
        row.append(f"{each.scale}x")
        if each.seconds is None or each.ratio is None or each.difference is None:
            table.add_row(*row, each.problem)
            continue
        figures = [duration(each.seconds.median), _spread(each.seconds), f"{each.ratio:.2f}"]
        table.add_row(*row, *figures, f"{each.difference:.1e}")
    table.caption = "ratio: its time over lapsr's; difference: the largest to the reference, of 1"
    table.caption_justify = "left"
    return table


def _stages(stages: Stages) -> Table:
    title = (
        f"{shown(stages.folder)}: {stages.pictures} pictures, {stages.input_megapixels:.1f} MP to"
        f" {stages.output_megapixels:.1f} MP ({stages.scale}x, {stages.model}, {stages.device},"
        f" {stages.precision})"
    )
    table = _table(title, "stage", "seconds", "of the run")
    total = stages.total_seconds
    for stage, seconds in stages.seconds.items():
        table.add_row(f"{stage} alone", f"{seconds:.2f}", f"{seconds / total:.0%}")
    table.add_row("all at once", f"{total:.2f}", "100%")
    table.caption = f"{stages.bottleneck} takes longest; what would help: {stages.advice}"
    table.caption_justify = "left"
    return table


def _qualities(results: Results) -> Iterable[Table]:
    rows = means(results.qualities)
    for dataset in dict.fromkeys(mean.dataset for mean in rows):
        of_set = [mean for mean in rows if mean.dataset == dataset]
        scales = sorted({mean.scale for mean in of_set})
        headings = [f"{scale}x {what}" for scale in scales for what in ("PSNR", "SSIM", "IFC")]
        title = f"{shown(dataset)}, {of_set[0].pictures} pictures: PSNR in dB, SSIM, IFC of luma"
        table = _table(title, "method", *headings)
        measured = {(mean.method, mean.scale): mean for mean in of_set}
        for method in dict.fromkeys(mean.method for mean in of_set):
            found = [measured.get((method, scale)) for scale in scales]
            table.add_row(method, *(figure for mean in found for figure in _scores(mean)))
        table.add_section()
        for method, figures in _published(results.published, dataset, scales).items():
            table.add_row(f"{method}, as published", *figures)
        yield table


def _published(
    published: Sequence[Published], dataset: str, scales: Sequence[int]
) -> dict[str, list[str]]:
    """By method: PSNR, SSIM and IFC at each scale, empty where nothing is confirmed."""
    there = {(each.method, each.scale): each for each in published if each.dataset == dataset}
    rows: dict[str, list[str]] = {}
    for method in dict.fromkeys(method for method, _ in there):
        row = rows[method] = []
        for scale in scales:
            each = there.get((method, scale))
            row += ("", "", "") if each is None else _printed(each)
    return rows


def _printed(each: Published) -> tuple[str, str, str]:
    return _figure(each.psnr, ".2f"), _figure(each.ssim, ".3f"), _figure(each.ifc, ".3f")


def _scores(mean: Mean | None) -> Sequence[str]:
    if mean is None:
        return ("", "", "")
    return f"{mean.psnr:.2f}", f"{mean.ssim:.4f}", _figure(mean.ifc, ".3f")


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _studies(rows: Sequence[StudyRow]) -> Table | None:
    if not rows:
        return None
    headings = ["study", "network", "parameters", "layers", "scale", "a pass", "TFLOP/s", "PSNR"]
    table = _table("The papers' ablations", *headings, words=2)
    for each in rows:
        psnr = ", ".join(f"{value:.2f}" for value in each.psnr.values())
        figures = [f"{each.parameters:,}", str(each.layers), f"{each.scale}x"]
        figures += [duration(each.seconds.median), significant(each.teraflops), psnr]
        table.add_row(each.study, each.title, *figures)
    return table
