"""Texts of PNG and comments: kept where the format has a place for them, otherwise reported."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lapsr_cli.image_io import Encoding, Metadata, Photo, Timing, losses, probe, read, write
from lapsr_cli.image_io.gif_blocks import comment_of
from lapsr_cli.pixels.picture import Picture
from tests import drawn_files

LONG = b"prompt " * 300_000
"""More than Pillow decompresses."""
CHUNKS = [
    (b"tEXt", b"parameters\0a cat, Z\xfcrich\nSteps: 20"),
    (b"zTXt", b"workflow\0\0" + zlib.compress(LONG)),
    (b"iTXt", b"prompt\0\0\0de\0Eingabe\0" + '{"1": "Katze, 猫"}'.encode()),
    (b"iTXt", b"long\0\1\0\0\0" + zlib.compress(LONG)),
    (b"zTXt", b"broken\0\0no zlib"),
    (b"tEXt", b"parameters\0twice"),
]


def picture(depth: int = 8) -> Picture:
    return Picture(np.full((6, 8, 3), (1 << depth) - 100, f"uint{depth}"))


def photo(**metadata: object) -> Photo:
    return Photo((picture(),), "PNG", False, Metadata(**metadata))  # type: ignore[arg-type]


def chunks_of(path: Path) -> list[tuple[bytes, bytes]]:
    """The text chunks of a PNG, their checksums verified."""
    data, at, found = path.read_bytes(), 8, []
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + 8 + size]
        assert data[at : at + 12 + size] == drawn_files.chunk(kind, content)
        found += [(kind, content)] * kind.endswith(b"Xt")
        at += 12 + size
    return found


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("late", [False, True])
def test_texts_of_a_png_are_copied_as_they_are(tmp_path: Path, depth: int, late: bool) -> None:
    whole = drawn_files.png(picture(depth).pixels, *([] if late else CHUNKS))
    texts = b"".join(drawn_files.chunk(*each) for each in CHUNKS)
    end = drawn_files.chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(whole.removesuffix(end) + texts * late + end)
    assert (probe(tmp_path / "a.png").width, probe(tmp_path / "a.png").depth) == (8, depth)
    back = read(tmp_path / "a.png")
    assert np.array_equal(back.frames[0].pixels, picture(depth).pixels)
    write(back, tmp_path / "b.png")
    assert chunks_of(tmp_path / "b.png") == CHUNKS
    assert losses(back, tmp_path / "b.png") == ()


def test_an_animated_png_keeps_its_texts(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("prompt", "two frames")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], pnginfo=info)
    write(read(tmp_path / "a.png"), tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert (image.n_frames, image.text) == (2, {"prompt": "two frames"})  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".tif", ".bmp", ".gif"])
def test_dropped_texts_are_counted(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.png").write_bytes(drawn_files.png(picture().pixels, *CHUNKS))
    back, path = read(tmp_path / "a.png"), tmp_path / f"b{suffix}"
    (loss,) = losses(back, path)
    assert loss.startswith("6 PNG texts dropped: ")
    write(back, path)
    assert b"Steps" not in path.read_bytes()
    assert losses(back, path, Encoding(strip_metadata=True)) == ()
    assert losses(read(tmp_path / "a.png", strip_metadata=True), path) == ()


COMMENTS = (b"one", "Zürich".encode(), "猫".encode(), b"Z\xfcrich", b"l" * 70_000)


def test_comments_of_a_jpeg_are_kept(tmp_path: Path) -> None:
    write(photo(comments=COMMENTS[:4], exif=drawn_files.exif(thumbnail=b"")), tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg").metadata.comments == COMMENTS[:4]
    with Image.open(tmp_path / "a.jpg") as image:
        assert [text for name, text in image.applist if name == "COM"] == list(COMMENTS[:4])  # type: ignore[attr-defined]
    write(read(tmp_path / "a.jpg", strip_metadata=True), tmp_path / "b.jpg")
    assert read(tmp_path / "b.jpg").metadata.comments == ()
    write(read(tmp_path / "a.jpg"), tmp_path / "c.jpg", Encoding(strip_metadata=True))
    assert read(tmp_path / "c.jpg").metadata.comments == ()


def test_comments_of_a_gif_are_kept_wherever_they_are(tmp_path: Path) -> None:
    frames = [Image.new("P", (8, 8)), Image.new("P", (8, 8), 1)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 255, 0, 0])
    frames[0].save(
        tmp_path / "a.gif", save_all=True, append_images=frames[1:], comment=b"c" * 600 + b"!"
    )
    late = b"!\xfe\x03end\x04 of\n\0"
    whole = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "b.gif").write_bytes(whole[:-1] + late + b";")
    write(read(tmp_path / "b.gif"), tmp_path / "c.gif")
    with Image.open(tmp_path / "c.gif") as image:
        assert image.info["comment"] == b"c" * 600 + b"!\nend of\n"
    assert len(read(tmp_path / "c.gif").frames) == 2
    assert read(tmp_path / "a.gif", strip_metadata=True).metadata == Metadata()


@pytest.mark.parametrize("cut", range(60))
def test_a_truncated_gif_has_the_comment_so_far(cut: int) -> None:
    whole = b"GIF89a" + bytes(7) + b"!\xfe\x03one\0!\xf9\x04\0\0\0\0\0!\xfe\x03two\0"
    whole += b"," + bytes(9) + b"\x02\x01\0\0!\xfe\x05three\0;"
    assert b"one\ntwo\nthree".startswith(comment_of(whole[:cut]))
    assert comment_of(whole) == b"one\ntwo\nthree"


def test_comments_change_their_place_with_the_format(tmp_path: Path) -> None:
    """A text called Comment in PNG is what JPEG and GIF call a comment."""
    write(photo(comments=COMMENTS), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.text["Comment"] == "l" * 70_000  # type: ignore[attr-defined]
    texts = ["one", "Zürich", "猫", "Zürich", "l" * 70_000]
    for (kind, content), text in zip(chunks_of(tmp_path / "a.png"), texts, strict=True):
        assert content.startswith(b"Comment\0")
        assert content.endswith(text.encode("utf-8" if kind == b"iTXt" else "latin-1"))
    for chunk in (
        (b"tEXt", b"Comment\0Z\xfcrich"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"Z\xfcrich")),
        (b"iTXt", b"Comment\0\0\0\0\0" + "Zürich".encode()),
    ):
        (tmp_path / "b.png").write_bytes(drawn_files.png(picture().pixels, CHUNKS[0], chunk))
        back = read(tmp_path / "b.png")
        for suffix in (".jpg", ".gif"):
            assert losses(back, tmp_path / f"b{suffix}")[0].startswith("1 PNG text dropped: ")
            write(back, tmp_path / f"b{suffix}")
            assert read(tmp_path / f"b{suffix}").metadata.comments == ("Zürich".encode(),)
        assert losses(back, tmp_path / "b.webp")[1:] == ("1 comment dropped: WEBP has none",)
    long = photo(comments=COMMENTS[4:])
    write(long, tmp_path / "c.gif")
    assert read(tmp_path / "c.gif").metadata.comments == COMMENTS[4:]
    write(long, tmp_path / "c.jpg")
    assert b"".join(read(tmp_path / "c.jpg").metadata.comments) == COMMENTS[4]


def frame(seed: int, *, alpha: bool) -> Picture:
    """Noise in 4 colours, which a palette holds exactly, black among them."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (4, 3), np.uint8)
    colours[0] = 0
    pixels = colours[rng.integers(0, 4, (9, 7))]
    if not alpha:
        return Picture(pixels)
    mask = rng.integers(0, 2, (9, 7), np.uint8) * np.uint8(255)
    mask[:, :2] = 0
    return Picture(np.where(mask[..., None], pixels, 0).astype(np.uint8), mask)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".avif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_equal_frames_in_a_row_stay(tmp_path: Path, suffix: str, alpha: bool) -> None:
    """As Pillow and libvips show them; GIF has a palette of 4 colours per frame."""
    frames = tuple(frame(seed, alpha=alpha) for seed in (0, 0, 1, 1, 1, 0, 2, 2))
    durations = (100, 110, 120, 130, 140, 150, 160, 170)
    path = tmp_path / f"a{suffix}"
    written = Photo(frames, "GIF", False, timing=Timing(durations, 3))
    assert not any("merged" in loss for loss in losses(written, path))
    write(written, path)
    back = read(path)
    assert back.timing == (Timing(durations, 3) if suffix != ".avif" else Timing(durations))
    if suffix == ".avif":
        return
    for shown, expected in zip(back.frames, frames, strict=True):
        if expected.alpha is not None:
            assert shown.alpha is not None
            assert np.array_equal(shown.alpha, expected.alpha)
            opaque = expected.alpha > 0
            assert np.array_equal(shown.pixels[opaque], expected.pixels[opaque])
        else:
            assert np.array_equal(shown.pixels, expected.pixels)
    if suffix == ".gif":
        pages = pyvips.Image.new_from_file(str(path), n=-1).numpy().reshape(8, 9, 7, -1)
        for page, expected in zip(pages, frames, strict=True):
            visible = page[..., 3] > 0 if alpha else np.full((9, 7), True)
            assert expected.alpha is None or np.array_equal(visible, expected.alpha > 0)
            assert np.array_equal(page[visible][:, :3], expected.pixels[visible])


def test_what_webp_merges_is_said(tmp_path: Path) -> None:
    frames = tuple(frame(seed, alpha=False) for seed in (0, 0, 1))
    written = Photo(frames, "GIF", False, timing=Timing((100, 110, 120)))
    (loss,) = losses(written, tmp_path / "a.webp")
    assert loss == "1 repeated frame merged into longer ones by the WebP encoder"
    write(written, tmp_path / "a.webp")
    assert read(tmp_path / "a.webp").timing == Timing((210, 120))
