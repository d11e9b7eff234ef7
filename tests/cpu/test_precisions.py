"""Odd shapes through every precision of the CPU engine, against the reference in float64."""

from __future__ import annotations

import copy
from functools import cache
from typing import Literal

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lapsr_cli import weights
from lapsr_cli.cpu.streaming import StreamingPyramid
from lapsr_cli.device.selection import choose
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.network.pyramid import LaplacianPyramid
from tests.cpu.kernels.test_int8 import needs_vnni

CpuPrecision = Literal["fp32", "bf16", "int8"]
Shape = tuple[int, int, int]

LARGEST_ERROR = {"fp32": 2e-5, "bf16": 0.004, "int8": 0.05}
"""Of a sample in [0, 1], rounding to 16 bits included. Measured: fp32 8e-6, bf16 0.0015, int8 0.019
(634 random shapes at 2x to 8x, AMD EPYC with AVX-512 and without AMX, at LAPSR_CPU=native, avx2 and
sse4)."""

FULL = 65535


@cache
def network() -> LaplacianPyramid:
    return weights.load("lapsr-classic", offline=True)


@cache
def runtime(precision: CpuPrecision) -> Runtime:
    return Runtime(network(), choose("cpu", precision))


def samples(shape: Shape) -> Tensor:
    """Grey waves in 16 bits, from 0.1 to 0.9, different in each picture of the batch."""
    batch, height, width = shape
    phases = 6.3 * torch.rand(2, batch, 1, generator=torch.Generator().manual_seed(0))
    down = torch.sin(torch.arange(height) / 3 + phases[0])
    across = torch.sin(torch.arange(width) / 4 + phases[1])
    waves = 0.5 + 0.4 * down[:, None, :, None] * across[:, None, None, :]  # (B, 1, H, W)
    return (FULL * waves).round().to(torch.uint16)


@cache
def expected(shape: Shape, scale: int) -> Tensor:
    """By the reference network in float64."""
    reference = copy.deepcopy(network()).double()
    with torch.inference_mode():
        luma = samples(shape).to(torch.float64) / FULL
        pictures: dict[int, Tensor] = reference(luma, scale)
    return pictures[scale].clamp(0, 1)


SIDES = st.one_of(st.just(1), st.integers(2, 40))


@pytest.mark.parametrize("precision", ["fp32", "bf16", pytest.param("int8", marks=needs_vnni)])
@settings(max_examples=10)
@given(
    shape=st.tuples(st.integers(1, 3), SIDES, SIDES),
    scale=st.sampled_from([2, 4]),
    strip_pixels=st.integers(1, 400),
)
@example(shape=(1, 1, 1), scale=8, strip_pixels=1)
@example(shape=(2, 1, 40), scale=4, strip_pixels=1)
@example(shape=(3, 40, 1), scale=4, strip_pixels=50)
@example(shape=(1, 7, 900), scale=2, strip_pixels=1)
@example(shape=(2, 30, 21), scale=4, strip_pixels=200)
def test_any_shape_in_any_precision(
    precision: CpuPrecision, shape: Shape, scale: int, strip_pixels: int
) -> None:
    """Whole maps, or a strip of them in bf16 and int8, and several strips of a few rows."""
    with pytest.MonkeyPatch.context() as patch:
        for is_split in (False, True):
            model = runtime(precision).model
            assert isinstance(model, StreamingPyramid)
            if is_split:
                patch.setattr(model, "whole_pixels", 0)
                patch.setattr(model, "strip_pixels", strip_pixels)
            made = runtime(precision)(samples(shape), [scale])[scale]
            error = (made.to(torch.float64) / FULL - expected(shape, scale)).abs().max()
            assert error < LARGEST_ERROR[precision], f"{'strips' if is_split else 'whole'}"
