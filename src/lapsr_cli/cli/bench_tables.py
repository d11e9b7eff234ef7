"""The tables of `lapsr bench`, on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from lapsr_cli.bench.results import PeerSpeed, Published, Results, Speed, Stages, StudyRow, Timing
from lapsr_cli.bench.summary import Mean, means
from lapsr_cli.bench.units import duration, memory, significant
from lapsr_cli.text import printable

__all__ = ["show"]

_UNSEEN = 200
"""Columns where nobody looks: in a file or a pipe nothing is folded."""


@dataclass(frozen=True)
class _Block:
    """A table, what stands over it and what under it. Columns that are empty are left out."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    note: str = ""

    def table(self) -> Table:
        """The first ``words`` columns are words, the rest figures."""
        filled = [
            number for number in range(len(self.headings)) if any(r[number] for r in self.rows)
        ]
        table = Table(box=None, pad_edge=False)
        for number in filled:
            left = number < self.words
            table.add_column(self.headings[number], justify="left" if left else "right")
        for row in self.rows:
            table.add_row(*(row[number] for number in filled))
        return table


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
    for block in _blocks(results):
        console.print(f"\n{block.title}")
        console.print(block.table())
        if block.note:
            console.print(block.note, style="dim")


def _blocks(results: Results) -> Iterator[_Block]:
    if results.speeds:
        yield _speeds(results.speeds)
    if results.peers:
        yield _peers(results.peers)
    yield from map(_stages, results.stages)
    yield from _qualities(results)
    if results.studies:
        yield _studies(results.studies)


def _speeds(speeds: Sequence[Speed]) -> _Block:
    headings = ["model", "device", "on", "input", "scale", "a picture", "MP/s out"]
    headings += ["TFLOP/s", "of the roof", "halo", "memory", "energy"]
    return _Block("Speed", headings, [_speed(each) for each in speeds], words=3, note=_ROOF)


_ROOF = (
    "a picture: the median, ± half of what lies between the fastest run and the slowest;"
    " of the roof: of a matrix product's rate; halo: pixels computed over pixels needed"
)


def _speed(each: Speed) -> list[str]:
    batch = f" x {each.batch}" if each.batch > 1 else ""
    return [
        each.model,
        f"{each.device} {each.precision}",
        "" if each.content == "random" else printable(each.content),
        f"{each.width} x {each.height}{batch}",
        f"{each.scale}x",
        _time(each.seconds),
        significant(each.output_megapixels_per_second),
        significant(each.teraflops),
        f"{each.roofline_share:.0%}",
        f"{each.work_ratio:.2f}",
        memory(each.peak_bytes),
        "" if each.joules is None else f"{significant(each.joules)} J",
    ]


def _time(timing: Timing) -> str:
    """The median, and half of what lies between the fastest and the slowest run."""
    broadcast = (timing.most - timing.least) / 2 / timing.median
    return f"{duration(timing.median)} ±{broadcast:.0%}"


def _peers(peers: Sequence[PeerSpeed]) -> _Block:
    headings = ["runtime", "version", "model", "input", "scale", "a picture", "ratio", "difference"]
    note = "ratio: its time over lapsr's; difference: the largest to the reference, of 1"
    rows = [_peer(each) for each in peers]
    problems = [f"{each.peer}: {each.problem}" for each in peers if each.problem]
    title = "The same weights by other runtimes"
    return _Block(title, headings, rows, words=3, note="\n".join([note, *problems]))


def _peer(each: PeerSpeed) -> list[str]:
    ours = each.peer == "lapsr" and each.precision != "fp32"
    name = f"lapsr in {each.precision}" if ours else each.peer
    row = [name, each.version, each.model, f"{each.width} x {each.height}", f"{each.scale}x"]
    if each.seconds is None or each.ratio is None or each.difference is None:
        return [*row, "none", "", ""]
    return [*row, _time(each.seconds), f"{each.ratio:.2f}", f"{each.difference:.1e}"]


def _stages(stages: Stages) -> _Block:
    title = (
        f"{printable(stages.folder)}: {stages.pictures} pictures,"
        f" {stages.input_megapixels:.1f} MP to {stages.output_megapixels:.1f} MP"
        f" ({stages.scale}x, {stages.model}, {stages.device}, {stages.precision})"
    )
    total = stages.total_seconds
    rows = [
        [f"{stage} alone", f"{seconds:.2f}", f"{seconds / total:.0%}"]
        for stage, seconds in stages.seconds.items()
    ]
    rows.append(["all at once", f"{total:.2f}", "100%"])
    note = f"{stages.bottleneck} takes longest; what would help: {stages.advice}"
    return _Block(title, ["stage", "seconds", "of the run"], rows, note=note)


def _qualities(results: Results) -> Iterator[_Block]:
    rows = means(results.qualities)
    for dataset in dict.fromkeys(mean.dataset for mean in rows):
        of_set = [mean for mean in rows if mean.dataset == dataset]
        yield _quality(dataset, of_set, results.published)


def _quality(dataset: str, of_set: Sequence[Mean], published: Sequence[Published]) -> _Block:
    scales = sorted({mean.scale for mean in of_set})
    measured = {(mean.method, mean.scale): mean for mean in of_set}
    rows: list[list[str]] = []
    for method in dict.fromkeys(mean.method for mean in of_set):
        found = [measured.get((method, scale)) for scale in scales]
        rows.append([method, *(figure for mean in found for figure in _scores(mean))])
    there = {(each.method, each.scale): each for each in published if each.dataset == dataset}
    for method in dict.fromkeys(method for method, _ in there):
        printed = [there.get((method, scale)) for scale in scales]
        figures = (figure for each in printed for figure in _printed(each))
        rows.append([f"{method}, as published", *figures])
    headings = [f"{scale}x {what}" for scale in scales for what in ("PSNR", "SSIM", "IFC")]
    title = f"{printable(dataset)}, {of_set[0].pictures} pictures: PSNR in dB, SSIM, IFC of luma"
    return _Block(title, ["method", *headings], rows)


def _scores(mean: Mean | None) -> Iterable[str]:
    if mean is None:
        return ("", "", "")
    return f"{mean.psnr:.2f}", f"{mean.ssim:.4f}", _figure(mean.ifc, ".3f")


def _printed(each: Published | None) -> Iterable[str]:
    if each is None:
        return ("", "", "")
    return _figure(each.psnr, ".2f"), _figure(each.ssim, ".3f"), _figure(each.ifc, ".3f")


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _studies(rows: Sequence[StudyRow]) -> _Block:
    headings = ["study", "network", "parameters", "layers", "scale", "a pass", "TFLOP/s", "PSNR dB"]
    return _Block("The papers' ablations", headings, [_study(each) for each in rows], words=2)


def _study(each: StudyRow) -> list[str]:
    return [
        each.study,
        each.title,
        f"{each.parameters:,}",
        str(each.layers),
        f"{each.scale}x",
        _time(each.seconds),
        significant(each.teraflops),
        ", ".join(f"{value:.2f}" for value in each.psnr.values()),
    ]
