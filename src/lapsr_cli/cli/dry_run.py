"""lapsr upscale --dry-run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lapsr_cli.batch.limits import Limits
    from lapsr_cli.batch.planning import Plan, Selection
    from lapsr_cli.pixels.picture import Size
    from lapsr_cli.upscaler import Upscaler

__all__ = ["show_forecast", "warn_of_the_disk"]


def show_forecast(
    todo: Plan, upscaler: Upscaler, selection: Selection, limits: Limits, *, as_json: bool
) -> int:
    """Say what would be written, how large, how long it would take."""
    from lapsr_cli.batch.estimate import forecasts, seconds_per_pixel
    from lapsr_cli.cli.console import say

    found = list(forecasts(todo.works, upscaler.config.scales, limits))
    problems = [outcome.message for outcome in todo.settled if outcome.status == "failed"]
    problems += [each.problem for each in found if each.problem]
    for each in found:
        for target, size in each.sizes.items():
            click.echo(_line(each.work.outputs[target], size, as_json=as_json))
    for problem in problems:
        say(f"would fail: {problem}")
    speed = {
        e: seconds_per_pixel(upscaler, e)
        for e in {f.enlargement for f in found}
        if e in upscaler.config.scales
    }
    seconds = sum(f.input_pixels * speed.get(f.enlargement, 0.0) for f in found)
    written = sum(each.bytes for each in found)
    files = sum(len(each.sizes) for each in found)
    skipped = sum(outcome.status == "skipped" for outcome in todo.settled)
    free = _free_at(selection.output)
    say(
        f"{files} files from {len(found)} pictures, {skipped} skipped, {len(problems)} would fail;"
        f" about {written / 1e6:.0f} MB ({free / 1e9:.1f} GB free), {seconds:.0f} s of the network"
    )
    return 1 if problems else 0


def warn_of_the_disk(todo: Plan, upscaler: Upscaler, selection: Selection, limits: Limits) -> None:
    """Say before the work that the results may find no room."""
    from lapsr_cli.batch.estimate import bytes_to_write
    from lapsr_cli.cli.console import say

    need = bytes_to_write(todo.works, upscaler.config.scales, limits)
    free = _free_at(selection.output)
    if need > free:
        say(
            f"warning: the results take about {need / 1e6:.0f} MB, and {selection.output} has"
            f" {free / 1e6:.0f} MB free"
        )


def _free_at(folder: Path) -> int:
    """Bytes on the disk of a folder that need not be there yet."""
    import shutil

    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(there).free


def _line(path: Path, size: Size, *, as_json: bool) -> str:
    """A file that would be written, for people or for programs."""
    from lapsr_cli.batch.report import in_utf8
    from lapsr_cli.text import printable

    if as_json:
        return json.dumps({"path": in_utf8(path), "width": size.width, "height": size.height})
    return f"{printable(path)}  {size.width} x {size.height}"
