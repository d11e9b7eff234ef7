"""`lapsr bench --html`: all results on one page."""

from __future__ import annotations

from collections.abc import Sequence

from lapsr_cli.bench.page_charts import quality_against_time, stage_bars, time_by_size
from lapsr_cli.bench.page_tables import (
    ablation_tables,
    quality_tables,
    runtime_tables,
    speed_table,
)
from lapsr_cli.bench.results import Machine, Results
from lapsr_cli.bench.units import memory
from lapsr_cli.html.document import Section, document
from lapsr_cli.html.example import Example, figure

__all__ = ["report_page"]


def report_page(results: Results, examples: Sequence[Example]) -> str:
    """A self-contained HTML file, valid UTF-8; sections without results are omitted."""
    day, time = results.date[:10], results.date[11:16]
    facts = {"measured": f"{day} {time} UTC", **_facts(results.machine, results.version)}
    sections = [section for section in _sections(results, examples) if section.parts]
    return "".join(document("lapsr bench", facts, sections, command=results.command))


def _facts(machine: Machine, version: str) -> dict[str, str]:
    facts = {
        "processor": f"{machine.processor} ({machine.cpu_level}), {machine.cores} cores,"
        f" {machine.threads} threads",
        "GPU": ", ".join(machine.gpus),
        "memory": memory(machine.memory_bytes),
        "system": machine.system,
        "software": f"lapsr {version}, torch {machine.torch}, Python {machine.python}",
    }
    return {name: fact for name, fact in facts.items() if fact}


def _sections(results: Results, examples: Sequence[Example]) -> list[Section]:
    return [
        Section(
            title="Time by input size",
            text="Median time per picture, at one scale.",
            parts=[*time_by_size(results.speeds), *speed_table(results.speeds)],
        ),
        Section(
            title="Quality against time",
            text="Mean PSNR of luma and mean time per picture over a dataset. Upper left is"
            " better.",
            parts=quality_against_time(results.qualities),
        ),
        Section(
            title="End to end",
            text="From file to file: the time of each stage alone. In a run the stages overlap, so"
            " it takes about as long as the slowest stage.",
            parts=stage_bars(results.stages),
        ),
        Section(
            title="Other runtimes",
            text="The same weights, luma and number of threads; runs are interleaved. Ratio: median"
            " time over that of lapsr. Difference: largest absolute difference from the reference"
            " network, luma in [0, 1].",
            parts=runtime_tables(results.peers),
        ),
        Section(
            title="Quality",
            text="PSNR in dB / SSIM / IFC of luma, mean over a dataset, by the papers' protocol."
            " Published figures are below those measured here.",
            parts=quality_tables(results.qualities, results.published),
        ),
        Section(
            title="Ablations",
            text="Cost and benefit of each part of the network.",
            parts=ablation_tables(results.studies),
        ),
        Section(
            title="Pictures",
            text="Drag the divider or move it with the arrow keys. Zoomed pictures can be dragged.",
            parts=[figure(example) for example in examples],
        ),
    ]
