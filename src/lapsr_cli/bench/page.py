"""``lapsr bench --html``: what was measured, on one page."""

from __future__ import annotations

from collections.abc import Sequence

from lapsr_cli.bench.page_charts import quality_by_time, stage_bars, time_by_size
from lapsr_cli.bench.page_tables import peer_tables, quality_tables, speed_table, study_tables
from lapsr_cli.bench.results import Machine, Results
from lapsr_cli.bench.units import memory
from lapsr_cli.html.document import Section, document
from lapsr_cli.html.example import Example, figure

__all__ = ["report_page"]


def report_page(results: Results, examples: Sequence[Example]) -> str:
    """One HTML file, valid UTF-8, that needs nothing else; what was not measured is left out."""
    day, time = results.date[:10], results.date[11:16]
    facts = {"measured": f"{day} {time} UTC", **_facts(results.machine, results.version)}
    sections = [section for section in _sections(results, examples) if section.parts]
    return "".join(document("lapsr bench", facts, sections, command=results.command))


def _facts(machine: Machine, version: str) -> dict[str, str]:
    facts = {
        "processor": f"{machine.processor}, {machine.cores} cores, {machine.threads} threads",
        "graphics": ", ".join(machine.gpus),
        "memory": memory(machine.memory_bytes),
        "system": machine.system,
        "software": f"lapsr {version}, torch {machine.torch}, Python {machine.python}",
    }
    return {word: fact for word, fact in facts.items() if fact}


def _sections(results: Results, examples: Sequence[Example]) -> list[Section]:
    return [
        Section(
            title="Time by size",
            text="Median seconds of one picture, to one scale.",
            parts=[*time_by_size(results.speeds), *speed_table(results.speeds)],
        ),
        Section(
            title="Quality by time",
            text="Mean PSNR of luma and mean time of a picture, over the pictures of a set. Up and "
            "to the left is better.",
            parts=quality_by_time(results.qualities),
        ),
        Section(
            title="From file to file",
            text="What each stage takes alone. A run does all of them at the same time, so it"
            " takes about as long as the longest one.",
            parts=stage_bars(results.stages),
        ),
        Section(
            title="Beside other runtimes",
            text="The same weights on the same luma with the same threads. Ratio: median time over "
            "that of lapsr. Difference: the largest to the reference network's luma, of 1.",
            parts=peer_tables(results.peers),
        ),
        Section(
            title="Quality",
            text="PSNR in dB / SSIM / IFC of luma, mean over the pictures of a set, by the papers' "
            "protocol. What the papers say stands below what was measured here.",
            parts=quality_tables(results.qualities, results.published),
        ),
        Section(
            title="Studies",
            text="What each part of the network costs and gives.",
            parts=study_tables(results.studies),
        ),
        Section(
            title="Pictures",
            text="Drag the boundary, or move it by the arrow keys; enlarged pictures can be"
            " dragged.",
            parts=[figure(example) for example in examples],
        ),
    ]
