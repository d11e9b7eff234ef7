"""Fixtures of the training tests: one thread, drawn pictures, and runs to compare with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lapsr_cli import cli
from tests.conftest import draw

pytest.register_assert_rewrite("tests.train.runs")

from tests.train.runs import LONG_RUN_FLAGS, Drawn, Whole, begun, stop_after  # noqa: E402


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, here and in subprocesses: sums have the same order everywhere, and threads of
    such small networks would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    folder = tmp_path_factory.mktemp("drawn")
    for number in range(4):
        draw(folder / "data" / f"{number}.png", 40, 36, seed=number)
    draw(folder / "data" / "grey.png", 33, 47, mode="L", seed=4)
    for number in range(3):
        draw(folder / "val" / f"{number}.png", 27, 22 + number, seed=10 + number)
    return Drawn(folder / "data", folder / "val")


@pytest.fixture(scope="package")
def whole(one_thread: None, drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Whole:  # noqa: ARG001
    """The long run in one session, with every output switched on."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    arguments = ["train", *drawn.given, "-o", str(run), *LONG_RUN_FLAGS, "--tensorboard"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lapsr", *arguments])
        code = cli.lapsr.main(standalone_mode=False)
    return Whole(run, code)


@pytest.fixture
def a_run(whole: Whole, tmp_path: Path) -> Path:
    """A copy of the long run, which a test may change."""
    return Path(shutil.copytree(whole.path, tmp_path / "run"))


@pytest.fixture(scope="package")
def half(one_thread: None, drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """A short run, stopped after two of its four iterations; to be copied."""
    run = tmp_path_factory.mktemp("runs") / "half"
    stop_after(2, begun(run, drawn, iterations=4))
    return run
