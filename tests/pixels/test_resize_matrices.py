"""Resizing matrices against the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lapsr_cli.pixels import resize
from tests.pixels.test_resize import matrix as matrix_of_the_definition


@pytest.mark.parametrize("edge", ["mirror", "replicate"])
@pytest.mark.parametrize("scale", [0.125, 0.25, 1 / 3, 0.5, 0.7, 0.83, 1.0, 2.0])
@pytest.mark.parametrize("length", [1, 8, 24])
def test_the_matrix_is_that_of_the_definition(length: int, scale: float, edge: resize.Edge) -> None:
    expected = matrix_of_the_definition(length, scale, edge)
    np.testing.assert_allclose(resize.matrix(length, scale, edge=edge), expected, atol=1e-12)


def test_the_matrix_holds_the_impulse_responses_of_resize() -> None:
    impulses = torch.eye(24, dtype=torch.float64)[:, :, None].expand(24, 24, 24)
    for scale in (0.125, 0.25, 0.5):
        responses = resize.resize(impulses, scale)[:, :, 0].T  # constant along the other axis
        torch.testing.assert_close(resize.matrix(24, scale), responses, rtol=0, atol=1e-12)


@pytest.mark.parametrize("edge", ["mirror", "replicate"])
def test_contributions_are_rows_of_the_matrix_of_each_axis(edge: resize.Edge) -> None:
    lengths, scales = np.array([30, 17, 9, 30]), np.array([0.5, 0.83, 1.0, 0.31])
    first = np.array([0, 10, 4, 5])
    taps, weights = resize.contributions(lengths, scales, first, 5, edge)
    assert taps.shape == weights.shape == (4, 5, taps.shape[2])
    for each in range(4):
        rows = np.zeros((5, lengths[each]))
        for out, tap in np.ndindex(taps.shape[1:]):
            rows[out, taps[each, out, tap]] += weights[each, out, tap]
        expected = matrix_of_the_definition(int(lengths[each]), float(scales[each]), edge)
        expected = expected[first[each] : first[each] + 5]
        np.testing.assert_allclose(rows, expected, atol=1e-12)


@given(data=st.data(), scale=st.floats(0.1, 1), count=st.integers(1, 20))
def test_window_matrices_resize_a_part_of_each_axis(
    data: st.DataObject, scale: float, count: int
) -> None:
    """Equal to the same outputs of the whole axis, also for windows that cross an edge."""
    rng = np.random.default_rng(0)
    lengths = np.array(data.draw(st.lists(st.integers(200, 300), min_size=1, max_size=3)))
    last = [math.ceil(length * scale) - count for length in lengths]
    first = np.array(
        [data.draw(st.one_of(st.just(0), st.just(n), st.integers(0, n))) for n in last]
    )
    width = math.ceil((count + 3) / scale) + 3
    start, matrices = resize.window_matrices(
        lengths, np.full(len(lengths), scale), first, count, width
    )
    assert matrices.shape == (len(lengths), count, width)
    for each, length in enumerate(lengths):
        axis = rng.random(length)
        window = np.zeros(width)
        part = axis[start[each] : start[each] + width]
        window[: len(part)] = part
        expected = (resize.matrix(int(length), scale).numpy() @ axis)[first[each] :][:count]
        np.testing.assert_allclose(matrices[each].numpy() @ window, expected, atol=1e-12)
