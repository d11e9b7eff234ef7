"""lapsr bench."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lapsr_cli.cli.help_groups import GroupedCommand, examples, grouped_option
from lapsr_cli.cli.params import GivenPath, GivenText
from lapsr_cli.errors import UsageError

if TYPE_CHECKING:
    from lapsr_cli.bench.session import BenchOptions, Measured
    from lapsr_cli.pixels.picture import Size

_Options = TypeVar("_Options")

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


def _list_of(item: Callable[[str], Any] = str) -> Callable[[str], tuple[Any, ...]]:
    """A parser of items separated by commas, each parsed by ``item``; duplicates are dropped."""

    def parse(text: str) -> tuple[Any, ...]:
        parts = (part.strip() for part in text.split(","))
        return tuple(dict.fromkeys(item(part) for part in parts if part))

    return parse


def _scale(text: str) -> int:
    if text not in ("2", "4", "8"):
        raise UsageError(f"-s/--scale {text}: must be a list of 2, 4 and 8")
    return int(text)


def _size(text: str) -> Size:
    from lapsr_cli.bench.sizes import parse_size

    return parse_size(text)


@click.command(
    cls=GroupedCommand,
    short_help="Measure speed and quality on this machine.",
    epilog=examples(
        "lapsr bench",
        "lapsr bench --device cpu,cuda --size 256,1080p",
        "lapsr bench --against onnxruntime,openvino,ncnn -s 4",
        "lapsr bench --end-to-end photos",
        "lapsr bench --dataset Set14 -m lapsr-classic -m lapsr-photo --html quality.html",
    ),
)
@grouped_option(
    "Measurements",
    "--speed",
    is_flag=True,
    help="Time pictures in memory. This is the default if no other measurement is given.",
)
@grouped_option(
    "Measurements",
    "--end-to-end",
    type=_FOLDER,
    metavar="DIR",
    help="Time each stage from file to file (decode, upload, network, download, encode) on the"
    " pictures in a folder.",
)
@grouped_option(
    "Measurements",
    "--dataset",
    "datasets",
    type=_FOLDER,
    multiple=True,
    metavar="DIR",
    help="Measure PSNR, SSIM and IFC on a folder of HR pictures, by the papers' protocol;"
    " repeatable.",
)
@grouped_option(
    "Measurements",
    "--pairs",
    type=_FOLDER,
    nargs=2,
    metavar="LR HR",
    help="Measure PSNR, SSIM and IFC on two folders of LR and HR pictures, matched by name.",
)
@grouped_option(
    "Measurements",
    "--against",
    type=_list_of(),
    default="",
    metavar="LIST",
    help="Compare with other runtimes on the same weights: onnxruntime, openvino, ncnn, opencv,"
    " eager, compile. Runs are interleaved.",
)
@grouped_option(
    "Measurements",
    "--study",
    "ablations",
    type=_list_of(),
    default="",
    metavar="LIST",
    help="Repeat the papers' ablations: params, depth, skips, scales. They use the first --size and"
    " ignore -s.",
)
@grouped_option(
    "Model",
    "-m",
    "--model",
    "models",
    type=GivenText(),
    multiple=True,
    metavar="NAME|FILE",
    help="Model name (see `lapsr weights list`) or weights file; repeatable.  [default:"
    " lapsr-classic]",
)
@grouped_option(
    "Model",
    "-s",
    "--scale",
    "scales",
    type=_list_of(_scale),
    default="",
    metavar="LIST",
    help="Comma-separated scales.  [default: 2,4,8; 4 for --against, 2 for --end-to-end]",
)
@grouped_option(
    "Input",
    "--size",
    "sizes",
    type=_list_of(_size),
    default="256",
    show_default=True,
    metavar="LIST",
    help="Comma-separated input sizes, e.g. 256, 640x480, 1080p or 12MP.",
)
@grouped_option(
    "Input",
    "--pictures",
    type=_FOLDER,
    metavar="DIR",
    help="Time the pictures in this folder, cropped or repeated to --size, instead of random"
    " samples.",
)
@grouped_option(
    "Input",
    "--sample",
    default=20,
    show_default=True,
    metavar="N",
    help="Maximum number of pictures for --end-to-end and --pictures.",
)
@grouped_option(
    "Device",
    "--device",
    "devices",
    type=_list_of(),
    default="auto",
    show_default=True,
    metavar="LIST",
    help="Comma-separated devices: auto, cpu, cuda, cuda:N, mps. Each is measured.",
)
@grouped_option(
    "Device",
    "--precision",
    "precisions",
    type=_list_of(),
    default="auto",
    show_default=True,
    metavar="LIST",
    help="Comma-separated precisions: auto, fp32, bf16, fp16, int8. Each is measured.",
)
@grouped_option(
    "Device",
    "--threads",
    default=0,
    metavar="N",
    help="Number of CPU threads.  [default: chosen by torch]",
)
@grouped_option(
    "Timing",
    "--runs",
    default=3,
    show_default=True,
    metavar="N",
    help="Measured runs; the median is reported.",
)
@grouped_option(
    "Timing",
    "--warm-up",
    default=1,
    show_default=True,
    metavar="N",
    help="Runs before the measured ones.",
)
@grouped_option(
    "Timing",
    "--batch-size",
    "batch",
    default=1,
    show_default=True,
    metavar="N",
    help="Pictures per run.",
)
@grouped_option(
    "Output",
    "--html",
    type=GivenPath(dir_okay=False),
    metavar="FILE",
    help="Write an HTML page with tables, charts and crops of the datasets.",
)
@grouped_option(
    "Output",
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON instead of tables (docs/bench.md).",
)
@grouped_option("Run", "--offline", is_flag=True, help="Disable network access.")
def bench(html: Path | None, as_json: bool, **values: Any) -> int:
    """Measure how fast lapsr is on this machine, and how good its output is."""
    return _bench(_options(values), html, as_json=as_json)


def _options(values: Mapping[str, Any]) -> BenchOptions:
    """Raises UsageError, naming the option."""
    from lapsr_cli.bench.inputs import Measurements
    from lapsr_cli.bench.networks import NetworkOptions
    from lapsr_cli.bench.session import BenchOptions
    from lapsr_cli.bench.timing import TimingOptions

    return BenchOptions(
        networks=_pick(NetworkOptions, values),
        timing=_pick(TimingOptions, values),
        measurements=_pick(Measurements, values),
    )


def _pick(options: type[_Options], values: Mapping[str, Any]) -> _Options:
    """The dataclass made of the ``values`` that have the names of its fields."""
    return options(**{field.name: values[field.name] for field in fields(options)})  # type: ignore[arg-type]


def _bench(options: BenchOptions, html: Path | None, *, as_json: bool) -> int:
    from lapsr_cli.bench.session import run
    from lapsr_cli.cli.console import say, show_log
    from lapsr_cli.device.memory import keep_freed_memory
    from lapsr_cli.html.document import PAGE
    from lapsr_cli.image_io import configure_pillow
    from lapsr_cli.outputs import check_output

    keep_freed_memory()
    configure_pillow()
    show_log()
    if html is not None:
        check_output(html, "--html", PAGE)
    command = shlex.join(["lapsr", *sys.argv[1:]])
    measured = run(options, command=command, progress=say, crops=html is not None)
    for problem in dict.fromkeys(measured.problems):  # two options may name the same folder
        say(f"left out: {problem}")
    _show(measured, html, as_json=as_json)
    return 1 if measured.problems else 0


def _show(measured: Measured, html: Path | None, *, as_json: bool) -> None:
    from lapsr_cli.bench.page import report_page
    from lapsr_cli.cli.bench_tables import show
    from lapsr_cli.cli.console import say
    from lapsr_cli.outputs import open_output

    if as_json:
        click.echo(json.dumps(measured.results.as_json(), allow_nan=False))
    else:
        show(measured.results)
    if html is not None:
        page = report_page(measured.results, measured.crops)
        with open_output(html) as file:
            file.write(page.encode())
        say(f"written: {html}")
