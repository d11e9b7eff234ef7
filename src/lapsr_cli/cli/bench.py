"""lapsr bench."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from lapsr_cli.cli.params import GivenPath
from lapsr_cli.errors import UsageError

if TYPE_CHECKING:
    from lapsr_cli.bench.ablations import Study
    from lapsr_cli.bench.session import BenchOptions, Measured
    from lapsr_cli.device.selection import Precision

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(short_help="Measure speed and quality on this machine.")
@click.option(
    "--device", default="auto", show_default=True, metavar="LIST", help="As in cpu,cuda: each."
)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="NAME|FILE",
    help="Repeatable; see `lapsr weights list`.  [default: lapsr-classic]",
)
@click.option(
    "-s",
    "--scale",
    "scales",
    default="",
    metavar="LIST",
    help="As in 2,4,8; not of --study.  [default: all; 4 for --against, 2 for --end-to-end]",
)
@click.option(
    "--size",
    "sizes",
    default="256",
    show_default=True,
    metavar="LIST",
    help="Of the input: 256, 640x480, 1080p, 12MP.",
)
@click.option("--batch-size", "batch", default=1, show_default=True, help="Pictures at a time.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    metavar="LIST",
    help="auto, fp32, bf16, fp16, int8.",
)
@click.option("--runs", default=3, show_default=True, help="Counted; their median is given.")
@click.option("--warm-up", default=1, show_default=True, help="Runs before them.")
@click.option("--threads", default=0, metavar="N", help="On the CPU.  [default: all cores]")
@click.option(
    "--pictures", type=_FOLDER, metavar="DIR", help="Time on these, not on random samples."
)
@click.option(
    "--end-to-end", type=_FOLDER, metavar="DIR", help="Each stage from file to file, on a folder."
)
@click.option(
    "--sample", default=20, show_default=True, help="Pictures of --end-to-end and --pictures."
)
@click.option(
    "--dataset",
    "datasets",
    type=_FOLDER,
    multiple=True,
    metavar="DIR",
    help="PSNR, SSIM and IFC by the papers' protocol; repeatable.",
)
@click.option(
    "--pairs", type=_FOLDER, nargs=2, metavar="LR HR", help="The same on real small pictures."
)
@click.option(
    "--against",
    default="",
    metavar="LIST",
    help="The same weights by onnxruntime, openvino, ncnn, opencv, eager, compile.",
)
@click.option(
    "--study",
    "studies",
    default="",
    metavar="LIST",
    help="The papers' ablations, at the first --size: params, depth, skips, scales.",
)
@click.option("--speed", is_flag=True, help="Speed too, when something else is asked for.")
@click.option(
    "--html",
    type=GivenPath(dir_okay=False),
    metavar="FILE",
    help="One page of everything, with pictures to look at.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout (docs/bench.md).")
@click.option("--offline", is_flag=True, help="Never use the network.")
def bench(**flags: Any) -> int:
    """Measure how fast lapsr is on this machine, and how good.

    Without a folder, a peer or a study to measure it is the speed that is measured.
    """
    return _bench(Wish(**flags))


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The flags as they were given."""

    device: str
    models: tuple[str, ...]
    scales: str
    sizes: str
    batch: int
    precision: str
    runs: int
    warm_up: int
    threads: int
    pictures: Path | None
    end_to_end: Path | None
    sample: int
    datasets: tuple[Path, ...]
    pairs: tuple[Path, Path] | None
    against: str
    studies: str
    speed: bool
    html: Path | None
    as_json: bool
    offline: bool

    def options(self) -> BenchOptions:
        """What to measure. Raises UsageError, naming the flag."""
        from lapsr_cli.bench.session import BenchOptions
        from lapsr_cli.bench.speed import size_of

        return BenchOptions(
            sizes=tuple(size_of(part) for part in _parts(self.sizes)),
            models=self.models,
            devices=_parts(self.device),
            precisions=cast("tuple[Precision, ...]", _parts(self.precision)),
            scales=tuple(sorted({_scale(part) for part in _parts(self.scales)})),
            batch=self.batch,
            runs=self.runs,
            warm_up=self.warm_up,
            threads=self.threads,
            pictures=self.pictures,
            end_to_end=self.end_to_end,
            sample=self.sample,
            datasets=self.datasets,
            pairs=self.pairs,
            against=_parts(self.against),
            studies=cast("tuple[Study, ...]", _parts(self.studies)),
            speed=self.speed,
            crops=self.html is not None,
            offline=self.offline,
        )


def _parts(text: str) -> tuple[str, ...]:
    """Of a list with commas, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _scale(text: str) -> int:
    if text not in ("2", "4", "8"):
        raise UsageError(f"-s/--scale {text}: must be a list of 2, 4 and 8")
    return int(text)


def _bench(wish: Wish) -> int:
    from lapsr_cli.batch.planning import prepare_folder
    from lapsr_cli.bench.session import run
    from lapsr_cli.cli.console import say, show_log
    from lapsr_cli.device.memory import keep_freed_memory

    keep_freed_memory()
    show_log()
    options = wish.options()
    if wish.html is not None:
        prepare_folder(wish.html.parent, "--html")
    command = shlex.join(["lapsr", *sys.argv[1:]])
    measured = run(options, command, say)
    for problem in dict.fromkeys(measured.problems):  # two flags may name one folder
        say(f"left out: {problem}")
    _show(measured, wish)
    return 1 if measured.problems else 0


def _show(measured: Measured, wish: Wish) -> None:
    from lapsr_cli.bench.page import report_page
    from lapsr_cli.cli.bench_tables import show
    from lapsr_cli.cli.console import say
    from lapsr_cli.files import atomic_write

    if wish.as_json:
        click.echo(json.dumps(measured.results.as_json(), allow_nan=False))
    else:
        show(measured.results)
    if wish.html is not None:
        page = report_page(measured.results, measured.crops)
        with atomic_write(wish.html) as file:
            file.write(page.encode())
        say(f"written: {wish.html}")
