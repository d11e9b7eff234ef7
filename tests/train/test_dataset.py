"""The dataset: decoding, luma, memory mapping, and pictures that cannot be used."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from lapsr_cli.errors import NothingMatched, UnreadablePicture
from lapsr_cli.train.dataset import Dataset, load, picture_paths, read_luma
from lapsr_cli.train.patches import PatchSampler
from tests.conftest import draw
from tests.train.examples import equal, patch_recipe


def luma_by_the_formula(path: Path) -> NDArray[np.int64]:
    """BT.601 studio swing of the 8-bit values, rounded."""
    rgb = np.array(Image.open(path).convert("RGB")).astype(np.float64)
    luma = 16 + (65.481 * rgb[..., 0] + 128.553 * rgb[..., 1] + 24.966 * rgb[..., 2]) / 255
    return np.rint(luma).astype(np.int64)


def loaded(paths: Sequence[Path], tmp_path: Path, **values: Any) -> Dataset:
    options = {"min_side": 16, "budget": 10**9, "spill": tmp_path / "spill.luma"}
    return load(paths, **{**options, **values})


def test_colour_becomes_luma_and_grey_stays(tmp_path: Path) -> None:
    colour = draw(tmp_path / "colour.png", 31, 22)
    other = draw(tmp_path / "other.png", 17, 40, seed=1)
    grey = draw(tmp_path / "grey.png", 20, 25, mode="L", seed=2)
    dataset = loaded([colour, grey, other], tmp_path)
    assert len(dataset) == 3
    assert dataset.names == (str(colour), str(grey), str(other))
    assert dataset.heights.tolist() == [22, 25, 40]
    assert dataset.widths.tolist() == [31, 20, 17]
    assert dataset.pixels.dtype == torch.uint8
    np.testing.assert_array_equal(dataset[0].numpy(), luma_by_the_formula(colour))
    np.testing.assert_array_equal(dataset[1].numpy(), np.array(Image.open(grey)))
    np.testing.assert_array_equal(dataset[2].numpy(), luma_by_the_formula(other))


def test_the_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.open(draw(tmp_path / "flat.png", 30, 20, mode="L"))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    image.save(tmp_path / "rotated.png", exif=exif)
    expected = np.rot90(np.array(image), -1)
    np.testing.assert_allclose(read_luma(tmp_path / "rotated.png") * 255, expected, atol=1e-9)
    np.testing.assert_array_equal(loaded([tmp_path / "rotated.png"], tmp_path)[0], expected)


def test_16_bit_luma_is_not_rounded_and_transparency_is_refused(tmp_path: Path) -> None:
    fine = np.arange(400, dtype=np.uint16).reshape(20, 20) * 160
    Image.fromarray(fine).save(tmp_path / "deep.png")
    np.testing.assert_allclose(read_luma(tmp_path / "deep.png"), fine / 65535, atol=1e-12)
    opaque = Image.open(draw(tmp_path / "a.png", 20, 20)).convert("RGBA")
    opaque.save(tmp_path / "opaque.png")
    assert torch.equal(read_luma(tmp_path / "opaque.png"), read_luma(tmp_path / "a.png"))
    opaque.putpixel((3, 3), (0, 0, 0, 254))
    opaque.save(tmp_path / "clear.png")
    with pytest.raises(UnreadablePicture, match=r"clear\.png: has transparent areas"):
        read_luma(tmp_path / "clear.png")


def test_unusable_pictures_are_skipped_with_a_warning(
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
        dataset = loaded(paths, tmp_path)
    assert dataset.names == tuple(map(str, good))
    for n, path in enumerate(good):
        np.testing.assert_array_equal(dataset[n].numpy(), luma_by_the_formula(path))
    for path in (cut_off, text, low, narrow, gone):
        (message,) = [m for m in caplog.messages if str(path) in m]
        assert message.startswith("skipped: ")
    assert len(caplog.messages) == 5
    assert any("40 x 15 is smaller than a patch of 16 x 16" in m for m in caplog.messages)


def test_a_dataset_without_usable_pictures_is_an_error(tmp_path: Path) -> None:
    paths = [draw(tmp_path / "a.png", 15, 15), draw(tmp_path / "b.png", 8, 90)]
    with pytest.raises(NothingMatched, match="--data: none of 2 pictures"):
        loaded(paths, tmp_path)


@pytest.mark.parametrize("budget", [0, 500, 1000])
def test_memory_mapped_pictures_have_the_same_pixels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, budget: int
) -> None:
    paths = [draw(tmp_path / f"{n}.png", 20 + n, 17 + 2 * n, seed=n) for n in range(5)]
    spill = tmp_path / "pictures.luma"
    spill.write_bytes(b"of an earlier session")
    with caplog.at_level(logging.INFO, "lapsr_cli"):
        in_memory = loaded(paths, tmp_path)
        assert not caplog.messages
        mapped = loaded(paths, tmp_path, budget=budget, spill=spill)
    (message,) = caplog.messages
    assert f"mapped from {spill}" in message
    assert torch.equal(mapped.pixels, in_memory.pixels)
    for n, path in enumerate(paths):
        np.testing.assert_array_equal(mapped[n].numpy(), luma_by_the_formula(path))
    recipe = patch_recipe()
    assert equal(PatchSampler(mapped, recipe).batch(0), PatchSampler(in_memory, recipe).batch(0))


@pytest.mark.skipif(os.name != "posix", reason="an open file can be removed on POSIX only")
def test_the_mapped_file_is_removed_at_once(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 20, 17)
    dataset = loaded([path], tmp_path, budget=0)
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(dataset[0].numpy(), luma_by_the_formula(path))


def test_the_folder_of_the_mapped_file_is_created(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 20, 17)
    dataset = loaded([path], tmp_path, budget=0, spill=tmp_path / "run" / "pictures.luma")
    np.testing.assert_array_equal(dataset[0].numpy(), luma_by_the_formula(path))


def test_pictures_are_found_in_subfolders_but_not_in_the_run(tmp_path: Path) -> None:
    paths = [draw(tmp_path / "data" / name) for name in ("a.png", "z.png", "deep/b.png")]
    draw(tmp_path / "data" / "run" / "result.png")
    other = draw(tmp_path / "more" / "c.png")
    (tmp_path / "data" / "notes.txt").touch()
    folders = [str(tmp_path / "data"), str(tmp_path / "more")]
    found = picture_paths(folders, "--data", tmp_path / "data" / "run")
    assert found == [*paths, other]


@pytest.mark.parametrize("flag", ["--data", "--val"])
def test_an_empty_and_a_missing_folder_are_named_with_their_flag(tmp_path: Path, flag: str) -> None:
    draw(tmp_path / "full" / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    for name in ("empty", "missing"):
        folders = [str(tmp_path / "full"), str(tmp_path / name)]
        with pytest.raises(NothingMatched) as error:
            picture_paths(folders, flag, tmp_path / "run")
        assert str(error.value).startswith(f"{flag} {tmp_path / name}: ")
