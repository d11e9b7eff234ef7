"""lapsr upscale --dry-run, and the check for disk space before a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lapsr_cli.batch.estimate import Forecast
    from lapsr_cli.batch.limits import Limits
    from lapsr_cli.batch.planning import Plan, Selection
    from lapsr_cli.pixels.picture import Size
    from lapsr_cli.upscaler import Upscaler

__all__ = ["show_forecast", "warn_if_disk_is_short"]


def show_forecast(
    todo: Plan, upscaler: Upscaler, selection: Selection, limits: Limits, *, as_json: bool
) -> int:
    """List the files that a run would write, with an estimate of disk space and time.

    The exit code: 1 if any picture would fail.
    """
    from lapsr_cli.batch.estimate import forecasts
    from lapsr_cli.cli.console import say
    from lapsr_cli.text import counted

    found = list(forecasts(todo.jobs, upscaler.config.scales, limits))
    problems = [outcome.message for outcome in todo.settled if outcome.status == "failed"]
    problems += [each.problem for each in found if each.problem]
    for each in found:
        for target, size in each.sizes.items():
            click.echo(_line(each.job.outputs[target], size, as_json=as_json))
    for problem in problems:
        say(f"would fail: {problem}")
    files = sum(len(each.sizes) for each in found)
    skipped = sum(outcome.status == "skipped" for outcome in todo.settled)
    megabytes = sum(each.bytes for each in found) / 1e6
    free = _free_at(selection.output) / 1e9
    say(
        f"{counted(files, 'file')} from {counted(len(found), 'picture')}, {skipped} skipped,"
        f" {len(problems)} would fail; about {megabytes:.0f} MB ({free:.1f} GB free),"
        f" {_seconds_of(found, upscaler):.0f} s of inference"
    )
    return 1 if problems else 0


def _seconds_of(found: Sequence[Forecast], upscaler: Upscaler) -> float:
    """Time in the network, from the speed of a short trial at each enlargement."""
    from lapsr_cli.batch.estimate import seconds_per_pixel

    needed = {each.enlargement for each in found} & set(upscaler.config.scales)
    speed = {enlargement: seconds_per_pixel(upscaler, enlargement) for enlargement in needed}
    return sum(each.input_pixels * speed.get(each.enlargement, 0.0) for each in found)


def warn_if_disk_is_short(
    todo: Plan, upscaler: Upscaler, selection: Selection, limits: Limits
) -> None:
    """Warn before a run whose results may not fit on the disk."""
    from lapsr_cli.batch.estimate import bytes_to_write
    from lapsr_cli.cli.console import say

    need = bytes_to_write(todo.jobs, upscaler.config.scales, limits)
    free = _free_at(selection.output)
    if need > free:
        say(
            f"warning: the results need about {need / 1e6:.0f} MB, but {selection.output} has only"
            f" {free / 1e6:.0f} MB free"
        )


def _free_at(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    import shutil

    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(existing).free


def _line(path: Path, size: Size, *, as_json: bool) -> str:
    """One file that would be written, as text or as JSON."""
    from lapsr_cli.batch.report import in_utf8
    from lapsr_cli.text import printable

    if as_json:
        return json.dumps({"path": in_utf8(path), "width": size.width, "height": size.height})
    return f"{printable(path)}  {size.width} x {size.height}"
