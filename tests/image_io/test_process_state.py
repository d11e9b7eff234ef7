"""State of the process: the library leaves it alone; the program sets Pillow's."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests import drawn_files
from tests.conftest import Ran, draw, run_lapsr

STATE = """
import logging, os, signal, sys, threading, warnings
import numpy, PIL.Image, torch

def state():
    names = ("", "lapsr_cli", "PIL", "torch")
    loggers = [logging.getLogger(name) for name in names]
    return {
        "pixels": PIL.Image.MAX_IMAGE_PIXELS,
        "warnings": (list(warnings.filters), warnings.showwarning),
        "logging": [(list(log.handlers), list(log.filters), log.level) for log in loggers],
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch defaults": (torch.get_default_dtype(), torch.is_grad_enabled()),
        "torch precision": torch.get_float32_matmul_precision(),
        "numpy errors": numpy.geterr(),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "environment": dict(os.environ),
        "exceptions": (sys.excepthook, threading.excepthook),
        "threads": threading.active_count(),
    }

def changed(before):
    return sorted(key for key, value in state().items() if value != before[key])
"""


def python(code: str, *arguments: str | Path) -> list[str]:
    """The lines that code prints, after STATE, in a process of its own that must not fail."""
    command = [sys.executable, "-c", STATE + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A PNG of 200 megapixels, more than Pillow opens by default, without its pixel data."""
    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b""))
    path = tmp_path / "pictures" / "large.png"
    path.parent.mkdir()
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(drawn_files.chunk(*each) for each in chunks))
    return path


def test_importing_the_library_changes_nothing() -> None:
    assert python(
        "before, loaded = state(), set(sys.modules)\n"
        "import lapsr_cli; lapsr_cli.Upscaler\n"
        "print(changed(before), 'lapsr_cli.upscaler' in sys.modules)\n"
        "from lapsr_cli import image_io, weights\n"
        "print(changed(before), 'requests' in sys.modules)\n"
    ) == ["[] True", "[] False"]


def test_using_the_library_changes_nothing(tmp_path: Path) -> None:
    """An array and a file; the CPU engine lowers torch's threads only while it computes."""
    path = draw(tmp_path / "a.jpg")
    assert python(
        "from pathlib import Path\n"
        "from lapsr_cli import Upscaler, image_io\n"
        "before = state()\n"
        "upscaler = Upscaler.from_weights('lapsr-classic', device='cpu', offline=True)\n"
        "image = PIL.Image.open(sys.argv[1])\n"
        "print(upscaler(image, (2,))[2].size)\n"
        "print(image_io.read(Path(sys.argv[1])).form)\n"
        "print(changed(before))\n",
        path,
    ) == ["(40, 32)", "JPEG", "[]"]


def test_the_library_reports_the_limit_of_its_host(large: Path) -> None:
    lines = python(
        "from pathlib import Path\n"
        "from lapsr_cli import errors, image_io\n"
        "before = state()\n"
        "for function in (image_io.probe, image_io.read, image_io.read_for_display):\n"
        "    try: function(Path(sys.argv[1]))\n"
        "    except errors.UnreadablePicture as error: print(error)\n"
        "warnings.simplefilter('error')\n"
        "PIL.Image.MAX_IMAGE_PIXELS = 150_000_000\n"
        "try: image_io.probe(Path(sys.argv[1]))\n"
        "except errors.UnreadablePicture as error: print(error)\n",
        large,
    )
    assert len(lines) == 4
    refused = f"{large}: refused by PIL.Image.MAX_IMAGE_PIXELS (Image size (200000000 pixels)"
    assert all(line.startswith(refused) for line in lines)


def test_after_configure_pillow_only_max_pixels_counts(large: Path) -> None:
    assert python(
        "from pathlib import Path\n"
        "from lapsr_cli import errors, image_io\n"
        "before = state()\n"
        "image_io.configure_pillow(); image_io.configure_pillow()\n"
        "print(changed(before), PIL.Image.MAX_IMAGE_PIXELS)\n"
        "print(len(warnings.filters) - len(before['warnings'][0]))\n"
        "header = image_io.probe(Path(sys.argv[1]))\n"
        "print(header.width, header.height)\n"
        "try: image_io.read(Path(sys.argv[1]), max_pixels=199_999_999)\n"
        "except errors.UnreadablePicture as error: print(error)\n",
        large,
    ) == [
        "['logging', 'pixels', 'warnings'] None",
        "1",
        "20000 10000",
        f"{large}: 20000 x 10000 = 200000000 pixels, more than --max-pixels 199999999",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("upscale", "{pictures}", "-o", "{tmp}/out", "-s", "2", "--offline"),
        ("compare", "{pictures}", "{pictures}", "-o", "{tmp}/page.html"),
        ("bench", "--dataset", "{pictures}"),
        ("train", "--data", "{pictures}", "-o", "{tmp}/run"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_open_pictures_above_pillows_limit(
    tmp_path: Path, large: Path, arguments: tuple[str, ...]
) -> None:
    """They fail only because the pixel data is missing, and Pillow prints nothing."""
    places = {"pictures": large.parent, "tmp": tmp_path}
    ran: Ran = run_lapsr(*(each.format(**places) for each in arguments))
    assert ran.code != 0
    assert "large.png: damaged (image file is truncated" in ran.err
    assert "MAX_IMAGE_PIXELS" not in ran.err
    assert "Warning" not in ran.err
