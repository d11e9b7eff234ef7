"""From folders of pictures to batches: pictures, patches, degradation."""

from __future__ import annotations

import io
import itertools
import logging
import math
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from lapsr_cli.device.selection import choose
from lapsr_cli.errors import NothingMatched, UnreadablePicture, UsageError
from lapsr_cli.inference.evaluation import bicubic_score
from lapsr_cli.metrics import protocol
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.pixels import resize
from lapsr_cli.train.dataset import Pictures, load, paths_in, read_luma
from lapsr_cli.train.degrade import Degradation
from lapsr_cli.train.distributed import Ranks
from lapsr_cli.train.loss import Part
from lapsr_cli.train.patches import Draw, Patches, cut
from lapsr_cli.train.recipe import Recipe
from lapsr_cli.train.validation import Validator, open_sets
from tests.conftest import draw
from tests.pixels.test_resize import matrix as matrix_of_the_definition

PATCH = 16
SUBSETS = [subset for n in (1, 2, 3) for subset in itertools.combinations((2, 4, 8), n)]
TURNS = list(itertools.product([False, True], [False, True], [False, True]))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of so small work wait for each other for most of the time on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def noise(*sizes: tuple[int, int], seed: int = 0) -> Pictures:
    """Pictures of white noise, (height, width) each."""
    rng = np.random.default_rng(seed)
    heights, widths = np.array(sizes, dtype=np.int64).T
    offsets = np.concatenate([[0], np.cumsum(heights * widths)[:-1]])
    pixels = torch.from_numpy(rng.integers(0, 256, int((heights * widths).sum()), dtype=np.uint8))
    return Pictures(pixels, offsets, heights, widths, tuple(f"{n}.png" for n in range(len(sizes))))


def near(ours: torch.Tensor, expected: torch.Tensor | NDArray[np.float64]) -> None:
    """Within 1e-6, a quarter of a thousandth of an 8-bit level."""
    values = torch.as_tensor(np.ascontiguousarray(expected), dtype=torch.float64)
    torch.testing.assert_close(ours.double(), values, rtol=0, atol=1e-6)


def turned(window: NDArray[Any], rows: bool, columns: bool, transpose: bool) -> NDArray[Any]:
    window = window[::-1] if rows else window
    window = window[:, ::-1] if columns else window
    return window.T if transpose else window


def whole_picture_first(pictures: Pictures, one: Draw, patch: int) -> NDArray[np.float64]:
    """Of a draw of one patch: the whole picture resized in float64, then cropped and turned."""
    picture = pictures[int(one.picture[0])].double() / 255
    shrunk = resize.resize(picture, float(one.shrink[0])).numpy()
    top, left = int(one.top[0]), int(one.left[0])
    window = shrunk[top : top + patch, left : left + patch]
    assert window.shape == (patch, patch)
    return turned(window, one.flip_rows[0], one.flip_columns[0], one.transpose[0])


def check_cut(pictures: Pictures, drawn: Draw, patch: int = PATCH) -> None:
    patches = cut(pictures, drawn, patch)
    assert patches.shape == (len(drawn), 1, patch, patch)
    assert patches.dtype == torch.float32
    for number in range(len(drawn)):
        expected = whole_picture_first(pictures, drawn[number : number + 1], patch)
        near(patches[number, 0], expected)


OnePatch = tuple[int, float, int, int, tuple[bool, bool, bool]]


def draw_of(rows: Sequence[OnePatch]) -> Draw:
    """A Draw of (picture, shrink, top, left, turn)."""
    picture, shrink, top, left, turns = zip(*rows, strict=True)
    return Draw(
        np.array(picture), np.array(shrink), np.array(top), np.array(left), *np.array(turns).T
    )


def resized_side(length: int, shrink: float) -> int:
    return int(np.ceil(length * shrink))


@settings(max_examples=60)
@given(data=st.data())
def test_a_patch_is_cut_as_from_the_whole_picture(data: st.DataObject) -> None:
    side = st.one_of(st.just(PATCH), st.integers(PATCH, PATCH + 2), st.integers(PATCH, 60))
    sizes = data.draw(st.lists(st.tuples(side, side), min_size=1, max_size=3))
    rows = []
    for _ in range(data.draw(st.integers(1, 4))):
        number = data.draw(st.integers(0, len(sizes) - 1))
        least = max(0.5, PATCH / min(sizes[number]))
        tenths = st.sampled_from([t / 10 for t in range(5, 11) if t / 10 >= least])
        shrink = data.draw(st.one_of(tenths, st.just(least), st.floats(least, 1)))
        room = [resized_side(length, shrink) - PATCH for length in sizes[number]]
        top, left = (data.draw(st.one_of(st.integers(0, r), st.sampled_from([0, r]))) for r in room)
        rows.append((number, shrink, top, left, data.draw(st.sampled_from(TURNS))))
    check_cut(noise(*sizes), draw_of(rows))


@pytest.mark.parametrize("shrink", [0.5, 0.6, 0.83, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("size", [(40, 40), (33, 64), (71, 35)])
def test_patches_at_all_borders_and_in_all_turns(size: tuple[int, int], shrink: float) -> None:
    tops, lefts = ((0, 1, resized_side(side, shrink) - PATCH) for side in size)
    places = itertools.product(tops, lefts, TURNS)
    check_cut(noise(size), draw_of([(0, shrink, *place) for place in places]))


@pytest.mark.parametrize("size", [(16, 16), (16, 17), (17, 16), (18, 50)])
def test_without_shrinking_a_patch_is_pixels_of_the_picture(size: tuple[int, int]) -> None:
    pictures = noise(size)
    corner = draw_of([(0, 1.0, 0, 0, (False, False, False))])
    expected = pictures[0][:PATCH, :PATCH].double().numpy() / 255
    near(cut(pictures, corner, PATCH)[0, 0], expected)
    check_cut(pictures, draw_of([(0, 1.0, size[0] - PATCH, size[1] - PATCH, t) for t in TURNS]))


def test_a_draw_mixes_pictures_and_shrinks_of_every_size() -> None:
    sizes = [(16, 16), (200, 20), (31, 90), (128, 128)]
    recipe = Recipe(patch_size=PATCH, batch_size=96, scale_augmentation=0.1)
    pictures = noise(*sizes)
    drawn = Patches(pictures, recipe).draw(np.random.default_rng(0))
    assert set(drawn.picture) == {0, 1, 2, 3}
    assert drawn.shrink.min() < 0.2
    check_cut(pictures, drawn)


@pytest.mark.parametrize("edge", ["mirror", "replicate"])
@pytest.mark.parametrize("scale", [0.125, 0.25, 1 / 3, 0.5, 0.7, 0.83, 1.0, 2.0])
@pytest.mark.parametrize("length", [1, 8, 24])
def test_the_matrix_is_that_of_the_definition(length: int, scale: float, edge: resize.Edge) -> None:
    expected = matrix_of_the_definition(length, scale, edge)
    np.testing.assert_allclose(resize.matrix(length, scale, edge=edge), expected, atol=1e-12)


def test_the_matrix_answers_to_unit_impulses_as_resize_does() -> None:
    impulses = torch.eye(24, dtype=torch.float64)[:, :, None].expand(24, 24, 24)
    for scale in (0.125, 0.25, 0.5):
        answers = resize.resize(impulses, scale)[:, :, 0].T  # columns are flat and stay so
        torch.testing.assert_close(resize.matrix(24, scale), answers, rtol=0, atol=1e-12)


@pytest.mark.parametrize("edge", ["mirror", "replicate"])
def test_contributions_are_rows_of_the_matrix_for_each_axis_of_its_own(edge: resize.Edge) -> None:
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


def network_for(scales: tuple[int, ...]) -> PyramidConfig:
    return PyramidConfig(levels=max(scales).bit_length() - 1)


def recipe_of(scales: tuple[int, ...] = (2, 4, 8), **values: Any) -> Recipe:
    small = {"patch_size": PATCH, "batch_size": 9, "network": network_for(scales)}
    return Recipe(scales=scales, **{**small, **values})


@pytest.mark.parametrize("scales", SUBSETS, ids=str)
@pytest.mark.parametrize("patch", [16, 24])
def test_every_scale_has_its_part_with_lr_and_targets_as_by_resize(
    scales: tuple[int, ...], patch: int
) -> None:
    recipe = recipe_of(scales, patch_size=patch, batch_size=12)
    batch = Patches(noise((40, 50), (64, 30)), recipe).batch(3)
    assert [part.scale for part in batch] == list(scales)
    for part in batch:
        count = 12 // len(scales)
        assert part.patches == count
        assert part.lr.shape == (count, 1, patch // part.scale, patch // part.scale)
        assert list(part.targets) == [scale for scale in (2, 4, 8) if scale <= part.scale]
        hr = part.targets[part.scale].double()
        assert hr.shape == (count, 1, patch, patch)
        lr = resize.resize(hr, 1 / part.scale)
        near(part.lr.double(), lr)
        for level, target in part.targets.items():
            expected = resize.resize(hr, level / part.scale)
            near(target.double(), expected)


def test_without_a_pyramid_there_is_one_target() -> None:
    network = PyramidConfig(levels=3, pyramid=False)
    (part,) = Patches(noise((40, 50)), recipe_of((8,), network=network)).batch(0)
    assert list(part.targets) == [8]
    lr = resize.resize(part.targets[8].double(), 1 / 8)
    near(part.lr.double(), lr)


@pytest.mark.parametrize("batch_size", [3, 4, 5, 16, 17, 64])
def test_the_parts_are_as_equal_as_can_be(batch_size: int) -> None:
    batch = Patches(noise((40, 50)), recipe_of(batch_size=batch_size)).batch(0)
    sizes = [len(part.lr) for part in batch]
    assert sum(sizes) == batch_size
    assert max(sizes) - min(sizes) <= 1
    assert [part.patches for part in batch] == sizes


def test_the_target_at_the_scale_itself_is_a_window_of_a_picture() -> None:
    pictures = noise((40, 30), (21, 50))
    batch = Patches(pictures, recipe_of(scale_augmentation=1.0, batch_size=24)).batch(1)
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
            turns = [turned(pixels, *turn) for turn in TURNS]
            assert sum((windows == turn).all(axis=(1, 2)).any() for turn in turns) == 1


def everything(batch: list[Part]) -> list[torch.Tensor]:
    return [tensor for part in batch for tensor in (part.lr, *part.targets.values())]


def equal(one: list[Part], other: list[Part]) -> bool:
    pairs = zip(everything(one), everything(other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


HARM = "blur:0-8,noise:0-30,clean:0.3"


@pytest.mark.parametrize("degrade", ["", HARM, HARM + ",jpeg:30-95"])
def test_a_batch_depends_on_seed_and_iteration_alone(degrade: str) -> None:
    pictures = noise((40, 50), (64, 30))
    recipe = recipe_of(degrade=degrade, seed=5)
    patches = Patches(pictures, recipe)
    seventh = patches.batch(7)
    patches.batch(8)
    torch.manual_seed(99)
    np.random.seed(99)
    assert equal(patches.batch(7), seventh)
    assert equal(Patches(pictures, recipe_of(degrade=degrade, seed=5)).batch(7), seventh)
    for seed, iteration in [(5, 8), (6, 7), (6, 6), (4, 8), (7, 5), (0, 12)]:
        other = Patches(pictures, recipe_of(degrade=degrade, seed=seed)).batch(iteration)
        assert not any(map(torch.equal, everything(other), everything(seventh)))


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("degrade", ["", HARM])
@pytest.mark.parametrize("batch_size", [18, 23])
def test_all_ranks_together_have_the_batch_of_one(
    world: int, degrade: str, batch_size: int
) -> None:
    pictures = noise((40, 50), (64, 30), (16, 16))
    recipe = recipe_of(degrade=degrade, batch_size=batch_size)
    for iteration in range(4):
        whole = Patches(pictures, recipe).batch(iteration)
        shares = [Patches(pictures, recipe, rank, world).batch(iteration) for rank in range(world)]
        for part, *mine in zip(whole, *shares, strict=True):
            sizes = [len(share.lr) for share in mine]
            assert max(sizes) - min(sizes) <= 1
            assert {share.patches for share in mine} == {part.patches}
            near(torch.cat([share.lr for share in mine]), part.lr)
            for scale, target in part.targets.items():
                together = torch.cat([share.targets[scale] for share in mine])
                near(together, target)


def test_all_ranks_together_have_the_jpeg_coded_batch_of_one() -> None:
    pictures = noise((40, 50), (64, 30))
    recipe = recipe_of((2,), degrade="jpeg:20-95", batch_size=40)
    (whole,) = Patches(pictures, recipe).batch(0)
    shares = [Patches(pictures, recipe, rank, 2).batch(0)[0].lr for rank in range(2)]
    # A last bit may differ before the rounding to 8 bits, so a patch or two may.
    same = (torch.cat(shares) - whole.lr).abs().amax(dim=(1, 2, 3)) < 1e-6
    assert same.float().mean() >= 0.9


def test_a_patch_is_blurred_the_same_whichever_others_are_on_its_device() -> None:
    edge = torch.zeros(300, 300, dtype=torch.uint8)
    edge[:, 150:] = 255
    side = np.array([300])
    pictures = Pictures(edge.view(-1), np.array([0]), side, side, ("edge.png",))
    recipe = recipe_of((2,), degrade="blur:0-8", batch_size=16, patch_size=128)
    (whole,) = Patches(pictures, recipe).batch(0)
    each = [Patches(pictures, recipe, rank, 16).batch(0)[0].lr for rank in range(16)]
    near(torch.cat(each), whole.lr)


def many_draws(pictures: Pictures, **values: Any) -> Draw:
    recipe = recipe_of(batch_size=40_000, **values)
    return Patches(pictures, recipe).draw(np.random.default_rng(1))


def check_shares(counts: NDArray[Any], shares: NDArray[Any]) -> None:
    """Counts within five standard deviations of a multinomial distribution."""
    total = counts.sum()
    allowed = 5 * np.sqrt(total * shares * (1 - shares))
    assert (np.abs(counts - total * shares) < allowed).all()


def test_pictures_are_drawn_by_their_area() -> None:
    drawn = many_draws(noise((16, 16), (40, 20), (100, 100), (16, 300)))
    areas = np.array([256, 800, 10_000, 4_800])
    check_shares(np.bincount(drawn.picture, minlength=4), areas / areas.sum())


def test_every_place_is_as_likely_as_another() -> None:
    drawn = many_draws(noise((20, 25)), scale_augmentation=1.0)
    assert set(drawn.shrink) == {1.0}
    places = np.bincount(drawn.top * 10 + drawn.left, minlength=50)
    assert len(places) == 50  # 5 rows of 10, no more
    check_shares(places, np.full(50, 1 / 50))


def test_every_pixel_far_from_the_borders_is_as_likely_as_another() -> None:
    sizes = [(200, 200), (200, 368)]
    seen = [np.zeros(size) for size in sizes]
    drawn = many_draws(noise(*sizes), scale_augmentation=1.0)
    for number, top, left in zip(drawn.picture, drawn.top, drawn.left, strict=True):
        seen[number][top : top + PATCH, left : left + PATCH] += 1
    inside = [counts[PATCH:-PATCH, PATCH:-PATCH] for counts in seen]
    blocks = [counts.reshape(8, 21, -1, 21).mean(axis=(1, 3)) for counts in inside]
    mean = np.mean([counts.mean() for counts in blocks])
    for counts in blocks:
        assert counts.min() > 0.75 * mean
        assert counts.max() < 1.25 * mean
        assert counts.mean() == pytest.approx(mean, rel=0.05)


def test_every_turn_is_as_likely_as_another() -> None:
    drawn = many_draws(noise((20, 25)))
    turns = 4 * drawn.flip_rows + 2 * drawn.flip_columns + 1 * drawn.transpose
    check_shares(np.bincount(turns), np.full(8, 1 / 8))


@pytest.mark.parametrize(
    ("least", "tenths"),
    [(0.5, range(5, 11)), (0.65, range(7, 11)), (0.54, range(6, 11)), (1, [10])],
)
def test_pictures_are_shrunk_by_tenths_to_scale_augmentation_or_more(
    least: float, tenths: Sequence[int]
) -> None:
    drawn = many_draws(noise((200, 200)), scale_augmentation=least)
    shrinks, counts = np.unique(drawn.shrink, return_counts=True)
    np.testing.assert_allclose(shrinks, np.array(tenths) / 10, rtol=1e-15)
    if len(tenths) > 1:
        check_shares(counts, np.full(len(tenths), 1 / len(tenths)))


def test_no_patch_reaches_beyond_its_picture() -> None:
    sides = [96, 97, 187, 273, 311, 400]  # 187 * (96 / 187) is above 96 in floating point
    pictures = noise(*[(side, side + 3) for side in sides])
    drawn = Patches(pictures, Recipe(batch_size=4000, patch_size=96)).draw(np.random.default_rng(0))
    for number, shrink, top, left in zip(
        drawn.picture, drawn.shrink, drawn.top, drawn.left, strict=True
    ):
        exact = Fraction(shrink).limit_denominator(1000)  # a tenth, or 96 / side
        for corner, length in ((top, sides[number]), (left, sides[number] + 3)):
            assert 0 <= corner <= math.ceil(length * exact) - 96


# Pictures.


def luma_by_the_formula(path: Path) -> NDArray[np.int64]:
    """BT.601 studio swing of the 8-bit values, rounded; DESIGN section 2."""
    rgb = np.array(Image.open(path).convert("RGB")).astype(np.float64)
    luma = 16 + (65.481 * rgb[..., 0] + 128.553 * rgb[..., 1] + 24.966 * rgb[..., 2]) / 255
    return np.rint(luma).astype(np.int64)


def loaded(paths: Sequence[Path], tmp_path: Path, **values: Any) -> Pictures:
    options = {"smallest": 16, "budget": 10**9, "spill": tmp_path / "spill.luma"}
    return load(paths, **{**options, **values})


def test_colour_becomes_luma_and_grey_stays(tmp_path: Path) -> None:
    colour = draw(tmp_path / "colour.png", 31, 22)
    other = draw(tmp_path / "other.png", 17, 40, seed=1)
    grey = draw(tmp_path / "grey.png", 20, 25, mode="L", seed=2)
    pictures = loaded([colour, grey, other], tmp_path)
    assert len(pictures) == 3
    assert pictures.names == (str(colour), str(grey), str(other))
    assert pictures.heights.tolist() == [22, 25, 40]
    assert pictures.widths.tolist() == [31, 20, 17]
    assert pictures.pixels.dtype == torch.uint8
    np.testing.assert_array_equal(pictures[0].numpy(), luma_by_the_formula(colour))
    np.testing.assert_array_equal(pictures[1].numpy(), np.array(Image.open(grey)))
    np.testing.assert_array_equal(pictures[2].numpy(), luma_by_the_formula(other))


def test_a_picture_that_lies_on_its_side_is_set_upright(tmp_path: Path) -> None:
    image = Image.open(draw(tmp_path / "flat.png", 30, 20, mode="L"))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    expected = np.rot90(np.array(image), -1)
    np.testing.assert_allclose(read_luma(tmp_path / "turned.png") * 255, expected, atol=1e-9)
    np.testing.assert_array_equal(loaded([tmp_path / "turned.png"], tmp_path)[0], expected)


def test_luma_of_16_bits_has_them_and_what_shows_through_is_refused(tmp_path: Path) -> None:
    fine = np.arange(400, dtype=np.uint16).reshape(20, 20) * 160
    Image.fromarray(fine).save(tmp_path / "deep.png")
    np.testing.assert_allclose(read_luma(tmp_path / "deep.png"), fine / 65535, atol=1e-12)
    opaque = Image.open(draw(tmp_path / "a.png", 20, 20)).convert("RGBA")
    opaque.save(tmp_path / "opaque.png")
    assert torch.equal(read_luma(tmp_path / "opaque.png"), read_luma(tmp_path / "a.png"))
    opaque.putpixel((3, 3), (0, 0, 0, 254))
    opaque.save(tmp_path / "clear.png")
    with pytest.raises(UnreadablePicture, match=r"clear\.png: is transparent"):
        read_luma(tmp_path / "clear.png")


def test_a_run_that_harms_is_validated_on_what_is_harmed(tmp_path: Path) -> None:
    draw(tmp_path / "val" / "a.png", 64, 48)
    (each,) = open_sets([str(tmp_path / "val")], tmp_path / "run", 2)
    ranks = Ranks(0, 1, torch.device("cpu"))
    harmed = Validator([each], [2], choose("cpu"), ranks, Degradation.parse("jpeg:40,clean:1"))
    coded = io.BytesIO()
    lr = (resize.resize(each.hr[0], 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    Image.fromarray(lr.numpy()).save(coded, "JPEG", quality=40)
    decoded = torch.from_numpy(np.array(Image.open(coded))).double() / 255
    expected = protocol.score(resize.resize(decoded, 2.0), each.hr[0], 2)
    assert harmed.bicubic()["val"][2] == pytest.approx(expected, abs=1e-9)
    clean = Validator([each], [2], choose("cpu"), ranks).bicubic()["val"][2]
    assert clean == pytest.approx(bicubic_score(each.hr[0], 2), abs=1e-9)
    assert clean[0] > expected[0] + 0.1


def test_pictures_that_cannot_be_used_are_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = [draw(tmp_path / f"good{n}.png", 20 + n, 20, seed=n) for n in range(12)]
    cut_off = draw(tmp_path / "cut_off.png", 40, 40)
    cut_off.write_bytes(cut_off.read_bytes()[:-200])
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    low, narrow = draw(tmp_path / "low.png", 40, 15), draw(tmp_path / "narrow.png", 15, 40)
    gone = tmp_path / "gone.png"
    paths = [cut_off, *good[:5], text, low, *good[5:9], narrow, gone, *good[9:]]
    with caplog.at_level(logging.WARNING, "lapsr_cli"):
        pictures = loaded(paths, tmp_path)
    assert pictures.names == tuple(map(str, good))
    for n, path in enumerate(good):
        np.testing.assert_array_equal(pictures[n].numpy(), luma_by_the_formula(path))
    for path in (cut_off, text, low, narrow, gone):
        (message,) = [m for m in caplog.messages if str(path) in m]
        assert message.startswith("left out: ")
    assert len(caplog.messages) == 5
    assert any("40 x 15 is less than a patch" in m for m in caplog.messages)


def test_it_is_an_error_when_none_is_left(tmp_path: Path) -> None:
    paths = [draw(tmp_path / "a.png", 15, 15), draw(tmp_path / "b.png", 8, 90)]
    with pytest.raises(NothingMatched, match="--data: none of 2 pictures"):
        loaded(paths, tmp_path)


@pytest.mark.parametrize("budget", [0, 500, 1000])
def test_pictures_mapped_from_the_disk_have_the_same_pixels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, budget: int
) -> None:
    paths = [draw(tmp_path / f"{n}.png", 20 + n, 17 + 2 * n, seed=n) for n in range(5)]
    spill = tmp_path / "pictures.luma"
    spill.write_bytes(b"of a session before")
    with caplog.at_level(logging.INFO, "lapsr_cli"):
        in_memory = loaded(paths, tmp_path)
        assert not caplog.messages
        mapped = loaded(paths, tmp_path, budget=budget, spill=spill)
    (message,) = caplog.messages
    assert f"mapped from {spill}" in message
    assert torch.equal(mapped.pixels, in_memory.pixels)
    for n, path in enumerate(paths):
        np.testing.assert_array_equal(mapped[n].numpy(), luma_by_the_formula(path))
    recipe = recipe_of()
    assert equal(Patches(mapped, recipe).batch(0), Patches(in_memory, recipe).batch(0))


@pytest.mark.skipif(os.name != "posix", reason="an open file can be removed on POSIX only")
def test_the_mapped_file_takes_no_place_after_the_run(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 20, 17)
    pictures = loaded([path], tmp_path, budget=0)
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(pictures[0].numpy(), luma_by_the_formula(path))


def test_the_folder_of_the_mapped_file_need_not_be_there(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 20, 17)
    pictures = loaded([path], tmp_path, budget=0, spill=tmp_path / "run" / "pictures.luma")
    np.testing.assert_array_equal(pictures[0].numpy(), luma_by_the_formula(path))


def test_pictures_are_found_below_folders_but_not_in_the_run(tmp_path: Path) -> None:
    paths = [draw(tmp_path / "data" / name) for name in ("a.png", "z.png", "deep/b.png")]
    draw(tmp_path / "data" / "run" / "result.png")
    other = draw(tmp_path / "more" / "c.png")
    (tmp_path / "data" / "notes.txt").touch()
    folders = [str(tmp_path / "data"), str(tmp_path / "more")]
    found = paths_in(folders, "--data", tmp_path / "data" / "run")
    assert found == [*paths, other]


@pytest.mark.parametrize("flag", ["--data", "--val"])
def test_an_empty_and_a_missing_folder_are_named_with_their_flag(tmp_path: Path, flag: str) -> None:
    draw(tmp_path / "full" / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    for name in ("empty", "missing"):
        folders = [str(tmp_path / "full"), str(tmp_path / name)]
        with pytest.raises(NothingMatched) as error:
            paths_in(folders, flag, tmp_path / "run")
        assert str(error.value).startswith(f"{flag} {tmp_path / name}: ")


# Degradation.


def hundredths(low: int, high: int) -> st.SearchStrategy[tuple[float, float]]:
    pair = st.lists(st.integers(100 * low, 100 * high), min_size=2, max_size=2)
    return pair.map(lambda values: (min(values) / 100, max(values) / 100))


@given(
    blur=st.none() | hundredths(0, 8),
    noise=st.none() | hundredths(0, 64),
    jpeg=st.none() | hundredths(1, 100),
    clean=st.integers(0, 100).map(lambda share: share / 100),
    order=st.permutations(range(4)),
)
def test_what_is_written_is_parsed(
    blur: tuple[float, float] | None,
    noise: tuple[float, float] | None,
    jpeg: tuple[float, float] | None,
    clean: float,
    order: list[int],
) -> None:
    ranges = {"blur": blur, "noise": noise, "jpeg": jpeg}
    parts = [f"{k}:{v[0]:.2f}-{v[1]:.2f}" if v else "" for k, v in ranges.items()]
    parts.append(f"clean:{clean:.2f}")
    parsed = Degradation.parse(" , ".join(parts[index] for index in order))
    assert parsed == Degradation(blur=blur, noise=noise, jpeg=jpeg, clean=clean)
    assert bool(parsed) == any((blur, noise, jpeg))


def test_one_number_is_a_range_of_one() -> None:
    assert Degradation.parse("jpeg:75") == Degradation(jpeg=(75.0, 75.0))
    assert not Degradation.parse("")


@pytest.mark.parametrize(
    "text",
    [
        "jpeg",
        "jpeg:",
        "jpeg:60-",
        "jpeg:-60",
        "jpeg:60-70-80",
        "jpeg:95-60",
        "jpeg:0-50",
        "jpeg:60-101",
        "jpg:60",
        "blur:1-0.5",
        "blur:0-9",
        "blur:1..2",
        "blur:.",
        "noise:0-65",
        "noise:-1",
        "noise:nan",
        "noise:inf",
        "noise:1e1",
        "clean:1.1",
        "clean:0.1-0.9",
        "jpeg:60;blur:1",
        "jpeg:60 blur:1",
        "60-95",
        ":",
    ],
)
def test_a_malformed_degradation_is_a_usage_error_that_names_the_flag(text: str) -> None:
    for whole in (text, f"noise:0-3,{text}", f"{text},noise:0-3"):
        with pytest.raises(UsageError, match="--degrade"):
            Degradation.parse(whole)
    with pytest.raises(UsageError, match="--degrade"):
        Recipe(degrade=text)


NUMBER = st.text(alphabet="0123456789.٣-e", max_size=8)
PART = st.builds("{}:{}".format, st.sampled_from(["jpeg", "blur", "noise", "clean", "x"]), NUMBER)


@given(st.text() | st.lists(PART | st.text(max_size=4), max_size=3).map(",".join))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    refusal = ""
    try:
        parsed = Degradation.parse(text)
    except UsageError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("--degrade ")
        return
    limits = {"blur": (0, 8), "noise": (0, 64), "jpeg": (1, 100)}
    for name, (least, most) in limits.items():
        values = getattr(parsed, name)
        assert values is None or least <= values[0] <= values[1] <= most
    assert 0 <= parsed.clean <= 1


def lr_patches(count: int, side: int = 24, seed: int = 0) -> torch.Tensor:
    """Smooth patches in 8-bit levels, as fp32 in [0, 1]."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((count, 1, side // 4, side // 4)))
    return (resize.resize(coarse, 4.0).clamp(0, 1) * 255).round().float() / 255


def degraded(text: str, lr: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, Any]:
    degradation = Degradation.parse(text)
    harm = degradation.draw(np.random.default_rng(seed), len(lr))
    return degradation.apply(lr, harm), harm


def test_jpeg_is_the_coder_of_pil_at_the_drawn_quality() -> None:
    lr = lr_patches(40)
    coded, harm = degraded("jpeg:10-40", lr)
    assert set(harm.quality) <= set(range(10, 41))
    assert len(set(harm.quality)) > 10
    for patch, ours, quality in zip(lr, coded, harm.quality, strict=True):
        file = io.BytesIO()
        pixels = np.rint(patch[0].double().numpy() * 255).astype(np.uint8)
        Image.fromarray(pixels, "L").save(file, format="JPEG", quality=int(quality))
        expected = np.array(Image.open(file))
        assert not np.array_equal(expected, pixels)
        np.testing.assert_array_equal((ours[0].double() * 255).numpy().round(), expected)
        np.testing.assert_allclose(ours[0].numpy() * 255, expected, atol=1e-4)


def test_both_ends_of_the_quality_are_drawn() -> None:
    _, harm = degraded("jpeg:94-95", lr_patches(64))
    assert set(harm.quality) == {94, 95}


@pytest.mark.parametrize("shape", [(24, 24), (8, 8), (12, 20)])
@pytest.mark.parametrize("sigma", [0.3, 0.5, 0.8, 1.0, 1.25, 1.5])
def test_blur_is_a_gaussian_filter(sigma: float, shape: tuple[int, int]) -> None:
    lr = torch.from_numpy(np.random.default_rng(0).random((3, 1, *shape))).float()
    blurred, harm = degraded(f"blur:{sigma}", lr)
    np.testing.assert_allclose(harm.blur, sigma)
    for patch, ours in zip(lr, blurred, strict=True):
        expected = gaussian_filter(patch[0].double().numpy(), sigma, mode="nearest", truncate=12)
        np.testing.assert_allclose(ours[0].numpy(), expected, atol=1e-4)


def test_each_patch_is_blurred_by_its_own_sigma() -> None:
    lr = lr_patches(16)
    blurred, harm = degraded("blur:0-1.5", lr)
    assert harm.blur.min() < 0.3
    assert harm.blur.max() > 1.2
    for patch, ours, sigma in zip(lr, blurred, harm.blur, strict=True):
        expected = gaussian_filter(patch[0].double().numpy(), sigma, mode="nearest", truncate=20)
        np.testing.assert_allclose(ours[0].numpy(), expected, atol=1e-4)


def test_a_blur_of_zero_blurs_nothing() -> None:
    lr = lr_patches(3)
    near(degraded("blur:0", lr)[0], lr)


@pytest.mark.parametrize("sigma", [1.0, 5.0, 30.0])
def test_noise_is_white_and_as_strong_as_asked(sigma: float) -> None:
    lr = torch.full((40, 1, 32, 32), 0.5)
    noisy, _ = degraded(f"noise:{sigma}", lr)
    added = (noisy - lr).double().numpy()[:, 0] * 255
    assert added.std() == pytest.approx(sigma, rel=0.02)
    assert abs(added.mean()) < 0.02 * sigma
    assert abs((added / sigma) ** 4).mean() == pytest.approx(3, rel=0.1)  # normal
    pairs = [
        (added[:, 1:], added[:, :-1]),
        (added[..., 1:], added[..., :-1]),
        (added[1:], added[:-1]),
    ]
    for one, next_to_it in pairs:
        assert abs((one * next_to_it).mean()) < 0.03 * sigma**2


def test_each_patch_has_noise_of_its_own_strength() -> None:
    noisy, harm = degraded("noise:0-20", torch.full((30, 1, 32, 32), 0.5))
    measured = (noisy.double()[:, 0] * 255).std(dim=(1, 2)).numpy()
    np.testing.assert_allclose(measured, harm.noise, rtol=0.15)
    assert harm.noise.min() < 4
    assert harm.noise.max() > 16


def test_all_clean_leaves_every_bit() -> None:
    lr = lr_patches(8)
    untouched, _ = degraded("blur:1,noise:20,jpeg:10,clean:1", lr)
    assert torch.equal(untouched, lr)


def test_a_share_is_spared_and_the_rest_is_not() -> None:
    lr = lr_patches(400, side=8)
    hurt, harm = degraded("blur:1,noise:20,jpeg:50,clean:0.3", lr)
    same = (hurt == lr).flatten(1).all(dim=1).numpy()
    np.testing.assert_array_equal(same, harm.spared)
    assert 0.2 < same.mean() < 0.4


def test_blur_comes_before_noise_and_noise_before_jpeg() -> None:
    lr = lr_patches(6)
    harm = Degradation.parse("blur:1,noise:20,jpeg:60").draw(np.random.default_rng(0), 6)
    steps = lr
    for text in ("blur:1", "noise:20", "jpeg:60"):
        steps = Degradation.parse(text).apply(steps, harm)
    at_once = Degradation.parse("jpeg:60,noise:20,blur:1").apply(lr, harm)
    assert torch.equal(at_once, steps)
    levels = at_once.double() * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


def test_a_degraded_batch_keeps_its_targets() -> None:
    pictures = noise((40, 50), (64, 30))
    clean = Patches(pictures, recipe_of()).batch(2)
    harmed = Patches(pictures, recipe_of(degrade="noise:10")).batch(2)
    for one, other in zip(clean, harmed, strict=True):
        assert not torch.equal(one.lr, other.lr)
        assert (one.lr - other.lr).abs().max() < 60 / 255
        for scale, target in one.targets.items():
            assert torch.equal(target, other.targets[scale])


def test_a_harm_that_comes_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--degrade jpeg:60,jpeg:70: jpeg comes twice"):
        Degradation.parse("jpeg:60,jpeg:70")
