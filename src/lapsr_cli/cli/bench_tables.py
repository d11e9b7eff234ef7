"""The tables of `lapsr bench` on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from lapsr_cli.bench.results import (
    AblationRow,
    EndToEnd,
    Machine,
    Published,
    Results,
    RuntimeSpeed,
    Speed,
    Timing,
)
from lapsr_cli.bench.summary import Mean, means
from lapsr_cli.bench.units import duration, memory, significant
from lapsr_cli.text import counted, printable

__all__ = ["show"]

_FILE_WIDTH = 200
"""Columns in a file or a pipe, where tables do not have to fit a terminal."""


@dataclass(frozen=True)
class _Block:
    """A table with a title above and a note below. Empty columns are left out."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    note: str = ""

    def table(self) -> Table:
        """The first ``text_columns`` columns are aligned left, the others right."""
        filled = [
            number for number in range(len(self.headings)) if any(r[number] for r in self.rows)
        ]
        table = Table(box=None, pad_edge=False)
        for number in filled:
            left = number < self.text_columns
            table.add_column(self.headings[number], justify="left" if left else "right")
        for row in self.rows:
            table.add_row(*(row[number] for number in filled))
        return table


def show(results: Results) -> None:
    """Print the machine, then one table per kind of measurement."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    console.print(_machine(results.machine, results.version))
    for block in _blocks(results):
        console.print(f"\n{block.title}")
        console.print(block.table())
        if block.note:
            console.print(block.note, style="dim")


def _machine(machine: Machine, version: str) -> str:
    gpus = "".join(f", {name}" for name in machine.gpus)
    return (
        f"{machine.processor} ({machine.cpu_level}), {counted(machine.threads, 'thread')} on"
        f" {counted(machine.cores, 'core')}, {memory(machine.memory_bytes)}{gpus};"
        f" {machine.system}, Python {machine.python}, torch {machine.torch}, lapsr {version}"
    )


def _blocks(results: Results) -> Iterator[_Block]:
    if results.speeds:
        yield _speeds(results.speeds)
    if results.peers:
        yield _runtimes(results.peers)
    yield from map(_end_to_end, results.stages)
    yield from _qualities(results)
    if results.studies:
        yield _ablations(results.studies)


def _speeds(speeds: Sequence[Speed]) -> _Block:
    headings = ["model", "device", "content", "input", "scale", "per picture", "output MP/s"]
    headings += ["TFLOP/s", "roofline", "work", "memory", "energy"]
    rows = [_speed(each) for each in speeds]
    disturbed = any(each.roofline_share is None for each in speeds)
    note = f"{_SPEED_NOTE}\n{_DISTURBED}" if disturbed else _SPEED_NOTE
    return _Block("Speed", headings, rows, text_columns=3, note=note)


_SPEED_NOTE = (
    "per picture: median, ± half the range from the fastest to the slowest run;"
    " roofline: share of the rate of a matrix product (int8: of one in fp32);"
    " work: pixels computed over pixels needed"
)
_DISTURBED = "roofline ?: it was measured beside other work; measure again on a quiet machine"


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
        "?" if each.roofline_share is None else f"{each.roofline_share:.0%}",
        f"{each.work_ratio:.2f}",
        memory(each.peak_bytes),
        "" if each.joules is None else f"{significant(each.joules)} J",
    ]


def _time(timing: Timing) -> str:
    """The median, and half the range from the fastest to the slowest run in percent of it."""
    half_range = (timing.most - timing.least) / 2 / timing.median
    return f"{duration(timing.median)} ±{half_range:.0%}"


def _runtimes(speeds: Sequence[RuntimeSpeed]) -> _Block:
    headings = ["runtime", "version", "model", "input", "scale", "per picture", "ratio"]
    headings.append("difference")
    note = (
        "ratio: time over that of lapsr; difference: largest absolute difference from the"
        " reference network, luma in [0, 1]"
    )
    rows = [_runtime(each) for each in speeds]
    problems = [f"{each.peer}: {each.problem}" for each in speeds if each.problem]
    title = "Other runtimes on the same weights"
    return _Block(title, headings, rows, text_columns=3, note="\n".join([note, *problems]))


def _runtime(each: RuntimeSpeed) -> list[str]:
    is_lapsr = each.peer == "lapsr" and each.precision != "fp32"
    name = f"lapsr in {each.precision}" if is_lapsr else each.peer
    row = [name, each.version, each.model, f"{each.width} x {each.height}", f"{each.scale}x"]
    if each.seconds is None or each.ratio is None or each.difference is None:
        return [*row, "failed", "", ""]
    return [*row, _time(each.seconds), f"{each.ratio:.2f}", f"{each.difference:.1e}"]


def _end_to_end(run: EndToEnd) -> _Block:
    title = (
        f"{printable(run.folder)}: {counted(run.pictures, 'picture')},"
        f" {run.input_megapixels:.1f} MP to {run.output_megapixels:.1f} MP"
        f" ({run.scale}x, {run.model}, {run.device}, {run.precision})"
    )
    total = run.total_seconds
    rows = [
        [f"{stage} alone", f"{seconds:.2f}", f"{seconds / total:.0%}"]
        for stage, seconds in run.seconds.items()
    ]
    rows.append(["whole run", f"{total:.2f}", "100%"])
    note = f"{run.bottleneck} is the slowest stage; what would help: {run.advice}"
    return _Block(title, ["stage", "seconds", "of the run"], rows, note=note)


def _qualities(results: Results) -> Iterator[_Block]:
    all_means = means(results.qualities)
    for dataset in dict.fromkeys(mean.dataset for mean in all_means):
        of_dataset = [mean for mean in all_means if mean.dataset == dataset]
        yield _quality(dataset, of_dataset, results.published)


def _quality(dataset: str, of_dataset: Sequence[Mean], published: Sequence[Published]) -> _Block:
    scales = sorted({mean.scale for mean in of_dataset})
    measured = {(mean.method, mean.scale): mean for mean in of_dataset}
    rows: list[list[str]] = []
    for method in dict.fromkeys(mean.method for mean in of_dataset):
        found = [measured.get((method, scale)) for scale in scales]
        rows.append([method, *(figure for mean in found for figure in _scores(mean))])
    known = {(each.method, each.scale): each for each in published if each.dataset == dataset}
    for method in dict.fromkeys(method for method, _ in known):
        row = [known.get((method, scale)) for scale in scales]
        figures = (figure for each in row for figure in _published(each))
        rows.append([f"{method}, published", *figures])
    headings = [f"{scale}x {metric}" for scale in scales for metric in ("PSNR", "SSIM", "IFC")]
    pictures = counted(of_dataset[0].pictures, "picture")
    title = f"{printable(dataset)}, {pictures}: PSNR in dB, SSIM and IFC of luma"
    return _Block(title, ["method", *headings], rows)


def _scores(mean: Mean | None) -> Iterable[str]:
    if mean is None:
        return ("", "", "")
    return f"{mean.psnr:.2f}", f"{mean.ssim:.4f}", _figure(mean.ifc, ".3f")


def _published(each: Published | None) -> Iterable[str]:
    if each is None:
        return ("", "", "")
    return _figure(each.psnr, ".2f"), _figure(each.ssim, ".3f"), _figure(each.ifc, ".3f")


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _ablations(rows: Sequence[AblationRow]) -> _Block:
    headings = ["ablation", "network", "parameters", "layers", "scale", "per pass", "TFLOP/s"]
    headings.append("PSNR dB")
    title = "The papers' ablations"
    return _Block(title, headings, [_ablation(each) for each in rows], text_columns=2)


def _ablation(each: AblationRow) -> list[str]:
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
