"""lapsr upscale."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lapsr_cli.cli.dry_run import show_forecast, warn_of_the_disk
from lapsr_cli.cli.interrupts import stop_signal
from lapsr_cli.cli.params import GivenPath, bytes_of, colour, number
from lapsr_cli.errors import INTERRUPTED, LapsrError, UsageError

if TYPE_CHECKING:
    from lapsr_cli.batch.limits import Limits
    from lapsr_cli.batch.planning import IfExists, Plan, Selection
    from lapsr_cli.batch.report import Outcome, Report
    from lapsr_cli.batch.targets import Target
    from lapsr_cli.device.selection import Precision
    from lapsr_cli.inference.batching import Windows
    from lapsr_cli.upscaler import Upscaler


@click.command(short_help="Enlarge photos: files, folders, patterns.")
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-i", "--input", "more_inputs", multiple=True, metavar="INPUT", help="Another input.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=GivenPath(),
    metavar="DIR",
    help="Folder for the results; the tree of the inputs is mirrored in it.",
)
@click.option(
    "-s",
    "--scale",
    "scales",
    metavar="LIST",
    help="Scales, as in 2,4,8: all of them from one pass. 3 or 2.5 are shrunk from the next one."
    "  [default: 2]",
)
@click.option("--width", type=int, metavar="PIXELS", help="Instead of a scale: at most this wide.")
@click.option("--height", type=int, metavar="PIXELS", help="At most this high; --width as well.")
@click.option("--long-edge", type=int, metavar="PIXELS", help="Of the longer side.")
@click.option("--cascade", is_flag=True, help="Enlarge more than 8 times, by a second pass.")
@click.option("-m", "--model", metavar="NAME|FILE", help="See `lapsr weights list`.")
@click.option(
    "-f",
    "--format",
    "form",
    default="auto",
    show_default=True,
    metavar="FORMAT",
    help="auto (as the input), jpg, png, webp, tiff, avif, gif or bmp.",
)
@click.option("--quality", default=95, show_default=True, help="Of JPEG, WebP and AVIF, 1 to 100.")
@click.option("--compress", default=6, show_default=True, help="Of PNG, 0 to 9.")
@click.option("--lossless", is_flag=True, help="WebP and AVIF without loss.")
@click.option(
    "--background",
    metavar="COLOUR",
    help="As in white or #ff8800: what shows through where the format has no transparency.",
)
@click.option("--strip-metadata", is_flag=True, help="Keep nothing but the ICC profile.")
@click.option(
    "--name",
    metavar="PATTERN",
    help="Names of the results, without suffix.  [default: {stem}_x{scale}]",
)
@click.option(
    "--if-exists",
    type=click.Choice(["skip", "overwrite", "error"]),
    default="skip",
    show_default=True,
    help="What to do about a result that is there already.",
)
@click.option("-r", "--recursive/--no-recursive", default=True, help="Folders within folders.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="LIST",
    help="auto, cpu, cuda, cuda:N or mps; several as in cuda:0,cuda:1.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16", "int8"]),
    default="auto",
    show_default=True,
    help="Of the network's features; auto is fp32. int8: fast, on the CPU.",
)
@click.option("-x", "--tta", is_flag=True, help="Mean over 8 flips and turns: 8 times the work.")
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
@click.option("--memory", metavar="SIZE", help="What a run may take, as in 4G.")
@click.option(
    "--max-pixels", type=int, metavar="N", help="Refuse larger inputs.  [default: 536870912]"
)
@click.option("--fail-fast", is_flag=True, help="End at the first picture that fails.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--report",
    "report_file",
    type=GivenPath(dir_okay=False),
    metavar="FILE",
    help="Write what became of every picture, as JSON (docs/report.md).",
)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each picture on stdout.")
@click.option("--offline", is_flag=True, help="Never use the network.")
@click.option("-v", "--verbose", is_flag=True, help="A line for every picture.")
def upscale(**flags: Any) -> int:
    """Enlarge every picture among INPUT (files, folders, glob patterns) and write it below DIR.

    A picture that cannot be read or written is named and left out; all others are done. Ctrl-C
    finishes the pictures that are begun; a second one stops at once.
    """
    return _upscale(Wish(**flags))


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The flags as they were given."""

    inputs: tuple[str, ...]
    more_inputs: tuple[str, ...]
    output: Path
    scales: str | None
    width: int | None
    height: int | None
    long_edge: int | None
    cascade: bool
    model: str | None
    form: str
    quality: int
    compress: int
    lossless: bool
    background: str | None
    strip_metadata: bool
    name: str | None
    if_exists: IfExists
    recursive: bool
    device: str
    precision: Precision
    tta: bool
    tile: str
    batch_size: str
    memory: str | None
    max_pixels: int | None
    fail_fast: bool
    dry_run: bool
    report_file: Path | None
    as_json: bool
    offline: bool
    verbose: bool

    def selection(self) -> Selection:
        """Which pictures, which sizes, where to."""
        from lapsr_cli.batch.planning import Selection
        from lapsr_cli.image_io import Encoding

        return Selection(
            inputs=self.inputs + self.more_inputs,
            output=self.output,
            targets=self.targets(),
            form=self.form.lower().lstrip("."),
            encoding=Encoding(
                quality=self.quality,
                compress=self.compress,
                lossless=self.lossless,
                background=colour(self.background),
                strip_metadata=self.strip_metadata,
            ),
            name=self.name,
            recursive=self.recursive,
            if_exists=self.if_exists,
        )

    def targets(self) -> tuple[Target, ...]:
        """Scales in ascending order, each once, then the size in pixels."""
        from lapsr_cli.batch.targets import Target

        boxes = []
        if self.long_edge is not None and (self.width is not None or self.height is not None):
            raise UsageError("--long-edge: not together with --width or --height")
        if self.long_edge is not None:
            boxes = [Target(long_edge=self.long_edge)]
        elif self.width is not None or self.height is not None:
            boxes = [Target(width=self.width, height=self.height)]
        scales = self.scales if self.scales is not None else "" if boxes else "2"
        parts = [part.strip() for part in scales.split(",") if part.strip()]
        by_label = {target.label: target for target in (Target(scale=part) for part in parts)}
        return (*sorted(by_label.values(), key=lambda target: float(target.label)), *boxes)

    def windows(self) -> Windows:
        """How pictures are cut and stacked."""
        from lapsr_cli.inference.batching import Windows

        tile = None if self.tile == "none" else number("-t/--tile", self.tile, "auto, none or")
        return Windows(tile=tile, batch=number("--batch-size", self.batch_size, "auto or"))

    def limits(self) -> Limits:
        """Memory for pictures, and what is refused; windows on the CPU get 0.6 of --memory."""
        from lapsr_cli.batch.limits import Limits

        memory = self._memory
        share = None if memory is None else int(memory * (0.4 if self.on_cpu else 1))
        values = {} if self.max_pixels is None else {"max_pixels": self.max_pixels}
        return Limits(memory=share, cascade=self.cascade, **values)

    @property
    def _memory(self) -> int | None:
        return None if self.memory is None else bytes_of("--memory", self.memory)

    @property
    def on_cpu(self) -> bool:
        """Whether the pictures and the network share one memory."""
        from lapsr_cli.device.selection import choose

        return choose(self.device.split(",")[0]).torch_device.type == "cpu"

    def upscalers(self) -> list[Upscaler]:
        """One for each device."""
        from lapsr_cli.upscaler import Upscaler

        devices = self.device.split(",")
        memory = self._memory
        share = None
        if memory is not None and self.on_cpu:
            share = int(memory * 0.6 / len(devices))
        return [
            Upscaler.from_weights(
                self.model,
                device=device.strip(),
                precision=self.precision,
                windows=self.windows(),
                offline=self.offline,
                tta=self.tta,
                memory=share,
            )
            for device in devices
        ]


def _upscale(wish: Wish) -> int:
    from lapsr_cli.batch.limits import check_targets
    from lapsr_cli.batch.planning import plan, prepare_folder
    from lapsr_cli.batch.report import check_place
    from lapsr_cli.cli.console import say, show_log
    from lapsr_cli.device.memory import keep_freed_memory
    from lapsr_cli.files import sweep

    keep_freed_memory()
    show_log()
    selection = wish.selection()
    wish.windows()  # for its errors, before the work
    limits = wish.limits()
    todo = plan(selection)
    upscalers = wish.upscalers()
    check_targets(selection.targets, upscalers[0].config.scales, cascade=wish.cascade)
    if wish.dry_run:
        return show_forecast(todo, upscalers[0], selection, limits, as_json=wish.as_json)
    prepare_folder(wish.output, "-o/--output")
    if wish.report_file is not None:
        prepare_folder(wish.report_file.parent, "--report")
        check_place(wish.report_file)
    if swept := sweep({path.parent for work in todo.works for path in work.outputs.values()}):
        say(f"removed {swept} half-written files that killed runs had left")
    for line in _introduction(upscalers):
        say(line)
    warn_of_the_disk(todo, upscalers[0], selection, limits)
    with stop_signal("finishing what is begun; Ctrl-C again stops at once") as stop:
        return _Session(wish, selection, limits, upscalers, stop).run(todo)


def _introduction(upscalers: Sequence[Upscaler]) -> Iterator[str]:
    from lapsr_cli.weights.manifest import manifest

    for name, runtime in upscalers[0].passes.runtimes.items():
        entry = manifest().entries.get(name)
        title = entry.title if entry else runtime.config.title
        several = len(upscalers[0].passes.runtimes) > 1
        use = "" if not several else _use(name, upscalers[0])
        yield f"model: {name}, {title}{use}"
    for upscaler in upscalers:
        yield f"device: {upscaler.device}"


def _use(name: str, upscaler: Upscaler) -> str:
    lossy = name == upscaler.lossy_name
    return " (for pictures compressed with loss)" if lossy else " (for all others)"


class _Session:
    """One run: its report grows, and is written however the run ends."""

    def __init__(
        self,
        wish: Wish,
        selection: Selection,
        limits: Limits,
        upscalers: list[Upscaler],
        stop: Callable[[], bool],
    ) -> None:
        from lapsr_cli.batch.report import Report

        self.wish = wish
        self.selection = selection
        self.limits = limits
        self.upscalers = upscalers
        self.stop = stop
        self.report: Report = Report()
        self.start = time.monotonic()
        self.failed_fast = False
        self.code = 1  # of a run that ends in a way nobody thought of

    def run(self, todo: Plan) -> int:
        from lapsr_cli.cli.console import say

        with self._written():
            try:
                self._run(todo)
            except LapsrError as error:
                self.code = error.exit_code
                say(f"stopped: {self._summary(todo)}")
                raise
            except KeyboardInterrupt:
                self.code = INTERRUPTED
                say(f"interrupted: {self._summary(todo)}")
                self._write()
                sys.stdout.flush()
                # A pass of the network cannot be broken off; the interpreter would wait for it.
                os._exit(INTERRUPTED)
            self.code = INTERRUPTED if self.stop() else self.report.exit_code
            begin = "stopped at the first failure: " if self.failed_fast else ""
            say(f"{'interrupted: ' if self.stop() else begin}{self._summary(todo)}")
            return self.code

    def _run(self, todo: Plan) -> None:
        from lapsr_cli.batch import pipeline
        from lapsr_cli.cli.console import PictureBar

        for outcome in todo.settled:
            self._settle(outcome)
        with PictureBar(len(todo.works)) as bar:
            for outcome in pipeline.run(
                todo.works,
                self.upscalers,
                self.selection,
                limits=self.limits,
                advance=bar.advance,
                stop=lambda: self.stop() or self.failed_fast,
            ):
                bar.settle(outcome)
                self._settle(outcome)

    def _settle(self, outcome: Outcome) -> None:
        from lapsr_cli.cli.console import say

        self.report.add(outcome)
        for warning in outcome.warnings:
            say(f"warning: {outcome.source}: {warning}")
        if outcome.status == "failed":
            say(f"failed: {outcome.message}")
            self.failed_fast = self.wish.fail_fast
        elif self.wish.verbose:
            say(outcome.line)
        if self.wish.as_json:
            click.echo(json.dumps(outcome.to_json()))

    def _summary(self, todo: Plan) -> str:
        left = len(todo.works) + len(todo.settled) - len(self.report.outcomes)
        rest = f", {left} not begun" if left else ""
        return self.report.summary(time.monotonic() - self.start) + rest

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._write()

    def _write(self) -> None:
        from lapsr_cli import __version__
        from lapsr_cli.files import atomic_write

        if self.wish.report_file is None:
            return
        about = {
            "lapsr": __version__,
            "models": list(self.upscalers[0].passes.runtimes),
            "devices": [str(upscaler.device) for upscaler in self.upscalers],
            "scales": [target.label for target in self.selection.targets],
            "interrupted": bool(self.stop()),
        }
        content = self.report.to_json(about, time.monotonic() - self.start, self.code)
        with atomic_write(self.wish.report_file) as file:
            file.write(json.dumps(content, indent=1).encode())
