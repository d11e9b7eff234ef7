"""Pages of TIFF files, read and written one at a time."""

from __future__ import annotations

import gc
import os
import re
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image

from lapsr_cli.errors import UnreadablePicture, UnwritablePicture
from lapsr_cli.image_io import Photo, Writer, is_transparent, open_photo, probe, read, write
from lapsr_cli.pixels.picture import Picture


def noise(*shape: int, depth: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1 << depth, shape, dtype=f"uint{depth}")


def pages_of_noise(count: int, *shape: int, depth: int = 8) -> Photo:
    frames = tuple(Picture(noise(*shape, depth=depth, seed=seed)) for seed in range(count))
    return Photo(frames, "TIFF", lossy=False)


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Without a change of the time at which it was last written to, or of its size."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("depth", [8, 16])
def test_pages_are_read_when_they_are_indexed(tmp_path: Path, depth: int) -> None:
    whole = pages_of_noise(5, 40, 30, depth=depth)
    write(whole, tmp_path / "a.tif")
    photo = open_photo(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image:
        image.seek(2)
        strip = image.tag_v2[273][0]  # type: ignore[attr-defined]
    overwrite(tmp_path / "a.tif", strip, b"\xff" * 20)
    assert len(photo.frames) == 5
    for number in (4, 0, 1, 3, -1):
        assert np.array_equal(photo.frames[number].pixels, whole.frames[number].pixels)
    with pytest.raises(UnreadablePicture, match=r"a\.tif: page 3: damaged"):
        photo.frames[2]
    with pytest.raises(UnreadablePicture, match=r"a\.tif: page 3: damaged"):
        read(tmp_path / "a.tif")
    assert [page.height for page in photo.frames[3:]] == [40, 40]
    with pytest.raises(IndexError):
        photo.frames[5]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits"])
def test_only_one_page_is_in_memory(tmp_path: Path, compression: str) -> None:
    """Of forty, of a megabyte each: neither the others nor the rest of the file."""
    frames = [Image.fromarray(noise(800, 1250, seed=seed)) for seed in range(40)]
    path = tmp_path / "a.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:], compression=compression)
    probe(path)  # loads what is loaded once
    read(path)
    gc.collect()
    tracemalloc.start()
    try:
        assert probe(path).pixels == 40 * 800 * 1250
        total = sum(int(frame.pixels[0, 0]) for frame in open_photo(path).frames)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == sum(int(np.asarray(frame)[0, 0]) for frame in frames)
    assert peak < 6 << 20


def test_threads_may_read_pages_at_the_same_time(tmp_path: Path) -> None:
    whole = pages_of_noise(60, 50, 40, 3)
    write(whole, tmp_path / "a.tif")
    photo = open_photo(tmp_path / "a.tif")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(photo.frames.__getitem__, range(60)))
    for got, want in zip(found, whole.frames, strict=True):
        assert np.array_equal(got.pixels, want.pixels)


@pytest.mark.parametrize("change", ["written to", "replaced", "cut off", "removed"])
def test_pages_of_two_versions_of_a_file_are_not_mixed(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.tif"
    write(pages_of_noise(3, 9, 9), path)
    photo = open_photo(path)
    assert photo.frames[0].width == 9
    message = "the file was changed while it was read"
    if change == "written to":
        with path.open("ab") as file:
            file.write(b"more")
    elif change == "replaced":
        write(pages_of_noise(3, 9, 9), path)
    elif change == "cut off":
        os.truncate(path, 50)
    else:
        path.unlink()
        message = "No such file or directory"
    with pytest.raises(UnreadablePicture, match=rf"a\.tif: page 2: {message}"):
        photo.frames[1]


def test_cmyk_pages_are_not_transparent(tmp_path: Path) -> None:
    """Their fourth ink is no alpha."""
    Image.new("CMYK", (4, 4), (9, 90, 30, 0)).save(tmp_path / "a.tif")
    assert not is_transparent(tmp_path / "a.tif")
    header = probe(tmp_path / "a.tif")
    assert (header.channels, header.bytes) == (3, 48)


def test_pages_written_one_at_a_time_are_the_file_written_as_a_whole(tmp_path: Path) -> None:
    whole = pages_of_noise(6, 20, 30, 3)
    write(whole, tmp_path / "whole.tif")
    writer = Writer(whole, tmp_path / "a" / "paged.tif", sample_bytes=1)
    for number, frame in enumerate(whole.frames):
        writer.append(frame)
        assert writer.frames == number + 1
        assert not (tmp_path / "a" / "paged.tif").exists()
    writer.close()
    writer.discard()  # too late
    assert (tmp_path / "a" / "paged.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_many_samples_make_a_big_tiff(tmp_path: Path) -> None:
    """Which is decided before the first of them is written."""
    whole = pages_of_noise(3, 20, 30)
    writer = Writer(whole, tmp_path / "a.tif", sample_bytes=4_000_000_000)
    for frame in whole.frames:
        writer.append(frame)
    writer.close()
    assert (tmp_path / "a.tif").read_bytes()[:4] == b"II+\0"
    for got, want in zip(read(tmp_path / "a.tif").frames, whole.frames, strict=True):
        assert np.array_equal(got.pixels, want.pixels)
    assert pyvips.Image.new_from_file(str(tmp_path / "a.tif")).get("n-pages") == 3


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_file_that_is_not_finished_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    photo = replace(pages_of_noise(1, 9, 9), form="PNG")
    writer = Writer(photo, tmp_path / f"a{suffix}", sample_bytes=81)
    writer.append(photo.frames[0])
    writer.discard()
    assert not list(tmp_path.iterdir())
    with pytest.raises(UnwritablePicture, match=rf"a\{suffix}: it has no frames"):
        Writer(photo, tmp_path / f"a{suffix}", sample_bytes=0).close()


@pytest.mark.parametrize("number", [0, 1])
def test_a_page_without_pixels_is_damaged(tmp_path: Path, number: int) -> None:
    """Found by the fuzz test, in the estimate of a run."""
    pages = [Image.new("L", (9, 7)) for _ in range(2)]
    path = tmp_path / "a.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    data = bytearray(path.read_bytes())
    width = b"\x00\x01\x04\x00\x01\x00\x00\x00\x09\x00\x00\x00"
    at = [match.start() for match in re.finditer(re.escape(width), bytes(data))]
    assert len(at) == len(pages)
    data[at[number] + 8] = 0
    path.write_bytes(data)
    for look in (probe, read):
        with pytest.raises(UnreadablePicture, match=f"page {number + 1} has no pixels"):
            look(path)
