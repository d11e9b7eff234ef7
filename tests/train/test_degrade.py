"""Degradation: parsing, blur, noise and JPEG, against scipy and Pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from lapsr_cli.errors import UsageError
from lapsr_cli.pixels import resize
from lapsr_cli.train.degrade import Degradation
from lapsr_cli.train.recipe import Recipe
from tests.train.examples import assert_near


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
def test_every_valid_degradation_is_parsed(
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
def test_any_text_is_parsed_or_a_usage_error(text: str) -> None:
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
    """Smooth patches of 8-bit levels, fp32 (B, 1, h, w) in [0, 1]."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((count, 1, side // 4, side // 4)))
    return (resize.resize(coarse, 4.0).clamp(0, 1) * 255).round().float() / 255


def degraded(text: str, lr: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, Any]:
    degradation = Degradation.parse(text)
    params = degradation.sample(np.random.default_rng(seed), len(lr))
    return degradation.apply(lr, params), params


def test_jpeg_is_that_of_pillow_at_the_drawn_quality() -> None:
    lr = lr_patches(40)
    coded, params = degraded("jpeg:10-40", lr)
    assert set(params.quality) <= set(range(10, 41))
    assert len(set(params.quality)) > 10
    for patch, ours, quality in zip(lr, coded, params.quality, strict=True):
        file = io.BytesIO()
        pixels = np.rint(patch[0].double().numpy() * 255).astype(np.uint8)
        Image.fromarray(pixels, "L").save(file, format="JPEG", quality=int(quality))
        expected = np.array(Image.open(file))
        assert not np.array_equal(expected, pixels)
        np.testing.assert_array_equal((ours[0].double() * 255).numpy().round(), expected)
        np.testing.assert_allclose(ours[0].numpy() * 255, expected, atol=1e-4)


def test_both_ends_of_the_quality_are_drawn() -> None:
    _, params = degraded("jpeg:94-95", lr_patches(64))
    assert set(params.quality) == {94, 95}


@pytest.mark.parametrize("shape", [(24, 24), (8, 8), (12, 20)])
@pytest.mark.parametrize("sigma", [0.3, 0.5, 0.8, 1.0, 1.25, 1.5])
def test_blur_is_a_gaussian_filter(sigma: float, shape: tuple[int, int]) -> None:
    lr = torch.from_numpy(np.random.default_rng(0).random((3, 1, *shape))).float()
    blurred, params = degraded(f"blur:{sigma}", lr)
    np.testing.assert_allclose(params.blur, sigma)
    for patch, ours in zip(lr, blurred, strict=True):
        expected = gaussian_filter(patch[0].double().numpy(), sigma, mode="nearest", truncate=12)
        np.testing.assert_allclose(ours[0].numpy(), expected, atol=1e-4)


def test_each_patch_is_blurred_by_its_own_sigma() -> None:
    lr = lr_patches(16)
    blurred, params = degraded("blur:0-1.5", lr)
    assert params.blur.min() < 0.3
    assert params.blur.max() > 1.2
    for patch, ours, sigma in zip(lr, blurred, params.blur, strict=True):
        expected = gaussian_filter(patch[0].double().numpy(), sigma, mode="nearest", truncate=20)
        np.testing.assert_allclose(ours[0].numpy(), expected, atol=1e-4)


def test_a_blur_of_zero_blurs_nothing() -> None:
    lr = lr_patches(3)
    assert_near(degraded("blur:0", lr)[0], lr)


@pytest.mark.parametrize("sigma", [1.0, 5.0, 30.0])
def test_noise_is_white_and_has_the_given_standard_deviation(sigma: float) -> None:
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


def test_each_patch_has_its_own_noise_level() -> None:
    noisy, params = degraded("noise:0-20", torch.full((30, 1, 32, 32), 0.5))
    measured = (noisy.double()[:, 0] * 255).std(dim=(1, 2)).numpy()
    np.testing.assert_allclose(measured, params.noise, rtol=0.15)
    assert params.noise.min() < 4
    assert params.noise.max() > 16


def test_clean_1_changes_nothing() -> None:
    lr = lr_patches(8)
    untouched, _ = degraded("blur:1,noise:20,jpeg:10,clean:1", lr)
    assert torch.equal(untouched, lr)


def test_the_clean_share_is_unchanged_and_the_rest_is_not() -> None:
    lr = lr_patches(400, side=8)
    degraded_lr, params = degraded("blur:1,noise:20,jpeg:50,clean:0.3", lr)
    same = (degraded_lr == lr).flatten(1).all(dim=1).numpy()
    np.testing.assert_array_equal(same, params.clean)
    assert 0.2 < same.mean() < 0.4


def test_blur_comes_before_noise_and_noise_before_jpeg() -> None:
    lr = lr_patches(6)
    params = Degradation.parse("blur:1,noise:20,jpeg:60").sample(np.random.default_rng(0), 6)
    steps = lr
    for text in ("blur:1", "noise:20", "jpeg:60"):
        steps = Degradation.parse(text).apply(steps, params)
    at_once = Degradation.parse("jpeg:60,noise:20,blur:1").apply(lr, params)
    assert torch.equal(at_once, steps)
    levels = at_once.double() * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


def test_a_degradation_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--degrade jpeg:60,jpeg:70: jpeg is given twice"):
        Degradation.parse("jpeg:60,jpeg:70")
