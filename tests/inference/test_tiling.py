"""Tiles leave no trace: the halo is exact, and every pixel is taken once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lapsr_cli.inference.tiling import _count, cut, fit, plan
from lapsr_cli.network.halo import Halo, halo
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from tests.conftest import random_network

sides = st.integers(1, 90)


@pytest.mark.parametrize(
    ("recursions", "larger_sides"),
    [(2, (12, 17, 20)), (5, (27, 40, 46)), (8, (42, 62, 72))],
)
def test_published_networks_have_these_halos(
    recursions: int, larger_sides: tuple[int, ...]
) -> None:
    config = PyramidConfig(recursions=recursions)
    assert tuple(max(halo(config, scale)) for scale in config.scales) == larger_sides


def influence(model: LaplacianPyramid, scale: int, length: int, at: int) -> tuple[int, int]:
    """How far left and right of column ``at`` the input touches its outputs, by the gradient."""
    luma = torch.rand(1, 1, 1, length, dtype=torch.float64, requires_grad=True)
    picture = model(luma, scale)[scale][..., scale * at : scale * (at + 1)]
    (gradient,) = torch.autograd.grad(picture.sum(), luma)
    touched = gradient[0, 0, 0].nonzero()[:, 0]
    return at - int(touched.min()), int(touched.max()) - at


def test_the_halo_is_what_the_gradient_reaches(small_config: PyramidConfig) -> None:
    model = random_network(small_config)
    for scale in small_config.scales:
        assert influence(model, scale, 61, 30) == halo(small_config, scale)


def tiled(model: LaplacianPyramid, luma: Tensor, scale: int, tile: int, around: Halo) -> Tensor:
    height, width = luma.shape[-2:]
    result = luma.new_full((scale * height, scale * width), torch.nan)
    for rows, columns in plan(height, width, (tile, tile), *around):
        window = luma[..., rows.start : rows.stop, columns.start : columns.stop]
        enlarged = model(window, scale)[scale][0, 0]
        result[
            scale * rows.core_start : scale * rows.core_stop,
            scale * columns.core_start : scale * columns.core_stop,
        ] = enlarged[
            scale * (rows.core_start - rows.start) : scale * (rows.core_stop - rows.start),
            scale * (columns.core_start - columns.start) : scale
            * (columns.core_stop - columns.start),
        ]
    return result


def test_tiled_equals_whole_at_the_halo_and_not_one_pixel_below(
    small_config: PyramidConfig,
) -> None:
    model = random_network(small_config)
    luma = torch.rand(1, 1, 53, 47, dtype=torch.float64)
    for scale in small_config.scales:
        before, after = halo(small_config, scale)
        whole = model(luma, scale)[scale][0, 0]

        def error(around: Halo, scale: int = scale, whole: Tensor = whole) -> float:
            return (tiled(model, luma, scale, 5, around) - whole).abs().max().item()

        assert error(Halo(before, after)) < 1e-14
        assert error(Halo(before - 1, after)) > 1e-12
        assert error(Halo(before, after - 1)) > 1e-12


@given(length=st.integers(1, 400), tile=st.integers(1, 120), before=sides, after=sides)
def test_cores_join_and_keep_their_distance(
    length: int, tile: int, before: int, after: int
) -> None:
    spans = cut(length, tile, before, after)
    assert [span.core_start for span in spans] == [0] + [span.core_stop for span in spans[:-1]]
    assert spans[-1].core_stop == length
    assert len({span.stop - span.start for span in spans}) == 1
    for span in spans:
        assert 0 <= span.start <= span.core_start < span.core_stop <= span.stop <= length
        assert span.stop - span.start <= tile + before + after
        assert span.start == 0 or span.core_start - span.start >= before
        assert span.stop == length or span.stop - span.core_stop >= after


@given(height=sides, width=sides, before=st.integers(0, 9), after=st.integers(0, 9), data=st.data())
def test_a_fitted_tile_keeps_to_the_memory_allowed(
    height: int, width: int, before: int, after: int, data: st.DataObject
) -> None:
    on_top = data.draw(st.integers(0, 20))
    allowed = data.draw(st.integers(1, (height + on_top) * width + 10))
    tile = fit(height, width, before, after, allowed, on_top)
    (first, *_) = plan(height, width, tile, before, after)
    window = (first.shape[0] + on_top) * first.shape[1]
    smallest = (min(before + after + 1, height) + on_top) * min(before + after + 1, width)
    assert window <= max(allowed, smallest)
    if (height + on_top) * width <= allowed:
        assert first.shape == (height, width)


def test_a_large_picture_is_fitted_at_once() -> None:
    """24 megapixels in windows of 41,000: some hundred thousand windows are weighed, not listed."""
    tile = fit(4000, 6000, 72, 72, 41_000)
    spans = cut(4000, tile[0], 72, 72), cut(6000, tile[1], 72, 72)
    window = [each[0].stop - each[0].start for each in spans]
    assert window[0] * window[1] <= 41_000


@given(length=st.integers(1, 400), tile=st.integers(1, 120), before=sides, after=sides)
def test_windows_are_counted_as_they_are_cut(
    length: int, tile: int, before: int, after: int
) -> None:
    assert _count(length, tile, before + after) == len(cut(length, tile, before, after))


@settings(max_examples=25)
@example(height=40, width=40, allowed=576)
@given(height=st.integers(40, 90), width=st.integers(40, 90), allowed=st.integers(500, 3000))
def test_a_fitted_tile_computes_no_more_than_the_square_one(
    height: int, width: int, allowed: int
) -> None:
    def work(tile: tuple[int, int]) -> int:
        tiles = plan(height, width, tile, 4, 4)
        return len(tiles) * tiles[0].shape[0] * tiles[0].shape[1]

    side = int(allowed**0.5) - 8
    assert work(fit(height, width, 4, 4, allowed)) <= 1.05 * work((side, side))
