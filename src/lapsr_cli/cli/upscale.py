"""lapsr upscale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lapsr_cli.cli.dry_run import show_forecast, warn_if_disk_is_short
from lapsr_cli.cli.help_groups import GroupedCommand, examples, grouped_option
from lapsr_cli.cli.interrupts import stop_signal
from lapsr_cli.cli.params import GivenPath, GivenText
from lapsr_cli.cli.upscale_options import UpscaleOptions
from lapsr_cli.cli.upscale_session import UpscaleSession

if TYPE_CHECKING:
    from lapsr_cli.batch.estimate import Survey
    from lapsr_cli.upscaler import Upscaler


@click.command(
    cls=GroupedCommand,
    short_help="Upscale files, folders and glob patterns.",
    epilog=examples(
        "lapsr upscale photos -o large -s 4",
        "lapsr upscale scans -o large -s 2,4,8 -f webp --quality 90",
        "lapsr upscale 'holiday/*.jpg' cover.png -o frames --long-edge 4000 --dry-run",
    ),
)
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@grouped_option(
    "Input",
    "-i",
    "--input",
    "more_inputs",
    multiple=True,
    metavar="INPUT",
    help="Additional input; repeatable.",
)
@grouped_option(
    "Input",
    "-r",
    "--recursive/--no-recursive",
    default=True,
    help="Search subfolders.  [default: recursive]",
)
@grouped_option(
    "Input",
    "--max-pixels",
    metavar="N",
    help="Refuse inputs with more pixels than this, e.g. 100M, counted over all frames."
    "  [default: 536870912]",
)
@grouped_option(
    "Model",
    "-m",
    "--model",
    type=GivenText(),
    metavar="NAME|FILE",
    help="Model name (see `lapsr weights list`) or weights file.  [default: lapsr-photo for JPEG"
    " and other lossy files, lapsr-classic for the rest]",
)
@grouped_option(
    "Model",
    "--denoise",
    type=float,
    metavar="0..1",
    help="Use one model for all pictures, between lapsr-classic (0: keeps every detail, noise"
    " included) and lapsr-photo (1: removes noise and JPEG artefacts).",
)
@grouped_option(
    "Model",
    "-x",
    "--tta",
    is_flag=True,
    help="Average over 8 flips and rotations: slightly better, 8 times the work.",
)
@grouped_option(
    "Sizes",
    "-s",
    "--scale",
    "scales",
    metavar="LIST",
    help="Comma-separated scales, e.g. 2,4,8; one pass computes all of them. Scales in between,"
    " such as 3 or 2.5, are downscaled from the next larger one.  [default: 2, unless a size in"
    " pixels is given]",
)
@grouped_option(
    "Sizes",
    "--width",
    type=int,
    metavar="PIXELS",
    help="Width of the result; larger pictures are downscaled. With --height, the result fits"
    " within both.",
)
@grouped_option("Sizes", "--height", type=int, metavar="PIXELS", help="Height of the result.")
@grouped_option(
    "Sizes", "--long-edge", type=int, metavar="PIXELS", help="Longer side of the result."
)
@grouped_option(
    "Sizes",
    "--cascade",
    is_flag=True,
    help="Go beyond 8x, up to 64x, by running the network again on its own output.",
)
@grouped_option(
    "Output",
    "-o",
    "--output",
    required=True,
    type=GivenPath(),
    metavar="DIR",
    help="Output folder. The folder structure of the inputs is kept.",
)
@grouped_option(
    "Output",
    "-f",
    "--format",
    "form",
    default="auto",
    show_default=True,
    metavar="FORMAT",
    help="auto (same as the input), jpg, png, webp, tiff, avif, gif or bmp.",
)
@grouped_option(
    "Output",
    "--quality",
    default=95,
    show_default=True,
    metavar="N",
    help="JPEG, WebP and AVIF quality (1-100).",
)
@grouped_option(
    "Output",
    "--compress",
    default=6,
    show_default=True,
    metavar="N",
    help="PNG compression level (0-9).",
)
@grouped_option(
    "Output", "--lossless", is_flag=True, help="Use lossless compression for WebP and AVIF."
)
@grouped_option(
    "Output",
    "--background",
    metavar="COLOUR",
    help="Fill transparent areas with this colour, e.g. white or #ff8800, in formats without"
    " transparency. By default such pictures are written as PNG.",
)
@grouped_option(
    "Output",
    "--strip-metadata",
    is_flag=True,
    help="Remove all metadata except the ICC profile.",
)
@grouped_option(
    "Output",
    "--name",
    type=GivenText(),
    metavar="PATTERN",
    help="File names of the results, without suffix.  [default: {stem}_x{scale}; {stem}_{scale}"
    " with sizes in pixels]",
)
@grouped_option(
    "Output",
    "--if-exists",
    type=click.Choice(["skip", "overwrite", "error"]),
    default="skip",
    show_default=True,
    help="What to do if a result already exists.",
)
@grouped_option(
    "Device",
    "--device",
    default="auto",
    show_default=True,
    metavar="LIST",
    help="auto, cpu, cuda, cuda:N or mps; several separated by commas, e.g. cuda:0,cuda:1.",
)
@grouped_option(
    "Device",
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16", "int8"]),
    default="auto",
    show_default=True,
    help="Precision of the network's features; auto means fp32. fp16 needs a GPU. int8 runs on the"
    " CPU only: faster, slightly less accurate.",
)
@grouped_option(
    "Device",
    "-t",
    "--tile",
    default="auto",
    show_default=True,
    metavar="auto|none|N",
    help="Tile side in input pixels: auto fits tiles into memory, none processes whole pictures."
    " Tiles are halved if memory runs out; no sample changes by more than one level.",
)
@grouped_option(
    "Device",
    "--batch-size",
    default="auto",
    show_default=True,
    metavar="auto|N",
    help="Tiles per pass; tiles of several pictures may share a pass.",
)
@grouped_option("Device", "--memory", metavar="SIZE", help="Memory limit, e.g. 4G.")
@grouped_option(
    "Run",
    "--dry-run",
    is_flag=True,
    help="List the files that would be written and estimate disk space and time; write nothing.",
)
@grouped_option("Run", "--fail-fast", is_flag=True, help="Stop at the first picture that fails.")
@grouped_option(
    "Run",
    "--report",
    "report_file",
    type=GivenPath(dir_okay=False),
    metavar="FILE",
    help="Write a JSON report on every picture (docs/report.md).",
)
@grouped_option(
    "Run", "--json", "as_json", is_flag=True, help="Print a line of JSON per picture to stdout."
)
@grouped_option("Run", "--offline", is_flag=True, help="Disable network access.")
@grouped_option(
    "Run", "-v", "--verbose", is_flag=True, help="Print a line per picture, skipped ones included."
)
def upscale(**values: Any) -> int:
    """Upscale pictures and write the results to DIR.

    INPUT is a file, a folder or a glob pattern. A picture that cannot be read or written is
    reported, and the others are processed.

    Ctrl-C stops after the pictures in progress, a second Ctrl-C at once. Run the same command again
    to process what is left.
    """
    return _upscale(UpscaleOptions(**values))


def _upscale(options: UpscaleOptions) -> int:
    """Check what can be checked, then process the pictures. Returns the exit code."""
    from lapsr_cli.batch.estimate import survey
    from lapsr_cli.batch.limits import check_targets
    from lapsr_cli.batch.planning import plan
    from lapsr_cli.batch.provenance import Provenance, Records, compare
    from lapsr_cli.batch.report import REPORT
    from lapsr_cli.cli.console import show_log
    from lapsr_cli.device.memory import keep_freed_memory
    from lapsr_cli.files import sweep
    from lapsr_cli.image_io import configure_pillow
    from lapsr_cli.outputs import check_output, prepare_folder

    keep_freed_memory()
    configure_pillow()
    show_log()
    selection = options.selection()
    options.tiling()  # for its errors: a wrong value is reported before any file is read
    limits = options.limits()
    todo = plan(selection)
    if options.report_file is not None and not options.dry_run:
        check_output(options.report_file, "--report", REPORT)
    upscalers = options.upscalers()
    check_targets(selection.targets, upscalers[0].config.scales, cascade=options.cascade)
    provenance = Provenance.of(upscalers[0], selection.encoding, tta=options.tta)
    records = Records(options.output)
    todo, differing = compare(todo, provenance, records)
    _report_differing(differing)
    if options.dry_run:
        return show_forecast(todo, upscalers[0], selection, limits, as_json=options.as_json)
    prepare_folder(options.output, "-o/--output")
    sweep(todo.folders)
    expected = survey(todo.jobs, upscalers[0], limits, selection.encoding)
    _introduce(upscalers, expected)
    warn_if_disk_is_short(expected.bytes, selection.output)
    with stop_signal("stopping after the pictures in progress; Ctrl-C again stops at once") as stop:
        session = UpscaleSession(options, selection, limits, upscalers, provenance, records, stop)
        return session.run(todo, expected.works)


def _report_differing(results: Mapping[Path, str]) -> None:
    """Say that there are results which this run would have made differently."""
    from lapsr_cli.cli.console import say
    from lapsr_cli.text import counted

    for path, made in islice(results.items(), 1):
        say(
            f"warning: {counted(len(results), 'existing result')} kept that this run would make"
            f" differently, such as {path}, made {made}; --if-exists overwrite makes them again"
        )


def _introduce(upscalers: Sequence[Upscaler], expected: Survey) -> None:
    """Print the models that the run needs, and its devices."""
    from lapsr_cli.cli.console import say

    for line in _model_lines(upscalers[0], expected):
        say(line)
    for upscaler in upscalers:
        say(f"device: {upscaler.device}")


def _model_lines(upscaler: Upscaler, expected: Survey) -> Iterator[str]:
    """One line per model that the pictures at hand go through: "model: lapsr-classic, MS-LapSRN
    D5R2"; if there are several, with the files they are for."""
    from lapsr_cli.weights.manifest import manifest

    needed = {upscaler.model_for(lossy=lossy): lossy for lossy in sorted(expected.kinds)}
    for name, lossy in needed.items():
        entry = manifest().entries.get(name)
        title = entry.title if entry else upscaler.runner.runtimes[name].config.title
        purpose = f" ({'lossy' if lossy else 'lossless'})" if len(needed) > 1 else ""
        yield f"model: {name}, {title}{purpose}"
