"""IFC against the authors' values and a plain version of its definition, and its properties."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lapsr_cli.errors import UsageError
from lapsr_cli.metrics import ifc as module
from lapsr_cli.metrics import protocol
from lapsr_cli.metrics.ifc import SMALLEST_SIDE, ifc, subbands

Array = NDArray[np.float64]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On pictures this small, threads wait for each other longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drawn(height: int = 75, width: int = 90) -> Array:
    """Rings of growing frequency and waves, in 256 levels."""
    rows, columns = np.mgrid[:height, :width].astype(float)
    rings = np.cos((rows**2 + columns**2) / 150)
    waves = np.sin(0.9 * rows) * np.sin(0.35 * columns + 1)
    return np.asarray(np.round(127.5 + 60 * rings + 50 * waves) / 255)


def noise(shape: tuple[int, ...], sigma: float, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, sigma, shape)


def blurred(picture: Array, sigma: float) -> Array:
    return np.asarray(ndimage.gaussian_filter(picture, sigma))


def of(picture: Array, reference: Array) -> float:
    return ifc(torch.from_numpy(picture), torch.from_numpy(reference))


# --- the authors' values ---


def test_the_reference_pairs(shared: Callable[[str], Path]) -> None:
    """30 pairs scored by the authors' MATLAB code, to six decimals."""
    folder = shared("reference/ifc")

    def luma(name: str) -> Array:
        return np.asarray(Image.open(folder / name), dtype=np.float64) / 255

    with (folder / "ifc.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 30
    for row in rows:
        measured = of(luma(row["distorted"]), luma(row["reference"]))
        assert measured == pytest.approx(float(row["ifc"]), abs=0.6e-6), row["distorted"]


def test_the_subbands_are_those_of_pyrtools() -> None:
    """Mean square and largest magnitude of orientations 3 and 0 on each of the four scales, from
    pyrtools 1.1.1 for the same picture: SteerablePyramidSpace, order 5, "reflect1"."""
    expected = [
        (0, (75, 90), 0.002731838333165797, 0.2051520985529896),
        (0, (75, 90), 0.001861845262004257, 0.15332328446030621),
        (1, (38, 45), 0.01119592058417275, 0.4608699486468819),
        (1, (38, 45), 0.007082292923826926, 0.3165109374853287),
        (2, (19, 23), 0.007858460562696115, 0.5235637521695415),
        (2, (19, 23), 0.0068711883010196045, 0.4589824929665039),
        (3, (10, 12), 0.01079649262835834, 0.6375286983795309),
        (3, (10, 12), 0.010897746466971843, 0.645128715523615),
    ]
    found = list(subbands(torch.from_numpy(drawn())[None]))
    for (level, band), (at, shape, square, largest) in zip(found, expected, strict=True):
        assert level == at
        assert band.shape[1:] == shape
        assert band.square().mean().item() == pytest.approx(square, rel=1e-12)
        assert band.abs().max().item() == pytest.approx(largest, rel=1e-12)


# --- the definition, block by block ---


def plain_ifc(picture: Array, reference: Array) -> float:
    """The definition in numpy and scipy, with the filter coefficients of the module."""
    low_x, low_y = (filtered(each, module._LOW_0) for each in (reference, picture))
    total = 0.0
    for level in range(4):
        for taps in (module._BAND, module._BAND.T):
            x, y = filtered(low_x, taps), filtered(low_y, taps)
            total += plain_bits(x, y, radius=(8, 4, 2, 1)[level], border=(3, 2, 1, 1)[level])
        low_x, low_y = (filtered(each, module._LOW)[::2, ::2] for each in (low_x, low_y))
    return total / reference.size


def filtered(picture: Array, taps: torch.Tensor) -> Array:
    return np.asarray(ndimage.correlate(picture, taps.numpy(), mode="mirror"))


def plain_bits(x: Array, y: Array, radius: int, border: int) -> float:
    """``radius``: of the window around the centre of a block; ``border``: blocks at each edge that
    ifcvec.m skips."""
    height, width = x.shape[0] // 3 * 3, x.shape[1] // 3 * 3
    places = [(row, column) for row in range(height - 2) for column in range(width - 2)]
    every = np.array([x[row : row + 3, column : column + 3].ravel() for row, column in places])
    covariance = np.cov(every, rowvar=False, bias=True)
    inverse = np.linalg.inv(covariance)
    eigenvalues = np.linalg.eigvalsh(covariance)
    bits = 0.0
    for row in range(3 * border, height - 3 * border, 3):
        for column in range(3 * border, width - 3 * border, 3):
            rows = slice(row + 1 - radius, row + 2 + radius)
            columns = slice(column + 1 - radius, column + 2 + radius)
            gain, error = regression(x[rows, columns], y[rows, columns])
            block = x[row : row + 3, column : column + 3].ravel()
            strength = float(block @ inverse @ block) / 9
            bits += sum(math.log2(1 + gain**2 * strength * each / error) for each in eigenvalues)
    return bits


def regression(x: Array, y: Array) -> tuple[float, float]:
    """y = gain x + error: the gain, not negative, and the variance of the error."""
    x, y = x - x.mean(), y - y.mean()
    xx, yy, xy = float((x * x).sum()), float((y * y).sum()), float((x * y).sum())
    if min(xx, yy) < 1e-15 or xy < 0:
        return 0.0, 1.0
    gain = xy / (xx + 1e-15)
    return gain, max(1e-15, (yy - gain * xy) / x.size) + 1e-10


def half_flat(picture: Array) -> Array:
    return np.where(np.arange(picture.shape[1]) < picture.shape[1] // 2, 0.5, picture)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: blurred(x, 1.0),
        lambda x: x + noise(x.shape, 0.05),
        lambda x: 0.5 + 1.4 * (x - 0.5),
        lambda x: 1 - x + noise(x.shape, 0.1),
        half_flat,
        lambda x: x,
    ],
    ids=["blur", "noise", "contrast", "negative", "half-flat", "same"],
)
@pytest.mark.parametrize(("height", "width"), [(72, 72), (75, 90), (110, 97)])
def test_equal_to_the_plain_definition(
    height: int, width: int, spoil: Callable[[Array], Array]
) -> None:
    reference = np.clip(drawn(height, width) + noise((height, width), 0.02, seed=1), 0, 1)
    reference[:30, :30] = 0.25
    picture = spoil(reference)
    assert of(picture, reference) == pytest.approx(plain_ifc(picture, reference), rel=1e-9)


def test_equal_to_the_plain_definition_on_a_soft_reference() -> None:
    """Whose eigenvalues differ by a factor of a million; all nine count."""
    reference = blurred(drawn() + noise((75, 90), 0.02), 2.5)
    picture = reference + noise(reference.shape, 0.01, seed=1)
    assert of(picture, reference) == pytest.approx(plain_ifc(picture, reference), rel=1e-6)


# --- properties ---


def test_constant_pictures_carry_no_information() -> None:
    flat = np.full((75, 90), 0.3)
    assert of(flat, drawn()) == 0
    assert of(drawn(), flat) == 0
    assert of(flat, flat) == 0
    assert of(np.zeros_like(flat), np.zeros_like(flat)) == 0


def test_variation_below_the_tolerance_carries_no_information() -> None:
    faint = 0.5 + 1e-9 * drawn()
    assert of(faint, faint) == of(drawn(), faint) == of(faint, drawn()) == 0


def test_a_singular_covariance() -> None:
    """Of stripes, whose blocks do not vary in all of the nine directions."""
    stripes = np.tile(np.sin(np.arange(90) / 3) / 2 + 0.5, (75, 1))
    assert 0 < of(blurred(stripes, 1), stripes) < of(stripes, stripes) < math.inf


def test_an_identical_picture_scores_far_above_a_blurred_one() -> None:
    assert of(drawn(), drawn()) > 3 * of(blurred(drawn(), 1), drawn())


@settings(max_examples=20)
@given(
    sigma=st.floats(0.5, 2),
    more=st.floats(1.1, 2),
    seed=st.integers(0, 1000),
)
def test_ifc_falls_with_blur_and_with_noise(sigma: float, more: float, seed: int) -> None:
    reference = np.clip(drawn() + noise((75, 90), 0.05, seed), 0, 1)
    assert of(blurred(reference, more * sigma), reference) < of(
        blurred(reference, sigma), reference
    )
    added = noise((75, 90), 0.05 * sigma, seed + 1)
    assert of(reference + more * added, reference) < of(reference + added, reference)


@settings(max_examples=20)
@given(factor=st.floats(1.01, 3))
def test_more_contrast_scores_above_the_reference_itself(factor: float) -> None:
    reference = drawn()
    assert of(0.5 + factor * (reference - 0.5), reference) > of(reference, reference)


@settings(max_examples=20)
@given(shift=st.floats(-0.5, 0.5), seed=st.integers(0, 1000))
def test_brightness_and_transposition_do_not_matter(shift: float, seed: int) -> None:
    reference = drawn()
    picture = reference + noise((75, 90), 0.05, seed)
    value = of(picture, reference)
    assert of(picture + shift, reference) == pytest.approx(value, rel=1e-9)
    assert of(picture.T.copy(), reference.T.copy()) == pytest.approx(value, rel=1e-9)


def test_single_precision_is_computed_in_double() -> None:
    """float32 holds the 256 levels to within 2^-25; variances of windows summed in float32 would be
    off by far more."""
    reference = torch.from_numpy(drawn())
    picture = torch.from_numpy(blurred(drawn(), 1))
    assert ifc(picture.float(), reference.float()) == pytest.approx(
        ifc(picture, reference), rel=1e-5
    )


@pytest.mark.parametrize(("height", "width"), [(71, 200), (200, 71), (8, 8)])
def test_pictures_that_are_too_small_are_refused(height: int, width: int) -> None:
    with pytest.raises(UsageError, match=f"at least 72 x 72 pixels, not {width} x {height}"):
        of(drawn(height, width), drawn(height, width))


# --- in the protocol ---


def test_the_protocol_rounds_and_crops_the_edges_first() -> None:
    hr = torch.from_numpy(np.clip(drawn(94, 99) + noise((94, 99), 0.02), 0, 1))
    scale = 4
    picture = protocol.bicubic(protocol.degrade(hr, scale), scale)  # (92, 96), also outside [0, 1]
    result = np.round(picture.numpy().clip(0, 1) * 255)[4:88, 4:92] / 255
    original = np.round(hr.numpy() * 255)[4:88, 4:92] / 255
    assert protocol.information_fidelity(picture, hr, scale) == of(result, original)


def test_the_protocol_gives_none_for_pictures_that_are_too_small() -> None:
    hr = torch.from_numpy(drawn(200, SMALLEST_SIDE + 2 * 2))
    assert protocol.information_fidelity(hr, hr, 2) is not None
    minimum = hr[:, :-2]
    assert protocol.information_fidelity(minimum, minimum, 2) is None
