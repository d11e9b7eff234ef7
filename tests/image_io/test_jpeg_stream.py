"""What phones and cameras append to a JPEG: the first picture is read, the rest is named."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lapsr_cli.image_io import probe, read
from lapsr_cli.image_io.jpeg_stream import end_of

VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\xff\xd8\xff\xe1video" * 50


def jpeg(side: int = 16, **options: Any) -> bytes:
    """Noise, in which coded FF bytes and restarts occur."""
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=99, **options)
    return file.getvalue()


def mpo(*sides: int) -> bytes:
    """As a camera writes it, with an index of its pictures."""
    first, *others = (Image.open(io.BytesIO(jpeg(side))) for side in sides)
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=others)
    return file.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"restart_marker_rows": 1},
        {"exif": b"Exif\0\0" + jpeg(8)},
        {"comment": b"\xff\xd9 is no end"},
    ],
    ids=str,
)
def test_the_end_is_where_the_encoder_stopped(options: dict[str, Any]) -> None:
    data = jpeg(200, **options)
    assert end_of(data + b"rest") == len(data)
    assert end_of(b"before" + data + VIDEO, 6) == 6 + len(data)
    for cut in (2, 3, 20, len(data) // 2, len(data) - 1):
        assert end_of(data[:cut]) == cut, "truncated"


PICTURES = "further pictures in it (MPO or HDR gain map) dropped"
MOTION = "the video in it (motion photo) dropped"


@pytest.mark.parametrize(
    ("data", "warnings"),
    [
        (jpeg(), ()),
        (jpeg() + bytes(100), ()),
        (jpeg() + b"\r\n", ()),
        (mpo(16, 12, 8), (f"2 {PICTURES}",)),
        (jpeg() + jpeg(progressive=True) + bytes(64) + jpeg(8), (f"2 {PICTURES}",)),
        (jpeg() + VIDEO, (MOTION,)),
        (jpeg() + b"samsung" + VIDEO + b"SEFT", (MOTION,)),
        (mpo(16, 12, 8) + VIDEO, (f"2 {PICTURES}", MOTION)),
        (jpeg() + b"\0\0signature", ("9 bytes after the end of the picture dropped",)),
    ],
)
def test_the_first_picture_is_read_and_what_follows_is_said(
    tmp_path: Path, data: bytes, warnings: tuple[str, ...]
) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    back = read(tmp_path / "a.jpg")
    assert (back.form, len(back.frames), back.warnings) == ("JPEG", 1, warnings)
    with Image.open(io.BytesIO(data[: end_of(data)])) as alone:
        assert np.array_equal(back.frames[0].pixels, np.asarray(alone))
    assert probe(tmp_path / "a.jpg").frames == 1
