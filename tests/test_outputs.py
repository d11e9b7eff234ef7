"""What a command may write over, and how."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lapsr_cli.outputs import open_output
from tests.conftest import Ran, draw

Lapsr = Callable[..., Ran]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs devices and FIFOs")

REPORT, PAGE = "report.json", "page.html"
COMMANDS = {
    "report": (REPORT, "upscale {tmp}/in/a.png -o {tmp}/out -m {tiny} --report"),
    "compare": (PAGE, "compare {tmp}/in/a.png {tmp}/in/a.png -o"),
    "bench": (PAGE, "bench --size 16 --runs 1 -s 2 -m {tiny} --html"),
    "export": ("export.safetensors", "weights export {tiny} -o"),
    "calibrate": ("calibrated.safetensors", "weights calibrate {tiny} -o"),
    "import": ("imported.safetensors", "weights import {tiny} -o"),
}
ANOTHER_PROGRAM_S = {
    REPORT: [b"[1, 2]", b'{"pictures": []}', b"\x89PNG\r\n", b"[" * 100_000],
    PAGE: [b"<!doctype html><title>mine</title>", b"\x89PNG\r\n"],
    ".safetensors": [b"\x02\0\0\0\0\0\0\0{}", b"\x89PNG\r\n"],
}


QUICK = pytest.mark.parametrize(
    "write_to", ["report", "compare", "export", "import"], indirect=True
)
"""Commands that compute next to nothing."""


@pytest.fixture(params=COMMANDS)
def write_to(
    request: pytest.FixtureRequest, lapsr: Lapsr, tmp_path: Path, tiny: Path
) -> Callable[[Path], Ran]:
    """Run a command with its output at a path."""
    draw(tmp_path / "in" / "a.png")
    _, command = COMMANDS[request.param]
    given = command.format(tmp=tmp_path, tiny=tiny).split()
    return lambda path: lapsr(*given, path)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the command of `write_to` may write."""
    name, _ = COMMANDS[request.node.callspec.params["write_to"]]
    return tmp_path / "results" / name


@QUICK
def test_its_own_kind_is_replaced(write_to: Callable[[Path], Ran], place: Path) -> None:
    """A new file, an empty one, and the one before."""
    place.parent.mkdir()
    place.touch()
    for _ in range(2):
        ran = write_to(place)
        assert ran.code == 0, ran.err
        assert place.stat().st_size > 100
        assert [path.name for path in place.parent.iterdir()] == [place.name]
        if place.suffix != ".safetensors":
            place.write_bytes(place.read_bytes() + b"\n")  # and so the second one is another file


def test_what_is_not_its_own_kind_is_refused_before_any_work(
    write_to: Callable[[Path], Ran], place: Path, tmp_path: Path
) -> None:
    place.parent.mkdir()
    for content in ANOTHER_PROGRAM_S[place.suffix if place.suffix[1] == "s" else place.name]:
        place.write_bytes(content)
        ran = write_to(place)
        assert ran.code == 2
        assert f" {place}: already exists and is not a" in ran.error_lines[-1]
        assert place.read_bytes() == content
        assert not (tmp_path / "out").exists()


@QUICK
def test_a_link_stays_and_its_target_is_replaced(
    write_to: Callable[[Path], Ran], place: Path, tmp_path: Path
) -> None:
    place.parent.mkdir()
    target = tmp_path / "elsewhere" / place.name
    place.symlink_to(target)
    for _ in range(2):
        assert write_to(place).code == 0
        assert place.is_symlink()
        assert target.stat().st_size > 100
    target.write_bytes(b"something else")
    assert write_to(place).code == 2
    assert target.read_bytes() == b"something else"


@QUICK
def test_a_fifo_is_written_to(write_to: Callable[[Path], Ran], place: Path) -> None:
    place.parent.mkdir()
    os.mkfifo(place)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(place.read_bytes()), daemon=True)
    reader.start()
    ran = write_to(place)
    assert stat.S_ISFIFO(place.stat().st_mode), "the FIFO was replaced"
    reader.join(30)
    assert ran.code == 0, ran.err
    assert len(read[0]) > 100


@QUICK
def test_a_device_is_written_to(write_to: Callable[[Path], Ran], place: Path) -> None:
    place.parent.mkdir()
    try:
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        place.write_bytes(b"x")
    except PermissionError:
        pytest.skip("needs the right to make a device")
    assert write_to(place).code == 0
    assert stat.S_ISCHR(place.stat().st_mode)


def test_sockets_and_folders_are_refused(
    lapsr: Lapsr, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        ran = lapsr("upscale", "in", "-o", "out", "-m", tiny, "--report", "s")
    assert ran.error_lines == ["lapsr: --report s: is not a regular file"]
    (tmp_path / "x.safetensors").mkdir()
    ran = lapsr("weights", "export", tiny, "-o", "x.safetensors")
    assert ran.error_lines == ["lapsr: -o/--output x.safetensors: is not a regular file"]


WRITES_TO = """
import sys
from pathlib import Path
from lapsr_cli.outputs import Kind, check_output, open_output
path = Path(sys.argv[1])
print("a line", flush=True)
check_output(path, "-o", Kind("nothing of ours", lambda path: False))
with open_output(path) as file:
    file.write(b"the file\\n")
print("another")
"""


@pytest.fixture
def stdout(tmp_path: Path) -> Path:
    """What /dev/stdout is, which root could lose to a defect."""
    path = tmp_path / "stdout"
    path.symlink_to("/proc/self/fd/1")
    if not path.exists():
        pytest.skip("needs /proc")
    return path


def test_a_file_that_stdout_is_redirected_to_gets_both(tmp_path: Path, stdout: Path) -> None:
    """By the link and by its own name: neither overwrites the other."""
    for path in (stdout, tmp_path / "all"):
        with (tmp_path / "all").open("wb") as output:
            subprocess.run([sys.executable, "-c", WRITES_TO, str(path)], stdout=output, check=True)
        assert (tmp_path / "all").read_text() == "a line\nthe file\nanother\n"


def test_stdout_may_be_a_pipe(stdout: Path) -> None:
    command = [sys.executable, "-c", WRITES_TO, str(stdout)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"a line\nthe file\nanother\n"


def test_onnx_files_of_others_stay(lapsr: Lapsr, tmp_path: Path, tiny: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "a.onnx"
    graph = onnx.helper.make_graph([], "nothing", [], [])
    onnx.save(onnx.helper.make_model(graph, producer_name="pytorch"), path)
    before = path.read_bytes()
    ran = lapsr("weights", "export", tiny, "-o", path)
    assert ran.error_lines == [
        f"lapsr: -o/--output {path}: already exists and is not an ONNX file of lapsr"
    ]
    assert path.read_bytes() == before


def test_an_unfinished_output_leaves_the_earlier_one(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_bytes(b"first")
    link.symlink_to(path)

    def fail() -> None:
        with open_output(link) as file:
            file.write(b"second")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"first"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "link"]


def test_leftovers_go_though_all_results_are_there(
    lapsr: Lapsr, tmp_path: Path, tiny: Path
) -> None:
    """From every folder of the results and from that of the report."""
    draw(tmp_path / "in" / "a.png")
    draw(tmp_path / "in" / "deep" / "b.png")
    command = ("upscale", tmp_path / "in", "-o", tmp_path / "out", "-m", tiny)
    report = ("--report", tmp_path / "reports" / "r.json")
    assert lapsr(*command, *report).code == 0
    left = [
        tmp_path / folder / f".lapsr-{number}.part"
        for number, folder in enumerate(("out", "out/deep", "reports"))
    ]
    fresh = tmp_path / "out" / ".lapsr-0123456789abcdef.part"
    for path in (*left, fresh):
        path.write_bytes(b"half")
    yesterday = time.time() - 90_000
    for path in left:
        os.utime(path, (yesterday, yesterday))
    ran = lapsr(*command, *report)
    assert "0 done (0 files), 2 skipped" in ran.err
    assert "removed 2 incomplete files left behind by a killed run" in ran.error_lines
    assert [path for path in (*left, fresh) if path.exists()] == [fresh]
