"""Complete pictures are told from files that were cut off, without decoding either."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lapsr_cli.errors import UnreadablePicture
from lapsr_cli.image_io import Encoding, Metadata, Photo, Timing, is_complete, write
from lapsr_cli.pixels.picture import Picture
from tests import drawn_files
from tests.conftest import PICTURES

SUFFIXES = [".png", ".jpg", ".webp", ".tiff", ".avif", ".gif", ".bmp"]


def noise(height: int, width: int, seed: int = 0) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_result_is_complete_and_no_part_of_it_is(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    frames = [noise(*data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40))))]
    timing = None
    if suffix in (".png", ".webp", ".gif") and data.draw(st.booleans()):
        frames, timing = [noise(9, 9, seed) for seed in range(3)], Timing((50, 60, 70))
    exif = drawn_files.exif("<") if data.draw(st.booleans()) else None
    photo = Photo(tuple(frames), "PNG", False, Metadata(exif=exif), timing)
    path = tmp_path / f"a{suffix}"
    write(photo, path, Encoding(lossless=suffix == ".webp"))
    content = path.read_bytes()
    assert is_complete(path)
    # The last byte of a WebP may be padding, which does not count.
    end = len(content) - (2 if suffix == ".webp" else 1)
    thumbnail = content.find(b"\xff\xd9", 0, end) + 2
    drawn = data.draw(st.lists(st.integers(0, end), max_size=20))
    for length in {0, 1, 12, thumbnail, end, *drawn}:
        path.write_bytes(content[:length])
        assert not is_complete(path), length


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.jpg", {"progressive": True}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.tif", {"compression": "raw", "big_tiff": True}),
        ("a.gif", {}),
        ("a.bmp", {}),
        ("a.webp", {}),
        ("a.avif", {}),
    ],
)
def test_pictures_of_other_programs_are_complete(
    tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    Image.fromarray(noise(30, 21).pixels).save(tmp_path / name, **options)  # type: ignore[arg-type]
    assert is_complete(tmp_path / name)


def test_the_sample_pictures_are_complete() -> None:
    assert all(is_complete(path) for path in PICTURES.rglob("*.*") if path.is_file())


def test_the_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes((PICTURES / "leaf.jpg").read_bytes())
    (tmp_path / "b.png").write_text("no picture")
    (tmp_path / "c.png").write_bytes(bytes(5000))
    assert [is_complete(tmp_path / f"{stem}.png") for stem in "abc"] == [True, False, False]


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_what_is_no_file_is_named_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png"):
        with pytest.raises(UnreadablePicture, match=f"{name}: not a regular file"):
            is_complete(tmp_path / name)
