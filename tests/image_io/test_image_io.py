"""Files that are not pictures, too large, damaged or oddly named; headers; threads."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lapsr_cli.errors import UnreadablePicture, UnwritablePicture
from lapsr_cli.image_io import READABLE, SUFFIXES, Photo, probe, read, write
from lapsr_cli.image_io.damage import as_unreadable
from lapsr_cli.pixels.picture import Picture
from tests import drawn_files
from tests.conftest import draw


def photo(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8 | np.uint16]]) -> Photo:
    return Photo((Picture(pixels),), "PNG", lossy=False)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_format_is_read_and_written(tmp_path: Path, suffix: str, mode: str) -> None:
    path = draw(tmp_path / f"in{suffix}", 33, 21, mode)
    first = read(path)
    assert (first.form, first.warnings) == (SUFFIXES[suffix], ())
    header = probe(path)
    assert (header.form, header.height, header.width) == (SUFFIXES[suffix], 21, 33)
    assert header.channels == (1 if first.frames[0].pixels.ndim == 2 else 3) or suffix == ".gif"
    again = tmp_path / f"out{suffix}"
    write(first, again)
    with Image.open(again) as image:
        assert image.format == SUFFIXES[suffix]
        assert image.size == (33, 21)
    # WebP has no grey: it becomes RGB with equal planes.
    assert read(again).frames[0].pixels.shape[:2] == (21, 33)
    error = np.abs(read(again).frames[0].pixels.astype(int) - first.frames[0].pixels).max()
    assert error <= (24 if first.lossy else 0)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    """One line that begins with the path, for anything that may be in a folder of pictures."""
    good = draw(tmp_path / "good.jpg", 64, 64).read_bytes()
    with zipfile.ZipFile(tmp_path / "zip.jpg", "w") as archive:
        archive.writestr("a", "b")
    noise = np.random.default_rng(0).integers(0, 65536, (40, 40, 3), np.uint16)
    png = drawn_files.png(noise)
    broken = bytearray(png)
    broken[600] ^= 0xFF
    write(photo(noise), tmp_path / "deep.tif")
    cases = {
        "text.png": b"this is no picture",
        "empty.jpg": b"",
        "null.webp": bytes(100),
        "pdf.jpg": b"%PDF-1.7\n%\xe2\xe3\n1 0 obj",
        "zip.jpg": (tmp_path / "zip.jpg").read_bytes(),
        "half.jpg": good[: len(good) // 2],
        "header.png": draw(tmp_path / "a.png").read_bytes()[:20],
        "cut16.png": png[: len(png) // 2],
        "crc16.png": bytes(broken),
        "crc8.png": flipped(draw(tmp_path / "b.png", 60, 60).read_bytes(), 120),
        "cut16.tif": (tmp_path / "deep.tif").read_bytes()[:3000],
    }
    for suffix in SUFFIXES:
        data = draw(tmp_path / f"whole{suffix}", 90, 90).read_bytes()
        cases[f"half{suffix}"] = data[: len(data) // 2]
        cases[f"start{suffix}"] = data[:14]
    cases["half.heic"] = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(50)
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        message = refusal(tmp_path / name)
        assert message.startswith(f"{tmp_path / name}: "), message
        assert "\n" not in message
        assert len(message) > len(str(tmp_path / name)) + 4
    with pytest.raises(UnreadablePicture, match=r"text\.png: not a JPEG, PNG"):
        read(tmp_path / "text.png")
    with pytest.raises(UnreadablePicture, match=r"gone\.png: No such file"):
        read(tmp_path / "gone.png")


def test_no_message_is_the_name_of_a_decoders_exception(tmp_path: Path) -> None:
    """JPEGs of which no header is left, and pictures of palette entries without a palette."""
    raw = b"\0\1\2\3" * 2
    entries = {"no": None, "an_empty": b"", "a_partial": bytes(10), "a_long": bytes(771)}
    cases = {
        f"{name}_palette.png": drawn_files.png_of(
            3, 2, 8, 3, raw, *([] if palette is None else [(b"PLTE", palette)])
        )
        for name, palette in entries.items()
    }
    cases["late_palette.png"] = (
        cases["no_palette.png"][:-12]
        + drawn_files.chunk(b"PLTE", bytes(9))
        + drawn_files.chunk(b"IEND", b"")
    )
    cases |= {"end.jpg": b"\xff\xd8\xff\xd9", "junk.jpg": bytes([0xFF, 0xD8, 0xFF]) + bytes(99)}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        reason = refusal(tmp_path / name).removeprefix(f"{tmp_path / name}: ")
        assert ("palette" in reason) is ("palette" in name)
        assert "Error" not in reason
    (tmp_path / "palette.png").write_bytes(
        drawn_files.png_of(3, 2, 8, 3, raw, (b"PLTE", bytes(range(12))))
    )
    assert read(tmp_path / "palette.png").frames[0].pixels[0].tolist() == [
        [3, 4, 5],
        [6, 7, 8],
        [9, 10, 11],
    ]


def test_an_exception_without_a_message_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePicture) as caught, as_unreadable(tmp_path / "a.png"):
        raise AssertionError
    assert str(caught.value) == f"{tmp_path}/a.png: damaged (AssertionError without a message)"


def refusal(path: Path) -> str:
    with pytest.raises(UnreadablePicture) as caught:
        read(path)
    return str(caught.value)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.mark.posix
def test_what_is_not_a_regular_file_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path must be short
        server.bind("socket.png")
        os.chdir(here)
        for name in ("pipe", "folder", "device", "socket"):
            for look in (read, probe):
                with pytest.raises(UnreadablePicture, match=rf"{name}\.png: not a regular file"):
                    look(tmp_path / f"{name}.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif", ".bmp", ".tif", ".avif"])
def test_more_pixels_than_allowed_are_not_decoded(tmp_path: Path, suffix: str) -> None:
    path = draw(tmp_path / f"a{suffix}", 50, 40)
    assert read(path, max_pixels=2000).frames
    with pytest.raises(UnreadablePicture, match=r"2000 pixels, more than --max-pixels 1999"):
        read(path, max_pixels=1999)
    assert read(path, max_pixels=None).frames


def test_the_pixels_of_all_frames_count(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (10, 10), (60 * i, 0, 0)) for i in range(3)]
    for name in ("a.webp", "a.png", "a.tiff", "a.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert len(read(tmp_path / name, max_pixels=300).frames) == 3
        with pytest.raises(UnreadablePicture, match="300 pixels, more than --max-pixels 299"):
            read(tmp_path / name, max_pixels=299)


def test_a_bomb_is_one_line_and_nothing_on_stderr(tmp_path: Path) -> None:
    """After ``configure_pillow``, Pillow neither warns nor raises, and only max_pixels counts."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + drawn_files.chunk(b"IHDR", header)
    (tmp_path / "bomb.png").write_bytes(bomb + drawn_files.chunk(b"IDAT", b"") * 2)
    extended = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff\x3f\0\xff\x3f\0"
    webp = b"WEBP" + extended + bytes(200_000)
    (tmp_path / "bomb.webp").write_bytes(b"RIFF" + struct.pack("<I", len(webp)) + webp)
    Image.new("1", (10_000, 9_000)).save(tmp_path / "large.png")
    code = (
        "import sys; from pathlib import Path; from lapsr_cli import errors, image_io\n"
        "image_io.configure_pillow()\n"
        "for path in sys.argv[1:]:\n"
        "    try: print(image_io.read(Path(path), max_pixels=10**8).frames[0].width)\n"
        "    except errors.UnreadablePicture as error: print(error)\n"
    )
    names = [tmp_path / name for name in ("bomb.png", "bomb.webp", "large.png")]
    done = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert ["--max-pixels" in line for line in lines] == [True, True, False]
    assert lines[2] == "10000"


def test_warnings_of_decoders_do_not_reach_stderr(tmp_path: Path) -> None:
    """An APNG with a bad control chunk, damaged TIFFs, a 16-bit PNG with a bad profile."""
    samples = np.zeros((4, 4, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(drawn_files.png(samples, (b"acTL", bytes(8))))
    deep = drawn_files.png(samples.astype(np.uint16), (b"iCCP", b"x\0\0junk"), (b"tIME", b"12"))
    (tmp_path / "b.png").write_bytes(deep)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    for name, kind in (("c.tif", np.uint8), ("d.tif", np.uint16)):
        write(photo(noise.astype(kind)), tmp_path / name)
        (tmp_path / name).write_bytes(flipped((tmp_path / name).read_bytes(), 2000))
    plain = draw(tmp_path / "e.tif").read_bytes()
    three, many = (struct.pack("<HHII", 0x0115, 3, 1, channels) for channels in (3, 260))
    assert three in plain
    (tmp_path / "e.tif").write_bytes(plain.replace(three, many))
    code = (
        "import sys; from pathlib import Path; from lapsr_cli import errors, image_io\n"
        "image_io.configure_pillow()\n"
        "for path in sys.argv[1:]:\n"
        "    try: image_io.read(Path(path), strip_metadata=True)\n"
        "    except errors.UnreadablePicture as error: print(error)\n"
    )
    names = [tmp_path / name for name in ("a.png", "b.png", "c.tif", "d.tif", "e.tif")]
    done = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    told = [line.partition(":")[0][-5:] for line in done.stdout.splitlines()]
    assert told == ["c.tif", "d.tif", "e.tif"]


def test_the_content_decides_the_format_not_the_name(tmp_path: Path) -> None:
    draw(tmp_path / "a.png").rename(tmp_path / "a.jpg")
    back = read(tmp_path / "a.jpg")
    assert back.form == "PNG"
    assert back.warnings == ("its suffix says JPEG, but its content is PNG",)


@pytest.mark.parametrize("name", [b"a\nb", b"\xff\xfe", "ü 漢".encode(), b"-n; $(x) %s {}"])
@pytest.mark.parametrize("suffix", sorted({*READABLE} - {".heic", ".heif"}))
@pytest.mark.linux
def test_any_name_the_system_allows(tmp_path: Path, name: bytes, suffix: str) -> None:
    path = tmp_path / os.fsdecode(name + suffix.encode())
    deep = suffix in (".png", ".tiff")
    write(photo(np.full((4, 4), 700 if deep else 70, np.uint16 if deep else np.uint8)), path)
    assert read(path).frames[0].depth == (16 if deep else 8)
    path.write_bytes(b"broken")
    with pytest.raises(UnreadablePicture) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).encode()  # can be printed


def test_many_threads_read_and_write_at_once(tmp_path: Path) -> None:
    """8 and 16 bits, PNG and TIFF: the pictures are the same as without threads."""
    rng = np.random.default_rng(0)
    sources = [rng.integers(0, 65536, (50, 60, 3), np.uint16) for _ in range(6)]
    sources = [s if i % 2 else (s >> 8).astype(np.uint8) for i, s in enumerate(sources)]

    def round_trip(number: int) -> bool:
        source = sources[number % len(sources)]
        path = tmp_path / f"{number}{['.png', '.tiff'][number // 6 % 2]}"
        write(photo(source), path)
        return np.array_equal(read(path).frames[0].pixels, source)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(round_trip, range(48)))


@given(st.data())
def test_random_bytes_result_in_a_picture_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    suffix = data.draw(st.sampled_from([".png", ".jpg", ".webp", ".tiff", ".avif", ".gif", ".bmp"]))
    path = draw(folder / f"a{suffix}")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        assert read(path, max_pixels=1 << 20).frames
    except UnreadablePicture as error:
        assert str(path) in str(error)  # noqa: PT017


def test_a_picture_too_long_for_the_format_is_named(tmp_path: Path) -> None:
    long = photo(np.zeros((1, 16_384), np.uint8))
    with pytest.raises(UnwritablePicture, match=r"a\.webp.*16383"):
        write(long, tmp_path / "a.webp")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp"])
@pytest.mark.posix
def test_a_full_disk_leaves_no_incomplete_file(tmp_path: Path, suffix: str) -> None:
    import resource

    noise = np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UnwritablePicture, match=rf"a\{suffix}: File too large"):
            write(photo(noise), tmp_path / f"a{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif"])
def test_probe_reads_only_the_header(tmp_path: Path, suffix: str) -> None:
    counters = getattr(psutil.Process(), "io_counters", None)
    if counters is None or not hasattr(counters(), "read_chars"):
        pytest.skip("this system does not count the bytes that a process reads")
    path = draw(tmp_path / f"a{suffix}", 50, 40)
    with path.open("ab") as file:
        file.truncate(300 << 20)
    before = counters().read_chars
    header = probe(path)
    assert (header.height, header.width) == (40, 50)
    assert counters().read_chars - before < 1 << 20


def test_probe_finds_transparency_after_long_texts(tmp_path: Path) -> None:
    """tRNS comes after more text than is read at first."""
    text = PngInfo()
    text.add_text("comment", "x" * 200_000)
    image = Image.new("P", (5, 4))
    image.save(tmp_path / "a.png", pnginfo=text, transparency=0)
    assert probe(tmp_path / "a.png").channels == 4
    image.save(tmp_path / "b.png", pnginfo=text)
    assert probe(tmp_path / "b.png").channels == 3


LUMA_TABLE = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80"
    " 62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95"
    " 98 112 100 103 99"
)
"""ITU-T T.81, table K.1."""


@pytest.mark.parametrize("quality", [10, 50, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_header_of_a_jpeg_has_its_quantization(tmp_path: Path, mode: str, quality: int) -> None:
    """The IJG's encoder scales the tables of annex K by the quality."""
    path = tmp_path / "a.jpg"
    Image.new(mode, (20, 10)).save(path, quality=quality)
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = [min(max((int(n) * percent + 50) // 100, 1), 255) for n in LUMA_TABLE.split()]
    assert probe(path).quantization == pytest.approx(sum(steps) / 64)


def test_other_headers_have_no_quantization(tmp_path: Path) -> None:
    for form in ("png", "webp", "bmp"):
        Image.new("RGB", (20, 10)).save(tmp_path / f"a.{form}")
        assert probe(tmp_path / f"a.{form}").quantization == 0
