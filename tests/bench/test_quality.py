"""Quality: figures computed again from the protocol's parts; which pictures are read and paired."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lapsr_cli.bench import quality
from lapsr_cli.bench.quality import Original
from lapsr_cli.errors import NothingMatched, UnreadablePicture, UsageError
from lapsr_cli.inference.evaluation import Evaluator
from lapsr_cli.metrics import protocol
from tests.conftest import draw


def test_figures_follow_the_protocol(evaluators: dict[str, Evaluator]) -> None:
    """PSNR is computed again here in numpy, and Lanczos by Pillow alone."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (24, 20), np.uint8))
    hr = np.asarray(noise.resize((163, 190), Image.Resampling.BICUBIC))
    original = Original("a.png", torch.from_numpy(hr / 255.0))
    rows = {row.method: row for row in quality.measure("set", [original], evaluators, 2)}
    assert list(rows) == ["bicubic", "lanczos", "tiny"]
    lr = protocol.degrade(original.luma, 2)
    size = (lr.shape[1] * 2, lr.shape[0] * 2)
    lanczos = Image.fromarray(lr.numpy().astype(np.float32)).resize(size, Image.Resampling.LANCZOS)
    upscaled = {
        "bicubic": protocol.bicubic(lr, 2),
        "lanczos": torch.from_numpy(np.asarray(lanczos).copy()),
        "tiny": evaluators["tiny"].enlarge(lr, 2),
    }
    for method, picture in upscaled.items():
        shaved = (picture.double().clamp(0, 1) * 255).round().numpy()[2:-2, 2:-2]
        difference = shaved - hr[2 : picture.shape[0] - 2, 2 : picture.shape[1] - 2]
        psnr = 10 * np.log10(255**2 / np.mean(difference**2))
        assert rows[method].psnr == pytest.approx(psnr)
        assert 0 < rows[method].ssim < 1
        assert rows[method].ifc == protocol.information_fidelity(picture, original.luma, 2)
        assert (rows[method].seconds is None) == (method != "tiny")


def test_16_bit_pictures_have_the_luma_of_8_bit_ones(tmp_path: Path) -> None:
    samples = np.asarray(Image.open(draw(tmp_path / "8" / "a.png", 90, 84, "L")))
    (tmp_path / "16").mkdir()
    Image.fromarray(samples.astype(np.uint16) * 257).save(tmp_path / "16" / "a.png")
    ((eight,), _), ((sixteen,), _) = (
        quality.read_originals(tmp_path / folder, "--dataset") for folder in ("8", "16")
    )
    assert torch.equal(eight.luma, sixteen.luma)


def test_ifc_of_a_small_picture_is_none(evaluators: dict[str, Evaluator]) -> None:
    original = Original("a.png", torch.rand(40, 40, dtype=torch.float64))
    assert {row.ifc for row in quality.measure("set", [original], evaluators, 2)} == {None}


def test_pairs_are_matched_by_name_and_not_downscaled(
    tmp_path: Path, evaluators: dict[str, Evaluator]
) -> None:
    draw(tmp_path / "hr" / "sub" / "a.png", 80, 64)
    draw(tmp_path / "hr" / "b.png", 40, 32, "L")
    draw(tmp_path / "lr" / "sub" / "a.bmp", 20, 16, seed=1)
    draw(tmp_path / "lr" / "b.png", 20, 16, "L", seed=2)
    pairs = quality.read_pairs(tmp_path / "lr", tmp_path / "hr", (2, 4, 8))
    assert [(Path(pair.name).as_posix(), pair.scale) for pair in pairs] == [
        ("b.png", 2),
        ("sub/a.bmp", 4),
    ]
    rows = list(quality.measure_pairs("hr", pairs, evaluators))
    assert [row.method for row in rows] == ["bicubic", "lanczos", "tiny"] * 2
    expected = protocol.score(protocol.bicubic(pairs[0].lr, 2), pairs[0].hr, 2)
    assert (rows[0].psnr, rows[0].ssim) == tuple(expected)


def test_invalid_pairs(tmp_path: Path) -> None:
    draw(tmp_path / "hr" / "a.png", 41, 32)
    draw(tmp_path / "lr" / "a.png", 20, 16)
    message = r"--pairs: a\.png: 20 x 16 and 41 x 32 pixels: the scale is not one of 2x, 4x, 8x"
    with pytest.raises(UsageError, match=message):
        quality.read_pairs(tmp_path / "lr", tmp_path / "hr", (2, 4, 8))
    draw(tmp_path / "lr" / "b.png", 20, 16)
    with pytest.raises(UsageError, match=r"--pairs: b is in only one of the two folders"):
        quality.read_pairs(tmp_path / "lr", tmp_path / "hr", (2, 4, 8))
    (tmp_path / "hr" / "b.png").write_bytes(b"nothing")
    with pytest.raises(UnreadablePicture, match=r"b\.png"):
        quality.read_pairs(tmp_path / "lr", tmp_path / "hr", (2, 4, 8))


def test_broken_pictures_of_a_dataset_are_named(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 40, 32)
    (tmp_path / "b.png").write_bytes(b"nothing")
    originals, problems = quality.read_originals(tmp_path, "--dataset")
    assert [original.name for original in originals] == ["a.png"]
    assert len(problems) == 1
    assert "b.png" in problems[0]
    (tmp_path / "a.png").unlink()
    with pytest.raises(NothingMatched, match=r"--dataset .*: no readable pictures: .*b\.png"):
        quality.read_originals(tmp_path, "--dataset")
