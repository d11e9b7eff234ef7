"""TIFF files of many pages: read, enlarged and written page by page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lapsr_cli.batch import limits, pipeline
from lapsr_cli.batch.limits import Limits
from lapsr_cli.batch.pipeline import run
from lapsr_cli.batch.planning import Job, plan
from lapsr_cli.batch.run_state import RunState
from lapsr_cli.image_io import Photo, open_photo, probe, read, write
from lapsr_cli.inference.batching import Task
from lapsr_cli.inference.tiler import TileOptions
from lapsr_cli.pixels.picture import Picture
from lapsr_cli.upscaler import Upscaler
from tests.batch.running import (
    PATIENCE,
    PEAK,
    contents,
    in_time,
    outcomes,
    selection,
    spy_on_budget,
)
from tests.conftest import Ran, draw, run_lapsr

Lapsr = Callable[..., Ran]


def noise(height: int, width: int, *channels: int, depth: int = 8, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1 << depth, (height, width, *channels), dtype=f"uint{depth}")


def page(
    mode: str, width: int, height: int, *, orientation: int = 1, compression: str = "raw"
) -> Any:
    """A page of smooth noise, with what Pillow is to write it with."""
    coarse = Image.fromarray(noise(4, 4, 4, seed=width), "RGBA")
    image = coarse.resize((width, height), Image.Resampling.BICUBIC)
    image = image if mode in ("RGBA", "LA") else image.convert("RGB")
    image = image.convert(mode)
    image.encoderinfo = {"tiffinfo": {274: orientation}, "compression": compression}
    return image


def save(path: Path, *pages: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pages[0].save(path, save_all=True, append_images=pages[1:], **pages[0].encoderinfo)
    return path


def all_kinds(folder: Path) -> list[Path]:
    """Files with pages of all depths and channels, turned and of different sizes."""
    by_pillow = [
        page("1", 20, 16, orientation=6, compression="group4"),
        page("L", 31, 17, orientation=3, compression="tiff_lzw"),
        page("RGB", 9, 40, orientation=8, compression="tiff_adobe_deflate"),
        page("RGBA", 24, 20),
        page("LA", 13, 8),
        page("P", 22, 11, orientation=2),
        page("RGB", 32, 16, orientation=4, compression="jpeg"),
    ]
    cmyk = [page("CMYK", 19, 10, orientation=5, compression="tiff_lzw"), page("CMYK", 12, 12)]
    deep = (
        Picture(noise(9, 14, depth=16)),
        Picture(noise(12, 7, 3, depth=16)),
        Picture(noise(6, 11, 3), noise(6, 11)),
        Picture(noise(8, 8, 3, depth=16), noise(8, 8, depth=16)),
    )
    (folder / "in").mkdir()
    write(Photo(deep, "TIFF", lossy=False), folder / "in" / "deep.tif")
    return [
        folder / "in" / "deep.tif",
        save(folder / "in" / "kinds.tif", *by_pillow),
        save(folder / "in" / "cmyk.tif", by_pillow[1], *cmyk, by_pillow[2]),
    ]


def many_pages(path: Path, count: int, side: int = 32) -> Path:
    """Grey noise, a few pages of it again and again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    few = [Picture(noise(side, side, seed=seed)) for seed in range(8)]
    pages = tuple(few[number % len(few)] for number in range(count))
    write(Photo(pages, "TIFF", lossy=False), path)
    return path


@pytest.fixture
def one_by_one(tiny: Path) -> Upscaler:
    """With a batch of one, pages have the same samples whatever else is computed."""
    return Upscaler.from_weights(tiny, device="cpu", tiling=TileOptions(batch=1))


def made_as_a_whole(path: Path, upscaler: Upscaler, folder: Path) -> dict[int, bytes]:
    """What a picture becomes at 2x and 4x when all its pages are read, then all enlarged, then all
    written."""
    photo = read(path)
    model = upscaler.model_for(lossy=photo.lossy)
    tasks = [Task(number, frame, (2, 4), model) for number, frame in enumerate(photo.frames)]
    done = {result.key: result.pyramid for result in upscaler.stream(tasks)}
    files: dict[int, bytes] = {}
    for scale in (2, 4):
        frames = tuple(done[number][scale] for number in range(len(tasks)))
        write(replace(photo, frames=frames), folder / "whole.tif")
        files[scale] = (folder / "whole.tif").read_bytes()
    return files


@pytest.mark.parametrize("memory", [None, 1])
def test_pages_give_the_file_that_is_made_as_a_whole(
    tmp_path: Path, one_by_one: Upscaler, memory: int | None
) -> None:
    """Of every kind, at several scales at once, whether all fit into the memory or one."""
    sources = all_kinds(tmp_path)
    found = outcomes(selection(tmp_path, "2", "4"), one_by_one, limits=Limits(memory=memory))
    assert [outcome.status for outcome in found] == ["done"] * 3
    by_name = {outcome.source.name: outcome for outcome in found}
    assert by_name["kinds.tif"].lossy
    assert by_name["kinds.tif"].windows == 7
    assert [warning[:4] for warning in by_name["cmyk.tif"].warnings] == ["CMYK"]
    for source in sources:
        first, count = read(source).frames[0], len(read(source).frames)
        expected = made_as_a_whole(source, one_by_one, tmp_path)
        for output, scale in zip(by_name[source.name].outputs, (2, 4), strict=True):
            assert output.path.read_bytes() == expected[scale], output.path
            assert output.frames == count
            assert (output.width, output.height) == (scale * first.width, scale * first.height)


def test_pages_that_wait_for_memory_go_one_at_a_time(
    tmp_path: Path, one_by_one: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files, both passes of a cascade, two devices: nobody waits for what another holds."""
    for name in ("a", "b"):
        many_pages(tmp_path / "in" / f"{name}.tif", 12, 9)
    chosen = selection(tmp_path, "2", "16")
    devices = [one_by_one, one_by_one]
    roomy = outcomes(chosen, *devices, limits=Limits(cascade=True))
    expected = contents(tmp_path / "out")
    chosen = replace(chosen, if_exists="overwrite")
    counts = spy_on_budget(monkeypatch)
    tight = outcomes(chosen, *devices, limits=Limits(memory=1, cascade=True))
    assert set(counts) == {1}
    assert len(counts) == 24
    for found in (roomy, tight):
        assert [[each.frames for each in outcome.outputs] for outcome in found] == [[12, 12]] * 2
    assert contents(tmp_path / "out") == expected


@pytest.mark.linux
def test_memory_does_not_grow_with_the_number_of_pages(tmp_path: Path, tiny: Path) -> None:
    """540 more pages, which together with their results are 33 MB, leave no trace."""
    peaks: list[int] = []
    for count in (60, 600):
        folder = tmp_path / str(count)
        pages = (Picture(np.full((64, 64, 3), 99, np.uint8)),) * count
        write(Photo(pages, "TIFF", lossy=False), folder / "in" / "a.tif")
        command = ("upscale", folder / "in", "-o", folder / "out", "-s", "2", "-m", tiny)
        ran = run_lapsr(*command, "--memory", "32M", before=PEAK)
        assert "1 done" in ran.err
        assert probe(folder / "out" / "a_x2.tif").frames == count
        peaks.append(int(ran.out) << 10)
    assert peaks[1] - peaks[0] < 20e6


def damage(path: Path, number: int) -> None:
    """Overwrite the beginning of a page's first strip."""
    with Image.open(path) as image:
        image.seek(number - 1)
        at = image.tag_v2[273][0]  # type: ignore[attr-defined]
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 20)


@pytest.mark.parametrize("memory", [None, 1])
def test_a_damaged_page_fails_its_picture_and_leaves_nothing(
    tmp_path: Path, one_by_one: Upscaler, memory: int | None
) -> None:
    """In the middle of a file, when pages before it have been written."""
    chosen = selection(tmp_path, "2", "4")
    path = many_pages(tmp_path / "in" / "a.tif", 300, 9)
    damage(path, 150)
    draw(tmp_path / "in" / "b.png", 9, 9)
    found = {
        outcome.source.name: outcome
        for outcome in outcomes(chosen, one_by_one, limits=Limits(memory=memory))
    }
    assert (found["a.tif"].status, found["b.png"].status) == ("failed", "done")
    assert found["a.tif"].message.startswith(f"{path}: page 150: damaged (")
    assert "\n" not in found["a.tif"].message
    left = sorted(each.name for each in (tmp_path / "out").iterdir())
    assert left == ["b_x2.png", "b_x4.png"]


def test_a_file_that_changes_while_it_is_read_fails(
    tmp_path: Path, one_by_one: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than to be put together from two versions."""
    path = many_pages(tmp_path / "in" / "a.tif", 40)
    photo = open_photo(path)
    assert photo.frames[39].height == 32
    drops, asked = RunState.drops, iter(range(10**6))

    def changes_it(self: RunState, picture: Any) -> bool:
        if next(asked) == 60:
            many_pages(path, 41)
        return drops(self, picture)

    monkeypatch.setattr(RunState, "drops", changes_it)
    (outcome,) = outcomes(selection(tmp_path), one_by_one, limits=Limits(memory=1))
    assert outcome.message.endswith("the file was changed while it was read")
    assert not contents(tmp_path / "out")


def test_a_page_that_does_not_fit_is_named(
    tmp_path: Path, one_by_one: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own size: all pages together may be larger than the memory."""
    pages = [Picture(noise(side, 20)) for side in (20, 30, 200, 40)]
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.tif"
    write(Photo(tuple(pages), "TIFF", lossy=False), path)
    monkeypatch.setattr(limits, "free_memory", lambda device: 100_000)
    (outcome,) = outcomes(selection(tmp_path, "4"), one_by_one)
    assert outcome.message == (
        f"{path}: the results of its page 3 need 0.1 MB, more memory than is free"
    )
    monkeypatch.setattr(limits, "free_memory", lambda device: 150_000)
    (outcome,) = outcomes(selection(tmp_path, "4"), one_by_one)
    assert outcome.status == "done"


def test_more_pages_than_memory_allows_at_once_are_no_failure(
    lapsr: Lapsr, tmp_path: Path, tiny: Path
) -> None:
    """Where an animation of that size is refused."""
    many_pages(tmp_path / "in" / "a.tif", 30)
    frames = [Image.fromarray(noise(32, 32, seed=seed)) for seed in range(30)]
    frames[0].save(tmp_path / "in" / "b.webp", save_all=True, append_images=frames[1:])
    ran = lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "-m", tiny, "--memory", "1M")
    assert ran.code == 1
    (failed,) = (line for line in ran.error_lines if line.startswith("failed: "))
    assert failed == (
        f"failed: {tmp_path / 'in' / 'b.webp'}: its results of 30 frames need 1.2 MB, more than"
        " --memory allows"
    )
    assert list(contents(tmp_path / "out")) == ["a_x2.tif"]


def test_a_full_disk_in_the_middle_of_a_file_leaves_none(
    lapsr: Lapsr, tmp_path: Path, small_disk: Path, tiny: Path
) -> None:
    many_pages(tmp_path / "in" / "a.tif", 60)
    ran = lapsr("upscale", tmp_path / "in", "-o", small_disk, "-s", "2,4", "-m", tiny)
    assert ran.code == 1
    assert "No space left on device" in ran.error_lines[-1]
    assert "; the files written so far are complete" in ran.error_lines[-1]
    assert not [path for path in small_disk.rglob("*") if path.is_file()]


@pytest.mark.parametrize("memory", [None, 1])
def test_a_file_that_has_begun_is_finished(
    tmp_path: Path, one_by_one: Upscaler, memory: int | None
) -> None:
    """Pages that wait for memory included; the next file is not begun."""
    for name in ("a", "b"):
        many_pages(tmp_path / "in" / f"{name}.tif", 150, 9)
    chosen = selection(tmp_path)
    stop = threading.Event()

    def jobs() -> Iterator[Job]:
        first, second = plan(chosen).jobs
        yield first
        stop.wait(PATIENCE)
        yield second

    (outcome,) = in_time(
        lambda: list(
            run(
                jobs(),
                [one_by_one],
                chosen,
                limits=Limits(memory=memory),
                advance=lambda source, share: stop.set(),
                stop=stop.is_set,
            )
        )
    )
    assert [output.frames for output in outcome.outputs] == [150]
    assert list(contents(tmp_path / "out")) == ["a_x2.tif"]


def test_a_run_that_is_given_up_leaves_no_part_of_a_file(
    tmp_path: Path, one_by_one: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    many_pages(tmp_path / "in" / "a.tif", 150, 9)
    chosen = selection(tmp_path)
    ended = threading.Event()
    run_all = pipeline._Pipeline.run

    def run_and_tell(self: Any) -> None:
        run_all(self)
        ended.set()

    def gives_up(*news: Any) -> None:
        if news[1] > 0.5:
            raise KeyboardInterrupt

    monkeypatch.setattr(pipeline._Pipeline, "run", run_and_tell)
    going = run(plan(chosen).jobs, [one_by_one], chosen, limits=Limits(memory=1), advance=gives_up)
    with pytest.raises(KeyboardInterrupt):
        in_time(lambda: list(going))
    assert ended.wait(60)
    assert not list((tmp_path / "out").iterdir())
