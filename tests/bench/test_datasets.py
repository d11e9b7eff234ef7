"""Datasets are recognised by the sizes of their pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lapsr_cli.bench.datasets import Size, recognise

# Sizes of the originals from public code and documents, with their odd sides.
SET5 = [(512, 512), (288, 288), (256, 256), (280, 280), (344, 228)]
SET14 = [
    *[(480, 500), (576, 720), (512, 512), (288, 352), (361, 250), (276, 276), (362, 500)],
    *[(288, 352), (512, 512), (512, 512), (512, 768), (512, 512), (656, 529), (391, 586)],
]
BSDS100 = [(321, 481)] * 63 + [(481, 321)] * 37
MANGA109 = [(1170, 827)] * 100 + [(1170, 1654)] * 9
SETS = {"Set5": SET5, "Set14": SET14, "BSDS100": BSDS100, "Manga109": MANGA109}


def cropped(sizes: list[Size], multiple: int) -> list[Size]:
    return [(h // multiple * multiple, w // multiple * multiple) for h, w in sizes]


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_the_real_datasets(shared: Callable[[str], Path], name: str) -> None:
    sizes = []
    for path in shared(f"data/test/{name}").glob("*.png"):
        with Image.open(path) as image:
            sizes.append((image.height, image.width))
    assert recognise(sizes) == name
    assert recognise(sizes[1:]) is None


@pytest.mark.parametrize("name", SETS)
@given(data=st.data())
def test_order_and_a_common_crop_do_not_matter(name: str, data: st.DataObject) -> None:
    multiple = data.draw(st.integers(1, 12))
    assert recognise(data.draw(st.permutations(cropped(SETS[name], multiple)))) == name


@pytest.mark.parametrize("name", SETS)
@given(data=st.data())
def test_a_dataset_with_an_extra_picture_is_unknown(name: str, data: st.DataObject) -> None:
    any_size = st.tuples(st.integers(1, 2000), st.integers(1, 2000))
    extra = data.draw(any_size | st.sampled_from(SETS[name]))
    assert recognise([*SETS[name], extra]) is None


@pytest.mark.parametrize("name", SETS)
@given(data=st.data())
def test_a_dataset_with_a_missing_picture_is_unknown(name: str, data: st.DataObject) -> None:
    sizes = list(SETS[name])
    del sizes[data.draw(st.integers(0, len(sizes) - 1))]
    assert recognise(sizes) is None


@pytest.mark.parametrize("name", ["Set5", "Set14", "BSDS100"])
@given(data=st.data())
def test_a_dataset_with_a_changed_size_is_unknown(name: str, data: st.DataObject) -> None:
    """Changed on one side, by more than a crop or an odd pixel can explain."""
    sizes = list(SETS[name])
    which = data.draw(st.integers(0, len(sizes) - 1))
    change = data.draw(st.integers(-200, -12) | st.integers(2, 200))
    height, width = sizes[which]
    sizes[which] = data.draw(st.sampled_from([(height + change, width), (height, width + change)]))
    assert recognise(sizes) is None


def test_pictures_cropped_to_different_multiples_are_unknown() -> None:
    assert recognise([*cropped(SET5[:1], 12), *SET5[1:]]) is None


def test_height_and_width_are_not_swapped() -> None:
    assert recognise([(w, h) for h, w in SET14]) is None


@pytest.mark.parametrize("page", [(1300, 827), (1170, 1240), (1170, 700)])
def test_a_picture_of_another_size_than_a_page(page: Size) -> None:
    assert recognise([*MANGA109[1:], page]) is None


def test_no_pictures_and_common_photographs() -> None:
    assert recognise([]) is None
    assert recognise([(3000, 4000)] * 100) is None
    assert recognise([(644, 1024)] * 100) is None
