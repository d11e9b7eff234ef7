"""Downloads over HTTP from a server that runs in the test and fails on request."""

from __future__ import annotations

import email.utils
import hashlib
import importlib
import json
import logging
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from filelock import FileLock
from numpy.typing import NDArray

from lapsr_cli import weights
from lapsr_cli.errors import ChecksumError, DownloadError, OfflineError, WeightsError
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.weights import cache
from lapsr_cli.weights.download import Retry, fetch
from lapsr_cli.weights.manifest import manifest
from lapsr_cli.weights.matconvnet import read_mat
from tests.conftest import SMALL_CONFIGS, Ran, random_network, unprivileged
from tests.serving import Answer, FileServer, failure, serving

NAME = "synthetic-d2r2"
FILE = "Synthetic_D2R2.mat"
QUICK = Retry(attempts=3, backoff=0.01)
HALF = 150_000

RUN_LAPSR = """
import importlib, pathlib, sys
from lapsr_cli import cli, weights
folder = pathlib.Path(sys.argv.pop(1))
importlib.import_module("lapsr_cli.weights.manifest").embedded_folder = lambda: folder
print("ready", flush=True)
cli.main()
"""
"""The command line with the manifest in the folder given as the first argument."""


def records(**columns: list[object]) -> NDArray[np.void]:
    """A struct array as MATLAB has it."""
    array = np.empty(len(next(iter(columns.values()))), dtype=[(name, object) for name in columns])
    for name, values in columns.items():
        for row, value in enumerate(values):
            array[name][row] = value
    return array


def matconvnet(network: LaplacianPyramid, path: Path, recursions: int = 2) -> bytes:
    """``network``, an MS-LapSRN of D2, in the format of the authors' training."""
    parameters: dict[str, object] = {}
    for name, tensor in network.state_dict().items():
        target, kind = name.removeprefix("levels.0.").rsplit(".", 1)
        layer = {
            "conv_in": "input_conv",
            "convs.0": "conv1",
            "convs.1": "conv2",
            "up": "upconv",
            "up_image": "img_up",
            "conv_res": "residual_conv",
        }[target]
        value = tensor.float().numpy()
        if kind == "weight":
            parameters[f"{layer}_f"] = value.transpose(2, 3, 1, 0)
        else:
            parameters[f"{layer}_b"] = value[None]
    inputs = {
        "x2SR_level1_R1_conv1": ["x2SR_input_conv"],
        f"x2SR_level1_R{recursions}_conv1": ["x2SR_level1_R1_output"],
        "x2SR_level1_R2_output": ["x2SR_level1_R2_conv2", "x2SR_input_conv"],
        **{f"x{scale}SR_{scale}x_output": [f"x{scale}SR_img_up", "x"] for scale in (2, 4, 8)},
    }
    net = {
        "params": records(name=list(parameters), value=list(parameters.values())),
        "layers": records(
            name=list(inputs), inputs=[np.array(names, object) for names in inputs.values()]
        ),
        # Unused data, so that the file is long enough to be cut in interesting places.
        "meta": np.random.default_rng(0).integers(0, 256, 2 * HALF, np.uint8),
    }
    scipy.io.savemat(path, {"net": net})
    return path.read_bytes()


@pytest.fixture(scope="module")
def network() -> LaplacianPyramid:
    return random_network(SMALL_CONFIGS[0]).float()


@pytest.fixture(scope="module")
def body(network: LaplacianPyramid, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return matconvnet(network, tmp_path_factory.mktemp("mat") / FILE)


@pytest.fixture
def server(body: bytes) -> Iterator[FileServer]:
    with serving(body) as running:
        yield running


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests do not use the proxies of the machine they run on."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def folder(
    server: FileServer, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The folder of a manifest with one model, which the server has."""
    entry = {
        "name": NAME,
        "title": "MS-LapSRN D2R2",
        "description": "four channels of noise",
        "file": FILE,
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "scales": [2, 4, 8],
        "licence": "MIT",
        "papers": [],
        "url": f"{server.url}/authors/{FILE}",
    }
    folder = tmp_path / "manifest"
    folder.mkdir()
    content = json.dumps({"default": NAME, "default_lossy": NAME, "models": [entry]})
    (folder / "manifest.json").write_text(content, encoding="utf-8")
    module = importlib.import_module("lapsr_cli.weights.manifest")
    monkeypatch.setattr(module, "embedded_folder", lambda: folder)
    manifest.cache_clear()
    yield folder
    manifest.cache_clear()


@pytest.fixture
def assert_whole(network: LaplacianPyramid, own_cache: Path) -> Callable[[], None]:
    """The model is in the cache, is the one that was served, and nothing else is left."""

    def check() -> None:
        state = weights.load(NAME, offline=True).state_dict()
        assert all(torch.equal(state[name], t) for name, t in network.state_dict().items())
        assert unfinished(own_cache) == []

    return check


def unfinished(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.suffix == ".part"]


def finished(home: Path) -> list[Path]:
    return list((home / "models").rglob("*"))


def part_of(home: Path, body: bytes, content: bytes | None = None) -> Path:
    """The path of an incomplete download. ``content``: what an earlier run left there."""
    part = home / "downloads" / f"{hashlib.sha256(body).hexdigest()}.part"
    if content is not None:
        part.parent.mkdir(parents=True)
        part.write_bytes(content)
    return part


def flipped(content: bytes, position: int = 1000) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1
    return bytes(changed)


def test_a_mat_of_a_network_that_cannot_be(network: LaplacianPyramid, tmp_path: Path) -> None:
    matconvnet(network, tmp_path / FILE, recursions=10**9)
    with pytest.raises(WeightsError, match=f"{FILE}: not an MS-LapSRN or LapSRN model"):
        read_mat(tmp_path / FILE)


def test_a_mat_that_crashes_its_reader(
    lapsr: Callable[..., Ran], network: LaplacianPyramid, tmp_path: Path
) -> None:
    content = bytearray(matconvnet(network, tmp_path / FILE))
    numbers = network.state_dict()["conv_in.bias"].numpy().tobytes()
    content[content.index(numbers) - 8] = 200  # the type of these numbers, of which 18 exist
    (tmp_path / FILE).write_bytes(content)
    ran = lapsr("weights", "import", tmp_path / FILE)
    (line,) = ran.error_lines
    assert ran.code == 4
    # scipy 1.17 crashes; a later one may raise an exception instead.
    assert line.startswith(f"lapsr: {tmp_path / FILE}: not a MATLAB 5 file (")


def test_a_mat_of_unknown_content(network: LaplacianPyramid, tmp_path: Path) -> None:
    matconvnet(network, tmp_path / "mine.mat", recursions=3)
    read = weights.read_file(tmp_path / "mine.mat")
    assert (read.config.recursions, read.origin) == (3, "the authors' mine.mat")
    assert all(torch.equal(read.tensors[n], t) for n, t in network.state_dict().items())


def test_a_download(
    lapsr: Callable[..., Ran],
    server: FileServer,
    own_cache: Path,
    assert_whole: Callable[[], None],
) -> None:
    ran = lapsr("weights", "download", NAME)
    path = own_cache / "models" / f"{NAME}.safetensors"
    assert (ran.code, ran.out) == (0, f"{path}\n")
    assert_whole()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    checksum = path.with_name(f"{path.name}.sha256")
    assert checksum.read_text() == f"{digest}  {path.name}\n"
    if program := shutil.which("sha256sum"):
        subprocess.run([program, "-c", checksum.name], cwd=path.parent, check=True)
    assert lapsr("weights", "download", NAME).out == ran.out
    assert [request.path for request in server.requests] == [f"/authors/{FILE}"]


def test_progress_rises_to_the_size(server: FileServer, body: bytes) -> None:
    server.script = [Answer(cut_after=HALF)]
    seen: list[int] = []
    weights.download(NAME, retry=QUICK, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(body)


@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
def test_a_broken_connection_is_resumed(
    server: FileServer, body: bytes, assert_whole: Callable[[], None], length: bool
) -> None:
    server.script = [Answer(cut_after=HALF, length=length)]
    weights.download(NAME, retry=QUICK)
    first, second = server.requests
    assert (first.range, first.sent) == (None, HALF)
    assert 0 < second.start <= HALF
    assert second.range == f"bytes={second.start}-"
    assert second.sent == len(body) - second.start
    assert_whole()


def test_an_earlier_run_is_resumed(
    server: FileServer, body: bytes, own_cache: Path, assert_whole: Callable[[], None]
) -> None:
    part_of(own_cache, body, body[:HALF])
    weights.download(NAME, retry=QUICK)
    (request,) = server.requests
    assert (request.range, request.sent) == (f"bytes={HALF}-", len(body) - HALF)
    assert_whole()


def test_a_complete_download_of_an_earlier_run_needs_no_network(
    server: FileServer, body: bytes, own_cache: Path, assert_whole: Callable[[], None]
) -> None:
    part_of(own_cache, body, body)
    weights.download(NAME, retry=QUICK)
    assert server.requests == []
    assert_whole()


@pytest.mark.parametrize("spoil", [lambda b: b"?" * HALF, lambda b: b + b"?", flipped])
def test_a_wrong_part_of_an_earlier_run_is_discarded(
    server: FileServer,
    body: bytes,
    own_cache: Path,
    assert_whole: Callable[[], None],
    spoil: Callable[[bytes], bytes],
) -> None:
    part_of(own_cache, body, spoil(body))
    weights.download(NAME, retry=QUICK)
    assert server.requests[-1].range is None
    assert_whole()


@pytest.mark.parametrize("status", [200, 206])
def test_a_server_that_ignores_ranges(
    server: FileServer,
    body: bytes,
    own_cache: Path,
    assert_whole: Callable[[], None],
    status: int,
) -> None:
    part_of(own_cache, body, body[:HALF])
    server.script = [Answer(status=status, ranges=False)]
    weights.download(NAME, retry=QUICK)
    (request,) = server.requests
    assert (request.range, request.sent) == (f"bytes={HALF}-", len(body))
    assert_whole()


def test_a_server_that_refuses_the_range(
    server: FileServer, body: bytes, own_cache: Path, assert_whole: Callable[[], None]
) -> None:
    part_of(own_cache, body, body[:HALF])
    server.script = [failure(416)]
    weights.download(NAME, retry=QUICK)
    assert [request.range for request in server.requests] == [f"bytes={HALF}-", None]
    assert_whole()


def test_wrong_bytes_are_discarded(
    server: FileServer, body: bytes, own_cache: Path, assert_whole: Callable[[], None]
) -> None:
    server.script = [Answer(body=flipped(body))]
    with pytest.raises(ChecksumError, match=FILE):
        weights.download(NAME, retry=QUICK)
    assert finished(own_cache) + unfinished(own_cache) == []
    assert len(server.requests) == 1
    weights.download(NAME, retry=QUICK)
    assert_whole()


def test_a_body_that_is_too_long(server: FileServer, body: bytes, own_cache: Path) -> None:
    server.script = [Answer(body=body + b"?")]
    with pytest.raises(ChecksumError, match=FILE):
        weights.download(NAME, retry=QUICK)
    assert finished(own_cache) + unfinished(own_cache) == []


def test_a_body_without_end_is_not_read_to_its_end(server: FileServer, body: bytes) -> None:
    longer = body + bytes(2 * HALF)
    server.script = [Answer(body=longer, pause_after=len(body) + HALF)]
    with pytest.raises(ChecksumError, match=FILE):
        weights.download(NAME, retry=QUICK)
    assert server.requests[0].sent == len(body) + HALF


def test_a_body_that_is_too_short(
    server: FileServer, body: bytes, own_cache: Path, assert_whole: Callable[[], None]
) -> None:
    server.script = [Answer(body=body[:-1])] * QUICK.attempts
    with pytest.raises(DownloadError, match=FILE):
        weights.download(NAME, retry=QUICK)
    assert finished(own_cache) == []
    weights.download(NAME, retry=QUICK)
    assert_whole()


def test_a_missing_file_is_not_requested_again(server: FileServer) -> None:
    server.script = [failure(404)]
    with pytest.raises(DownloadError) as caught:
        weights.download(NAME, retry=QUICK)
    assert f"{server.url}/authors/{FILE}" in str(caught.value)
    assert "404" in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds_is_obeyed(
    server: FileServer, assert_whole: Callable[[], None], status: int
) -> None:
    server.script = [failure(status, retry_after="1")]
    weights.download(NAME, retry=QUICK)
    first, second = server.requests
    assert second.at - first.at >= 1
    assert_whole()


def test_retry_after_as_a_date_is_obeyed(
    server: FileServer, assert_whole: Callable[[], None]
) -> None:
    date = int(time.time()) + 2
    due = time.monotonic() + date - time.time()
    server.script = [failure(429, retry_after=email.utils.formatdate(date, usegmt=True))]
    weights.download(NAME, retry=QUICK)
    assert server.requests[1].at >= due - 0.01
    assert_whole()


@pytest.mark.parametrize(
    "retry_after",
    [
        "5",
        "soon",
        "",
        "Sat, 01 Jan 2000 00:00:00 GMT",
        pytest.param("²"),
        pytest.param(f"Fri, 31 Dec {10**20} 23:59:59 GMT"),
    ],
)
def test_a_long_or_invalid_retry_after_is_limited(
    server: FileServer, caplog: pytest.LogCaptureFixture, retry_after: str
) -> None:
    server.script = [failure(503, retry_after=retry_after)]
    weights.download(NAME, retry=Retry(attempts=2, backoff=0.01, longest_wait=0.01))
    assert "HTTP 503; trying again in 0.0 s" in caplog.text


def test_a_server_that_keeps_failing(server: FileServer, own_cache: Path) -> None:
    server.script = [failure(503)] * (QUICK.attempts + 1)
    with pytest.raises(DownloadError, match=f"{FILE}: HTTP 503") as caught:
        weights.download(NAME, retry=QUICK)
    assert not isinstance(caught.value, ChecksumError)
    assert len(server.requests) == QUICK.attempts
    assert finished(own_cache) == []


def test_a_refused_connection(body: bytes, tmp_path: Path) -> None:
    with serving(body) as gone:
        url = f"{gone.url}/{FILE}"
    with pytest.raises(DownloadError, match=f"{url}: no connection"):
        fetch(url, tmp_path / "a.part", size=len(body), sha256="", retry=QUICK)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/a",
        "127.0.0.1/a",
        "http://",
        "http://[/a",
        pytest.param("http://a..b/a"),
    ],
)
def test_an_invalid_address(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError) as caught:
        fetch(url, tmp_path / "a.part", size=1, sha256="", retry=QUICK)
    assert str(caught.value).startswith(f"{url}: ")


def test_a_redirect_to_an_invalid_address(server: FileServer) -> None:
    server.script = [failure(302, location="http://[")]
    with pytest.raises(DownloadError, match=FILE):
        weights.download(NAME, retry=QUICK)


def test_every_received_byte_is_kept(server: FileServer, assert_whole: Callable[[], None]) -> None:
    server.script = [Answer(cut_after=40_000), Answer(pause_after=40_000)]
    weights.download(NAME, retry=Retry(attempts=3, backoff=0.01, timeout=0.5))
    starts = [request.start for request in server.requests]
    assert 0 < starts[1] < starts[2]
    assert_whole()


def test_a_server_that_stops_sending(server: FileServer, assert_whole: Callable[[], None]) -> None:
    server.script = [Answer(pause_after=HALF), Answer(pause_after=0)]
    weights.download(NAME, retry=Retry(attempts=4, backoff=0.01, timeout=0.5))
    first, second, third = server.requests[:3]
    assert first.start == 0 < second.start == third.start <= HALF
    assert_whole()


DRIP = Answer(drip=0.005)  # 200 bytes per second


def test_a_server_that_sends_too_slowly_is_asked_again(
    server: FileServer, assert_whole: Callable[[], None]
) -> None:
    server.script = [DRIP]
    weights.download(NAME, retry=Retry(attempts=2, backoff=0.01, timeout=1))
    assert len(server.requests) == 2
    assert_whole()


def test_a_server_that_always_sends_too_slowly_fails(server: FileServer, own_cache: Path) -> None:
    server.script = [DRIP] * 2
    with pytest.raises(DownloadError, match=r"slower than 1 kB/s for 0.2 s \(2 attempts\)"):
        weights.download(NAME, retry=Retry(attempts=2, backoff=0.01, timeout=0.2))
    assert finished(own_cache) == []


@pytest.mark.parametrize("headers", [False, True], ids=["body", "headers"])
def test_a_download_ends_in_time_however_slowly_bytes_come(
    server: FileServer, assert_whole: Callable[[], None], headers: bool
) -> None:
    server.script = [replace(DRIP, drip_headers=headers)]
    with pytest.raises(DownloadError, match=r"not finished after 0.4 s; .* will resume"):
        weights.download(NAME, retry=Retry(lowest_rate=1, longest=0.4))
    assert len(server.requests) == 1
    weights.download(NAME, retry=QUICK)
    assert_whole()


def test_a_connection_that_was_given_up_is_closed(server: FileServer, tmp_path: Path) -> None:
    server.script = [Answer(body=bytes(1 << 24), drip=0.001)]
    slow = Retry(attempts=1, timeout=0.1, lowest_rate=1e6)
    before = threading.active_count()
    with pytest.raises(DownloadError, match="slower than 1000 kB/s"):
        fetch(f"{server.url}/{FILE}", tmp_path / "a.part", size=1 << 24, sha256="", retry=slow)
    wait_until(lambda: threading.active_count() <= before)


def test_no_range_to_refuse(server: FileServer) -> None:
    server.script = [failure(416)]
    with pytest.raises(DownloadError, match=f"{FILE}: HTTP 416"):
        weights.download(NAME, retry=QUICK)
    assert len(server.requests) == 1


def test_the_address_can_be_copied_from_the_log(
    lapsr: Callable[..., Ran], server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAPSR_WEIGHTS_URL", f"{server.url}{'/a/mirror' * 10}")
    ran = lapsr("weights", "download", NAME)
    assert f"downloading {server.url}{'/a/mirror' * 10}/{FILE} (" in ran.err


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror(
    server: FileServer,
    monkeypatch: pytest.MonkeyPatch,
    assert_whole: Callable[[], None],
    slash: str,
) -> None:
    monkeypatch.setenv("LAPSR_WEIGHTS_URL", f"{server.url}/a/mirror{slash}")
    weights.download(NAME, retry=QUICK)
    assert [request.path for request in server.requests] == [f"/a/mirror/{FILE}"]
    assert_whole()


def test_a_proxy(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, assert_whole: Callable[[], None]
) -> None:
    monkeypatch.setenv("LAPSR_WEIGHTS_URL", "http://example.invalid/models")
    monkeypatch.setenv("HTTP_PROXY", server.url)
    weights.download(NAME, retry=QUICK)
    assert [r.path for r in server.requests] == [f"http://example.invalid/models/{FILE}"]
    assert_whole()


def test_no_proxy(server: FileServer, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(body) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        weights.download(NAME, retry=QUICK)
    assert (len(server.requests), len(proxy.requests)) == (1, 0)


def test_offline(lapsr: Callable[..., Ran], server: FileServer) -> None:
    ran = lapsr("weights", "download", NAME, "--offline")
    assert ran.code == 4
    assert NAME in ran.err
    with pytest.raises(OfflineError):
        weights.load(NAME, offline=True)
    assert server.requests == []
    weights.download(NAME, retry=QUICK)
    assert lapsr("weights", "download", NAME, "--offline").code == 0
    weights.load(NAME, offline=True)
    assert len(server.requests) == 1


@pytest.fixture
def open_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder that any user may access; pytest's own are private."""
    assert NAME in manifest().entries  # read now: it is in such a private folder
    home = Path(tempfile.mkdtemp(dir="/tmp"))
    home.chmod(0o777)
    monkeypatch.setenv("LAPSR_HOME", str(home))
    yield home
    home.chmod(0o755)
    shutil.rmtree(home)


@pytest.mark.posix
def test_a_cache_that_cannot_be_written(open_home: Path, server: FileServer) -> None:
    open_home.chmod(0o555)
    with unprivileged(), pytest.raises(WeightsError, match="LAPSR_HOME") as caught:
        weights.download(NAME, retry=QUICK)
    assert str(open_home) in str(caught.value)
    assert server.requests == []


@pytest.mark.posix
def test_a_cache_that_cannot_be_reached(open_home: Path, server: FileServer) -> None:
    open_home.chmod(0o600)
    with unprivileged(), pytest.raises(WeightsError, match="LAPSR_HOME") as caught:
        weights.obtain(NAME)
    assert str(open_home) in str(caught.value)
    assert server.requests == []


@pytest.mark.posix
def test_a_models_folder_that_cannot_be_written(open_home: Path, server: FileServer) -> None:
    weights.download(
        NAME, retry=QUICK
    )  # imports modules that an unprivileged user may not be able to read
    models = open_home / "models"
    for path in finished(open_home):
        path.unlink()
    shutil.rmtree(open_home / "downloads")
    models.chmod(0o555)
    with unprivileged(), pytest.raises(WeightsError, match="LAPSR_HOME") as caught:
        weights.download(NAME, retry=QUICK)
    assert str(open_home) in str(caught.value)
    assert finished(open_home) == []
    models.chmod(0o755)
    weights.download(NAME, retry=QUICK)  # from the file downloaded before
    assert len(server.requests) == 2


@contextmanager
def running(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """lapsr in a process of its own that has loaded all modules; killed at the end."""
    command = [sys.executable, "-c", RUN_LAPSR, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, encoding="utf-8") as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_processes_download_once(
    server: FileServer, folder: Path, assert_whole: Callable[[], None]
) -> None:
    server.script = [Answer(pause_after=HALF), Answer(pause_after=HALF)]
    command = (folder, "weights", "download", NAME)
    with running(*command) as one, running(*command) as two:
        wait_until(lambda: bool(server.requests))
        time.sleep(0.5)  # for the second to reach the lock, or get past it
        server.released.set()
        for process in (one, two):
            out, err = process.communicate(timeout=60)
            assert (process.returncode, out) == (0, f"{cache.model_path(NAME)}\n"), err
    assert len(server.requests) == 1
    assert_whole()


def test_a_process_that_waits_says_for_what(
    folder: Path, body: bytes, own_cache: Path, assert_whole: Callable[[], None]
) -> None:
    lock = part_of(own_cache, body).with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    with FileLock(lock) as held, running(folder, "weights", "download", NAME) as process:
        assert process.stderr
        assert process.stderr.readline() == (
            f"model {NAME}: waiting for another process that downloads it (lock {lock})\n"
        )
        held.release()
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, f"{cache.model_path(NAME)}\n"), err
    assert_whole()


@pytest.mark.posix
def test_a_killed_download_is_resumed(
    server: FileServer,
    body: bytes,
    folder: Path,
    own_cache: Path,
    assert_whole: Callable[[], None],
) -> None:
    server.script = [Answer(pause_after=HALF)]
    part = part_of(own_cache, body)
    with running(folder, "weights", "download", NAME) as process:
        wait_until(lambda: part.exists() and part.stat().st_size > 0)
    assert process.returncode == -signal.SIGKILL
    assert finished(own_cache) == []
    kept = part.stat().st_size
    weights.download(NAME, retry=QUICK)
    assert [request.range for request in server.requests] == [None, f"bytes={kept}-"]
    assert_whole()


def test_a_damaged_model_is_downloaded_again(
    server: FileServer, caplog: pytest.LogCaptureFixture, assert_whole: Callable[[], None]
) -> None:
    path = weights.download(NAME, retry=QUICK)
    path.write_bytes(flipped(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert weights.obtain(NAME) == path
    assert f"{path}: the cached file is damaged" in caplog.text
    assert len(server.requests) == 2
    assert_whole()


@pytest.mark.parametrize("damage", ["the model", "its checksum"])
def test_a_damaged_model_is_not_used_offline(server: FileServer, damage: str) -> None:
    path = weights.download(NAME, retry=QUICK)
    if damage == "the model":
        path.write_bytes(flipped(path.read_bytes()))
    else:
        path.with_name(f"{path.name}.sha256").unlink()
    with pytest.raises(DownloadError) as caught:
        weights.obtain(NAME, offline=True)
    assert caught.value.exit_code == 4
    assert len(server.requests) == 1


def test_offline_a_damaged_model_is_an_error(
    server: FileServer, caplog: pytest.LogCaptureFixture
) -> None:
    path = weights.download(NAME, retry=QUICK)
    path.write_bytes(flipped(path.read_bytes()))
    caplog.clear()
    with pytest.raises(ChecksumError, match=str(path)):
        weights.obtain(NAME, offline=True)
    assert "downloading" not in caplog.text
    assert len(server.requests) == 1
