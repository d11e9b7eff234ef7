from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lapsr_cli.errors import UsageError
from lapsr_cli.pixels.resize import REACH, enlarge, resize


def read(path: Path) -> torch.Tensor:
    pixels = np.array(Image.open(path))
    return torch.from_numpy(pixels[..., None] if pixels.ndim == 2 else pixels).permute(2, 0, 1)


def test_equal_to_pictures_resized_by_matlab(shared: Callable[[str], Path]) -> None:
    folder = shared("reference/matlab-imresize/Set5")
    pairs = sorted(folder.glob("*_LR.png"))
    assert len(pairs) == 10
    for path in pairs:
        scale = int(path.stem.split("_")[-2])
        hr, lr = read(folder / path.name.replace("LR", "HR")), read(path)
        assert torch.equal(resize(hr, 1 / scale, edge="replicate"), lr)
        inner = (slice(None), slice(2, -2), slice(2, -2))
        assert torch.equal(resize(hr, 1 / scale)[inner], lr[inner])


def matrix(
    length: int, scale: float, edge: str
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The resampling matrix by definition: one row per output, summed over a wide support."""
    stretch = min(1.0, scale)
    rows = np.zeros((int(np.ceil(length * scale)), length))
    for out in range(len(rows)):
        centre = (out + 0.5) / scale - 0.5
        for j in range(int(centre) - 40, int(centre) + 41):
            x = abs(stretch * (centre - j))
            if x <= 1:
                weight = 1.5 * x**3 - 2.5 * x**2 + 1
            elif x < 2:
                weight = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            else:
                continue
            if edge == "replicate":
                k = min(max(j, 0), length - 1)
            else:
                k = j % (2 * length)
                k = min(k, 2 * length - 1 - k)
            rows[out, k] += weight
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("edge", ["mirror", "replicate"])
@pytest.mark.parametrize("scale", [0.125, 0.25, 0.5, 1 / 3, 1.5, 2.0, 4.0, 8.0])
@pytest.mark.parametrize(("height", "width"), [(24, 16), (1, 1), (2, 9)])
def test_against_the_matrix_of_the_definition(
    edge: str, scale: float, height: int, width: int
) -> None:
    image = np.random.default_rng(0).random((height, width))
    expected = matrix(height, scale, edge) @ image @ matrix(width, scale, edge).T
    ours = resize(torch.from_numpy(image), scale, edge=edge)  # type: ignore[arg-type]
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("scale", [0.25, 0.5, 3.0])
def test_uint8_is_rounded_after_each_axis(scale: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 16), np.uint8)
    rows = np.clip(np.floor(matrix(24, scale, "mirror") @ image + 0.5), 0, 255)
    expected = np.clip(np.floor(rows @ matrix(16, scale, "mirror").T + 0.5), 0, 255)
    ours = resize(torch.from_numpy(image), scale)
    assert ours.dtype == torch.uint8
    assert np.array_equal(ours.numpy(), expected)


@given(level=st.floats(0, 1), scale=st.sampled_from([0.25, 0.5, 2.0, 3.0, 8.0]))
def test_a_constant_picture_stays_constant(level: float, scale: float) -> None:
    flat = torch.full((2, 11, 7), level, dtype=torch.float64)
    torch.testing.assert_close(
        resize(flat, scale), torch.full_like(resize(flat, scale), level), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_an_upscaled_pixel_depends_on_pixels_within_reach_only(scale: int) -> None:
    image = torch.zeros(1, 21, dtype=torch.float64)
    image[0, 10] = 1
    touched = resize(image, float(scale))[0].nonzero()[:, 0] // scale
    assert int((touched - 10).abs().max()) == REACH


def test_the_scale_must_be_positive() -> None:
    with pytest.raises(UsageError, match="-1"):
        resize(torch.rand(4, 4), -1)


@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)),
    scale=st.sampled_from([2, 3, 4, 8]),
    seed=st.integers(0, 99),
)
def test_enlarge_is_equal_to_resize(
    shape: tuple[int, int, int, int], scale: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(shape, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(enlarge(image, scale), resize(image, scale), rtol=0, atol=1e-12)
    in_fp32 = enlarge(image.float(), scale)
    torch.testing.assert_close(in_fp32.double(), resize(image, scale), rtol=0, atol=2e-6)
