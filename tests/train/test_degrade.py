"""Degradation: parsing, and every part against scipy, Pillow or its formula."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from lapsr_cli.errors import UsageError
from lapsr_cli.pixels import resize
from lapsr_cli.train.degrade import Degradation, PatchDegradation, degraded
from lapsr_cli.train.recipe import Recipe
from tests.train.examples import assert_near

LIMITS = {
    "blur": (0, 8),
    "aspect": (0.1, 1),
    "noise": (0, 64),
    "shot": (0, 1),
    "correlation": (0, 4),
    "sharpen": (0, 4),
    "resize": (0.25, 4),
    "jpeg": (1, 100),
}
NEEDS = {"aspect": "blur", "shot": "noise", "correlation": "noise", "recoded": "jpeg"}


def hundredths(low: float, high: float) -> st.SearchStrategy[tuple[float, float]]:
    pair = st.lists(st.integers(round(100 * low), round(100 * high)), min_size=2, max_size=2)
    return pair.map(lambda values: (min(values) / 100, max(values) / 100))


@given(
    ranges=st.fixed_dictionaries({}, optional={k: hundredths(*v) for k, v in LIMITS.items()}),
    shares=st.fixed_dictionaries(
        {}, optional={k: st.integers(0, 100).map(lambda n: n / 100) for k in ("clean", "recoded")}
    ),
    rng=st.randoms(),
)
def test_every_valid_degradation_is_parsed(
    ranges: dict[str, tuple[float, float]], shares: dict[str, float], rng: random.Random
) -> None:
    parts = [f"{name}:{low:.2f}-{high:.2f}" for name, (low, high) in ranges.items()]
    parts += [f"{name}:{share:.2f}" for name, share in shares.items()]
    rng.shuffle(parts)
    text = " , ".join(parts)
    missing = [k for k, needed in NEEDS.items() if k in text and needed not in ranges]
    if missing:
        with pytest.raises(UsageError, match=f"({'|'.join(missing)}) needs"):
            Degradation.parse(text)
        return
    parsed = Degradation.parse(text)
    values: dict[str, Any] = {**ranges, **shares}
    assert parsed == Degradation(**values)
    assert bool(parsed) == bool({"blur", "noise", "sharpen", "resize", "jpeg"} & set(ranges))


def test_a_single_number_is_a_range() -> None:
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
        "recoded:0.5",
        "aspect:0.5",
        "blur:1,aspect:0-1",
        "resize:0.1-1",
        "sharpen:5",
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
PART = st.builds("{}:{}".format, st.sampled_from([*LIMITS, "recoded", "clean", "x"]), NUMBER)


@given(st.text() | st.lists(PART | st.text(max_size=4), max_size=3).map(",".join))
def test_any_text_is_parsed_or_a_usage_error(text: str) -> None:
    refusal = ""
    try:
        parsed = Degradation.parse(text)
    except UsageError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("--degrade ")
        return
    for name, (least, most) in LIMITS.items():
        values = getattr(parsed, name)
        assert values is None or least <= values[0] <= values[1] <= most
    assert 0 <= parsed.recoded <= 1
    assert 0 <= parsed.clean <= 1


def lr_patches(count: int, side: int = 24, seed: int = 0) -> torch.Tensor:
    """Smooth patches of 8-bit levels, fp32 (B, 1, h, w) in [0, 1]."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((count, 1, side // 4, side // 4)))
    return (resize.resize(coarse, 4.0).clamp(0, 1) * 255).round().float() / 255


def draw(text: str, count: int, seed: int = 0) -> list[PatchDegradation]:
    return Degradation.parse(text).sample(np.random.default_rng(seed), count)


def degrade(text: str, lr: torch.Tensor) -> tuple[torch.Tensor, list[PatchDegradation]]:
    drawn = draw(text, len(lr))
    return degraded(lr, drawn), drawn


def of_pillow(levels: NDArray[np.uint8], quality: int | None) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(levels, "L").save(file, format="JPEG", quality=quality)
    return np.array(Image.open(file), dtype=np.uint8)


def levels_of(patch: torch.Tensor) -> NDArray[np.uint8]:
    """(1, h, w) in [0, 1] -> (h, w)."""
    levels: NDArray[np.float64] = np.rint(patch[0].double().numpy() * 255)
    return levels.astype(np.uint8)


def test_jpeg_is_that_of_pillow_at_the_drawn_quality() -> None:
    lr = lr_patches(40)
    coded, drawn = degrade("jpeg:10-40", lr)
    qualities = {each.quality for each in drawn}
    assert qualities <= set(range(10, 41))
    assert len(qualities) > 10
    for patch, ours, each in zip(lr, coded, drawn, strict=True):
        expected = of_pillow(levels_of(patch), each.quality)
        assert not np.array_equal(expected, levels_of(patch))
        np.testing.assert_allclose(ours[0].numpy() * 255, expected, atol=1e-4)


def test_both_ends_of_the_quality_are_drawn() -> None:
    assert {each.quality for each in draw("jpeg:94-95", 64)} == {94, 95}


def test_a_patch_that_is_encoded_twice_has_blocks_elsewhere() -> None:
    lr = lr_patches(60)
    coded, drawn = degrade("jpeg:10-40,recoded:0.5", lr)
    assert len({each.first_block for each in drawn}) > 30
    assert 15 < sum(each.first_quality is not None for each in drawn) < 45
    for patch, ours, each in zip(lr, coded, drawn, strict=True):
        levels = levels_of(patch)
        if each.first_quality is not None:
            row, column = each.first_block
            whole = np.pad(levels, ((row, 0), (column, 0)), mode="edge")
            levels = of_pillow(whole, each.first_quality)[row:, column:]
        np.testing.assert_array_equal(levels_of(ours), of_pillow(levels, each.quality))


@pytest.mark.parametrize("shape", [(24, 24), (8, 8), (12, 20)])
@pytest.mark.parametrize("sigma", [0.3, 0.5, 0.8, 1.0, 1.25, 1.5])
def test_blur_is_a_gaussian_filter(sigma: float, shape: tuple[int, int]) -> None:
    lr = torch.from_numpy(np.random.default_rng(0).random((3, 1, *shape))).float()
    blurred, drawn = degrade(f"blur:{sigma}", lr)
    assert {each.blur for each in drawn} == {sigma}
    for patch, ours in zip(lr, blurred, strict=True):
        expected = gaussian_filter(patch[0].double().numpy(), sigma, mode="nearest", truncate=12)
        np.testing.assert_allclose(ours[0].numpy(), expected, atol=1e-4)


def test_each_patch_is_blurred_by_its_own_sigma() -> None:
    lr = lr_patches(16)
    blurred, drawn = degrade("blur:0-1.5", lr)
    sigmas = [each.blur for each in drawn]
    assert min(sigmas) < 0.3
    assert max(sigmas) > 1.2
    for patch, ours, sigma in zip(lr, blurred, sigmas, strict=True):
        expected = gaussian_filter(patch[0].double().numpy(), sigma, mode="nearest", truncate=20)
        np.testing.assert_allclose(ours[0].numpy(), expected, atol=1e-4)


def moments(impulse: NDArray[np.float64]) -> NDArray[np.float64]:
    """The covariance matrix of a distribution over rows and columns, (2, 2)."""
    places = np.indices(impulse.shape).reshape(2, -1)
    return np.cov(places, aweights=impulse.reshape(-1).clip(0), bias=True)


def test_an_anisotropic_blur_has_the_axes_and_the_angle_that_were_drawn() -> None:
    impulse = torch.zeros(30, 1, 61, 61)
    impulse[:, :, 30, 30] = 1
    blurred, drawn = degrade("blur:3-5,aspect:0.4-1", impulse)
    angles = np.array([each.angle for each in drawn])
    assert np.ptp(angles) > 2
    assert min(each.aspect for each in drawn) < 0.5
    for ours, each in zip(blurred, drawn, strict=True):
        axis = np.array([np.cos(each.angle), np.sin(each.angle)])
        normal = np.array([-axis[1], axis[0]])
        expected = each.blur**2 * (np.outer(axis, axis) + each.aspect**2 * np.outer(normal, normal))
        np.testing.assert_allclose(moments(ours[0].double().numpy()), expected, atol=0.1)


def test_a_blur_of_zero_blurs_nothing() -> None:
    lr = lr_patches(3)
    assert_near(degrade("blur:0", lr)[0], lr)


@pytest.mark.parametrize("sigma", [1.0, 5.0, 30.0])
def test_noise_is_white_and_has_the_given_standard_deviation(sigma: float) -> None:
    lr = torch.full((40, 1, 32, 32), 0.5)
    noisy, _ = degrade(f"noise:{sigma}", lr)
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


def test_each_patch_has_its_own_noise_level() -> None:
    noisy, drawn = degrade("noise:0-20", torch.full((30, 1, 32, 32), 0.5))
    measured = (noisy.double()[:, 0] * 255).std(dim=(1, 2)).numpy()
    levels = [each.noise for each in drawn]
    np.testing.assert_allclose(measured, levels, rtol=0.15)
    assert min(levels) < 4
    assert max(levels) > 16


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_correlated_noise_keeps_its_variance(width: float) -> None:
    """The correlation of Gaussian-filtered white noise is a Gaussian of sqrt(2) times the width."""
    noisy, _ = degrade(f"noise:10,correlation:{width}", torch.full((60, 1, 48, 48), 0.5))
    added = (noisy - 0.5).double().numpy()[:, 0] * 25.5
    assert added.std() == pytest.approx(1, rel=0.05)
    taps = gaussian_filter(np.eye(1, 41, 20)[0], width, truncate=8)
    for distance in (1, 2, 3):
        expected = (taps[distance:] * taps[:-distance]).sum() / (taps**2).sum()
        for one, other in (
            (added[:, distance:], added[:, :-distance]),
            (added[..., distance:], added[..., :-distance]),
        ):
            assert (one * other).mean() == pytest.approx(expected, abs=0.05)


def encoded_as_srgb(light: float) -> float:
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("light", [0.001, 0.01, 0.1, 0.5, 0.9])
def test_shot_noise_follows_the_light(light: float, share: float) -> None:
    """Simulated: noise is added to light, and then encoded."""
    middle = 0.2140411  # of the level 0.5
    step = 1e-5
    slope = (encoded_as_srgb(light + step) - encoded_as_srgb(light)) / step
    middle_slope = (encoded_as_srgb(middle + step) - encoded_as_srgb(middle)) / step
    variance = (1 - share) * middle + share * light  # relative to middle grey's
    expected = slope * np.sqrt(variance) / (middle_slope * np.sqrt(middle))
    lr = torch.full((40, 1, 32, 32), encoded_as_srgb(light), dtype=torch.float64)
    noisy, _ = degrade(f"noise:2,shot:{share}", lr)
    assert (noisy - lr).std().item() * 255 / 2 == pytest.approx(expected, rel=0.03)


def test_sharpening_is_an_unsharp_mask_before_or_after_resizing() -> None:
    lr = torch.from_numpy(np.random.default_rng(0).random((20, 1, 24, 24)))
    sharpened, drawn = degrade("sharpen:0.5-2,resize:2", lr)
    assert {each.sharpen_first for each in drawn} == {False, True}

    def mask(photo: NDArray[np.float64], amount: float) -> NDArray[np.float64]:
        blurred = gaussian_filter(photo, 1, mode="nearest")
        return np.asarray((1 + amount) * photo - amount * blurred)

    for patch, ours, each in zip(lr, sharpened, drawn, strict=True):
        photo = resize.resize(patch[0], 2).numpy()
        if each.sharpen_first:
            photo = mask(photo, each.sharpen)
        photo = resize.resize(torch.from_numpy(photo), 0.5).numpy()
        if not each.sharpen_first:
            photo = mask(photo, each.sharpen)
        np.testing.assert_allclose(ours[0], photo, atol=1e-12)


def test_a_small_camera_picture_is_soft_and_a_large_one_has_less_noise() -> None:
    lr = torch.from_numpy(np.random.default_rng(0).random((4, 1, 32, 32)))
    small, _ = degrade("resize:0.5", lr)
    for patch, ours in zip(lr, small, strict=True):
        half = resize.resize(patch[0], 0.5)
        np.testing.assert_allclose(ours[0], resize.resize(half, 2), atol=1e-12)
    flat = torch.full((40, 1, 32, 32), 0.5)
    shrunk, _ = degrade("noise:10,resize:2", flat)
    averaged = resize.matrix(64, 0.5).numpy()
    expected = 10 * (averaged**2).sum(axis=1).mean()
    assert (shrunk - flat).std().item() * 255 == pytest.approx(expected, rel=0.03)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 999),
)
def test_any_patch_keeps_its_size(height: int, width: int, seed: int) -> None:
    """Every part at once; JPEG gives 8-bit levels."""
    text = (
        "blur:0-2,aspect:0.1-1,noise:0-30,shot:0-1,correlation:0-2,sharpen:0-2,resize:0.25-4,"
        "jpeg:1-100,recoded:0.5"
    )
    lr = torch.rand(2, 1, height, width)
    result = degraded(lr, draw(text, 2, seed))
    assert result.shape == lr.shape
    levels = result.double() * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    assert result.min() >= 0
    assert result.max() <= 1


def test_clean_1_changes_nothing() -> None:
    lr = lr_patches(8)
    untouched, _ = degrade("blur:1,noise:20,jpeg:10,clean:1", lr)
    assert torch.equal(untouched, lr)


def test_the_clean_share_is_unchanged_and_the_rest_is_not() -> None:
    lr = lr_patches(400, side=8)
    degraded_lr, drawn = degrade("blur:1,noise:20,jpeg:50,clean:0.3", lr)
    same = (degraded_lr == lr).flatten(1).all(dim=1).numpy()
    np.testing.assert_array_equal(same, [each.clean for each in drawn])
    assert 0.2 < same.mean() < 0.4


def test_blur_comes_before_noise_and_noise_before_jpeg() -> None:
    lr = lr_patches(6).double()
    drawn = draw("blur:1,noise:20,jpeg:60", 6)
    nothing = {"blur": 0.0, "noise": 0.0, "quality": None}
    steps = lr
    for name in nothing:
        rest = {key: value for key, value in nothing.items() if key != name}
        steps = degraded(steps, [replace(each, **rest) for each in drawn])  # type: ignore[arg-type]
    assert torch.equal(degraded(lr, drawn), steps)


def test_a_degradation_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--degrade jpeg:60,jpeg:70: jpeg is given twice"):
        Degradation.parse("jpeg:60,jpeg:70")
