"""A small network, as a model and as an evaluator."""

from __future__ import annotations

import pytest

from lapsr_cli.device.selection import choose
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from tests.conftest import tiny_network


@pytest.fixture(scope="session")
def config() -> PyramidConfig:
    return PyramidConfig(depth=1, recursions=1, channels=4)


@pytest.fixture(scope="session")
def network(config: PyramidConfig) -> LaplacianPyramid:
    return tiny_network(config)


@pytest.fixture(scope="session")
def evaluators(network: LaplacianPyramid) -> dict[str, Evaluator]:
    return {"tiny": Evaluator(Runtime(network, choose("cpu")))}
