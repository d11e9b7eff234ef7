"""The sizes users ask for, and shrinking to them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lapsr_cli.batch.targets import Target, enlargement
from lapsr_cli.errors import UsageError
from lapsr_cli.pixels import resize as resizing
from lapsr_cli.pixels.picture import Picture, Samples, Size
from lapsr_cli.pixels.resize import resize, resized

sides = st.integers(1, 40)


def drawn(height: int, width: int, channels: int, *, deep: bool = False, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    shape = (height, width) if channels == 1 else (height, width, channels)
    if deep:
        return rng.integers(0, 65536, shape, np.uint16)
    return rng.integers(0, 256, shape, np.uint8)


def planes(samples: Samples) -> torch.Tensor:
    """(C, H, W) in float64, not scaled."""
    return torch.from_numpy(np.atleast_3d(samples).astype(np.float64)).permute(2, 0, 1)


@settings(max_examples=60)
@given(
    size=st.tuples(sides, sides),
    times=st.sampled_from(["1/2", "3/8", "5/8", "3/4", "1/3", "9/10"]),
    channels=st.sampled_from([1, 3]),
    deep=st.booleans(),
    seed=st.integers(0, 99),
)
def test_shrunk_is_resize_rounded(
    size: tuple[int, int], times: str, channels: int, deep: bool, seed: int
) -> None:
    """Sides that the factor divides evenly, where both mean the same scale."""
    factor = Fraction(times)
    height, width = (factor.denominator * side for side in size)
    picture = Picture(drawn(height, width, channels, deep=deep, seed=seed))
    result = resized(picture, Size(int(factor * height), int(factor * width)))
    exact = resize(planes(picture.pixels), float(factor)).permute(1, 2, 0).numpy()
    exact = exact[: result.height, : result.width].clip(0, picture.full)  # ceil of a hair more
    apart = np.abs(np.atleast_3d(result.pixels) - exact)
    assert result.pixels.dtype == picture.pixels.dtype
    assert result.pixels.ndim == picture.pixels.ndim
    assert apart.max() < 0.5 + picture.full * 1e-6


@pytest.mark.parametrize(("height", "width"), [(30, 40), (37, 53), (20, 79)])
def test_shrunk_is_pillows_bicubic_away_from_the_edges(height: int, width: int) -> None:
    """Another hand's antialiased bicubic, also a = -0.5; it repeats no pixel at the edge, and
    rounds and cuts to 8 bits between the axes."""
    pixels = 64 + drawn(80, 80, 3) // 2
    ours = resized(Picture(pixels), Size(height, width)).pixels.astype(int)
    theirs = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    inner = (slice(3, -3), slice(3, -3))
    assert np.abs(ours[inner] - theirs[inner]).max() <= 1


@given(
    size=st.tuples(st.integers(2, 60), sides),
    result=st.tuples(st.integers(1, 40), sides),
    rows=st.integers(1, 20),
    alpha=st.booleans(),
)
def test_strips_of_any_height_give_the_same_bytes(
    size: tuple[int, int], result: tuple[int, int], rows: int, alpha: bool
) -> None:
    clear = drawn(*size, 1, seed=1) if alpha else None
    picture = Picture(drawn(*size, 3), clear)
    wanted = Size(min(size[0], result[0]), min(size[1], result[1]))
    whole = resized(picture, wanted)
    with pytest.MonkeyPatch.context() as patch:
        ratio = max(1.0, size[0] / wanted.height)
        patch.setattr(resizing, "_BLOCK_BYTES", rows * 16 * size[1] * ratio)
        strips = resized(picture, wanted)
    assert np.array_equal(whole.pixels, strips.pixels)
    if alpha:
        assert whole.alpha is not None
        assert strips.alpha is not None
        assert np.array_equal(whole.alpha, strips.alpha)


def test_a_flat_picture_stays_flat_in_both_depths() -> None:
    for value, dtype in ((255, np.uint8), (1, np.uint8), (65535, np.uint16), (40_001, np.uint16)):
        flat = np.full((31, 47, 3), value, dtype)
        assert (resized(Picture(flat), Size(13, 29)).pixels == value).all()


def test_sixteen_bits_are_finer_than_eight() -> None:
    ramp = np.broadcast_to(np.linspace(0, 65535, 2000).astype(np.uint16), (8, 2000))
    result = resized(Picture(np.ascontiguousarray(ramp)), Size(4, 1000)).pixels
    assert len(np.unique(result)) > 900


def test_what_is_clear_does_not_bleed_when_shrinking() -> None:
    """Green that nobody sees beside red that everybody does."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, :20], pixels[:, 20:] = (255, 0, 0), (0, 255, 0)
    alpha = np.zeros((40, 40), np.uint8)
    alpha[:, :20] = 255
    result = resized(Picture(pixels, alpha), Size(15, 15))
    assert result.alpha is not None
    seen = result.alpha > 0
    assert seen.any()
    assert not seen.all()
    assert (result.pixels[seen][:, 0] >= 254).all()
    assert (result.pixels[seen][:, 1] == 0).all()


def test_opaque_stays_opaque_and_changes_nothing() -> None:
    pixels = drawn(33, 41, 3)
    plain = resized(Picture(pixels), Size(20, 17))
    opaque = resized(Picture(pixels, np.full((33, 41), 255, np.uint8)), Size(20, 17))
    assert opaque.alpha is not None
    assert (opaque.alpha == 255).all()
    assert np.abs(opaque.pixels.astype(int) - plain.pixels).max() <= 1
    assert (opaque.pixels == plain.pixels).mean() > 0.999


def test_the_size_it_has_is_the_picture_itself() -> None:
    picture = Picture(drawn(5, 6, 3))
    assert resized(picture, Size(5, 6)) is picture


decimals = st.decimals(1, 64, places=4, allow_nan=False, allow_infinity=False)


@given(decimals)
def test_a_scale_is_the_decimal_that_was_written(value: object) -> None:
    target = Target(scale=str(value))
    assert target.factor(Size(3, 5)) == Fraction(str(value))
    assert float(target.label) == pytest.approx(float(Fraction(str(value))), rel=1e-5)
    assert "0" not in target.label.partition(".")[2][-1:]


@pytest.mark.parametrize(
    ("written", "label"),
    [("2", "2"), ("2.0", "2"), ("2.50", "2.5"), ("4.", "4"), ("64", "64"), ("1", "1")],
)
def test_labels_are_short(written: str, label: str) -> None:
    assert Target(scale=written).label == label


def test_labels_of_sizes_in_pixels() -> None:
    assert Target(width=1920).label == "w1920"
    assert Target(width=1920, height=1080).label == "w1920h1080"
    assert Target(long_edge=4000).label == "e4000"


@pytest.mark.parametrize(
    "scale", ["0.5", "0", "-2", "65", "64.0001", "two", "1/3", "4/2", "nan", "inf", "1e400", "2x"]
)
def test_scales_that_are_none(scale: str) -> None:
    with pytest.raises(UsageError, match="-s/--scale"):
        Target(scale=scale)


def test_a_target_of_nothing_and_of_no_pixels() -> None:
    with pytest.raises(UsageError, match="-s/--scale"):
        Target()
    with pytest.raises(UsageError, match="--width 0"):
        Target(width=0)
    with pytest.raises(UsageError, match="--height -1"):
        Target(width=3, height=-1)
    with pytest.raises(UsageError, match="--long-edge 0"):
        Target(long_edge=0)


boxes = st.integers(1, 500)


@given(size=st.tuples(boxes, boxes), width=boxes, height=boxes)
def test_a_box_is_filled_and_not_left(size: tuple[int, int], width: int, height: int) -> None:
    """As large as fits: one side is the box's, and the sides keep their ratio but for rounding."""
    before = Size(*size)
    after = Target(width=width, height=height).size(before)
    assert after.width <= width
    assert after.height <= height
    assert after.width == width or after.height == height
    factor = min(width / before.width, height / before.height)
    for side, was in ((after.width, before.width), (after.height, before.height)):
        assert side == 1 or abs(side - factor * was) <= 0.5 + 1e-9


@given(size=st.tuples(boxes, boxes), length=boxes)
def test_the_long_edge_is_exact(size: tuple[int, int], length: int) -> None:
    after = Target(long_edge=length).size(Size(*size))
    assert max(after.height, after.width) == length


@given(size=st.tuples(sides, sides), scale=st.sampled_from(["2", "4", "8", "64"]))
def test_whole_scales_give_whole_multiples(size: tuple[int, int], scale: str) -> None:
    assert Target(scale=scale).size(Size(*size)) == Size(int(scale) * size[0], int(scale) * size[1])


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        *[("1/3", 1), ("1", 1), ("1.01", 2), ("2", 2), ("2.5", 4), ("3", 4), ("4", 4), ("5", 8)],
        *[("8", 8), ("8.1", 16), ("16", 16), ("17", 32), ("32", 32), ("40", 64), ("64", 64)],
    ],
)
def test_the_least_enlargement_that_suffices(factor: str, expected: int) -> None:
    assert enlargement(Fraction(factor), (2, 4, 8)) == expected


@given(factor=st.fractions(0, 64), scales=st.sampled_from([(2,), (2, 4), (2, 4, 8), (4,), (8,)]))
def test_an_enlargement_suffices_and_is_made_of_passes(
    factor: Fraction, scales: tuple[int, ...]
) -> None:
    found = enlargement(factor, scales)
    assert Fraction(found) >= factor
    top = max(scales)
    passes = math.floor(math.log(found, top) + 1e-9)
    assert found // top**passes in (1, *scales)
    assert found % top**passes == 0
    if found > top:
        assert Fraction(found // top) < factor
