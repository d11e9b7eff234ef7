"""lapsr upscale --dry-run, and the check for disk space before a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lapsr_cli.batch.limits import Limits
    from lapsr_cli.batch.planning import Plan, Selection
    from lapsr_cli.batch.trial import Seconds
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
    from lapsr_cli.batch.trial import expected_seconds
    from lapsr_cli.cli.console import say
    from lapsr_cli.text import counted

    found = list(forecasts(todo.jobs, upscaler, limits, selection.encoding))
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
    seconds = expected_seconds(found, upscaler, selection.encoding)
    free = _free_at(selection.output) / 1e9
    say(
        f"{counted(files, 'file')} from {counted(len(found), 'picture')}, {skipped} skipped,"
        f" {len(problems)} would fail; about {megabytes:.0f} MB ({free:.1f} GB free)"
        + ("" if seconds is None else f", about {_range(seconds)}")
    )
    return 1 if problems else 0


def _range(seconds: Seconds) -> str:
    """As "50 to 65 s", in a unit that suits the larger of the two."""
    from lapsr_cli.bench.units import significant

    units = {"h": 3600, "min": 60, "s": 1}
    unit, size = next(
        each for each in units.items() if seconds.most >= 2 * each[1] or each[0] == "s"
    )
    least, most = (significant(each / size, 2) for each in (seconds.least, seconds.most))
    return f"{most} {unit}" if least == most else f"{least} to {most} {unit}"


def warn_if_disk_is_short(need: int, output: Path) -> None:
    """Warn before a run whose results, of ``need`` bytes, may not fit on the disk."""
    from lapsr_cli.cli.console import say

    free = _free_at(output)
    if need > free:
        say(
            f"warning: the results need about {need / 1e6:.0f} MB, but {output} has only"
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
