"""Other runtimes as oracles of lapsr's and of each other, and how missing and failing ones are
reported."""

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
from lapsr_cli.bench import runtimes
from lapsr_cli.bench.comparison import compare
from lapsr_cli.bench.runtimes import (
    RUNTIMES,
    Luma,
    OtherRuntime,
    RuntimeFailed,
    RuntimeMissing,
    Workload,
)
from lapsr_cli.errors import UsageError
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from tests.conftest import random_network

CPU = torch.device("cpu")
QUICK = [name for name in RUNTIMES if name != "compile"]
OF_FP32 = 1e-5
"""Winograd's sums were measured to be 3e-6 off; features in bf16 would be 1e-3 off."""


def picture_for(workload: Workload) -> Luma:
    return np.random.default_rng(1).random((workload.height, workload.width), dtype=np.float32)


@functools.cache
def in_float64(workload: Workload) -> NDArray[np.float64]:
    """The reference network's picture of ``picture_for(workload)``."""
    model = copy.deepcopy(workload.model).double()
    with torch.inference_mode():
        pictures = model(
            torch.from_numpy(picture_for(workload)).double()[None, None], workload.scale
        )
    return np.asarray(pictures[workload.scale][0, 0])


@pytest.fixture(scope="module")
def classic() -> LaplacianPyramid:
    return weights.load("lapsr-classic")


@pytest.fixture(scope="module")
def workload_of(classic: LaplacianPyramid) -> Callable[[int, int, int], Workload]:
    """Workloads on the CPU, their graphs exported once for all tests."""
    made: dict[tuple[int, int, int], Workload] = {}

    def make(scale: int, height: int, width: int) -> Workload:
        key = scale, height, width
        if key not in made:
            made[key] = Workload(
                model=classic, scale=scale, height=height, width=width, threads=2, device=CPU
            )
        return made[key]

    return make


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("form", [(2, 24, 32), (4, 17, 23), (8, 12, 9)], ids=str)
def test_the_same_picture(
    workload_of: Callable[[int, int, int], Workload], name: str, form: tuple[int, int, int]
) -> None:
    workload = workload_of(*form)
    luma = picture_for(workload)
    runtime = runtimes.load(name, workload)
    picture = runtime(luma)
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture, in_float64(workload), rtol=0, atol=OF_FP32)
    again = picture.copy()
    runtime(1 - luma)
    np.testing.assert_array_equal(picture, again)  # a result is not overwritten by later ones


def test_ncnn_runs_every_network(small_config: PyramidConfig) -> None:
    """lapsr writes ncnn's format itself, so every kind of network is tested."""
    model = random_network(small_config).float()
    for scale in small_config.scales:
        workload = Workload(model=model, scale=scale, height=7, width=5, threads=1, device=CPU)
        expected = in_float64(workload)
        np.testing.assert_allclose(
            runtimes.load("ncnn", workload)(picture_for(workload)), expected, rtol=OF_FP32
        )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_gives_the_same_picture(workload_of: Callable[[int, int, int], Workload]) -> None:
    workload = workload_of(4, 24, 32)
    picture = runtimes.load("compile", workload)(picture_for(workload))
    np.testing.assert_allclose(picture, in_float64(workload), rtol=0, atol=OF_FP32)


_SCRIPT = """
import json, os, sys
import numpy as np, psutil, torch
reached = []
names = {"socket.connect", "socket.getaddrinfo", "subprocess.Popen"}
sys.addaudithook(lambda event, args: reached.append(event) if event in names else None)
from lapsr_cli import weights
from lapsr_cli.bench import runtimes
torch.set_num_threads(1)
model = weights.load("lapsr-classic")
workload = runtimes.Workload(
    model=model, scale=2, height=24, width=32, threads=int(sys.argv[1]), device=torch.device("cpu")
)
luma = np.zeros((24, 32), np.float32)
workload.graph
process, counts, kept = psutil.Process(), {}, []
for name in sys.argv[2:]:
    before = process.num_threads()
    kept.append(runtimes.load(name, workload))
    kept[-1](luma)
    counts[name] = process.num_threads() - before
with open(os.environ["REPORT"], "w") as file:
    counts["eager"] = torch.get_num_threads()  # ncnn and torch share one pool if both are loaded
    json.dump({"threads": counts, "reached": reached}, file)
"""


def run_alone(folder: Path, threads: int) -> dict[str, Any]:
    """Load and run the other runtimes in a new process with an empty home and temporary folder."""
    home, temporary, report = folder / "home", folder / "temporary", folder / "report.json"
    home.mkdir(parents=True)
    temporary.mkdir()
    places = {"HOME": home, "USERPROFILE": home, "TMPDIR": temporary, "REPORT": report}
    opt_outs = ("CI", "ORT_DISABLE_TELEMETRY")  # they would switch telemetry off by themselves
    inherited = {name: value for name, value in os.environ.items() if name not in opt_outs}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(threads), *QUICK],
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
def test_threads_are_those_asked_for_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """Each starts that many threads, prints nothing, connects to nothing and leaves no files."""
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
def test_a_runtime_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
    classic: LaplacianPyramid,
    name: str,
    module: str,
    distribution: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    workload = Workload(model=classic, scale=2, height=8, width=8, threads=1, device=CPU)
    with pytest.raises(RuntimeMissing) as raised:
        runtimes.load(name, workload)
    assert str(raised.value).endswith(f"requires {distribution}: pip install 'lapsr-cli[{extra}]'")


def test_names() -> None:
    runtimes.check_names(RUNTIMES)
    runtimes.check_names([])
    with pytest.raises(UsageError, match=r"^--against tvm: must be one of onnxruntime, openvino, "):
        runtimes.check_names(["ncnn", "tvm"])


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "ncnn", "opencv"])
def test_no_runtime_uses_the_cpu_instead_of_a_gpu(classic: LaplacianPyramid, name: str) -> None:
    device = torch.device("mps")
    workload = Workload(model=classic, scale=2, height=8, width=8, threads=1, device=device)
    with pytest.raises(RuntimeFailed, match="not on mps"):
        runtimes.load(name, workload)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["onnxruntime", "eager", "compile"])
def test_the_same_picture_by_cuda(classic: LaplacianPyramid, name: str) -> None:
    device = torch.device("cuda:0")
    workload = Workload(model=classic, scale=4, height=24, width=32, threads=2, device=device)
    try:
        picture = runtimes.load(name, workload)(picture_for(workload))
    except RuntimeMissing as missing:
        pytest.skip(str(missing))
    # cuDNN computes fp32 convolutions in TF32, with 10 bits of mantissa.
    np.testing.assert_allclose(picture, in_float64(workload), rtol=0, atol=5e-3)


def test_rows(workload_of: Callable[[int, int, int], Workload]) -> None:
    threads = torch.get_num_threads()
    workload = workload_of(2, 24, 32)
    ours, *others = compare("lapsr-classic", workload, QUICK, runs=3)
    assert torch.get_num_threads() == threads
    assert ours.peer == "lapsr"
    assert ours.ratio == 1
    assert [row.peer for row in others] == QUICK
    for row in (ours, *others):
        assert (row.model, row.device, row.problem) == ("lapsr-classic", "cpu", "")
        assert (row.scale, row.width, row.height) == (2, 32, 24)
        assert row.version[0].isdigit()
        assert row.seconds is not None
        assert row.seconds.runs == 3
        assert ours.seconds is not None
        assert row.ratio == row.seconds.median / ours.seconds.median
        assert row.difference is not None
        assert row.difference < OF_FP32


def test_lapsr_in_another_precision(workload_of: Callable[[int, int, int], Workload]) -> None:
    ours, eager = compare(
        "lapsr-classic", workload_of(2, 24, 32), ["eager"], runs=1, precision="bf16"
    )
    assert ours.precision == eager.precision == "bf16"
    assert eager.difference == 0
    assert ours.difference is not None
    assert ours.difference > OF_FP32


class BrokenGraph(Workload):
    """A workload whose ONNX graph no runtime can read."""

    @property
    def graph(self) -> bytes:
        return b"no graph"


def test_the_others_continue_if_some_fail(
    classic: LaplacianPyramid, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every reader of ONNX rejects this graph with an error of its own; one line of it is kept."""
    workload = BrokenGraph(model=classic, scale=2, height=8, width=9, threads=1, device=CPU)
    rows = {row.peer: row for row in compare("lapsr-classic", workload, QUICK, runs=1)}
    assert list(rows) == ["lapsr", *QUICK]
    for name in ("onnxruntime", "openvino", "opencv"):
        assert rows[name].problem
        assert "\n" not in rows[name].problem
        assert (rows[name].seconds, rows[name].ratio, rows[name].difference) == (None, None, None)
    for name in ("lapsr", "ncnn", "eager"):
        assert rows[name].seconds is not None
    assert capfd.readouterr() == ("", "")


def test_a_runtime_that_fails_late_has_no_figures(
    workload_of: Callable[[int, int, int], Workload],
) -> None:
    calls = 0

    def load(name: str, workload: Workload) -> OtherRuntime:
        """Eager fails on its third call and would return a wrong shape on its fourth."""
        runtime = runtimes.load(name, workload)
        if name != "eager":
            return runtime

        def enlarge(luma: Luma) -> Luma:
            nonlocal calls
            calls += 1
            return runtime(luma[1:] if calls == 4 else luma[: 0 if calls == 3 else None])

        return OtherRuntime("eager", "1", enlarge)

    names = ["eager", "ncnn"]
    _, failed, good = compare("lapsr-classic", workload_of(2, 24, 32), names, runs=3, load=load)
    assert calls == 3
    assert failed.problem
    assert failed.seconds is None
    assert failed.version == "1"
    assert good.seconds is not None
    assert good.seconds.runs == 3


def test_a_picture_of_another_shape_is_a_failure(
    workload_of: Callable[[int, int, int], Workload],
) -> None:
    def load(name: str, _: Workload) -> OtherRuntime:
        return OtherRuntime(name, "1", lambda luma: luma)

    _, row = compare("lapsr-classic", workload_of(2, 24, 32), ["eager"], runs=1, load=load)
    assert row.problem == "returned a picture of shape (24, 32), not (48, 64)"
