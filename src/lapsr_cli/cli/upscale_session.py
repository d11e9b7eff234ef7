"""One run of lapsr upscale: progress, messages, and the report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import closing
from queue import SimpleQueue
from typing import TYPE_CHECKING

import click

from lapsr_cli.errors import INTERRUPTED, LapsrError, ResourceError

if TYPE_CHECKING:
    from pathlib import Path

    from lapsr_cli.batch.estimate import Work
    from lapsr_cli.batch.limits import Limits
    from lapsr_cli.batch.planning import Plan, Selection
    from lapsr_cli.batch.progress import RunProgress
    from lapsr_cli.batch.provenance import Provenance, Records
    from lapsr_cli.batch.report import Outcome, Report
    from lapsr_cli.cli.interrupts import Stop
    from lapsr_cli.cli.upscale_options import UpscaleOptions
    from lapsr_cli.upscaler import Upscaler

__all__ = ["UpscaleSession"]

_PROGRESS_INTERVAL = 1.0
"""Seconds between lines of progress, at least."""


class UpscaleSession:
    """Processes a plan and reports every outcome; the report is written however the run ends.

    ``provenance``: what every result is made with, which is added to ``records``. ``stop``: once it
    says so, no picture is started.
    """

    def __init__(
        self,
        options: UpscaleOptions,
        selection: Selection,
        limits: Limits,
        upscalers: list[Upscaler],
        provenance: Provenance,
        records: Records,
        stop: Stop,
    ) -> None:
        from lapsr_cli.batch.report import Report

        self.options = options
        self.selection = selection
        self.limits = limits
        self.upscalers = upscalers
        self.provenance = provenance
        self.records = records
        self.stop = stop
        self.report: Report = Report()
        self.start = self.progress_printed = time.monotonic()
        self.failed_fast = False
        self.code = 1  # what the report says if an unexpected exception ends the run

    def run(self, todo: Plan, works: Mapping[Path, Work]) -> int:
        """Process every picture of the plan, which takes ``works``. Returns the exit code.

        Raises LapsrError if the run cannot go on.
        """
        from lapsr_cli.cli.console import say

        try:
            self._process(todo, works)
        except LapsrError as error:
            self.code = error.exit_code
            say(f"stopped: {self._summary(todo)}")
            raise
        except MemoryError:
            self.code = ResourceError.exit_code
            raise
        except KeyboardInterrupt:
            self.code = INTERRUPTED
            say(f"interrupted: {self._summary(todo)}")
        else:
            say(f"{self._ending()}{self._summary(todo)}")
            self.code = self.stop.exit_code if self.stop() else self.report.exit_code
        finally:
            self._write_report()
        return self.code

    def _process(self, todo: Plan, works: Mapping[Path, Work]) -> None:
        from lapsr_cli.batch import pipeline
        from lapsr_cli.batch.progress import RunProgress
        from lapsr_cli.batch.report import Outcome
        from lapsr_cli.cli.console import PictureBar

        events: pipeline.Events = SimpleQueue()
        for outcome in todo.settled:
            self._settle(outcome)
        progress = RunProgress(works)
        with PictureBar(len(todo.jobs)) as bar:

            def advance(source: Path, share: float) -> None:
                progress.advance(source, share)
                bar.show(progress)
                self._print_progress(progress)

            outcomes = pipeline.run(
                todo.jobs,
                self.upscalers,
                self.selection,
                limits=self.limits,
                advance=advance,
                stop=lambda: self.stop() or self.failed_fast,
                events=events,
            )
            try:
                with closing(outcomes):
                    for outcome in outcomes:
                        self._settle(outcome)
                        progress.settle(outcome)
                        bar.show(progress)
            finally:
                while not events.empty():  # if the run was given up
                    if isinstance(last := events.get(), Outcome):
                        self._record(last)

    def _record(self, outcome: Outcome) -> None:
        """Add an outcome to the report, and its results to the records."""
        self.report.add(outcome)
        self.records.add({o.path: self.provenance.record(outcome, o) for o in outcome.outputs})

    def _print_progress(self, progress: RunProgress) -> None:
        """With --json, a line of JSON, but not too often."""
        now = time.monotonic()
        if self.options.as_json and now >= self.progress_printed + _PROGRESS_INTERVAL:
            self.progress_printed = now
            click.echo(json.dumps(progress.to_json()))

    def _settle(self, outcome: Outcome) -> None:
        """Record an outcome and print what the options ask for."""
        from lapsr_cli.cli.console import say

        self._record(outcome)
        for warning in outcome.warnings:
            say(f"warning: {outcome.source}: {warning}")
        if outcome.status == "failed":
            say(f"failed: {outcome.message}")
            self.failed_fast = self.options.fail_fast
        elif self.options.verbose:
            say(outcome.line)
        if self.options.as_json:
            click.echo(json.dumps(outcome.to_json()))

    def _ending(self) -> str:
        """What precedes the summary if the run ended early."""
        if self.stop():
            return "interrupted: "
        return "stopped at the first failure: " if self.failed_fast else ""

    def _summary(self, todo: Plan) -> str:
        left = len(todo.jobs) + len(todo.settled) - len(self.report.outcomes)
        rest = f", {left} not started" if left else ""
        return self.report.summary(time.monotonic() - self.start) + rest

    def _write_report(self) -> None:
        from lapsr_cli import __version__
        from lapsr_cli.outputs import open_output

        if self.options.report_file is None:
            return
        about = {
            "lapsr": __version__,
            "models": list(self.upscalers[0].runner.runtimes),
            "devices": [str(upscaler.device) for upscaler in self.upscalers],
            "scales": [target.label for target in self.selection.targets],
            "interrupted": self.stop(),
        }
        content = self.report.to_json(about, time.monotonic() - self.start, self.code)
        with open_output(self.options.report_file) as file:
            file.write(json.dumps(content, indent=1).encode())
