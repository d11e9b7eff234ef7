"""What a terminal shows, by its width."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lapsr_cli.weights.manifest import manifest

termios = pytest.importorskip("termios", reason="needs pseudo-terminals")
pty = pytest.importorskip("pty")

CONTROL = re.compile(rb"\x1b\[[\d;?]*[A-Za-z]")
"""ANSI sequences: colours, cursor movements, erased lines."""

HEADINGS = ["name", "scales", "location", "licence", "description"]

RUN = "from lapsr_cli.cli import main; main()"

PROGRESS = """
from lapsr_cli.cli.console import TrainingView
from lapsr_cli.train.loop import Step, Validated
scores = {"Set5": {4: (31.23, 0.8812)}}
with TrainingView(123456, 300000) as view:
    view.show(Validated(123456, scores, scores, True))
    view.show(Step(123457, 0.01234, 1e-3, 123.4, False))
"""


PICTURES = """
from pathlib import Path
from lapsr_cli.batch.estimate import Work
from lapsr_cli.batch.progress import RunProgress
from lapsr_cli.cli.console import PictureBar
for count in (1, 1234):
    names = [Path(str(number)) for number in range(count)]
    work, clock = Work(network=25.0, encoding=2.0, pixels=10**6), iter(range(100)).__next__
    progress = RunProgress(dict.fromkeys(names, work), clock)
    for number in range(1, 11):
        progress.advance(names[0], number / 25)
    with PictureBar(count) as bar:
        bar.show(progress)
"""


def on_a_terminal(columns: int, code: str, *arguments: str) -> list[str]:
    """The lines that a Python process prints to a terminal, without colours."""
    terminal, process_end = pty.openpty()
    termios.tcsetwinsize(process_end, (50, columns))
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        environment.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=process_end,
        stdout=process_end,
        stderr=process_end,
        env=environment,
    ) as process:
        os.close(process_end)
        output = b""
        with contextlib.suppress(OSError):  # on Linux, reading past the end is an error
            while part := os.read(terminal, 1 << 16):
                output += part
    os.close(terminal)
    assert process.returncode == 0, output.decode()
    return [line.rstrip() for line in re.split(r"[\r\n]+", CONTROL.sub(b"", output).decode())]


@pytest.mark.parametrize("columns", [40, 80, 300])
def test_a_list_of_models_fits_the_terminal(columns: int) -> None:
    lines = on_a_terminal(columns, RUN, "weights", "list")
    assert max(map(len, lines)) <= columns
    for name in manifest().entries:
        assert len([line for line in lines if line.split(" ")[0] == name]) == 1
    assert (lines[0].split() == HEADINGS) == (columns == 300)


@pytest.mark.parametrize("columns", [40, 80])
def test_progress_of_training_fits_the_terminal(columns: int, tmp_path: Path) -> None:
    """On a narrow one the details are cut off, not what is done and the time left."""
    lines = on_a_terminal(columns, PROGRESS, str(tmp_path))
    assert any("best so far" in line for line in lines)
    progress = [line for line in lines if line.startswith("123457/300000 ")]
    assert progress
    for line in progress:
        assert len(line) <= columns
        assert re.search(r" (-:--:--|--:--|\d+:\d\d(:\d\d)?) loss 0\.01234", line), line
    assert any("┃ bicubic ┃" in line for line in lines) == (columns == 80)


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_progress_of_pictures_fits_the_terminal(columns: int) -> None:
    """Within a picture. On a narrow terminal, the time left is what stays."""
    lines = on_a_terminal(columns, PICTURES)
    assert max(map(len, lines)) <= columns
    drawn = [line for line in lines if line.startswith("0/1")]
    one, many = [line for line in drawn if line.startswith("0/1 ")][-1], drawn[-1]
    for line in (one, many):
        assert re.search(r" \d+:\d\d:\d\d( |$)", line), line
        assert ("\u2501" in line) == ("pictures" in line) == (columns == 80)
    assert columns == 20 or " 37 % " in one
    assert columns < 80 or one.endswith(" MP/s")
