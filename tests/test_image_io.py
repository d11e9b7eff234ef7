from __future__ import annotations

import os
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from lapsr_cli.errors import UnreadablePicture, UnwritablePicture
from lapsr_cli.image_io import SUFFIXES, Picture, from_pil, read, write
from tests.conftest import draw


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_format_goes_in_and_out(tmp_path: Path, suffix: str, mode: str) -> None:
    path = draw(tmp_path / f"in{suffix}", 33, 21, mode)
    picture = read(path)
    again = tmp_path / f"out{suffix}"
    write(picture, again)
    with Image.open(again) as image:
        assert image.format == SUFFIXES[suffix]
        assert image.size == (33, 21)
    # WebP has no grey: it comes back as RGB, whose planes are equal.
    assert read(again).pixels.shape[:2] == (21, 33)
    error = np.abs(read(again).pixels.astype(int) - picture.pixels).max()
    lossy = SUFFIXES[suffix] in {"JPEG", "WEBP"}
    assert error <= (24 if lossy else 0)


@given(height=st.integers(1, 9), width=st.integers(1, 9), grey=st.booleans(), seed=st.integers())
def test_png_keeps_every_pixel(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, grey: bool, seed: int
) -> None:
    shape = (height, width) if grey else (height, width, 3)
    pixels = np.random.default_rng(abs(seed)).integers(0, 256, shape, np.uint8)
    path = tmp_path_factory.mktemp("png") / "a.png"
    write(Picture(pixels), path)
    assert np.array_equal(read(path).pixels, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    """Each of the eight: where the corner that is marked in the upright picture comes to lie."""
    upright = np.zeros((16, 24), np.uint8)
    upright[:8, :8] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=100)
    pixels = read(path).pixels
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).max() < 30


def test_the_colour_profile_stays(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for suffix in (".jpg", ".png", ".webp", ".tiff"):
        path = tmp_path / f"in{suffix}"
        Image.new("RGB", (8, 8), (200, 30, 90)).save(path, icc_profile=profile)
        write(read(path), tmp_path / f"out{suffix}")
        with Image.open(tmp_path / f"out{suffix}") as image:
            assert image.info["icc_profile"] == profile


@pytest.mark.parametrize(("mode", "becomes"), [("1", 2), ("P", 3), ("RGBA", 3), ("LA", 2)])
def test_exact_conversions_are_made(mode: str, becomes: int) -> None:
    image = Image.new("L", (4, 3), 255).convert(mode)
    pixels = from_pil(image).pixels
    assert pixels.ndim == becomes
    assert pixels.min() == 255


@pytest.mark.parametrize("mode", ["I;16", "CMYK", "F", "I"])
def test_what_would_lose_something_is_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tiff"
    Image.new(mode, (4, 4)).save(path)
    with pytest.raises(UnreadablePicture, match=r"a\.tiff: pixel mode"):
        read(path)


def test_transparency_is_refused_unless_there_is_none(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (1, 2, 3, 255)).save(tmp_path / "opaque.png")
    assert read(tmp_path / "opaque.png").pixels.shape == (4, 4, 3)
    Image.new("RGBA", (4, 4), (1, 2, 3, 254)).save(tmp_path / "clear.png")
    with pytest.raises(UnreadablePicture, match=r"clear\.png: transparency"):
        read(tmp_path / "clear.png")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    good = draw(tmp_path / "good.jpg", 64, 64).read_bytes()
    cases = {
        "text.png": b"this is no picture",
        "empty.jpg": b"",
        "half.jpg": good[: len(good) // 2],
        "header.png": draw(tmp_path / "a.png").read_bytes()[:20],
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadablePicture, match=name):
            read(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadablePicture, match=r"pipe\.png: not a regular file"):
        read(tmp_path / "pipe.png")
    with pytest.raises(UnreadablePicture, match=r"gone\.png: No such file"):
        read(tmp_path / "gone.png")


def test_pillow_is_not_asked_to_drop_frames_or_bits(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 9), (60 * i, 0, 0)) for i in range(3)]
    for name in ("a.webp", "a.png", "a.tiff"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(UnreadablePicture, match="several frames"):
            read(tmp_path / name)
    deep = tmp_path / "deep.png"
    deep.write_bytes(png(4, 3, depth=16, colour=2, row=b"\0" + bytes(range(24))))
    with Image.open(deep) as image:
        assert image.mode == "RGB", "Pillow has learnt 16-bit RGB"
    with pytest.raises(UnreadablePicture, match="16 bits"):
        read(deep)


def png(width: int, height: int, *, depth: int, colour: int, row: bytes) -> bytes:
    """A PNG by its specification, for what Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(row * height)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_odd_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    """A rational that holds text: Pillow cannot write it again, but nobody asks it to."""
    text = b"n/a\0"
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    entries += struct.pack("<HHI4s", 0x011A, 2, 4, text)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0)
    Image.new("RGB", (20, 10)).save(tmp_path / "odd.jpg", exif=exif)
    assert read(tmp_path / "odd.jpg").pixels.shape == (20, 10, 3)


@given(st.data())
def test_flipped_bytes_give_a_picture_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    suffix = data.draw(st.sampled_from([".png", ".jpg", ".webp", ".tiff"]))
    path = draw(folder / f"a{suffix}")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        assert read(path).pixels.size
    except UnreadablePicture as error:
        assert str(path) in str(error)  # noqa: PT017


def test_a_picture_too_long_for_the_format_is_named(tmp_path: Path) -> None:
    long = Picture(np.zeros((1, 16_384), np.uint8))
    with pytest.raises(UnwritablePicture, match=r"a\.webp.*16383"):
        write(long, tmp_path / "a.webp")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_more_leaves_no_half_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UnwritablePicture, match=r"a\.png: File too large"):
            write(Picture(noise), tmp_path / "a.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
