"""lapsr compare without a browser: matching, the pictures that are shown, scores, messages."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms

from lapsr_cli.compare.comparison import View, compare
from lapsr_cli.compare.matching import Match, labels, match
from lapsr_cli.errors import NothingMatched, PictureError, UnreadablePicture, UsageError
from lapsr_cli.metrics import protocol
from lapsr_cli.metrics.ssim import ssim
from lapsr_cli.pixels.resize import resize
from tests.conftest import Ran, draw

Lapsr = Callable[..., Ran]
Array = NDArray[np.uint8]


def folder(root: Path, *names: str) -> Path:
    """A folder of empty files, of which only the names matter."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(root: Path, *folders: tuple[str, ...]) -> tuple[set[tuple[str, ...]], set[str]]:
    """The files that match and those that do not, by their relative paths."""
    roots = [folder(root / str(number), *names) for number, names in enumerate(folders)]
    result = match(roots)
    rows = {
        tuple(path.relative_to(r).as_posix() for path, r in zip(each.paths, roots, strict=True))
        for each in result.found
    }
    return rows, {path.relative_to(root).as_posix() for path in result.alone}


def save(
    path: Path, pixels: NDArray[np.uint8 | np.uint16], *, icc_profile: bytes | None = None
) -> Path:
    Image.fromarray(pixels).save(path, icc_profile=icc_profile)
    return path


def noise(height: int, width: int, *, seed: int = 0, grey: bool = False) -> Array:
    shape = (height, width) if grey else (height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def shown_in(page: Path) -> list[Array]:
    """The pictures on a page."""
    found = re.findall('src="data:image/webp;base64,([^"]+)"', page.read_text(encoding="utf-8"))
    images = [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]
    return [np.asarray(image.convert("RGB")) for image in images]


def rows_of(page: Path) -> list[list[str]]:
    """The cells of every row of the page's tables."""
    rows = re.findall("<tr>(.*?)</tr>", page.read_text(encoding="utf-8"), re.DOTALL)
    return [[unescape(c) for c in re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


# Matching


@pytest.mark.parametrize(
    ("folders", "rows", "alone"),
    [
        ((["a.png", "b.png"], ["a.jpg", "c.png"]), {("a.png", "a.jpg")}, {"0/b.png", "1/c.png"}),
        ((["n/a.png", "a.png"], ["n/a.tif"]), {("n/a.png", "n/a.tif")}, {"0/a.png"}),
        (
            (["a.png"], ["a_x2.png", "a_x4.png"]),
            {("a.png", "a_x2.png"), ("a.png", "a_x4.png")},
            set(),
        ),
        (
            (["a_x2.png", "a_x4.png"], ["a_x4.webp", "a_x8.webp"], ["a.png"]),
            {("a_x4.png", "a_x4.webp", "a.png")},
            {"0/a_x2.png", "1/a_x8.webp"},
        ),
        ((["a_x2.5.png"], ["a@2.5x.png"]), {("a_x2.5.png", "a@2.5x.png")}, set()),
        ((["a_w100h50.png"], ["a.png"]), {("a_w100h50.png", "a.png")}, set()),
        ((["a_2.png", "a.png"], ["a_2.png"]), {("a_2.png", "a_2.png")}, {"0/a.png"}),
        # Results of `lapsr upscale` for two inputs that differ only in their suffix.
        (
            (["a.jpg", "a.png"], ["a_jpg_x4.jpg", "a_png_x4.png"]),
            {("a.jpg", "a_jpg_x4.jpg"), ("a.png", "a_png_x4.png")},
            set(),
        ),
        (
            (["a.jpg", "a.png"], ["a_x4.jpg", "a_x4.png"]),
            {("a.jpg", "a_x4.jpg"), ("a.png", "a_x4.png")},
            set(),
        ),
        ((["a.png", "notes.txt"], ["a.png"]), {("a.png", "a.png")}, set()),
    ],
)
def test_pictures_match_by_name(
    tmp_path: Path,
    folders: tuple[tuple[str, ...], ...],
    rows: set[tuple[str, ...]],
    alone: set[str],
) -> None:
    assert found(tmp_path, *folders) == (rows, alone)


def test_results_of_upscale_match_their_inputs(lapsr: Lapsr, tiny: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    for name in ("a.jpg", "a.png", "deep/b.png"):
        draw(inputs / name)
    assert lapsr("upscale", inputs, "-o", tmp_path / "out", "-s", "2,4", "-m", tiny).code == 0
    result = match([tmp_path / "out", inputs])
    assert len(result.found) == 6
    assert result.alone == []
    for each in result.found:
        enlarged, original = each.paths
        assert enlarged.name.startswith(original.stem)
        assert enlarged.suffix == original.suffix


def test_no_match_is_an_error(tmp_path: Path) -> None:
    a, b = folder(tmp_path / "a", "one.png"), folder(tmp_path / "b", "two.png")
    with pytest.raises(NothingMatched, match="no picture has a match in every folder"):
        match([a, b])
    with pytest.raises(NothingMatched, match="nowhere: no such"):
        match([a, tmp_path / "nowhere"])
    with pytest.raises(UsageError, match=r"one.png: is a file"):
        match([a / "one.png", b])


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["x/a.png", "y/b.png"], ("a.png", "b.png")),
        (["x/a.png", "y/a.png"], ("x/a.png", "y/a.png")),
        (["x", "x"], ("A: x", "B: x")),
        (["x", "y", "z"], ("x", "y", "z (HR)")),
        ([".", ".", "."], ("A: .", "B: .", "HR: . (HR)")),
    ],
)
def test_labels_are_unique(inputs: list[str], expected: tuple[str, ...]) -> None:
    assert labels([Path(each) for each in inputs]) == expected


# Pictures


def look(*paths: Path, view: View | None = None) -> tuple[list[Array], list[str], str]:
    """The pictures, the note about each, and the remark about all."""
    names = labels(paths)
    done = compare(Match("t", paths), names, view or View())
    assert done.example.figures is not None
    notes = [row[-1] for row in done.example.figures.rows]
    return list(done.example.pictures.values()), notes, done.example.remark


def test_a_smaller_picture_is_enlarged_by_matlabs_bicubic(tmp_path: Path) -> None:
    small, large = noise(24, 32), noise(96, 128, seed=1)
    (first, second), notes, _ = look(
        save(tmp_path / "s.png", small), save(tmp_path / "l.png", large)
    )
    planes = torch.from_numpy(small.copy()).permute(2, 0, 1).double()
    expected = resize(planes, 4.0).round().clamp(0, 255).permute(1, 2, 0).numpy()
    assert abs(first.astype(int) - expected).max() <= 1  # float32 against float64
    assert (second == large).all()
    assert notes == ["bicubic from 32 x 24", "unchanged"]


def test_an_original_that_is_not_a_multiple_of_the_scale_is_cropped(tmp_path: Path) -> None:
    """As in the papers' protocol: resizing by a pixel would shift everything."""
    hr = noise(99, 130)
    small, enlarged = noise(24, 32, seed=1), noise(96, 128, seed=2)
    paths = [
        save(tmp_path / f"{name}.png", pixels)
        for name, pixels in (("a", small), ("b", enlarged), ("c", hr))
    ]
    pictures, notes, _ = look(*paths)
    assert (pictures[1] == enlarged).all()
    assert (pictures[2] == hr[:96, :128]).all()
    assert notes == [
        "bicubic from 32 x 24",
        "unchanged",
        "cropped to 128 x 96 at the bottom and right",
    ]


def test_other_aspect_ratios_are_stretched(tmp_path: Path) -> None:
    pictures, notes, _ = look(
        save(tmp_path / "a.png", noise(20, 50)), save(tmp_path / "b.png", noise(60, 60))
    )
    assert pictures[0].shape == pictures[1].shape == (60, 60, 3)
    assert notes[0] == "bicubic from 50 x 20"


def test_pictures_are_shown_opaque_in_8_bits(tmp_path: Path) -> None:
    clear = np.dstack([noise(20, 30), noise(20, 30, grey=True, seed=1)])
    deep = np.random.default_rng(2).integers(0, 65_536, (20, 30), dtype=np.uint16)
    frames = [Image.fromarray(noise(20, 30, seed=seed)) for seed in (3, 4)]
    webp = tmp_path / "c.webp"
    frames[0].save(webp, save_all=True, append_images=frames[1:], lossless=True, duration=100)
    paths = [save(tmp_path / "a.png", clear), save(tmp_path / "b.png", deep), webp]
    pictures, notes, _ = look(*paths)
    over = Image.new("RGBA", (30, 20), "white")
    over.alpha_composite(Image.fromarray(clear))
    assert abs(pictures[0].astype(int) - np.asarray(over.convert("RGB"))).max() <= 1
    assert (abs(pictures[1][..., 0] - deep / 65_535 * 255) <= 0.5 + 1e-9).all()
    assert (pictures[1] == pictures[1][..., :1]).all()
    assert (pictures[2] == np.asarray(frames[0])).all()
    assert notes == ["on white", "reduced to 8 bits", "first of 2 frames"]


def test_colours_are_converted_by_the_profile(tmp_path: Path) -> None:
    """A profile with red and blue swapped: its red is shown as blue."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red], profile[blue] = profile[blue], profile[red]
    odd = save(
        tmp_path / "a.png", np.full((9, 9, 3), (255, 0, 0), np.uint8), icc_profile=bytes(profile)
    )
    usual = save(tmp_path / "b.png", np.full((9, 9, 3), (255, 0, 0), np.uint8))
    (first, second), notes, _ = look(odd, usual)
    assert first[0, 0].argmax() == 2
    assert second[0, 0].tolist() == [255, 0, 0]
    assert notes == ["converted to sRGB", "unchanged"]


def test_scores_are_the_papers_metrics_on_rounded_luma(tmp_path: Path) -> None:
    """Against PSNR by its formula in numpy, and BT.601 by its coefficients."""
    hr, a, b = noise(40, 50), noise(40, 50, seed=1), noise(40, 50, seed=2)
    paths = [save(tmp_path / f"{n}.png", p) for n, p in (("a", a), ("b", b), ("hr", hr))]
    done = compare(Match("t", tuple(paths)), ("a", "b", "hr"), View(crop=(0, 0, 5, 5)))

    def luma(pixels: Array) -> NDArray[np.float64]:
        levels: NDArray[np.float64] = np.round(16 + pixels @ [65.481, 128.553, 24.966] / 255)
        return levels

    for label, pixels in (("a", a), ("b", b)):
        error = np.mean((luma(pixels) - luma(hr)) ** 2)
        assert done.scores[label].psnr == pytest.approx(10 * np.log10(255**2 / error))
        pair = (torch.from_numpy(luma(each) / 255) for each in (pixels, hr))
        assert done.scores[label].ssim == pytest.approx(ssim(*pair))
    assert list(done.scores) == ["a", "b"]


def test_the_score_is_that_of_the_papers_protocol(tmp_path: Path) -> None:
    """A grey picture, from the file to the score, except the borders that the protocol ignores."""
    hr = np.asarray(Image.open(draw(tmp_path / "hr.png", 60, 48, "L")))
    plane = torch.from_numpy(hr.copy()).double() / 255
    bicubic = protocol.bicubic(protocol.degrade(plane, 2), 2)
    path = save(tmp_path / "a.png", (bicubic * 255).round().clamp(0, 255).byte().numpy())
    done = compare(Match("t", (path, path, tmp_path / "hr.png")), ("a", "b", "hr"), View())
    whole = torch.nn.functional.pad(bicubic, (2, 2, 2, 2))
    expected = protocol.score(whole, torch.nn.functional.pad(plane, (2, 2, 2, 2)), 2)
    assert done.scores["a"].psnr == pytest.approx(expected.psnr, abs=1e-9)


@pytest.mark.parametrize(
    ("view", "rows", "columns", "remark"),
    [
        (View(), slice(0, 60), slice(0, 100), ""),
        (View(max_side=50), slice(5, 55), slice(25, 75), "50 x 50 of 100 x 60 pixels, at 25, 5"),
        (View(max_side=80), slice(0, 60), slice(10, 90), "80 x 60 of 100 x 60 pixels, at 10, 0"),
        (
            View(crop=(90, 50, 10, 10), max_side=5),
            slice(50, 60),
            slice(90, 100),
            "10 x 10 of 100 x 60 pixels, at 90, 50",
        ),
    ],
)
def test_a_region_is_shown(
    tmp_path: Path, view: View, rows: slice, columns: slice, remark: str
) -> None:
    a, b = noise(60, 100), noise(60, 100, seed=1)
    pictures, _, said = look(save(tmp_path / "a.png", a), save(tmp_path / "b.png", b), view=view)
    assert (pictures[0] == a[rows, columns]).all()
    assert (pictures[1] == b[rows, columns]).all()
    assert said == (f"Region shown: {remark}." if remark else "")


def test_a_crop_beyond_the_picture_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", noise(20, 30))
    with pytest.raises(PictureError, match="--crop 25,0,6,5 exceeds its 30 x 20"):
        look(path, path, view=View(crop=(25, 0, 6, 5)))
    with pytest.raises(UnreadablePicture, match=r"b\.png"):
        look(path, folder(tmp_path, "b.png") / "b.png")


# The command


def test_folders_become_one_page(lapsr: Lapsr, tmp_path: Path) -> None:
    for name in ("one", "two", "only-hr"):
        draw(tmp_path / "hr" / f"{name}.png", 64, 48, seed=1)
    for name in ("one", "two", "broken"):
        draw(tmp_path / "lr" / f"{name}.png", 32, 24)
        draw(tmp_path / "sr" / f"{name}_x2.webp", 64, 48)
    draw(tmp_path / "hr" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    page = tmp_path / "new" / "page.html"
    done = lapsr("compare", tmp_path / "lr", tmp_path / "sr", tmp_path / "hr", "-o", page)
    assert (done.code, done.out) == (1, f"{page}\n")
    alone, failed, summary = done.error_lines
    assert alone == f"no counterpart: {tmp_path / 'hr' / 'only-hr.png'}"
    assert failed.startswith(f"failed: {tmp_path / 'hr' / 'broken.png'}: ")
    assert summary.startswith("2 compared, 1 without counterpart, 1 failed, 0.0")
    assert len(shown_in(page)) == 6
    rows = rows_of(page)
    assert [row[0] for row in rows if row[0] != "picture"] == [
        *(["lr", "sr", "hr (HR)"] * 2), "", "lr", "sr",
    ]  # fmt: skip
    figures = [float(row[1]) for row in rows if row[0] == "sr"]
    assert figures[2] == pytest.approx((figures[0] + figures[1]) / 2, abs=0.011)


def test_two_files_become_a_page_that_replaces_an_older_one(lapsr: Lapsr, tmp_path: Path) -> None:
    a, b = draw(tmp_path / "a.png", 30, 20), draw(tmp_path / "b.png", 30, 20, seed=1)
    page = folder(tmp_path, "page.HTML") / "page.HTML"
    done = lapsr("compare", a, b, "-o", page, "--title", "<b>A & B</b>", "--crop", "5,6,7,8")
    assert done.code == 0
    assert done.error_lines[0] == "a: Region shown: 7 x 8 of 30 x 20 pixels, at 5, 6."
    assert [p.shape for p in shown_in(page)] == [(8, 7, 3)] * 2
    assert "<h1>&lt;b&gt;A &amp; B&lt;/b&gt;</h1>" in page.read_text(encoding="utf-8")
    assert (shown_in(page)[1] == np.asarray(Image.open(b))[6:14, 5:12]).all()


def test_names_that_are_not_utf_8(lapsr: Lapsr, tmp_path: Path) -> None:
    try:
        paths = [draw(tmp_path / name, 30, 20) for name in (os.fsdecode(b"a\xff.png"), "<i>.png")]
    except (OSError, UnicodeError):
        pytest.skip("the file system takes no such names")
    page = tmp_path / "page.html"
    assert lapsr("compare", *paths, "-o", page).code == 0
    assert {row[0] for row in rows_of(page)} >= {"a\\udcff.png", "<i>.png"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a.png", "b.png", "-o", "page.png"], 2, "-o/--output page.png: must end in .html"),
        (["a.png", "b.png"], 2, "Missing option '-o' / '--output'."),
        (["a.png", "-o", "p.html"], 2, "Missing argument 'B'."),
        (["a.png", "b.png", "-o", "p.html", "--max-side", "0"], 2, "--max-side 0: must be"),
        (
            ["a.png", "b.png", "-o", "p.html", "--crop", "1,2,3"],
            2,
            "--crop 1,2,3: must be four integers",
        ),
        (["a.png", "b.png", "-o", "p.html", "--crop", "0,0,0,3"], 2, "--crop 0,0,0,3: X and Y"),
        (["a.png", "b.png", "-o", "p.html", "--crop", "0,0,999,3"], 1, "a: --crop 0,0,999,3"),
        (["a.png", "empty", "-o", "p.html"], 2, "a.png: is a file"),
        (["empty", "empty", "-o", "p.html"], 3, "empty, empty: no picture has a match"),
        (["a.png", "c.png", "-o", "p.html"], 3, "c.png: no such file or folder"),
        (["a.png", "page.txt", "-o", "p.html"], 1, "page.txt: not a JPEG"),
        (["a.png", "b.png", "-o", "b.png/p.html"], 2, "-o/--output b.png: File exists"),
    ],
)
def test_errors_are_one_line_and_leave_no_page(
    lapsr: Lapsr,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(Path("a.png"))
    draw(Path("b.png"))
    Path("page.txt").write_text("no picture")
    Path("empty").mkdir()
    before = set(Path().iterdir())
    done = lapsr("compare", *arguments)
    assert done.code == code
    (line,) = done.error_lines
    assert line.startswith(f"lapsr: {message}")
    assert set(Path().iterdir()) == before


def test_if_all_fail_there_is_no_page(lapsr: Lapsr, tmp_path: Path) -> None:
    a, b = folder(tmp_path / "a", "x.png", "y.png"), folder(tmp_path / "b", "x.png", "y.png")
    done = lapsr("compare", a, b, "-o", tmp_path / "page.html")
    assert done.code == 1
    assert done.error_lines[-1] == "lapsr: no page written: all 2 comparisons failed"
    assert {path.name for path in tmp_path.iterdir()} <= {"a", "b", "lapsr-home"}
