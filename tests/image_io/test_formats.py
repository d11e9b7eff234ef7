"""Every kind of picture in every format, checked against a second library."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageSequence

from lapsr_cli.errors import UnreadablePicture, UnwritablePicture, UsageError
from lapsr_cli.image_io import (
    Encoding,
    Metadata,
    Photo,
    Timing,
    check_size,
    chroma_step,
    from_pil,
    holds_alpha,
    holds_depth,
    holds_frames,
    losses,
    probe,
    read,
    suffix_for,
    to_pil,
    write,
)
from lapsr_cli.pixels.picture import Picture, Samples
from tests import drawn_files

WHITE = (255, 255, 255)


def noise(*shape: int, depth: int = 8, seed: int = 0) -> Samples:
    kind = np.uint8 if depth == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 1 << depth, shape, kind)


def smooth(*shape: int) -> Samples:
    """Smooth gradients, of which lossy encoders lose little."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    planes = [rows * 2 + 40, columns * 2 + 20, 200 - rows - columns][: (*shape, 1)[2]]
    return np.dstack(planes).astype(np.uint8).reshape(shape)


def photo(picture: Picture, **rest: object) -> Photo:
    return Photo((picture,), "PNG", lossy=False, **rest)  # type: ignore[arg-type]


def by_vips(path: Path) -> Samples:
    samples: Samples = pyvips.Image.new_from_buffer(path.read_bytes(), "").numpy()
    return samples


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    height, width = draw(st.integers(1, 17)), draw(st.integers(1, 17))
    depth = draw(st.sampled_from([8, 16]))
    seed = draw(st.integers(0, 99))
    shape = (height, width) if draw(st.booleans()) else (height, width, 3)
    alpha = noise(height, width, depth=depth, seed=seed + 1) if draw(st.booleans()) else None
    return Picture(noise(*shape, depth=depth, seed=seed), alpha)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    picture=pictures(),
    suffix=st.sampled_from([".png", ".tiff", ".webp", ".avif", ".jpg", ".bmp", ".gif"]),
    turned=st.integers(1, 8),
)
def test_every_kind_of_picture_round_trips(
    tmp_path: Path, picture: Picture, suffix: str, turned: int
) -> None:
    """Size, mode, depth, profile and orientation; the pixels too in lossless formats."""
    profile = drawn_files.icc(b"RGB " if picture.pixels.ndim == 3 else b"GRAY")
    said = Metadata(icc_profile=profile, exif=drawn_files.exif("<", turned, thumbnail=b""))
    path = tmp_path / f"a{suffix}"
    given = photo(picture, metadata=said)
    write(given, path, Encoding(lossless=suffix == ".webp", background=WHITE))
    back = read(path)
    (frame,) = back.frames
    # The orientation in the metadata is applied once, when the file is read.
    sideways = turned >= 5 and suffix not in (".avif", ".bmp", ".gif", ".tiff")
    assert frame.pixels.shape[:2] == picture.pixels.shape[:2][:: -1 if sideways else 1]
    assert frame.depth == (picture.depth if holds_depth(path) else 8)
    assert back.lossy is (suffix in (".jpg", ".avif"))
    if suffix in (".png", ".tiff"):
        assert (frame.alpha is None) is (picture.alpha is None)
        assert frame.pixels.ndim == picture.pixels.ndim
        assert back.metadata.icc_profile == profile
    if suffix in (".jpg", ".avif", ".webp") and picture.pixels.ndim == 3:
        assert back.metadata.icc_profile == profile
    if suffix == ".tiff":
        assert np.array_equal(frame.pixels, picture.pixels)
        assert picture.alpha is None or np.array_equal(frame.alpha, picture.alpha)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pixels_are_exact_in_another_library(
    tmp_path: Path, suffix: str, depth: int, channels: int
) -> None:
    samples = noise(13, 9, channels, depth=depth)
    colours = samples[..., :3] if channels > 2 else samples[..., 0]
    alpha = samples[..., -1] if channels in (2, 4) else None
    path = tmp_path / f"a{suffix}"
    write(photo(Picture(colours, alpha)), path)
    assert np.array_equal(by_vips(path).reshape(samples.shape), samples)
    if depth == 8:
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image).reshape(samples.shape), samples)
    header = probe(path)
    assert (header.height, header.width, header.channels, header.depth) == (13, 9, channels, depth)
    assert (header.form, header.frames) == ({".png": "PNG", ".tiff": "TIFF"}[suffix], 1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_made_by_the_specification_is_read(tmp_path: Path, channels: int, depth: int) -> None:
    samples = noise(5, 7, channels, depth=depth)
    (tmp_path / "a.png").write_bytes(drawn_files.png(samples))
    (frame,) = read(tmp_path / "a.png").frames
    assert np.array_equal(frame.pixels.reshape(5, 7, -1), samples[..., : 3 if channels > 2 else 1])
    if channels in (2, 4):
        assert frame.alpha is not None
        assert np.array_equal(frame.alpha, samples[..., -1])
    else:
        assert frame.alpha is None


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_grey(tmp_path: Path, depth: int) -> None:
    """tRNS at every depth: Pillow does not scale those of 2 and 4 bits."""
    most = (1 << depth) - 1
    greys = [0, 1, most, 1]
    bits = "".join(f"{grey:0{depth}b}" for grey in greys)
    raw = b"\0" + int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(
        -(-len(bits) // 8), "big"
    )
    (tmp_path / "a.png").write_bytes(drawn_files.png_of(4, 1, depth, 0, raw, (b"tRNS", b"\0\1")))
    (frame,) = read(tmp_path / "a.png").frames
    assert frame.alpha is not None
    assert (frame.alpha[0] == 0).tolist() == [False, True, depth == 1, True]
    assert frame.pixels[0, :3].tolist() == [grey * frame.full // most for grey in greys[:3]]


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_colour(tmp_path: Path, depth: int) -> None:
    samples = noise(3, 4, 3, depth=depth)
    clear = samples[1, 2].astype(">u2").tobytes()
    (tmp_path / "a.png").write_bytes(drawn_files.png(samples, (b"tRNS", clear)))
    (frame,) = read(tmp_path / "a.png").frames
    assert np.array_equal(frame.pixels, samples)
    expected = np.full((3, 4), frame.full)
    expected[1, 2] = 0
    assert frame.alpha is not None
    assert np.array_equal(frame.alpha, expected)


def test_palettes_become_rgb_and_alpha(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    image = Image.new("P", (3, 1))
    image.putpalette([value for colour in colours for value in colour])
    image.putdata([0, 1, 2])
    for name, options, alpha in (
        ("plain.png", {}, None),
        ("one.png", {"transparency": 1}, [255, 0, 255]),
        ("more.png", {"transparency": b"\x80\xff\x00"}, [128, 255, 0]),
        ("still.gif", {}, None),
        ("clear.gif", {"transparency": 2}, [255, 255, 0]),
        ("unused.gif", {"transparency": 7}, None),
    ):
        image.save(tmp_path / name, **options)
        (frame,) = read(tmp_path / name).frames
        got = None if frame.alpha is None else frame.alpha[0].tolist()
        assert got == alpha, name
        seen = [i for i in range(3) if not alpha or alpha[i]]
        assert [tuple(frame.pixels[0, i]) for i in seen] == [colours[i] for i in seen], name


@pytest.mark.parametrize("photometric", ["white is zero", "multiplied", "unspecified"])
def test_16_bit_tiffs_with_other_sample_meanings(tmp_path: Path, photometric: str) -> None:
    """Inverted grey, premultiplied alpha, and an extra sample that is not alpha."""
    extra = {"multiplied": (0x0152, 3, 1, b"\1\0"), "unspecified": (0x0152, 3, 1, b"\0\0")}
    samples = noise(4, 5, 1 if photometric == "white is zero" else 4, depth=16)
    if photometric == "multiplied":
        alpha = samples[..., 3].astype(float) / 65535
        samples[..., :3] = (samples[..., :3] * alpha[..., None]).round()
    meaning = [] if samples.shape[2] == 1 else [extra[photometric]]
    (tmp_path / "a.tif").write_bytes(tiff(samples, 0 if samples.shape[2] == 1 else 2, *meaning))
    (frame,) = read(tmp_path / "a.tif").frames
    if photometric == "white is zero":
        assert np.array_equal(frame.pixels, 65535 - samples[..., 0])
    elif photometric == "unspecified":
        assert frame.alpha is None
        assert np.array_equal(frame.pixels, samples[..., :3])
    else:
        assert frame.alpha is not None
        again = frame.pixels * (frame.alpha.astype(float) / 65535)[..., None]
        assert np.abs(again - samples[..., :3]).max() <= 1


def tiff(samples: Samples, photometric: int, *extra: drawn_files.Entry, kind: int = 1) -> bytes:
    """An uncompressed little-endian TIFF."""
    height, width, channels = samples.shape
    short = np.dtype("<u2")
    bits = 8 * samples.dtype.itemsize
    data = samples.tobytes()
    numbers = {0x0100: [width], 0x0101: [height], 0x0102: [bits] * channels, 0x0103: [1]}
    numbers |= {0x0106: [photometric], 0x0115: [channels], 0x0116: [height], 0x0111: [8]}
    numbers |= {0x0117: [len(data)], 0x0153: [kind] * channels}
    entries = [(t, 3, len(v), np.array(v, short).tobytes()) for t, v in numbers.items()]
    at = 8 + len(data)
    return b"II*\0" + at.to_bytes(4, "little") + data + drawn_files.ifd("<", at, [*entries, *extra])


@pytest.mark.parametrize(
    ("samples", "photometric", "kind", "named"),
    [
        (np.zeros((2, 2, 3), np.float32), 2, 3, "floating-point"),
        (np.zeros((2, 2, 1), np.uint32), 1, 1, "32-bit samples"),
        (np.zeros((2, 2, 1), np.int16), 1, 2, "signed"),
        (np.zeros((2, 2, 3), np.uint8), 8, 1, "CIELAB"),
        (np.zeros((2, 2, 4), np.uint16), 5, 1, "16-bit samples are supported in RGB and grey"),
    ],
)
def test_other_samples_are_refused_by_name(
    tmp_path: Path, samples: Samples, photometric: int, kind: int, named: str
) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(samples, photometric, kind=kind))
    with pytest.raises(UnreadablePicture, match=rf"a\.tif: .*{named}"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("grey", [False, True])
def test_alpha_is_flattened_in_formats_without_alpha(
    tmp_path: Path, depth: int, grey: bool
) -> None:
    shape = (31, 17) if grey else (31, 17, 3)
    pixels, alpha = noise(*shape, depth=depth), noise(31, 17, depth=depth, seed=1)
    path = tmp_path / "a.bmp"
    picture = photo(Picture(pixels, alpha))
    with pytest.raises(UnwritablePicture, match=r"a\.bmp: BMP cannot hold transparency.*--backgro"):
        write(picture, path)
    assert not path.exists()
    assert not holds_alpha(path)
    write(picture, path, Encoding(background=(250, 128, 3)))
    share = (alpha / ((1 << depth) - 1))[..., None]
    planes = pixels[..., None] if grey else pixels
    expected = planes / ((1 << depth) - 1) * 255 * share + np.array([250, 128, 3]) * (1 - share)
    error = np.abs(read(path).frames[0].pixels - expected).max()
    assert error <= (0.5 if depth == 8 else 0.51)


def test_alpha_is_kept_in_formats_with_alpha(tmp_path: Path) -> None:
    pixels, alpha = smooth(24, 30, 3), noise(24, 30)
    for suffix in (".png", ".webp", ".tiff", ".avif"):
        path = tmp_path / f"a{suffix}"
        write(photo(Picture(pixels, alpha)), path, Encoding(quality=100))
        (frame,) = read(path).frames
        assert frame.alpha is not None, suffix
        assert np.abs(frame.alpha.astype(int) - alpha).max() <= (3 if suffix == ".avif" else 0)
    write(photo(Picture(pixels, alpha)), tmp_path / "a.gif")
    (frame,) = read(tmp_path / "a.gif").frames
    assert frame.alpha is not None
    assert np.array_equal(frame.alpha, np.where(alpha >= 128, 255, 0))
    solid = alpha >= 128
    assert np.abs(frame.pixels[solid].astype(int) - pixels[solid]).mean() < 6


def test_an_opaque_alpha_stays_alpha(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (1, 2, 3, 255)).save(tmp_path / "a.png")
    (frame,) = read(tmp_path / "a.png").frames
    assert frame.alpha is not None
    assert frame.alpha.min() == 255


def test_16_bits_become_8_by_rounding(tmp_path: Path) -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    whole = photo(Picture(every))
    assert losses(whole, Path("a.png")) == ()
    (said,) = losses(whole, Path("a.webp"))
    assert "16-bit" in said
    write(whole, tmp_path / "a.webp", Encoding(lossless=True))
    got = read(tmp_path / "a.webp").frames[0].pixels[..., 0]
    assert np.array_equal(got, np.floor(every / 257 + 0.5))


def moving(count: int = 4, *, alpha: bool = False) -> list[Picture]:
    """A square that moves across a constant background."""
    frames = []
    for number in range(count):
        pixels = np.full((20, 28, 3), 255, np.uint8)
        pixels[4:12, 3 + 5 * number : 9 + 5 * number] = (200, 30 * number, 0)
        mask = np.where(pixels[..., 2] == 0, 255, 0).astype(np.uint8)
        frames.append(Picture(pixels, mask if alpha else None))
    return frames


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".apng", ".avif"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("loop", [0, 1, 3])
def test_animations_keep_frames_and_timing(
    tmp_path: Path, suffix: str, alpha: bool, loop: int
) -> None:
    frames = moving(alpha=alpha)
    timing = Timing((50, 120, 80, 300), loop)
    path = tmp_path / f"a{suffix}"
    write(
        Photo(tuple(frames), "GIF", False, timing=timing),
        path,
        Encoding(lossless=suffix == ".webp"),
    )
    back = read(path)
    assert back.timing is not None
    assert back.timing.durations == timing.durations
    assert back.timing.loop == (0 if suffix == ".avif" else loop)
    assert probe(path).frames == 4
    for got, want in zip(back.frames, frames, strict=True):
        seen = np.full((20, 28), True) if want.alpha is None else want.alpha > 0
        tolerance = 40 if suffix == ".avif" else 0
        assert np.abs(got.pixels[seen].astype(int) - want.pixels[seen]).max() <= tolerance
        if want.alpha is not None:
            assert got.alpha is not None
            assert np.abs(got.alpha.astype(int) - want.alpha).max() <= tolerance


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_looks_the_same_to_libvips(tmp_path: Path, suffix: str) -> None:
    frames = moving(alpha=True)
    path = tmp_path / f"a{suffix}"
    write(
        Photo(tuple(frames), "GIF", False, timing=Timing((40,) * 4)), path, Encoding(lossless=True)
    )
    stacked = (
        pyvips.Image.new_from_buffer(path.read_bytes(), "", n=-1).numpy().reshape(4, 20, 28, 4)
    )
    for got, want in zip(stacked, frames, strict=True):
        assert want.alpha is not None
        assert np.array_equal(got[..., 3], want.alpha)
        assert np.array_equal(got[..., :3][want.alpha > 0], want.pixels[want.alpha > 0])


def test_animations_of_pillow_are_read_completely(tmp_path: Path) -> None:
    """Frames that cover only what changed, with blending and disposal, as Pillow shows them."""
    drawn = [to_pil(frame) for frame in moving(alpha=True)]
    for name, options in (
        ("a.gif", {"disposal": 2}),
        ("b.gif", {"disposal": 1}),
        ("c.webp", {"lossless": True}),
        ("d.png", {"disposal": 1, "blend": 1}),
        ("e.png", {"default_image": True}),
    ):
        drawn[0].save(
            tmp_path / name, save_all=True, append_images=drawn[1:], duration=90, **options
        )
        back = read(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            shown = [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
        if name == "e.png":
            shown = shown[1:]
        for got, want in zip(back.frames, shown, strict=True):
            assert got.alpha is not None
            assert np.array_equal(got.alpha, want[..., 3]), name
            seen = got.alpha > 0
            assert np.array_equal(got.pixels[seen], want[..., :3][seen]), name


def test_pages_go_into_tiff_alone(tmp_path: Path) -> None:
    pages = (
        Picture(noise(5, 4, 3)),
        Picture(noise(7, 3, depth=16)),
        Picture(noise(4, 6), noise(4, 6)),
    )
    whole = Photo(pages, "TIFF", lossy=False)
    path = tmp_path / "a.tiff"
    write(whole, path)
    back = read(path)
    assert back.timing is None
    for got, want in zip(back.frames, pages, strict=True):
        assert np.array_equal(got.pixels, want.pixels)
        assert (got.alpha is None) is (want.alpha is None)
    assert pyvips.Image.new_from_buffer(path.read_bytes(), "").get("n-pages") == 3
    for suffix in (".jpg", ".png", ".webp"):
        assert not holds_frames(suffix, timed=False)
        with pytest.raises(UnwritablePicture, match="several pages; use -f tiff"):
            write(whole, tmp_path / f"a{suffix}")
    animation = Photo(tuple(moving()), "GIF", False, timing=Timing((50,) * 4))
    for suffix in (".jpg", ".bmp"):
        assert not holds_frames(suffix, timed=True)
        with pytest.raises(UnwritablePicture, match="an animation; use -f webp"):
            write(animation, tmp_path / f"a{suffix}")
    assert "timing" in losses(animation, path)[0]


def test_many_pages_take_time_by_their_number(tmp_path: Path) -> None:
    """1,200 compressed pages under a limit of processor time that their square would exceed."""
    pages = tuple(Picture(noise(4, 4, seed=seed)) for seed in range(1200))
    write(Photo(pages, "TIFF", lossy=False), tmp_path / "a.tif")
    program = (
        "import hashlib, pathlib, resource, sys\n"
        "from lapsr_cli.image_io import read\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "frames = read(pathlib.Path(sys.argv[1])).frames\n"
        "print(hashlib.sha256(b''.join(f.pixels.tobytes() for f in frames)).hexdigest())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.tif")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr or "out of time"
    whole = b"".join(page.pixels.tobytes() for page in pages)
    assert ran.stdout.strip() == hashlib.sha256(whole).hexdigest()


def test_pages_of_another_library_are_read(tmp_path: Path) -> None:
    """By libvips, compressed: classic and BigTIFF."""
    first = noise(5, 4, 3)
    image = pyvips.Image.new_from_array(first)
    pages = pyvips.Image.arrayjoin([image, image.rot180()], across=1)
    pages.set_type(pyvips.GValue.gint_type, "page-height", 5)
    for big in (False, True):
        pages.tiffsave(str(tmp_path / "a.tif"), compression="deflate", bigtiff=big)
        back = read(tmp_path / "a.tif").frames
        assert np.array_equal(back[0].pixels, first)
        assert np.array_equal(back[1].pixels, first[::-1, ::-1])


def test_a_reduced_copy_in_a_tiff_is_not_a_page(tmp_path: Path) -> None:
    """Two directories for the same strip; the second is either a page or a preview."""
    for kind, count in ((0, 2), (1, 1)):
        first = bytearray(tiff(noise(8, 8, 1), 1))
        at = len(first)
        first[-4:] = at.to_bytes(4, "little")  # all values fit their entries: the pointer is last
        numbers = {0x0100: 2, 0x0101: 2, 0x0102: 8, 0x0103: 1, 0x0106: 1, 0x0111: 8, 0x0117: 4}
        entries = [(tag, 3, 1, value.to_bytes(2, "little")) for tag, value in numbers.items()]
        second = drawn_files.ifd("<", at, [(0x00FE, 4, 1, bytes([kind, 0, 0, 0])), *entries])
        (tmp_path / "a.tif").write_bytes(bytes(first) + second)
        assert len(read(tmp_path / "a.tif").frames) == count
        assert probe(tmp_path / "a.tif").frames == count


def test_cmyk_without_a_profile_is_converted_by_the_naive_formula(tmp_path: Path) -> None:
    """Adobe's JPEGs are stored inverted: ink must still be ink."""
    inks = {"cyan": (255, 0, 0, 0), "black": (0, 0, 0, 255), "none": (0, 0, 0, 0)}
    expected = {"cyan": (0, 255, 255), "black": (0, 0, 0), "none": (255, 255, 255)}
    for name, ink in inks.items():
        for suffix in (".jpg", ".tif"):
            path = tmp_path / f"{name}{suffix}"
            Image.new("CMYK", (16, 16), ink).save(path)
            back = read(path)
            assert "CMYK" in back.warnings[0]
            error = np.abs(back.frames[0].pixels.astype(int) - expected[name])
            assert error.max() <= 2, path
            assert back.metadata.icc_profile is None


def test_a_cmyk_profile_is_used_and_dropped(tmp_path: Path) -> None:
    profile = cmyk_profile()
    for suffix in (".jpg", ".tif"):
        path = tmp_path / f"a{suffix}"
        Image.new("CMYK", (16, 16), (10, 200, 30, 20)).save(path, icc_profile=profile)
        back = read(path)
        with Image.open(path) as image:
            stored = image.convert("CMYK").copy()
        srgb = ImageCms.createProfile("sRGB")
        expected = ImageCms.profileToProfile(
            stored,
            io.BytesIO(profile),
            srgb,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        assert np.array_equal(back.frames[0].pixels, np.asarray(expected))
        plain = np.asarray(stored.convert("RGB")).astype(int)
        assert np.abs(back.frames[0].pixels - plain).max() > 10, "the profile makes no difference"
        assert back.warnings == ("CMYK converted to sRGB by its profile",)
        assert back.metadata.icc_profile is None


def cmyk_profile() -> bytes:
    """The one in libvips."""
    ink = pyvips.Image.black(2, 2, bands=3).copy(interpretation="srgb")
    profile: bytes = ink.icc_export(output_profile="cmyk").get("icc-profile-data")
    return profile


def test_colours_become_srgb_in_formats_without_profiles(tmp_path: Path) -> None:
    """Display P3 red is outside sRGB: with the same values, a BMP would show another red."""
    p3 = drawn_files.icc(gamma=2.2)
    pixels = np.full((4, 4, 3), (200, 100, 60), np.uint8)
    said = Metadata(icc_profile=p3)
    assert "sRGB" in losses(photo(Picture(pixels), metadata=said), Path("a.bmp"))[0]
    write(photo(Picture(pixels), metadata=said), tmp_path / "a.bmp")
    got = read(tmp_path / "a.bmp").frames[0].pixels[0, 0]
    # By hand: P3 with gamma 2.2 to XYZ (D50) to linear sRGB to sRGB.
    to_xyz = np.array(
        [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
    )
    srgb = np.array(
        [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
    )
    linear = np.linalg.solve(srgb, to_xyz @ (np.array([200, 100, 60]) / 255) ** 2.2)
    expected = 255 * np.where(
        linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    assert np.abs(got - expected).max() < 1.5
    assert abs(int(got[0]) - 200) > 5


def test_a_grey_profile_is_not_written_into_a_webp(tmp_path: Path) -> None:
    said = Metadata(icc_profile=drawn_files.icc(b"GRAY", gamma=1.0))
    write(photo(Picture(np.full((4, 4), 55, np.uint8)), metadata=said), tmp_path / "a.webp")
    back = read(tmp_path / "a.webp")
    assert back.metadata.icc_profile is None
    linear = 55 / 255
    assert (
        abs(int(back.frames[0].pixels[0, 0, 0]) - 255 * (1.055 * linear ** (1 / 2.4) - 0.055)) < 3
    )


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_quality_is_obeyed(tmp_path: Path, suffix: str) -> None:
    picture = photo(Picture(noise(64, 64, 3)))
    for quality in (20, 95):
        write(picture, tmp_path / f"{quality}{suffix}", Encoding(quality=quality))
    low, high = ((tmp_path / f"{q}{suffix}").stat().st_size for q in (20, 95))
    assert low < high * 0.7


@pytest.mark.parametrize("suffix", [".jpg", ".avif"])
def test_colour_keeps_its_resolution(tmp_path: Path, suffix: str) -> None:
    """4:4:4: columns of red and blue would blur into each other at 4:2:0."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, ::2, 0] = 255
    pixels[:, 1::2, 2] = 255
    write(photo(Picture(pixels)), tmp_path / f"a{suffix}")
    assert np.abs(read(tmp_path / f"a{suffix}").frames[0].pixels.astype(int) - pixels).max() < 40


def test_compress_and_lossless(tmp_path: Path) -> None:
    flat = photo(Picture(np.zeros((200, 200, 3), np.uint16)))
    for suffix in (".png", ".tif"):
        for level in (0, 9):
            write(flat, tmp_path / f"{level}{suffix}", Encoding(compress=level))
        assert (tmp_path / f"0{suffix}").stat().st_size > 240_000
        assert (tmp_path / f"9{suffix}").stat().st_size < 3_000
    pixels = noise(20, 20, 3)
    write(photo(Picture(pixels)), tmp_path / "a.webp", Encoding(lossless=True))
    back = read(tmp_path / "a.webp")
    assert not back.lossy
    assert np.array_equal(back.frames[0].pixels, pixels)
    write(photo(Picture(pixels)), tmp_path / "b.webp")
    assert read(tmp_path / "b.webp").lossy
    grey = noise(20, 20)
    write(photo(Picture(grey)), tmp_path / "a.avif", Encoding(lossless=True))
    assert np.array_equal(read(tmp_path / "a.avif").frames[0].pixels, grey)
    with pytest.raises(UnwritablePicture, match="not supported for colour AVIF"):
        write(photo(Picture(pixels)), tmp_path / "b.avif", Encoding(lossless=True))


def test_options_name_their_flag() -> None:
    for options, flag in (
        ({"quality": 0}, "--quality 0"),
        ({"quality": 101}, "--quality 101"),
        ({"compress": 10}, "--compress 10"),
        ({"background": (0, 0, 256)}, "--background"),
    ):
        with pytest.raises(UsageError, match=flag):
            Encoding(**options)


def test_suffixes_and_what_their_formats_support() -> None:
    assert suffix_for(".HEIC") == ".jpg"
    assert suffix_for(".Png") == ".Png"
    assert [holds_alpha(s) for s in (".jpg", ".bmp", "a.b.PNG", ".gif")] == [
        False,
        False,
        True,
        True,
    ]
    assert holds_depth(Path("x.tif"))
    assert not holds_depth(".webp")
    assert holds_frames(".apng", timed=True)
    assert holds_frames(".tiff", timed=True)
    with pytest.raises(UnwritablePicture, match=r"cannot write \.heic"):
        holds_alpha("a.heic")
    with pytest.raises(UnwritablePicture, match=r"16384 x 1 pixels exceed the limit of WEBP"):
        check_size(Path("a.webp"), 1, 16_384)
    check_size(Path("a.webp"), 1, 16_383)


def test_pil_images_and_back() -> None:
    for mode, channels, alpha in (
        ("1", 2, False),
        ("P", 3, False),
        ("LA", 2, True),
        ("PA", 3, True),
    ):
        picture = from_pil(Image.new("L", (4, 3), 255).convert(mode))
        assert picture.pixels.ndim == channels
        assert (picture.alpha is not None) is alpha
        assert picture.pixels.min() == 255
    rgba = noise(3, 4, 4)
    assert np.array_equal(np.asarray(to_pil(from_pil(Image.fromarray(rgba)))), rgba)
    deep = noise(3, 4, depth=16)
    assert np.array_equal(np.asarray(to_pil(from_pil(Image.fromarray(deep)))), deep)
    for mode in ("CMYK", "F", "I", "LAB", "HSV"):
        with pytest.raises(UnreadablePicture, match=mode):
            from_pil(Image.new(mode, (4, 4)))
    with pytest.raises(UnwritablePicture, match="16 bits"):
        to_pil(Picture(noise(3, 4, 3, depth=16)))


def test_heic_is_read(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    pixels = smooth(48, 64, 3)
    path = tmp_path / "a.heic"
    block = drawn_files.exif("<", 6, thumbnail=b"")
    heif.from_pillow(Image.fromarray(pixels)).save(path, quality=95, exif=b"Exif\0\0" + block)
    back = read(path)
    assert (back.form, back.lossy) == ("HEIF", True)
    # EXIF and the container have the same orientation; it is applied once.
    upright = np.rot90(pixels, -1) if back.frames[0].height == 64 else pixels
    assert np.abs(back.frames[0].pixels.astype(int) - upright).mean() < 6
    assert back.metadata.exif is not None
    kept = drawn_files.values(back.metadata.exif)
    assert kept[0x8769, 0x927C] == drawn_files.MAKER_NOTE
    assert kept[0, 0x0112] == b"\1\0"
    assert (probe(path).height, probe(path).width) == back.frames[0].pixels.shape[:2]


def test_further_pictures_of_a_heic_are_named(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    file = heif.from_pillow(Image.fromarray(smooth(48, 64, 3)))
    file.save(tmp_path / "one.heic")
    file.add_from_pillow(Image.new("RGB", (32, 32)))
    file.save(tmp_path / "two.heic")
    one, two = (read(tmp_path / f"{name}.heic") for name in ("one", "two"))
    assert np.array_equal(one.frames[0].pixels, two.frames[0].pixels)
    assert (one.warnings, two.warnings) == ((), ("1 further picture in it dropped",))


def test_the_size_of_a_heic_is_checked_before_it_is_decoded(tmp_path: Path) -> None:
    """Its coded pixels are zeros: decoding them fails, but not because of the limit."""
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.heic"
    heif.from_pillow(Image.fromarray(smooth(48, 64, 3))).save(path)
    data = bytearray(path.read_bytes())
    coded = data.index(b"mdat") + 4
    data[coded:] = bytes(len(data) - coded)
    path.write_bytes(data)
    with pytest.raises(UnreadablePicture, match="damaged"):
        read(path)
    with pytest.raises(UnreadablePicture, match="64 x 48 = 3072 pixels, more than --max-pixels"):
        read(path, max_pixels=3071)
    header = probe(path)
    assert (header.form, header.height, header.width, header.channels) == ("HEIF", 48, 64, 3)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_the_channels_of_a_heic_are_known_before_it_is_decoded(
    tmp_path: Path, mode: str, channels: int
) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new(mode, (64, 48))).save(tmp_path / "a.heic")
    frame = read(tmp_path / "a.heic").frames[0]
    read_channels = np.atleast_3d(frame.pixels).shape[2] + (frame.alpha is not None)
    assert probe(tmp_path / "a.heic").channels == read_channels == channels


def test_heic_without_the_extra_names_it(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 64))).save(tmp_path / "a.heic")
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from pathlib import Path; from lapsr_cli import image_io, errors\n"
        "for look in (image_io.read, image_io.probe):\n"
        "    try: look(Path(sys.argv[1]))\n"
        "    except errors.UnreadablePicture as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.heic"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 2
    assert done.stdout.count("pip install 'lapsr-cli[heif]'") == 2


def test_libvips_is_loaded_for_16_bits_only(tmp_path: Path) -> None:
    write(photo(Picture(noise(4, 4, 3))), tmp_path / "a.png")
    write(photo(Picture(noise(4, 4, 3, depth=16))), tmp_path / "b.png")
    code = (
        "import sys; from pathlib import Path; from lapsr_cli import image_io\n"
        "for path in sys.argv[1:]:\n"
        "    image_io.write(image_io.read(Path(path)), Path(path).with_suffix('.tif'))\n"
        "    print('pyvips' in sys.modules, 'pillow_heif' in sys.modules)\n"
    )
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["False False", "True False"]


@pytest.mark.parametrize(
    ("mode", "options", "relative"),
    [
        ("RGB", {"subsampling": "4:2:0"}, 1),
        ("RGB", {"subsampling": "4:2:2", "progressive": True}, 1),
        ("RGB", {"subsampling": "4:2:0", "quality": 90}, 0.4),
        ("RGB", {"subsampling": "4:4:4"}, 0),
        ("L", {}, 0),
        ("CMYK", {}, 0),
    ],
)
def test_the_step_of_subsampled_chroma_is_read(
    tmp_path: Path, mode: str, options: dict[str, object], relative: float
) -> None:
    """libjpeg scales its tables in proportion to 100 - quality, from 50 on; the mean of its table
    for chroma (T.81, table K.2) is 86.0 there."""
    path = tmp_path / "a.jpg"
    Image.new(mode, (40, 24)).save(path, **{"quality": 75, **options})  # type: ignore[arg-type]
    assert read(path).chroma_step == pytest.approx(relative * 86.02 / 2, rel=0.02)
    with Image.open(path) as image:
        assert chroma_step(image) == read(path).chroma_step


def test_only_jpeg_says_how_its_chroma_was_quantized(tmp_path: Path) -> None:
    for name in ("a.png", "b.webp", "c.avif"):
        Image.new("RGB", (40, 24)).save(tmp_path / name)
        assert read(tmp_path / name).chroma_step == 0
