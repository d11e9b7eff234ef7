"""lapsr upscale."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lapsr_cli.errors import INTERRUPTED, LapsrError, UsageError

if TYPE_CHECKING:
    from lapsr_cli.batch import IfExists, Plan, Selection
    from lapsr_cli.device import Precision
    from lapsr_cli.upscaler import Upscaler


@click.command(short_help="Enlarge photos: files, folders, patterns.")
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-i", "--input", "more_inputs", multiple=True, metavar="INPUT", help="Another input.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the results; the tree of the inputs is mirrored in it.",
)
@click.option(
    "-s",
    "--scale",
    "scales",
    default="2",
    show_default=True,
    metavar="LIST",
    help="Scales, as in 2,4,8: all of them from one pass.",
)
@click.option("-m", "--model", metavar="NAME|FILE", help="See `lapsr weights list`.")
@click.option(
    "-f",
    "--format",
    "form",
    default="auto",
    show_default=True,
    metavar="FORMAT",
    help="auto (as the input), jpg, png, webp or tiff.",
)
@click.option("--quality", default=95, show_default=True, help="Of JPEG and WebP, 1 to 100.")
@click.option(
    "--name",
    default="{stem}_x{scale}",
    show_default=True,
    metavar="PATTERN",
    help="Names of the results, without suffix.",
)
@click.option(
    "--if-exists",
    type=click.Choice(["skip", "overwrite", "error"]),
    default="skip",
    show_default=True,
    help="What to do about a result that is there already.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="Of the network's features; auto is fp32.",
)
@click.option(
    "-t",
    "--tile",
    default="auto",
    show_default=True,
    metavar="auto|none|N",
    help="Cut pictures into squares of N pixels; the result is the same.",
)
@click.option(
    "--batch-size",
    default="auto",
    show_default=True,
    metavar="auto|N",
    help="Windows in one pass, of several pictures if they fit.",
)
@click.option("--offline", is_flag=True, help="Never use the network.")
@click.option("-v", "--verbose", is_flag=True, help="Show what Pillow warns of, too.")
def upscale(
    inputs: tuple[str, ...],
    more_inputs: tuple[str, ...],
    output: Path,
    scales: str,
    model: str | None,
    form: str,
    quality: int,
    name: str,
    if_exists: IfExists,
    device: str,
    precision: Precision,
    tile: str,
    batch_size: str,
    offline: bool,
    verbose: bool,
) -> int:
    """Enlarge every picture among INPUT (files, folders, glob patterns) and write it below DIR.

    A picture that cannot be read or written is named and left out; all others are done.
    """
    wanted = _scales(scales)
    windows_tile = None if tile == "none" else _number("-t/--tile", tile, "auto, none or")
    windows_batch = _number("--batch-size", batch_size, "auto or")

    from lapsr_cli.batch import Selection, plan, prepare_folder
    from lapsr_cli.cli.terminal import say, show_log
    from lapsr_cli.device import keep_freed_memory
    from lapsr_cli.upscaler import Upscaler, Windows

    keep_freed_memory()
    show_log(verbose=verbose)
    selection = Selection(
        inputs=inputs + more_inputs,
        output=output,
        scales=wanted,
        form=form,
        quality=quality,
        name=name,
        if_exists=if_exists,
    )
    todo = plan(selection)
    upscaler = Upscaler.from_weights(
        model,
        device=device,
        precision=precision,
        windows=Windows(tile=windows_tile, batch=windows_batch),
        offline=offline,
    )
    upscaler.check_scales(wanted)
    prepare_folder(output)
    say(f"model: {_model_line(model, upscaler)}")
    say(f"device: {upscaler.runtime.device}")
    return _run(todo, upscaler, selection)


def _scales(text: str) -> tuple[int, ...]:
    """ "2,4,8" -> (2, 4, 8), each once, ascending."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tuple(sorted({int(part) for part in parts}))
    except ValueError as error:
        raise UsageError(f"-s/--scale {text}: must be a list of 2, 4 and 8") from error


def _number(flag: str, text: str, others: str) -> int:
    """A number from 1, or 0 for "auto"."""
    if text == "auto":
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{flag} {text}: must be {others} a number from 1")
    return int(text)


def _model_line(model: str | None, upscaler: Upscaler) -> str:
    from lapsr_cli.weights.manifest import manifest

    name = model or manifest().default
    entry = manifest().entries.get(name)
    return f"{name}, {entry.title if entry else upscaler.config.title}"


def _run(todo: Plan, upscaler: Upscaler, selection: Selection) -> int:
    from lapsr_cli import batch
    from lapsr_cli.cli.terminal import PictureBar, say
    from lapsr_cli.report import Report

    report = Report()
    start = time.monotonic()
    for outcome in todo.settled:
        report.add(outcome)
        if outcome.status == "failed":
            say(f"failed: {outcome.message}")
    try:
        with PictureBar(len(todo.works)) as bar:
            for outcome in batch.run(todo.works, upscaler, selection, bar.advance):
                report.add(outcome)
                bar.settle(outcome)
                if outcome.status == "failed":
                    say(f"failed: {outcome.message}")
    except KeyboardInterrupt:
        say(f"interrupted: {report.summary(time.monotonic() - start)}")
        return INTERRUPTED
    except LapsrError:
        say(f"stopped: {report.summary(time.monotonic() - start)}")
        raise
    say(report.summary(time.monotonic() - start))
    return report.exit_code
