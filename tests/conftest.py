"""What several tests share: small networks, the command line, and files that may be absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from lapsr_cli import cli
from lapsr_cli.files import OWN_FOLDER
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from lapsr_cli.weights.serialization import Weights, write_safetensors

# Timings say nothing on a busy machine; what a test may cost is bounded by its examples.
settings.register_profile("lapsr", deadline=None)
settings.load_profile("lapsr")

# onnxruntime calls home from where it is loaded, unless told before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PICTURES = ROOT / "tests" / "pictures"

NOBODY = 65534

SMALL_CONFIGS = [
    PyramidConfig(depth=2, recursions=2, channels=4),
    PyramidConfig(depth=1, recursions=3, skip="ds", channels=4),
    PyramidConfig(depth=3, recursions=1, skip="ns", channels=4),
    PyramidConfig(depth=2, recursions=1, skip="ns", shared=False, channels=4),
    PyramidConfig(depth=2, recursions=1, skip="ns", shared=False, levels=2, channels=4),
    PyramidConfig(depth=1, recursions=2, channels=4, global_residual=False),
    PyramidConfig(depth=1, recursions=2, channels=4, levels=2, pyramid=False),
    PyramidConfig(depth=1, recursions=1, skip="ns", shared=False, channels=3, pyramid=False),
]


def random_network(config: PyramidConfig, seed: int = 0) -> LaplacianPyramid:
    """A network whose every tap matters: positive weights, so that nothing cancels."""
    generator = torch.Generator().manual_seed(seed)
    model = LaplacianPyramid(config).double().requires_grad_(False).eval()
    for parameter in model.parameters():
        fan_in = max(1, parameter[0].numel())
        parameter.copy_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64))
        parameter.mul_(1.5 / fan_in if parameter.ndim == 4 else 0.1)
    return model


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this system does not have."""
    here = {"posix": os.name == "posix", "linux": sys.platform == "linux"}
    for item in items:
        for mark in (mark for mark, has in here.items() if not has):
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=f"needs {mark}: see the markers"))


@pytest.fixture(params=SMALL_CONFIGS, ids=lambda c: f"{c.title}-{c.levels}")
def small_config(request: pytest.FixtureRequest) -> PyramidConfig:
    config: PyramidConfig = request.param
    return config


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a network that computes next to nothing, and still something at every tap."""
    config = PyramidConfig(depth=1, recursions=1, channels=4)
    model = tiny_network(config)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    write_safetensors(Weights(config, model.state_dict(), "drawn by a test"), path)
    return path


def tiny_network(config: PyramidConfig, seed: int = 0) -> LaplacianPyramid:
    """Whose luma stays near the input's, and whose features matter by some levels."""
    torch.manual_seed(seed)
    model = LaplacianPyramid(config).requires_grad_(False).eval()
    torch.nn.init.normal_(model.conv_in.weight, std=0.05)
    return model


@pytest.fixture
def shared() -> Callable[[str], Path]:
    """A reference file or folder beside the checkout; the test is skipped where it is absent."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"needs {name} of the reference files, which are not in the repository")
        return path

    return find


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's model cache."""
    home = tmp_path / "lapsr-home"
    monkeypatch.setenv("LAPSR_HOME", str(home))
    monkeypatch.delenv("LAPSR_WEIGHTS_URL", raising=False)
    return home


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """The lines of --json that are about pictures, not about progress."""
        lines = [json.loads(line) for line in self.out.splitlines()]
        return [line for line in lines if line["status"] != "progress"]

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.strip()]


@pytest.fixture
def lapsr(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run the command line in this process."""

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["lapsr", *map(str, arguments)])
        capfd.readouterr()
        code = cli.run()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Ran(code, out, err)

    return run


def run_lapsr(*arguments: str | Path, before: str = "") -> Ran:
    """Run the command line in a process of its own, after the statements ``before``."""
    start = ["-m", "lapsr_cli"]
    if before:
        start = ["-c", f"{before}\nfrom lapsr_cli.cli import main; main()"]
    done = subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def draw(path: Path, width: int = 20, height: int = 16, mode: str = "RGB", seed: int = 0) -> Path:
    """Write a small picture of smooth noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert(mode).save(path)
    return path


def results_in(folder: Path) -> list[Path]:
    """Every file below a folder, except what lapsr keeps there for itself."""
    own = folder / OWN_FOLDER
    return sorted(path for path in folder.rglob("*") if not path.is_dir() and path.parent != own)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Modes do not bind root, so be nobody for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
