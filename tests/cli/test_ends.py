"""How a command ends when its terminal, its reader, its memory or its user's patience does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lapsr_cli.batch import pipeline, results
from lapsr_cli.batch.planning import Selection, plan
from lapsr_cli.batch.targets import Target
from lapsr_cli.cli.interrupts import stop_signal
from lapsr_cli.upscaler import Upscaler
from tests.conftest import draw, run_lapsr

fcntl = pytest.importorskip("fcntl", reason="needs pseudo-terminals")
pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")

PATIENCE = 60
"""Seconds after which a command that should have ended counts as hanging."""


@pytest.fixture(autouse=True)
def hangup_is_not_ignored() -> Iterator[None]:
    """Processes inherit what is ignored: the tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def begin(
    folder: Path, tiny: Path, count: int, *more: str, **streams: Any
) -> subprocess.Popen[str]:
    """Start a run over ``count`` pictures that writes a report."""
    source = draw(folder / "in" / "000.png", 40, 40).read_bytes()
    for number in range(1, count):
        (folder / "in" / f"{number:03}.png").write_bytes(source)
    command = ["upscale", str(folder / "in"), "-o", str(folder / "out"), "-m", str(tiny)]
    command += ["--report", str(folder / "report.json"), *more]
    return subprocess.Popen([sys.executable, "-m", "lapsr_cli", *command], text=True, **streams)


def wait_until(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    while process.poll() is None and not happened():
        time.sleep(0.005)


def report_of(folder: Path) -> dict[str, Any]:
    """The report, which names every result that is there, and none that is not."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    named = {output["path"] for each in report["pictures"] for output in each["outputs"]}
    assert named == {str(path) for path in (folder / "out").glob("[!.]*")}
    for path in named:
        with Image.open(path) as image:
            image.load()
    return report


def test_a_reader_that_goes_stops_a_run_as_ctrl_c_does(tmp_path: Path, tiny: Path) -> None:
    """`lapsr upscale --json | head -1`."""
    given = ("-s", "8", "--json", "--memory", "1M")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = begin(tmp_path, tiny, 400, *given, **pipes)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["status"] in ("progress", "done")
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read().splitlines()
    assert process.wait(PATIENCE) == 141
    assert len(errors) == 3
    assert errors[-1].startswith("interrupted: ")
    report = report_of(tmp_path)
    assert (report["interrupted"], report["exit_code"]) == (True, 141)
    assert 0 < report["done"] < 400


@pytest.mark.parametrize(
    ("command", "streams"),
    [
        (["--help"], ("stdout",)),
        (["--help"], ("stdout", "stderr")),
        (["upscale", "--help"], ("stdout",)),
        (["upscale", "--help"], ("stdout", "stderr")),
        (["weights", "list"], ("stdout",)),
    ],
)
def test_a_closed_pipe_ends_a_command_without_a_word(
    command: list[str], streams: tuple[str, ...]
) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    both: dict[str, Any] = {
        "stdout": write_end,
        "stderr": subprocess.PIPE,
        **dict.fromkeys(streams, write_end),
    }
    process = subprocess.Popen([sys.executable, "-m", "lapsr_cli", *command], text=True, **both)
    os.close(write_end)
    assert process.communicate(timeout=PATIENCE)[1] in ("", None)
    assert process.returncode == 141


def test_a_terminal_that_is_closed_stops_a_run_which_writes_its_report(
    tmp_path: Path, tiny: Path
) -> None:
    """The system sends SIGHUP, and every write to the terminal fails."""
    terminal, process_end = pty.openpty()
    process = begin(
        tmp_path,
        tiny,
        400,
        *("-s", "8", "-v", "--memory", "1M"),
        stdin=process_end,
        stdout=process_end,
        stderr=process_end,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(process_end)
    shown = b""
    while b"done: " not in shown:
        shown += os.read(terminal, 1 << 16)
    os.close(terminal)
    assert process.wait(PATIENCE) == 130
    report = report_of(tmp_path)
    assert (report["interrupted"], report["exit_code"]) == (True, 130)
    assert 0 < report["done"] < 400


def test_a_second_ctrl_c_counts_what_is_finished(tmp_path: Path, tiny: Path) -> None:
    """The run waits for a reader that does not read, as a pager does, when all is done."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while True:
            os.write(write_end, bytes(1 << 12))
    except BlockingIOError:
        os.set_blocking(write_end, True)
    process = begin(tmp_path, tiny, 12, "--json", stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    wait_until(process, lambda: len([*(tmp_path / "out").glob("[!.]*")]) == 12)
    time.sleep(0.3)  # until the last one is counted
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    _, err = process.communicate(timeout=PATIENCE)
    os.close(read_end)
    assert process.returncode == 130
    assert "interrupted: 12 done (12 files)" in err
    assert report_of(tmp_path)["done"] == 12


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_signals_that_stop_a_run(name: str) -> None:
    number = signal.Signals[name]
    before = signal.getsignal(number)
    with stop_signal() as stop:
        assert not stop()
        signal.raise_signal(number)
        assert stop()
        assert stop.exit_code == 130
        signal.raise_signal(signal.SIGHUP)  # the second one of a terminal is no second Ctrl-C
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGQUIT)
    assert signal.getsignal(number) is before


def test_under_nohup_a_run_goes_on() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signal() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_message_of_a_signal_may_find_no_reader(capfd: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends the whole of `lapsr upscale 2>&1 | tee log`, and tee first."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    stderr = os.dup(2)
    try:
        with capfd.disabled(), stop_signal("stopping") as stop:
            os.dup2(write_end, 2)
            signal.raise_signal(signal.SIGINT)
            os.dup2(stderr, 2)
            assert stop()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(write_end)


def test_a_run_that_fails_leaves_no_thread(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that frees tensors while the interpreter exits would abort it."""

    def run_slowly(self: Any) -> None:
        run(self)
        time.sleep(0.2)

    def breaks(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    run = pipeline._Pipeline.run
    monkeypatch.setattr(pipeline._Pipeline, "run", run_slowly)
    monkeypatch.setattr(results, "resized", breaks)
    draw(tmp_path / "in" / "a.png")
    chosen = Selection(
        inputs=(str(tmp_path / "in"),), output=tmp_path / "out", targets=(Target(scale="2"),)
    )
    before = threading.active_count()
    upscaler = Upscaler.from_weights(tiny, device="cpu")
    with pytest.raises(RuntimeError, match="a fault of ours"):
        list(pipeline.run(plan(chosen).jobs, [upscaler], chosen))
    assert threading.active_count() == before


PROBE = """
import threading, time
from lapsr_cli.cli import lapsr
from lapsr_cli.errors import DeviceError

@lapsr.command()
def probe():
    {body}
"""

FULL = """
    import resource
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
    global kept  # else the end of this function would give it back
    kept = None
    while True:
        kept = (kept, b"")
"""


def test_a_thread_that_computes_does_not_hold_up_the_end() -> None:
    body = "threading.Thread(target=time.sleep, args=[600]).start(); raise DeviceError('burnt')"
    ran = run_lapsr("probe", before=PROBE.format(body=body))
    assert (ran.code, ran.err) == (4, "lapsr: burnt\n")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to measure itself")
def test_no_memory_to_report_that_there_is_none() -> None:
    ran = run_lapsr("probe", before=PROBE.format(body=FULL))
    assert ran.error_lines == ["lapsr: out of memory; try a smaller --memory or -t/--tile"]
    assert ran.code == 4


def test_a_library_that_cannot_be_loaded_is_one_line() -> None:
    body = "raise ImportError('libx.so: failed to map segment from shared object')"
    ran = run_lapsr("probe", before=PROBE.format(body=body))
    message = "a library cannot be loaded: libx.so: failed to map segment from shared object"
    assert (ran.code, ran.err) == (4, f"lapsr: {message}\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    """And not 120, the interpreter's own exit status for what it could not flush."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lapsr_cli", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "lapsr: output: No space left on device\n")
