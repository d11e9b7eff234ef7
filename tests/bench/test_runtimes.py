"""Other people's runtimes as oracles of ours and of each other, and what becomes of those that are
missing or fail."""

from __future__ import annotations

import copy
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lapsr_cli import weights
from lapsr_cli.bench import runtimes as peers
from lapsr_cli.bench.comparison import compare
from lapsr_cli.bench.runtimes import PEERS, Luma, Peer, PeerFailed, PeerMissing, Work
from lapsr_cli.errors import UsageError
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from tests.conftest import random_network

CPU = torch.device("cpu")
QUICK = [name for name in PEERS if name != "compile"]
OF_FP32 = 1e-5
"""Winograd's sums were seen to be 3e-6 off; a feature in bf16 would be 1e-3 off."""


def picture_for(work: Work) -> Luma:
    return np.random.default_rng(1).random((work.height, work.width), dtype=np.float32)


@functools.cache
def in_float64(work: Work) -> NDArray[np.float64]:
    """The reference network's picture of ``picture_for(work)``."""
    model = copy.deepcopy(work.model).double()
    with torch.inference_mode():
        pictures = model(torch.from_numpy(picture_for(work)).double()[None, None], work.scale)
    return np.asarray(pictures[work.scale][0, 0])


@pytest.fixture(scope="module")
def draft() -> LaplacianPyramid:
    return weights.load("lapsr-draft")


@pytest.fixture(scope="module")
def work_of(draft: LaplacianPyramid) -> Callable[[int, int, int], Work]:
    """Work on the CPU, its graph made once for all tests."""
    made: dict[tuple[int, int, int], Work] = {}

    def give(scale: int, height: int, width: int) -> Work:
        key = scale, height, width
        if key not in made:
            made[key] = Work(
                model=draft, scale=scale, height=height, width=width, threads=2, device=CPU
            )
        return made[key]

    return give


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("form", [(2, 24, 32), (4, 17, 23), (8, 12, 9)], ids=str)
def test_the_same_picture(
    work_of: Callable[[int, int, int], Work], name: str, form: tuple[int, int, int]
) -> None:
    work = work_of(*form)
    luma = picture_for(work)
    peer = peers.load(name, work)
    picture = peer(luma)
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture, in_float64(work), rtol=0, atol=OF_FP32)
    again = picture.copy()
    peer(1 - luma)
    np.testing.assert_array_equal(picture, again)  # nobody writes into what was given away


def test_ncnn_writes_every_network(small_config: PyramidConfig) -> None:
    """Its format is written here, so every form of the network has to be seen in it."""
    model = random_network(small_config).float()
    for scale in small_config.scales:
        work = Work(model=model, scale=scale, height=7, width=5, threads=1, device=CPU)
        expected = in_float64(work)
        np.testing.assert_allclose(
            peers.load("ncnn", work)(picture_for(work)), expected, rtol=OF_FP32
        )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_gives_the_same_picture(work_of: Callable[[int, int, int], Work]) -> None:
    work = work_of(4, 24, 32)
    picture = peers.load("compile", work)(picture_for(work))
    np.testing.assert_allclose(picture, in_float64(work), rtol=0, atol=OF_FP32)


_IN_A_PROCESS_OF_ITS_OWN = """
import json, os, sys
import numpy as np, psutil, torch
reached = []
names = {"socket.connect", "socket.getaddrinfo", "subprocess.Popen"}
sys.addaudithook(lambda event, args: reached.append(event) if event in names else None)
from lapsr_cli import weights
from lapsr_cli.bench import runtimes as peers
torch.set_num_threads(1)
model = weights.load("lapsr-draft")
work = peers.Work(
    model=model, scale=2, height=24, width=32, threads=int(sys.argv[1]), device=torch.device("cpu")
)
luma = np.zeros((24, 32), np.float32)
work.graph
process, counts, kept = psutil.Process(), {}, []
for name in sys.argv[2:]:
    before = process.num_threads()
    kept.append(peers.load(name, work))
    kept[-1](luma)
    counts[name] = process.num_threads() - before
with open(os.environ["REPORT"], "w") as file:
    counts["eager"] = torch.get_num_threads()  # ncnn and torch share one pool where both are loaded
    json.dump({"threads": counts, "reached": reached}, file)
"""


def run_alone(folder: Path, threads: int) -> dict[str, Any]:
    """Load and run the peers in a new process with an empty home and temporary folder."""
    home, temporary, report = folder / "home", folder / "temporary", folder / "report.json"
    home.mkdir(parents=True)
    temporary.mkdir()
    places = {"HOME": home, "USERPROFILE": home, "TMPDIR": temporary, "REPORT": report}
    told = ("CI", "ORT_DISABLE_TELEMETRY")  # with them it would be private anyway
    inherited = {name: value for name, value in os.environ.items() if name not in told}
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_PROCESS_OF_ITS_OWN, str(threads), *QUICK],
        capture_output=True,
        text=True,
        check=False,
        env={**inherited, **{name: str(place) for name, place in places.items()}},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.iterdir()) == []
    assert list(temporary.iterdir()) == []
    result: dict[str, Any] = json.loads(report.read_text())
    assert result["reached"] == []
    return result


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads as Linux does")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="OpenVINO takes no more threads than cores")
def test_as_many_threads_as_asked_for_and_nothing_else(tmp_path: Path) -> None:
    """One thread more has one thread more; none of them prints, calls home, or leaves a file."""
    one, two = (run_alone(tmp_path / str(n), n)["threads"] for n in (1, 2))
    assert {name: two[name] - one[name] for name in QUICK} == dict.fromkeys(QUICK, 1)


@pytest.mark.parametrize(
    ("name", "module", "distribution", "extra"),
    [
        ("onnxruntime", "onnxruntime", "onnxruntime", "peers"),
        ("openvino", "openvino", "openvino", "peers"),
        ("ncnn", "ncnn", "ncnn", "peers"),
        ("opencv", "cv2", "opencv-python-headless", "peers"),
        ("onnxruntime", "onnxscript", "onnxscript", "onnx"),
    ],
)
def test_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
    draft: LaplacianPyramid,
    name: str,
    module: str,
    distribution: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    work = Work(model=draft, scale=2, height=8, width=8, threads=1, device=CPU)
    with pytest.raises(PeerMissing) as raised:
        peers.load(name, work)
    assert str(raised.value).endswith(f"needs {distribution}: pip install 'lapsr-cli[{extra}]'")


def test_names() -> None:
    peers.check_names(PEERS)
    peers.check_names([])
    with pytest.raises(UsageError, match=r"^--against tvm: must be one of onnxruntime, openvino, "):
        peers.check_names(["ncnn", "tvm"])


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "ncnn", "opencv"])
def test_no_peer_takes_the_cpu_for_a_gpu(draft: LaplacianPyramid, name: str) -> None:
    device = torch.device("mps")
    work = Work(model=draft, scale=2, height=8, width=8, threads=1, device=device)
    with pytest.raises(PeerFailed, match="not on mps"):
        peers.load(name, work)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["onnxruntime", "eager", "compile"])
def test_the_same_picture_by_cuda(draft: LaplacianPyramid, name: str) -> None:
    device = torch.device("cuda:0")
    work = Work(model=draft, scale=4, height=24, width=32, threads=2, device=device)
    try:
        picture = peers.load(name, work)(picture_for(work))
    except PeerMissing as missing:
        pytest.skip(str(missing))
    # cuDNN multiplies fp32 in TF32, with 10 bits of mantissa.
    np.testing.assert_allclose(picture, in_float64(work), rtol=0, atol=5e-3)


def test_rows(work_of: Callable[[int, int, int], Work]) -> None:
    threads = torch.get_num_threads()
    work = work_of(2, 24, 32)
    ours, *others = compare("lapsr-draft", work, QUICK, runs=3)
    assert torch.get_num_threads() == threads
    assert ours.peer == "lapsr"
    assert ours.ratio == 1
    assert [row.peer for row in others] == QUICK
    for row in (ours, *others):
        assert (row.model, row.device, row.problem) == ("lapsr-draft", "cpu", "")
        assert (row.scale, row.width, row.height) == (2, 32, 24)
        assert row.version[0].isdigit()
        assert row.seconds is not None
        assert row.seconds.runs == 3
        assert ours.seconds is not None
        assert row.ratio == row.seconds.median / ours.seconds.median
        assert row.difference is not None
        assert row.difference < OF_FP32


def test_ours_in_another_precision(work_of: Callable[[int, int, int], Work]) -> None:
    ours, eager = compare("lapsr-draft", work_of(2, 24, 32), ["eager"], runs=1, precision="bf16")
    assert ours.precision == eager.precision == "bf16"
    assert eager.difference == 0
    assert ours.difference is not None
    assert ours.difference > OF_FP32


def test_those_that_fail_hold_nobody_up(
    draft: LaplacianPyramid, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every reader of ONNX refuses this file in its own words; one line of them is kept."""
    work = Work(model=draft, scale=2, height=8, width=9, threads=1, device=CPU)
    work.__dict__["graph"] = b"no graph"
    rows = {row.peer: row for row in compare("lapsr-draft", work, QUICK, runs=1)}
    assert list(rows) == ["lapsr", *QUICK]
    for name in ("onnxruntime", "openvino", "opencv"):
        assert rows[name].problem
        assert "\n" not in rows[name].problem
        assert (rows[name].seconds, rows[name].ratio, rows[name].difference) == (None, None, None)
    for name in ("lapsr", "ncnn", "eager"):
        assert rows[name].seconds is not None
    assert capfd.readouterr() == ("", "")


def test_one_that_fails_late_has_no_figures(
    monkeypatch: pytest.MonkeyPatch, work_of: Callable[[int, int, int], Work]
) -> None:
    turns = 0

    def load(work: Work) -> Peer:
        eager = peers.eager.load(work)

        def enlarge(luma: Luma) -> Luma:
            nonlocal turns
            turns += 1
            return eager(luma[1:] if turns == 4 else luma[: 0 if turns == 3 else None])

        return Peer("eager", "1", enlarge)

    monkeypatch.setitem(peers._LOADERS, "eager", load)
    _, failed, well = compare("lapsr-draft", work_of(2, 24, 32), ["eager", "ncnn"], runs=3)
    assert turns == 3
    assert failed.problem
    assert failed.seconds is None
    assert failed.version == "1"
    assert well.seconds is not None
    assert well.seconds.runs == 3


def test_a_picture_of_another_size_is_no_result(
    monkeypatch: pytest.MonkeyPatch, work_of: Callable[[int, int, int], Work]
) -> None:
    monkeypatch.setitem(peers._LOADERS, "eager", lambda work: Peer("eager", "1", lambda luma: luma))
    _, row = compare("lapsr-draft", work_of(2, 24, 32), ["eager"], runs=1)
    assert row.problem == "gave a picture of (24, 32), not of (48, 64) samples"
