"""Metadata: copied, corrected where the new picture makes it wrong, refused if damaged."""

from __future__ import annotations

import io
import re
import struct
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from lapsr_cli.errors import UnreadablePicture, UnwritablePicture
from lapsr_cli.image_io import Encoding, Metadata, Photo, losses, probe, read, write
from lapsr_cli.image_io import exif as block_of
from lapsr_cli.image_io import exif_thumbnail as thumbnail_of
from lapsr_cli.image_io import xmp as packet_of
from lapsr_cli.image_io.damage import Damaged
from lapsr_cli.image_io.ifd import Directory, layout_of
from lapsr_cli.image_io.tiff_pages import metadata_of, pages_of
from lapsr_cli.pixels.picture import Picture
from tests import drawn_files
from tests.drawn_files import IPTC, MAKER_NOTE, THUMBNAIL, values

SAID = Metadata(
    icc_profile=drawn_files.icc(),
    exif=drawn_files.exif(orientation=1, thumbnail=b""),
    xmp=drawn_files.xmp(1),
    iptc=IPTC,
    dpi=(300.0, 150.0),
)
HOLDS_ALL = [".jpg", ".png", ".tiff"]
HOLDS_EXIF = [*HOLDS_ALL, ".webp", ".avif"]
SIZES = {(0x8769, 0xA002), (0x8769, 0xA003)}


def camera(path: Path, order: str = "<", orientation: int = 6) -> Path:
    """A JPEG as a camera writes it, 40 x 30 before its orientation is applied."""
    photoshop = b"Photoshop 3.0\0" + b"8BIM\x04\x0c\0\0\0\0\0\x05thumb\0"
    photoshop += b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC + b"\0"
    app13 = b"\xff\xed" + struct.pack(">H", len(photoshop) + 2) + photoshop
    Image.new("RGB", (40, 30), (120, 90, 30)).save(
        path,
        exif=b"Exif\0\0" + drawn_files.exif(order, orientation),
        xmp=drawn_files.xmp(orientation),
        icc_profile=SAID.icc_profile,
        extra=app13,
        dpi=(300, 150),
    )
    return path


def enlarged(photo: Photo, height: int, width: int) -> Photo:
    frame = Picture(np.zeros((height, width, 3), np.uint8))
    return replace(photo, frames=(frame,))


def number(value: bytes, order: str) -> int:
    return int.from_bytes(value, "little" if order == "<" else "big")


@pytest.mark.parametrize("suffix", HOLDS_EXIF)
@pytest.mark.parametrize("order", ["<", ">"])
def test_all_metadata_of_a_camera_is_copied(tmp_path: Path, suffix: str, order: str) -> None:
    before = values(drawn_files.exif(order))
    photo = read(camera(tmp_path / "in.jpg", order))
    assert photo.frames[0].pixels.shape == (40, 30, 3), "upright"
    path = tmp_path / f"out{suffix}"
    write(enlarged(photo, 160, 70_000 if suffix in (".png", ".tiff") else 120), path)
    width = 70_000 if suffix in (".png", ".tiff") else 120
    back = read(path).metadata
    assert back.exif is not None
    after = values(back.exif)
    for place, value in before.items():
        if place not in SIZES | {(0, 0x0112)} and not (suffix == ".tiff" and place[1] == 0xFDE8):
            assert after[place] == value, place
    assert after[0x8769, 0x927C] == MAKER_NOTE
    # A size that exceeds a SHORT becomes a LONG.
    assert number(after[0x8769, 0xA002], order) == width
    assert number(after[0x8769, 0xA003], order) == 160
    if suffix != ".avif":
        assert number(after[0, 0x0112], order) == 1
    assert back.icc_profile == SAID.icc_profile
    assert back.dpi == pytest.approx((300, 150), abs=0.02)
    assert back.xmp is not None
    for part in (b'tiff:Orientation="1"', b'PixelXDimension="%d"' % width, b"Z\xc3\xbcrich"):
        assert part in back.xmp
    assert b"<exif:PixelYDimension>160<" in back.xmp
    if suffix in HOLDS_ALL:
        assert back.iptc == IPTC
    else:
        assert "IPTC" in losses(photo, path)[0]
    content = path.read_bytes()
    assert THUMBNAIL[10:40] not in content
    assert b"Thumbnails" not in content


@pytest.mark.parametrize("suffix", HOLDS_EXIF)
def test_other_libraries_read_the_metadata(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(Photo((Picture(np.zeros((8, 9, 3), np.uint8)),), "PNG", False, SAID), path)
    with Image.open(path) as image:
        found = image.getexif()
        assert image.info["icc_profile"] == SAID.icc_profile
        assert found.get(0x010F) == "Maker"
        inner = found.get_ifd(0x8769)
        assert (inner[0x927C], inner[0xA002], inner[0xA003]) == (MAKER_NOTE, 9, 8)
        assert inner[0x9286] == b"ASCII\0\0\0hello\0\0"
        assert found.get_ifd(0x8825)[2] == (47, 22, 11)
        assert found.get_ifd(0xA005)[1] == "R98"
        assert found.get_ifd(ExifTags.IFD.IFD1) == {}
        if suffix in HOLDS_ALL:
            assert [round(float(value)) for value in image.info["dpi"]] == [300, 150]
        assert b"rdf:RDF" in image.info["xmp"]
        text = getattr(image, "text", {})
    seen = pyvips.Image.new_from_buffer(path.read_bytes(), "")
    assert seen.get("icc-profile-data") == SAID.icc_profile
    assert b"rdf:RDF" in seen.get("xmp-data")
    if suffix in HOLDS_ALL:
        if suffix == ".png":
            assert IPTC in bytes.fromhex("".join(text["Raw profile type iptc"].split()[2:]))
        else:
            assert IPTC in seen.get("iptc-data")
        assert seen.xres * 25.4 == pytest.approx(300, abs=0.02)
    if suffix != ".tiff":
        assert "Maker" in seen.get("exif-ifd0-Make")


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_files_keep_all_metadata(tmp_path: Path, suffix: str, channels: int) -> None:
    profile = drawn_files.icc(b"GRAY") if channels < 3 else drawn_files.icc()
    said = replace(SAID, icc_profile=profile)
    pixels = np.full((5, 6, 3) if channels > 2 else (5, 6), 4660, np.uint16)
    alpha = np.full((5, 6), 999, np.uint16) if channels in (2, 4) else None
    path = tmp_path / f"a{suffix}"
    write(Photo((Picture(pixels, alpha),), "PNG", False, said), path)
    back = read(path)
    assert back.frames[0].depth == 16
    assert np.array_equal(back.frames[0].pixels, pixels)
    assert back.metadata.icc_profile == profile
    assert (back.metadata.xmp, back.metadata.iptc) == (
        said.xmp
        and said.xmp.replace(b'"40"', b'"6"').replace(b">30<", b">5<").split(b"<xmp:Thumb")[0]
        + b"</rdf:Description></rdf:RDF></x:xmpmeta>",
        IPTC,
    )
    assert back.metadata.exif
    assert values(back.metadata.exif)[0x8769, 0x927C] == MAKER_NOTE
    assert back.metadata.dpi == pytest.approx((300, 150), abs=0.02)


def test_display_p3_is_unchanged(tmp_path: Path) -> None:
    """The bytes of the profile and the pixel values."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    for suffix in (".png", ".tiff", ".webp"):
        path = tmp_path / f"a{suffix}"
        options = {"lossless": True} if suffix == ".webp" else {}
        Image.fromarray(pixels).save(path, None, icc_profile=SAID.icc_profile, **options)
        photo = read(path)
        assert np.array_equal(photo.frames[0].pixels, pixels)
        out = tmp_path / f"b{suffix}"
        write(photo, out, Encoding(lossless=True, strip_metadata=True))
        with Image.open(out) as image:
            assert image.info["icc_profile"] == SAID.icc_profile
            assert np.array_equal(np.asarray(image.convert("RGB")), pixels)


@pytest.mark.parametrize("suffix", [*HOLDS_EXIF, ".bmp", ".gif"])
def test_strip_metadata_keeps_only_the_profile(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    photo = read(camera(tmp_path / "in.jpg"))
    stripped = read(camera(tmp_path / "in.jpg"), strip_metadata=True)
    assert stripped.metadata == Metadata(icc_profile=SAID.icc_profile)
    assert stripped.frames[0].pixels.shape == (40, 30, 3), "still upright"
    write(photo, path, Encoding(strip_metadata=True))
    kept = SAID.icc_profile if suffix in HOLDS_EXIF else None
    assert read(path).metadata == Metadata(icc_profile=kept)
    for secret in (b"Maker", b"Orientation", b"river"):
        assert secret not in path.read_bytes()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_reset(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    """Each of the eight, by where a marked corner of the upright picture is stored."""
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
    path = tmp_path / f"turned{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if suffix == ".tiff" else {"quality": 100}
    image = Image.fromarray(np.ascontiguousarray(stored))
    image.save(path, exif=exif, **options)  # type: ignore[arg-type]
    for _ in range(2):
        photo = read(path)
        pixels = photo.frames[0].pixels
        grey = pixels if pixels.ndim == 2 else pixels[..., 0]
        assert grey.shape == upright.shape
        assert np.abs(grey.astype(int) - upright).max() < 30
        write(photo, path, Encoding(quality=100))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    """The same as for 8 bits, including alpha."""
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    said = Metadata(exif=drawn_files.exif(orientation=orientation, thumbnail=b""))
    path = tmp_path / f"a{suffix}"
    write(Photo((Picture(deep, deep // 2),), "PNG", False, said), path)
    content = path.read_bytes()
    if suffix == ".tiff":  # what is written is upright: mark it as a camera would
        at = content.rindex(struct.pack("<HHIHH", 0x0112, 3, 1, 1, 0))
        path.write_bytes(content[: at + 8] + bytes([orientation]) + content[at + 9 :])
    (frame,) = read(path).frames
    tagged = Image.fromarray((deep // 5000).astype(np.uint8))
    tagged.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(tagged)).astype(int) * 5000
    assert np.array_equal(frame.pixels, upright)
    assert frame.alpha is not None
    assert np.array_equal(frame.alpha, upright // 2)


def test_exif_is_changed_in_place() -> None:
    """No byte moves; only the orientation and the thumbnail, which is zeros, differ."""
    for order in "<>":
        block = drawn_files.exif(order)
        upright = block_of.upright(block)
        before_thumbnail = len(block) - len(THUMBNAIL)
        assert upright[before_thumbnail:] == bytes(len(THUMBNAIL))
        pairs = zip(upright[:before_thumbnail], block[:before_thumbnail], strict=True)
        assert [a == b for a, b in pairs].count(False) == 1
        resized = block_of.resized(upright, 30, 40)
        assert resized == upright, "the size it had"
        without = block_of.without_orientation(block)
        assert len(without) == len(block)
        assert values(without) == {k: v for k, v in values(block).items() if k != (0, 0x0112)}


def jpeg(side: int, quality: int = 95) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_thumbnail_shows_the_new_picture(tmp_path: Path, suffix: str, order: str) -> None:
    """Upright, its longer side 160, in the place of the old one, which was longer."""
    block = drawn_files.exif(order, 6, thumbnail=jpeg(100))
    red_above = np.zeros((300, 600, 3), np.uint8)
    red_above[:150] = (255, 0, 0)
    Image.fromarray(np.rot90(red_above)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block)
    photo = read(tmp_path / "a.jpg")
    assert photo.metadata.exif is not None
    assert jpeg(100) not in photo.metadata.exif
    write(photo, tmp_path / f"b{suffix}")
    after = read(tmp_path / f"b{suffix}").metadata.exif
    assert after is not None
    assert len(after) < len(block)
    with Image.open(tmp_path / f"b{suffix}") as image:
        raw = image.getexif().get_ifd(ExifTags.IFD.IFD1)
        assert raw[0x0201] + raw[0x0202] == len(after)
        content = (tmp_path / f"b{suffix}").read_bytes()
        start = content.index(b"Maker\0") - block.index(b"Maker\0") + raw[0x0201]
    with Image.open(io.BytesIO(content[start : start + raw[0x0202]])) as thumbnail:
        assert thumbnail.size == (160, 80)
        small = np.asarray(thumbnail).astype(int)
        assert np.abs(small[:36] - (255, 0, 0)).max() < 12
        assert np.abs(small[44:]).max() < 12


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("room", [3000, 1500, 900, 100])
def test_a_thumbnail_is_never_longer_than_the_old_one(depth: int, alpha: bool, room: int) -> None:
    block = drawn_files.exif(thumbnail=b"\xff\xd8\xff" + bytes(room - 3)) + b"maker note"
    full = (1 << depth) - 1
    pixels = np.random.default_rng(0).integers(0, full, (90, 70, 3), f"uint{depth}", endpoint=True)
    mask = np.full((90, 70), full, pixels.dtype) if alpha else None
    after = thumbnail_of.renewed(block_of.upright(block), Picture(pixels, mask))
    assert values(after) == values(block) | {(0, 0x0112): b"\1\0"}
    assert len(after) == len(block)
    assert after.endswith(b"maker note")
    layout, first = layout_of(after)
    following = Directory.parse(after, layout, first).next
    assert (following > 0) is (room > 100), "nothing fits into 100 bytes"
    if not following:
        return
    second = Directory.parse(after, layout, following)
    start, size = (second.integer(tag, layout) for tag in (0x0201, 0x0202))
    assert size <= room
    with Image.open(io.BytesIO(after[start : start + size])) as thumbnail:
        assert max(thumbnail.size) <= 160
        thumbnail.load()


def test_small_deviations_of_cameras_are_accepted(tmp_path: Path) -> None:
    """An unusual type, a missing end, bytes after it: Pillow cannot write them all."""
    odd = [
        (0x0112, 3, 1, b"\6\0"),
        (0x011A, 2, 4, b"n/a\0"),
        (0x0128, 7, 2, b"??"),
        (0xA002, 55, 9, b""),
    ]
    plain = b"II*\0\x08\0\0\0" + drawn_files.ifd("<", 8, odd)
    for which, block in enumerate((plain, plain[:-4], plain + b"trailing" * 9)):
        path = tmp_path / f"{which}.jpg"
        Image.new("RGB", (20, 10)).save(path, exif=b"Exif\0\0" + block)
        photo = read(path)
        assert photo.frames[0].pixels.shape == (20, 10, 3)
        assert photo.metadata.dpi is None
        write(photo, path)
        assert read(path).frames[0].pixels.shape == (20, 10, 3)


BROKEN = {
    "header": b"XX*\0\x08\0\0\0" + bytes(20),
    "version": b"II\x07\0\x08\0\0\0" + bytes(20),
    "offset": b"II*\0\xff\xff\0\0" + bytes(20),
    "cut": drawn_files.exif()[:60],
    "outside": b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x010F, 2, 500, 100) + bytes(4),
    "inner": b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x8769, 4, 1, 9999) + bytes(4),
}


@pytest.mark.parametrize("what", sorted(BROKEN))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_damaged_exif_is_refused_or_dropped(tmp_path: Path, what: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (20, 10)).save(path, exif=b"Exif\0\0" + BROKEN[what])
    with pytest.raises(UnreadablePicture) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: its EXIF is damaged (")
    assert str(caught.value).endswith("; use --strip-metadata to drop it")
    photo = read(path, strip_metadata=True)
    assert photo.metadata == Metadata()
    assert "EXIF is damaged" in photo.warnings[0]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".avif"])
@pytest.mark.parametrize("what", ["noise", "cut", "grey"])
def test_a_damaged_profile_is_refused_or_dropped(tmp_path: Path, suffix: str, what: str) -> None:
    profile = {
        "noise": bytes(range(256)),
        "cut": drawn_files.icc()[:200],
        "grey": drawn_files.icc(b"GRAY"),
    }[what]
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (20, 10)).save(path, icc_profile=profile)
    with pytest.raises(UnreadablePicture, match=r"its ICC profile is damaged \(.*--strip-metadata"):
        read(path)
    if what == "grey":
        with pytest.raises(UnreadablePicture, match="it is for GRAY pixels, but these are RGB"):
            read(path)
    photo = read(path, strip_metadata=True)
    assert photo.metadata.icc_profile is None
    assert "ICC profile is damaged" in photo.warnings[0]


def test_a_profile_that_cannot_be_decompressed_is_damaged(tmp_path: Path) -> None:
    samples = np.zeros((3, 3, 3), np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(drawn_files.png(samples, (b"iCCP", b"x\0\0not deflate")))
    with pytest.raises(UnreadablePicture, match="its ICC profile is damaged"):
        read(path)
    assert "ICC profile" in read(path, strip_metadata=True).warnings[0]


_TAGS = [b"<xmp:Thumbnails", b"<xap:Thumbnails>", b"</xmp:Thumbnails>", b"</xap:Thumbnails >"]


@given(st.lists(st.sampled_from([*_TAGS, b"</xmp:Thumbnails", b"s", b" a ", b"\n>"])))
def test_thumbnails_are_removed_as_by_a_regular_expression(parts: list[bytes]) -> None:
    packet = b"".join(parts)
    whole = re.compile(rb"<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails\s*>", re.DOTALL)
    assert packet_of.upright(packet) == whole.sub(b"", packet)


@pytest.mark.parametrize("end", [b"", b"</xmp:Thumbnails"])
def test_unclosed_thumbnails_take_linear_time(end: bytes) -> None:
    """One regular expression would search four megabytes a quarter of a million times."""
    packet = b"<xmp:Thumbnails " * (1 << 18) + end
    assert packet_of.upright(packet) == packet


@pytest.mark.parametrize("depth", [8, 16])
def test_unused_texts_are_not_decompressed(tmp_path: Path, depth: int) -> None:
    """Sixteen of 32 MiB after the pixels; Pillow would refuse them."""
    samples = np.zeros((3, 3, 3), np.uint16 if depth == 16 else np.uint8)
    text = zlib.compress(bytes(32 << 20), 9)
    texts = [(b"zTXt", b"Raw profile type a%d\0\0" % number + text) for number in range(16)]
    whole = drawn_files.png(samples)
    end = whole.rindex(b"IEND") - 4
    late = b"".join(drawn_files.chunk(kind, content) for kind, content in texts)
    (tmp_path / "a.png").write_bytes(whole[:end] + late + whole[end:])
    tracemalloc.start()
    try:
        photo = read(tmp_path / "a.png")
        write(photo, tmp_path / "b.png")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20
    assert photo.frames[0].pixels.shape == (3, 3, 3)
    assert (tmp_path / "b.png").read_bytes().count(text) == 16


def test_overlapping_values_are_damaged(tmp_path: Path) -> None:
    """A thousand tags that share one value of a megabyte would be a gigabyte."""
    path = tmp_path / "a.tiff"
    Image.new("L", (2, 2)).save(path)
    data = path.read_bytes()
    layout, first = layout_of(data)
    known = Directory.parse(data, layout, first).entries.values()
    at = len(data) + 1 << 1
    entries = [(e.tag, e.type, e.count, data[e.at + 8 : e.at + 12]) for e in known]
    value_at = struct.pack("<I", at + 2 + 12 * (len(entries) + 1000) + 4)
    entries += [(0xC000 + number, 7, 1 << 20, value_at) for number in range(1000)]
    directory = struct.pack("<H", len(entries))
    for tag, kind, count, where in entries:
        directory += struct.pack("<HHI", tag, kind, count) + where
    whole = data[:4] + struct.pack("<I", at) + data[8:]
    path.write_bytes(whole.ljust(at, b"\0") + directory + bytes(4 + (1 << 20)))
    tracemalloc.start()
    try:
        for look in (read, probe):
            with pytest.raises(UnreadablePicture, match="the values of a directory overlap"):
                look(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_overlapping_pages_are_damaged(tmp_path: Path) -> None:
    """Directories of 4,000 entries, each 14 bytes behind the last, in a file that holds one."""
    count, step = 4000, 14
    data = bytearray(b"II*\0" + struct.pack("<I", 8) + bytes(2 + 12 * count + 4 + 100 * step))
    for number in range(100):
        at = 8 + number * step
        struct.pack_into("<H", data, at, count)
        struct.pack_into("<I", data, at + 2 + 12 * count, at + step)
    (tmp_path / "a.tiff").write_bytes(data)
    with pytest.raises(UnreadablePicture, match="its directories overlap"):
        probe(tmp_path / "a.tiff")


def test_more_pages_than_the_limit_are_refused() -> None:
    """Directories without entries, which are enough to be counted."""
    for count in (65_536, 65_537):
        data = b"II*\0\x08\0\0\0" + b"".join(
            struct.pack("<HI", 0, 0 if number == count else 8 + 6 * number)
            for number in range(1, count + 1)
        )
        if count > 65_536:
            with pytest.raises(UnreadablePicture, match="more than 65536 pages"):
                pages_of(data)
        else:
            assert len(pages_of(data)) == count


def test_a_profile_shared_by_pages_is_kept_once() -> None:
    """Two hundred pages, one profile of a megabyte."""
    count, size = 200, 2 + 3 * 12 + 4
    value_at = 8 + count * size
    data = bytearray(b"II*\0" + struct.pack("<I", 8))
    for number in range(count):
        data += struct.pack("<H", 3)
        data += struct.pack("<HHII", 0x0100, 3, 1, 7) + struct.pack("<HHII", 0x0101, 3, 1, 5)
        data += struct.pack("<HHII", 0x8773, 7, 1 << 20, value_at)
        data += struct.pack("<I", 8 + (number + 1) * size if number < count - 1 else 0)
    whole = bytes(data) + bytes(1 << 20)
    tracemalloc.start()
    try:
        pages = pages_of(whole)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [page.size for page in pages] == [(5, 7)] * count
    profile = metadata_of(whole, pages[0])[0].icc_profile
    assert profile is not None
    assert len(profile) == 1 << 20
    assert peak < 16 << 20


def test_an_rgb_profile_of_a_grey_picture_is_dropped(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 80).save(tmp_path / "a.jpg", icc_profile=drawn_files.icc())
    photo = read(tmp_path / "a.jpg")
    assert photo.metadata.icc_profile is None
    assert "grey" in photo.warnings[0]


@pytest.mark.parametrize("key", ["exif", "xmp", "iptc"])
def test_metadata_too_long_for_a_jpeg_is_an_error(tmp_path: Path, key: str) -> None:
    long = b"\x1c\x02\x78\x80\x04" + bytes(70_000)
    if key == "exif":
        long = b"II*\0\x08\0\0\0" + drawn_files.ifd("<", 8, [(0x010E, 2, 70_000, bytes(70_000))])
    said = Metadata(**{key: long})  # type: ignore[arg-type]
    photo = Photo((Picture(np.zeros((4, 4), np.uint8)),), "PNG", False, said)
    with pytest.raises(UnwritablePicture, match=rf"a\.jpg: its {key.upper()} of 70\d\d\d bytes"):
        write(photo, tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())
    write(photo, tmp_path / "a.png")
    assert getattr(read(tmp_path / "a.png").metadata, key) == long
    write(photo, tmp_path / "a.jpg", Encoding(strip_metadata=True))


def test_a_large_profile_fits_a_jpeg(tmp_path: Path) -> None:
    profile = drawn_files.icc()
    padded = struct.pack(">I", 200_000) + profile[4:] + bytes(200_000 - len(profile))
    photo = Photo(
        (Picture(np.zeros((4, 4, 3), np.uint8)),), "PNG", False, Metadata(icc_profile=padded)
    )
    write(photo, tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg").metadata.icc_profile == padded


def test_texts_of_imagemagick_are_read(tmp_path: Path) -> None:
    """EXIF in a PNG from before eXIf: hexadecimal in a compressed text."""
    block = b"Exif\0\0" + drawn_files.exif(orientation=8)
    text = f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()
    path = tmp_path / "a.png"
    chunk = (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    path.write_bytes(drawn_files.png(np.zeros((3, 5, 3), np.uint8), chunk))
    photo = read(path)
    assert photo.frames[0].pixels.shape == (5, 3, 3)
    assert photo.metadata.exif
    assert values(photo.metadata.exif)[0, 0x010F] == b"Maker\0"


def test_the_resolution_is_copied_without_exif(tmp_path: Path) -> None:
    said = Metadata(dpi=(240.0, 120.0))
    for suffix in (*HOLDS_EXIF, ".bmp"):
        path = tmp_path / f"a{suffix}"
        write(Photo((Picture(np.zeros((4, 4, 3), np.uint8)),), "PNG", False, said), path)
        assert read(path).metadata.dpi == pytest.approx((240, 120), abs=0.02), suffix


def test_a_tiff_without_descriptive_tags_has_no_exif(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.tif", dpi=(300, 300))
    said = read(tmp_path / "a.tif").metadata
    assert (said.exif, said.dpi) == (None, (300, 300))


def test_the_exif_of_another_programs_tiff_is_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Scanner"
    exif[0x8298] = "Me"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    exif.get_ifd(0x8825)[1] = "S"
    Image.new("RGB", (4, 4)).save(tmp_path / "a.tif", exif=exif.tobytes())
    write(read(tmp_path / "a.tif"), tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        found = image.getexif()
        assert (found[0x010F], found[0x8298]) == ("Scanner", "Me")
        assert found.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
        assert found.get_ifd(0x8825)[1] == "S"
        assert not {0x0111, 0x0117, 0x0103} & set(found)


@given(st.data())
def test_any_bytes_are_exif_or_damaged(data: st.DataObject) -> None:
    """Changes in place stay inside the block, never lengthen it, and can be read again."""
    block = bytearray(drawn_files.exif(data.draw(st.sampled_from("<>"))))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, min(len(block) - 1, 200)))
        block[at] = data.draw(st.integers(0, 255))
    before = bytes(block)
    try:
        upright = block_of.upright(before)
    except Damaged:
        return
    assert len(upright) <= len(before)
    changed = block_of.resized(upright, 70_000, 70_000)
    assert len(changed) == len(upright)
    picture = Picture(np.zeros((8, 8), np.uint8))
    assert len(thumbnail_of.renewed(changed, picture)) <= len(changed)


def test_dropped_metadata_is_reported(tmp_path: Path) -> None:
    """Gamma without a profile, extended XMP, more than 8 bits in AVIF."""
    samples = np.zeros((3, 3, 3), np.uint8)
    for gamma, said in ((100_000, True), (45_455, False)):
        path = tmp_path / f"{gamma}.png"
        path.write_bytes(drawn_files.png(samples, (b"gAMA", struct.pack(">I", gamma))))
        assert any("gamma" in warning for warning in read(path).warnings) is said
    extension = b"http://ns.adobe.com/xmp/extension/\0" + bytes(50)
    segment = b"\xff\xe1" + struct.pack(">H", len(extension) + 2) + extension
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", extra=segment, xmp=drawn_files.xmp(1))
    assert "XMP" in read(tmp_path / "a.jpg").warnings[0]
    for bits in (8, 10):
        image = pyvips.Image.black(32, 32, bands=3).cast("ushort") + 40_000
        image = image.copy(interpretation="rgb16") if bits == 10 else (image / 257).cast("uchar")
        path = tmp_path / f"{bits}.avif"
        path.write_bytes(image.heifsave_buffer(compression="av1", bitdepth=bits))
        assert [w for w in read(path).warnings if "10 or 12 bits" in w] == (
            [] if bits == 8 else list(read(path).warnings)
        )
    assert read(tmp_path / "10.avif").warnings
