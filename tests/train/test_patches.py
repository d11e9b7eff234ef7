"""Patches and batches, against resizing whole pictures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.pixels import resize
from lapsr_cli.train.dataset import Dataset
from lapsr_cli.train.patches import CropParams, PatchSampler, crop
from lapsr_cli.train.recipe import Recipe
from tests.train.examples import PATCH, all_tensors, assert_near, equal, noise, patch_recipe

SUBSETS = [subset for n in (1, 2, 3) for subset in itertools.combinations((2, 4, 8), n)]
SYMMETRIES = list(itertools.product([False, True], [False, True], [False, True]))


def transformed(window: NDArray[Any], rows: bool, columns: bool, transpose: bool) -> NDArray[Any]:
    window = window[::-1] if rows else window
    window = window[:, ::-1] if columns else window
    return window.T if transpose else window


def by_resizing_the_whole_picture(
    pictures: Dataset, one: CropParams, patch: int
) -> NDArray[np.float64]:
    """One patch: the whole picture downscaled in float64, then cropped and transformed."""
    picture = pictures[int(one.picture[0])].double() / 255
    shrunk = resize.resize(picture, float(one.shrink[0])).numpy()
    top, left = int(one.top[0]), int(one.left[0])
    window = shrunk[top : top + patch, left : left + patch]
    assert window.shape == (patch, patch)
    return transformed(window, one.flip_rows[0], one.flip_columns[0], one.transpose[0])


def check_crop(pictures: Dataset, drawn: CropParams, patch: int = PATCH) -> None:
    patches = crop(pictures, drawn, patch)
    assert patches.shape == (len(drawn), 1, patch, patch)
    assert patches.dtype == torch.float32
    for number in range(len(drawn)):
        expected = by_resizing_the_whole_picture(pictures, drawn[number : number + 1], patch)
        assert_near(patches[number, 0], expected)


OneCrop = tuple[int, float, int, int, tuple[bool, bool, bool]]


def crop_params(rows: Sequence[OneCrop]) -> CropParams:
    """CropParams from (picture, shrink, top, left, symmetry)."""
    picture, shrink, top, left, symmetries = zip(*rows, strict=True)
    return CropParams(
        np.array(picture), np.array(shrink), np.array(top), np.array(left), *np.array(symmetries).T
    )


def downscaled_side(length: int, shrink: float) -> int:
    return int(np.ceil(length * shrink))


@settings(max_examples=60)
@given(data=st.data())
def test_a_patch_is_cropped_as_from_the_whole_picture(data: st.DataObject) -> None:
    side = st.one_of(st.just(PATCH), st.integers(PATCH, PATCH + 2), st.integers(PATCH, 60))
    sizes = data.draw(st.lists(st.tuples(side, side), min_size=1, max_size=3))
    rows = []
    for _ in range(data.draw(st.integers(1, 4))):
        number = data.draw(st.integers(0, len(sizes) - 1))
        least = max(0.5, PATCH / min(sizes[number]))
        tenths = st.sampled_from([t / 10 for t in range(5, 11) if t / 10 >= least])
        shrink = data.draw(st.one_of(tenths, st.just(least), st.floats(least, 1)))
        spare = [downscaled_side(length, shrink) - PATCH for length in sizes[number]]
        top, left = (
            data.draw(st.one_of(st.integers(0, r), st.sampled_from([0, r]))) for r in spare
        )
        rows.append((number, shrink, top, left, data.draw(st.sampled_from(SYMMETRIES))))
    check_crop(noise(*sizes), crop_params(rows))


@pytest.mark.parametrize("shrink", [0.5, 0.6, 0.83, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("size", [(40, 40), (33, 64), (71, 35)])
def test_patches_at_all_borders_and_in_all_symmetries(size: tuple[int, int], shrink: float) -> None:
    tops, lefts = ((0, 1, downscaled_side(side, shrink) - PATCH) for side in size)
    places = itertools.product(tops, lefts, SYMMETRIES)
    check_crop(noise(size), crop_params([(0, shrink, *place) for place in places]))


@pytest.mark.parametrize("size", [(16, 16), (16, 17), (17, 16), (18, 50)])
def test_without_downscaling_a_patch_has_the_pixels_of_the_picture(size: tuple[int, int]) -> None:
    pictures = noise(size)
    corner = crop_params([(0, 1.0, 0, 0, (False, False, False))])
    expected = pictures[0][:PATCH, :PATCH].double().numpy() / 255
    assert_near(crop(pictures, corner, PATCH)[0, 0], expected)
    check_crop(
        pictures, crop_params([(0, 1.0, size[0] - PATCH, size[1] - PATCH, t) for t in SYMMETRIES])
    )


def test_a_batch_mixes_pictures_and_factors_of_every_size() -> None:
    sizes = [(16, 16), (200, 20), (31, 90), (128, 128)]
    recipe = Recipe(patch_size=PATCH, batch_size=96, scale_augmentation=0.1)
    pictures = noise(*sizes)
    drawn = PatchSampler(pictures, recipe).sample(np.random.default_rng(0))
    assert set(drawn.picture) == {0, 1, 2, 3}
    assert drawn.shrink.min() < 0.2
    check_crop(pictures, drawn)


@pytest.mark.parametrize("scales", SUBSETS, ids=str)
@pytest.mark.parametrize("patch", [16, 24])
def test_every_scale_has_lr_and_targets_as_by_resize(scales: tuple[int, ...], patch: int) -> None:
    recipe = patch_recipe(scales, patch_size=patch, batch_size=12)
    batch = PatchSampler(noise((40, 50), (64, 30)), recipe).batch(3)
    assert [part.scale for part in batch] == list(scales)
    for part in batch:
        count = 12 // len(scales)
        assert part.global_size == count
        assert part.lr.shape == (count, 1, patch // part.scale, patch // part.scale)
        assert list(part.targets) == [scale for scale in (2, 4, 8) if scale <= part.scale]
        hr = part.targets[part.scale].double()
        assert hr.shape == (count, 1, patch, patch)
        lr = resize.resize(hr, 1 / part.scale)
        assert_near(part.lr.double(), lr)
        for level, target in part.targets.items():
            expected = resize.resize(hr, level / part.scale)
            assert_near(target.double(), expected)


def test_without_a_pyramid_there_is_one_target() -> None:
    network = PyramidConfig(levels=3, pyramid=False)
    (part,) = PatchSampler(noise((40, 50)), patch_recipe((8,), network=network)).batch(0)
    assert list(part.targets) == [8]
    lr = resize.resize(part.targets[8].double(), 1 / 8)
    assert_near(part.lr.double(), lr)


@pytest.mark.parametrize("batch_size", [3, 4, 5, 16, 17, 64])
def test_the_parts_differ_by_at_most_one_patch(batch_size: int) -> None:
    batch = PatchSampler(noise((40, 50)), patch_recipe(batch_size=batch_size)).batch(0)
    sizes = [len(part.lr) for part in batch]
    assert sum(sizes) == batch_size
    assert max(sizes) - min(sizes) <= 1
    assert [part.global_size for part in batch] == sizes


def test_the_target_at_the_scale_itself_is_a_window_of_a_picture() -> None:
    pictures = noise((40, 30), (21, 50))
    batch = PatchSampler(pictures, patch_recipe(scale_augmentation=1.0, batch_size=24)).batch(1)
    windows = np.concatenate(
        [
            np.lib.stride_tricks.sliding_window_view(pictures[n].numpy(), (PATCH, PATCH)).reshape(
                -1, PATCH, PATCH
            )
            for n in range(2)
        ]
    )
    for part in batch:
        for hr in (part.targets[part.scale][:, 0] * 255).numpy():
            pixels = hr.round().astype(np.uint8)
            np.testing.assert_allclose(hr, pixels, atol=1e-3)
            versions = [transformed(pixels, *each) for each in SYMMETRIES]
            assert sum((windows == each).all(axis=(1, 2)).any() for each in versions) == 1


DEGRADE = "blur:0-8,aspect:0.2-1,noise:0-30,shot:1,correlation:0-1,sharpen:1,resize:0.5-2,clean:0.3"


@pytest.mark.parametrize("degrade", ["", DEGRADE, DEGRADE + ",jpeg:30-95"])
def test_a_batch_depends_on_seed_and_iteration_alone(degrade: str) -> None:
    pictures = noise((40, 50), (64, 30))
    recipe = patch_recipe(degrade=degrade, seed=5)
    patches = PatchSampler(pictures, recipe)
    seventh = patches.batch(7)
    patches.batch(8)
    torch.manual_seed(99)
    np.random.seed(99)
    assert equal(patches.batch(7), seventh)
    assert equal(PatchSampler(pictures, patch_recipe(degrade=degrade, seed=5)).batch(7), seventh)
    for seed, iteration in [(5, 8), (6, 7), (6, 6), (4, 8), (7, 5), (0, 12)]:
        other = PatchSampler(pictures, patch_recipe(degrade=degrade, seed=seed)).batch(iteration)
        assert not any(map(torch.equal, all_tensors(other), all_tensors(seventh)))


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("degrade", ["", DEGRADE])
@pytest.mark.parametrize("batch_size", [18, 23])
def test_the_shares_of_all_ranks_make_up_the_batch(
    world_size: int, degrade: str, batch_size: int
) -> None:
    pictures = noise((40, 50), (64, 30), (16, 16))
    recipe = patch_recipe(degrade=degrade, batch_size=batch_size)
    for iteration in range(4):
        whole = PatchSampler(pictures, recipe).batch(iteration)
        shares = [
            PatchSampler(pictures, recipe, rank, world_size).batch(iteration)
            for rank in range(world_size)
        ]
        sizes = [sum(len(part.lr) for part in share) for share in shares]
        assert max(sizes) - min(sizes) <= 1
        first = 0
        for part, *mine in zip(whole, *shares, strict=True):
            assert {share.global_size for share in mine} == {part.global_size}
            for rank, share in enumerate(mine):
                numbers = [n for n in range(len(part.lr)) if (first + n) % world_size == rank]
                assert_near(share.lr, part.lr[numbers])
                for scale, target in part.targets.items():
                    assert_near(share.targets[scale], target[numbers])
            first += len(part.lr)


def test_the_shares_of_all_ranks_make_up_the_jpeg_coded_batch() -> None:
    pictures = noise((40, 50), (64, 30))
    recipe = patch_recipe((2,), degrade="jpeg:20-95", batch_size=40)
    (whole,) = PatchSampler(pictures, recipe).batch(0)
    shares = [PatchSampler(pictures, recipe, rank, 2).batch(0)[0].lr for rank in range(2)]
    # Before the rounding to 8 bits the last bit may differ, so a few patches may.
    together = torch.stack(shares, dim=1).flatten(0, 1)  # rank 0's first patch, rank 1's, ...
    same = (together - whole.lr).abs().amax(dim=(1, 2, 3)) < 1e-6
    assert same.float().mean() >= 0.9


def test_the_blur_of_a_patch_does_not_depend_on_the_other_patches() -> None:
    edge = torch.zeros(300, 300, dtype=torch.uint8)
    edge[:, 150:] = 255
    side = np.array([300])
    pictures = Dataset(edge.view(-1), np.array([0]), side, side, ("edge.png",))
    recipe = patch_recipe((2,), degrade="blur:0-8", batch_size=16, patch_size=128)
    (whole,) = PatchSampler(pictures, recipe).batch(0)
    each = [PatchSampler(pictures, recipe, rank, 16).batch(0)[0].lr for rank in range(16)]
    assert_near(torch.cat(each), whole.lr)


def sample_many(pictures: Dataset, **values: Any) -> CropParams:
    recipe = patch_recipe(batch_size=40_000, **values)
    return PatchSampler(pictures, recipe).sample(np.random.default_rng(1))


def check_shares(counts: NDArray[Any], shares: NDArray[Any]) -> None:
    """Assert that counts are within five standard deviations of a multinomial distribution."""
    total = counts.sum()
    allowed = 5 * np.sqrt(total * shares * (1 - shares))
    assert (np.abs(counts - total * shares) < allowed).all()


def test_pictures_are_drawn_by_their_area() -> None:
    drawn = sample_many(noise((16, 16), (40, 20), (100, 100), (16, 300)))
    areas = np.array([256, 800, 10_000, 4_800])
    check_shares(np.bincount(drawn.picture, minlength=4), areas / areas.sum())


def test_every_position_is_equally_likely() -> None:
    drawn = sample_many(noise((20, 25)), scale_augmentation=1.0)
    assert set(drawn.shrink) == {1.0}
    places = np.bincount(drawn.top * 10 + drawn.left, minlength=50)
    assert len(places) == 50  # 5 rows of 10, no more
    check_shares(places, np.full(50, 1 / 50))


def test_every_pixel_far_from_the_borders_is_equally_likely() -> None:
    sizes = [(200, 200), (200, 368)]
    seen = [np.zeros(size) for size in sizes]
    drawn = sample_many(noise(*sizes), scale_augmentation=1.0)
    for number, top, left in zip(drawn.picture, drawn.top, drawn.left, strict=True):
        seen[number][top : top + PATCH, left : left + PATCH] += 1
    inside = [counts[PATCH:-PATCH, PATCH:-PATCH] for counts in seen]
    blocks = [counts.reshape(8, 21, -1, 21).mean(axis=(1, 3)) for counts in inside]
    mean = np.mean([counts.mean() for counts in blocks])
    for counts in blocks:
        assert counts.min() > 0.75 * mean
        assert counts.max() < 1.25 * mean
        assert counts.mean() == pytest.approx(mean, rel=0.05)


def test_every_symmetry_is_equally_likely() -> None:
    drawn = sample_many(noise((20, 25)))
    symmetry = 4 * drawn.flip_rows + 2 * drawn.flip_columns + 1 * drawn.transpose
    check_shares(np.bincount(symmetry), np.full(8, 1 / 8))


@pytest.mark.parametrize(
    ("least", "tenths"),
    [(0.5, range(5, 11)), (0.65, range(7, 11)), (0.54, range(6, 11)), (1, [10])],
)
def test_scale_augmentation_is_in_steps_of_a_tenth(least: float, tenths: Sequence[int]) -> None:
    drawn = sample_many(noise((200, 200)), scale_augmentation=least)
    shrinks, counts = np.unique(drawn.shrink, return_counts=True)
    np.testing.assert_allclose(shrinks, np.array(tenths) / 10, rtol=1e-15)
    if len(tenths) > 1:
        check_shares(counts, np.full(len(tenths), 1 / len(tenths)))


def test_no_patch_extends_beyond_its_picture() -> None:
    sides = [96, 97, 187, 273, 311, 400]  # 187 * (96 / 187) is above 96 in floating point
    pictures = noise(*[(side, side + 3) for side in sides])
    drawn = PatchSampler(pictures, Recipe(batch_size=4000, patch_size=96)).sample(
        np.random.default_rng(0)
    )
    for number, shrink, top, left in zip(
        drawn.picture, drawn.shrink, drawn.top, drawn.left, strict=True
    ):
        exact = Fraction(shrink).limit_denominator(1000)  # a tenth, or 96 / side
        for corner, length in ((top, sides[number]), (left, sides[number] + 3)):
            assert 0 <= corner <= math.ceil(length * exact) - 96


def test_a_degraded_batch_keeps_its_targets() -> None:
    pictures = noise((40, 50), (64, 30))
    clean = PatchSampler(pictures, patch_recipe()).batch(2)
    degraded = PatchSampler(pictures, patch_recipe(degrade="noise:10")).batch(2)
    for one, other in zip(clean, degraded, strict=True):
        assert not torch.equal(one.lr, other.lr)
        assert (one.lr - other.lr).abs().max() < 60 / 255
        for scale, target in one.targets.items():
            assert torch.equal(target, other.targets[scale])
