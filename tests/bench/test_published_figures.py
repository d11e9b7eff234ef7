"""Published figures: each has two sources and is consistent with measured ones."""

from __future__ import annotations

from itertools import combinations

import pytest

from lapsr_cli.bench.published import published
from lapsr_cli.bench.results import Published
from tests.bench.test_published import EXPECTED

DATASETS = ("Set5", "Set14", "BSDS100", "Urban100", "Manga109")
SCALES = (2, 4, 8)
ROWS = [row for dataset in DATASETS for scale in SCALES for row in published(dataset, scale)]

MEASURED = {
    (method.partition("_x")[0], dataset, scale): scores
    for (method, dataset, scale), scores in EXPECTED.items()
}
"""The independent measurement on luma, by the methods' names in the papers."""


def at(method: str, dataset: str, scale: int) -> Published:
    (row,) = [row for row in published(dataset, scale) if row.method == method]
    return row


def test_every_figure_has_two_sources_and_is_listed_once() -> None:
    assert ROWS
    for row in ROWS:
        assert len(set(row.sources)) == len(row.sources) >= 2, row
        assert row.psnr is not None or row.ssim is not None, row
        assert row.psnr is None or 15 < row.psnr < 45, row
        assert row.ssim is None or 0.4 < row.ssim < 1, row
        assert row.ifc is None or 0 < row.ifc < 12, row
    keys = [(row.method, row.dataset, row.scale) for row in ROWS]
    assert len(set(keys)) == len(keys)


def test_no_figures_for_other_datasets_and_scales() -> None:
    assert published("Set5", 3) == ()
    assert published("holiday", 2) == ()


@pytest.mark.parametrize("figure", ["psnr", "ssim"])
def test_larger_scales_are_harder(figure: str) -> None:
    pairs = [
        (getattr(small, figure), getattr(large, figure))
        for small, large in combinations(sorted(ROWS, key=lambda row: row.scale), 2)
        if (small.method, small.dataset) == (large.method, large.dataset)
    ]
    known = [(small, large) for small, large in pairs if small is not None and large is not None]
    assert len(known) > 15
    for small, large in known:
        assert small > large


@pytest.mark.parametrize("figure", ["psnr", "ssim"])
@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("scale", [2, 4])
def test_every_network_beats_bicubic_and_srcnn_is_the_weakest(
    dataset: str, scale: int, figure: str
) -> None:
    figures = {row.method: getattr(row, figure) for row in published(dataset, scale)}
    known = {method: value for method, value in figures.items() if value is not None}
    bicubic = known.pop("bicubic", 0)
    srcnn = known.pop("SRCNN", bicubic)
    assert bicubic <= srcnn
    assert all(value > srcnn for value in known.values())


def test_figures_agree_with_the_independent_measurement() -> None:
    """To a tenth of a dB, because the papers round RGB; the SSIM to 0.003."""
    compared = [row for row in ROWS if (row.method, row.dataset, row.scale) in MEASURED]
    assert {(row.method, row.dataset) for row in compared} == {
        ("bicubic", "Set5"),
        ("bicubic", "Set14"),
        ("LapSRN", "Set5"),
    }
    for row in compared:
        psnr, ssim = MEASURED[row.method, row.dataset, row.scale]
        if row.psnr is not None:
            assert row.psnr == pytest.approx(psnr, abs=0.1), row
        if row.ssim is not None:
            assert row.ssim == pytest.approx(ssim, abs=0.003), row


def test_methods_are_in_order_of_publication() -> None:
    methods = [row.method for row in published("Set5", 4)]
    assert methods == ["bicubic", "SRCNN", "VDSR", "DRCN", "LapSRN", "DRRN"]
    assert at("LapSRN", "Set5", 4).psnr == 31.54
