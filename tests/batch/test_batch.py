"""Many pictures at once: what is held, what comes out, and how a run ends."""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from PIL import Image

from lapsr_cli.batch import results
from lapsr_cli.batch.budget import Budget
from lapsr_cli.batch.limits import Limits
from lapsr_cli.batch.pipeline import run
from lapsr_cli.batch.planning import Job, plan
from lapsr_cli.batch.report import Outcome, Output, Report
from lapsr_cli.cli.interrupts import stop_signal
from lapsr_cli.inference import batching
from lapsr_cli.inference.runtime import PendingResult, Runtime
from lapsr_cli.inference.tiler import TileOptions
from lapsr_cli.pixels import resize
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
from tests.conftest import Ran, draw, results_in, run_lapsr

Lapsr = Callable[..., Ran]
T = TypeVar("T")


def draw_some(folder: Path, count: int, side: int = 20) -> None:
    for number in range(count):
        draw(folder / "in" / f"{number:03}.png", side + number % 3, side, seed=number)


def test_chroma_of_a_jpeg_is_restored_and_that_of_a_png_is_not(
    upscaler: Upscaler, tmp_path: Path
) -> None:
    """The same pixels in both; also from Python, and only by the first pass of a cascade."""
    drawn = Image.open(draw(tmp_path / "drawn.png", 40, 32))
    (tmp_path / "in").mkdir()
    drawn.save(tmp_path / "in" / "a.jpg", quality=60)
    Image.open(tmp_path / "in" / "a.jpg").save(tmp_path / "in" / "b.png")
    chosen = selection(tmp_path, "4", "16", form="png")
    limits = Limits(cascade=True)
    pictures = {each.source.name: each for each in outcomes(chosen, upscaler, limits=limits)}
    read = {
        (name, output.scale): np.array(Image.open(output.path)).astype(int)
        for name, outcome in pictures.items()
        for output in outcome.outputs
    }
    with (
        Image.open(tmp_path / "in" / "a.jpg") as jpeg,
        Image.open(tmp_path / "in" / "b.png") as png,
    ):
        photo, other = upscaler(jpeg, (4, 8)), upscaler(png, (4, 8))
    restored_once = upscaler(np.array(photo[8]), (2,))[2]

    def apart(name: str, scale: str, expected: Any) -> int:
        return int(np.abs(read[name, scale] - np.array(expected)).max())

    assert apart("a.jpg", "4", photo[4]) <= 1
    assert apart("b.png", "4", other[4]) <= 1
    assert apart("a.jpg", "4", other[4]) > 2
    assert apart("a.jpg", "16", restored_once) <= 1


def test_several_devices_give_the_bytes_of_one(lapsr: Lapsr, tmp_path: Path, tiny: Path) -> None:
    draw_some(tmp_path, 25)
    draw(tmp_path / "in" / "large.png", 150, 120)
    command = ("upscale", tmp_path / "in", "-s", "2,3", "--batch-size", "1", "-m", tiny)
    for device in ("cpu", "cpu,cpu", "cpu, cpu,cpu"):
        ran = lapsr(*command, "--device", device, "-o", tmp_path / device.replace(" ", ""))
        assert ran.code == 0, ran.err
        assert ran.err.count("device: cpu") == device.count("cpu")
    one = contents(tmp_path / "cpu")
    assert len(one) == 52
    assert contents(tmp_path / "cpu,cpu") == one
    assert contents(tmp_path / "cpu,cpu,cpu") == one


def test_a_budget_is_kept_and_nobody_starves() -> None:
    budget = Budget(100)
    lock = threading.Lock()
    held: list[int] = []
    seen: list[list[int]] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(40):
            amount = rng.choice([1, 10, 40, 60, 100, 250])
            assert budget.take(amount, lambda: False)
            with lock:
                held.append(amount)
                seen.append(list(held))
            time.sleep(rng.random() / 5000)
            with lock:
                held.remove(amount)
            budget.give(amount)

    def work_all() -> None:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)

    in_time(work_all)
    assert len(seen) == 240
    assert all(sum(each) <= 100 or len(each) == 1 for each in seen)
    assert any(len(each) > 1 for each in seen)


def test_a_budget_is_given_up_when_told() -> None:
    budget = Budget(10)
    assert budget.take(5, lambda: False)
    assert not in_time(lambda: budget.take(6, lambda: True))
    budget.give(5)
    assert budget.take(6, lambda: True)


def test_pictures_beyond_the_budget_go_one_at_a_time(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_some(tmp_path, 12)
    counts = spy_on_budget(monkeypatch)
    found = outcomes(selection(tmp_path), upscaler, limits=Limits(memory=1))
    assert [outcome.status for outcome in found] == ["done"] * 12
    assert set(counts) == {1}


def test_with_room_they_do_not_wait_for_each_other(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_some(tmp_path, 12)
    counts = spy_on_budget(monkeypatch)
    found = outcomes(selection(tmp_path), upscaler, limits=Limits(memory=1 << 30))
    assert len(found) == 12
    assert max(counts) > 1


@pytest.mark.linux
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path, tiny: Path) -> None:
    """Results of 80 more pictures, 1.5 MB each, leave no trace."""
    peaks: list[int] = []
    for count in (20, 100):
        folder = tmp_path / str(count)
        source = draw(folder / "in" / "000.bmp", 180, 180)
        for number in range(1, count):
            shutil.copy(source, folder / "in" / f"{number:03}.bmp")
        command = ("upscale", folder / "in", "-o", folder / "out", "-s", "4", "-m", tiny)
        ran = run_lapsr(*command, "--memory", "64M", before=PEAK)
        assert f"{count} done" in ran.err
        peaks.append(int(ran.out) << 10)
    assert peaks[1] - peaks[0] < 50e6


def test_every_frame_is_enlarged(lapsr: Lapsr, tmp_path: Path, tiny: Path) -> None:
    frames = [Image.new("RGB", (14, 10), colour) for colour in ("red", "blue", "white")]
    (tmp_path / "in").mkdir()
    frames[0].save(
        tmp_path / "in" / "a.gif", save_all=True, append_images=frames[1:], duration=[50, 70, 90]
    )
    pages = [Image.new("RGB", size, "teal") for size in ((12, 8), (5, 21), (30, 3))]
    pages[0].save(tmp_path / "in" / "b.tiff", save_all=True, append_images=pages[1:])
    ran = lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "-s", "2,3,4", "-m", tiny)
    assert ran.code == 0, ran.err
    for scale in (2, 3, 4):
        with Image.open(tmp_path / "out" / f"a_x{scale}.gif") as image:
            assert image.n_frames == 3  # type: ignore[attr-defined]
            for index, (colour, milliseconds) in enumerate(
                zip([(255, 0, 0), (0, 0, 255), (255, 255, 255)], (50, 70, 90), strict=True)
            ):
                image.seek(index)
                shown = np.array(image.convert("RGB")).astype(int)
                assert shown.shape == (10 * scale, 14 * scale, 3)
                assert np.abs(shown[scale:-scale, scale:-scale].mean((0, 1)) - colour).max() < 60
                assert image.info["duration"] == milliseconds
        with Image.open(tmp_path / "out" / f"b_x{scale}.tiff") as image:
            sizes = []
            for index in range(image.n_frames):  # type: ignore[attr-defined]
                image.seek(index)
                sizes.append(image.size)
            assert sizes == [(scale * page.width, scale * page.height) for page in pages]


def test_a_cascade_is_one_pass_after_another(lapsr: Lapsr, tmp_path: Path, tiny: Path) -> None:
    draw(tmp_path / "in" / "a.png", 15, 11)
    draw(tmp_path / "in" / "b.png", 9, 12, mode="L")
    given = ("-m", tiny, "--name", "{stem}")
    assert lapsr("upscale", tmp_path / "in", "-o", tmp_path / "8", "-s", "8", *given).code == 0
    for scale, second in (("16", "2"), ("64", "8")):
        twice = tmp_path / f"8,{second}"
        lapsr("upscale", tmp_path / "8", "-o", twice, "-s", second, *given)
        once = tmp_path / scale
        ran = lapsr("upscale", tmp_path / "in", "-o", once, "-s", scale, "--cascade", *given)
        assert ran.code == 0, ran.err
        assert len(contents(once)) == 2
        assert contents(once) == contents(twice)


def test_a_cascade_gives_lower_scales_on_the_way(lapsr: Lapsr, tmp_path: Path, tiny: Path) -> None:
    draw(tmp_path / "in" / "a.png", 9, 7)
    command = ("upscale", tmp_path / "in", "-m", tiny)
    assert lapsr(*command, "-o", tmp_path / "all", "-s", "2,8,12,16", "--cascade").code == 0
    assert lapsr(*command, "-o", tmp_path / "low", "-s", "2,8").code == 0
    every = contents(tmp_path / "all")
    assert {name: every[name] for name in ("a_x2.png", "a_x8.png")} == contents(tmp_path / "low")
    for scale in (12, 16):
        with Image.open(tmp_path / "all" / f"a_x{scale}.png") as image:
            assert image.size == (9 * scale, 7 * scale)
    ran = lapsr(*command, "-o", tmp_path / "out", "-s", "16")
    assert ran.code == 2
    assert "this model enlarges up to 8x; --cascade" in ran.err


class Broken(Exception):
    """What nobody expects."""


def breaks(*_: object, **__: object) -> Any:
    raise Broken("a fault of ours")


@pytest.mark.parametrize(
    "where", ["results.resized", "image_io.losses", "image_io.open_photo", "image_io.probe"]
)
@pytest.mark.parametrize("devices", [1, 2])
def test_a_fault_in_a_thread_ends_the_run_with_it(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, where: str, devices: int
) -> None:
    draw_some(tmp_path, 8)
    chosen = selection(tmp_path)
    jobs = plan(chosen).jobs
    upscalers = [Upscaler.from_weights(tiny, device="cpu") for _ in range(devices)]
    package = "lapsr_cli" if where.startswith("image_io") else "lapsr_cli.batch"
    monkeypatch.setattr(f"{package}.{where}", breaks)
    with pytest.raises(Broken, match="a fault of ours"):
        in_time(lambda: list(run(jobs, upscalers, chosen)))


def test_a_fault_of_one_device_ends_the_others(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_some(tmp_path, 40)
    chosen = selection(tmp_path)
    jobs = plan(chosen).jobs
    good, bad = (Upscaler.from_weights(tiny, device="cpu") for _ in range(2))
    broken = threading.Event()

    def breaks_down(*_: object) -> PendingResult:
        broken.set()
        raise Broken("burnt")

    def waits(*arguments: Any) -> PendingResult:
        broken.wait(PATIENCE)
        return healthy(*arguments)

    healthy = good.runner.runtimes[good.name]._launch
    monkeypatch.setattr(good.runner.runtimes[good.name], "_launch", waits)
    monkeypatch.setattr(bad.runner.runtimes[bad.name], "_launch", breaks_down)
    with pytest.raises(Broken, match="burnt"):
        in_time(lambda: list(run(jobs, [good, bad], chosen)))


def test_a_fault_among_the_works_ends_the_run(tmp_path: Path, upscaler: Upscaler) -> None:
    draw_some(tmp_path, 3)
    chosen = selection(tmp_path)

    def jobs() -> Iterator[Job]:
        yield from plan(chosen).jobs
        raise Broken("no more")

    with pytest.raises(Broken, match="no more"):
        in_time(lambda: list(run(jobs(), [upscaler], chosen)))


def test_no_memory_for_shrinking_is_that_pictures_failure(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_some(tmp_path, 4)

    def resized(picture: Any, size: Any) -> Any:
        if size.width == 3 * 21:
            torch.empty(1 << 60, dtype=torch.uint8)  # torch says it in its own words
        return resize.resized(picture, size)

    monkeypatch.setattr(results, "resized", resized)
    found = {
        outcome.source.name: outcome for outcome in outcomes(selection(tmp_path, "3"), upscaler)
    }
    assert [found[name].status for name in sorted(found)] == ["done", "failed", "done", "done"]
    assert "001.png: not enough memory" in found["001.png"].message


def test_a_run_that_is_given_up_ends(tmp_path: Path, upscaler: Upscaler) -> None:
    """Whoever stops asking for outcomes leaves no thread behind."""
    draw_some(tmp_path, 60)
    chosen = selection(tmp_path)
    before = set(threading.enumerate())
    going = run(plan(chosen).jobs, [upscaler], chosen, limits=Limits(memory=1))
    assert next(going).status == "done"
    going.close()

    def ended() -> bool:
        while set(threading.enumerate()) - before - {threading.current_thread()}:
            time.sleep(0.02)
        return True

    assert in_time(ended)
    assert len(contents(tmp_path / "out")) < 60


def test_once_told_to_stop_nothing_new_is_begun(tmp_path: Path, upscaler: Upscaler) -> None:
    """Neither a picture nor a file that would fail at once."""
    draw_some(tmp_path, 2)
    for number in range(20):
        (tmp_path / "in" / f"z{number}.png").write_text("no picture")
    chosen = selection(tmp_path)
    stop = threading.Event()

    def jobs() -> Iterator[Job]:
        first, *others = plan(chosen).jobs
        yield first
        stop.wait(PATIENCE)
        yield from reversed(others)

    found: list[Outcome] = []

    def go() -> None:
        for outcome in run(jobs(), [upscaler], chosen, stop=stop.is_set):
            found.append(outcome)
            stop.set()

    in_time(go)
    assert [outcome.source.name for outcome in found] == ["000.png"]
    assert list(contents(tmp_path / "out")) == ["000_x2.png"]


def test_pictures_that_are_begun_are_finished(tmp_path: Path, upscaler: Upscaler) -> None:
    """All their frames and both passes of a cascade."""
    frames = [Image.new("L", (9, 9), number) for number in range(30)]
    (tmp_path / "in").mkdir()
    frames[0].save(tmp_path / "in" / "0.tiff", save_all=True, append_images=frames[1:])
    chosen = selection(tmp_path, "2", "16")
    jobs = plan(chosen).jobs
    stop = threading.Event()

    (outcome,) = in_time(
        lambda: list(
            run(
                jobs,
                [upscaler],
                chosen,
                limits=Limits(cascade=True),
                advance=lambda source, share: stop.set(),
                stop=stop.is_set,
            )
        )
    )
    assert outcome.status == "done"
    assert [output.frames for output in outcome.outputs] == [30, 30]


def test_a_picture_is_not_charged_for_waiting(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every pass takes ten seconds, by a clock that only passes advance: the third picture waited
    for twenty."""
    draw_some(tmp_path, 3)
    clock = itertools.count(0, 10)
    now = [next(clock)]
    launch = Runtime.launch

    def slow_launch(*arguments: Any, **options: Any) -> PendingResult:
        now[0] = next(clock)
        return launch(*arguments, **options)

    monkeypatch.setattr(batching, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(Runtime, "launch", slow_launch)
    alone = Upscaler.from_weights(tiny, device="cpu", tiling=TileOptions(batch=1))
    for outcome in outcomes(selection(tmp_path), alone):
        assert 10 < outcome.seconds < 20


def test_outcomes_say_what_was_done(tmp_path: Path, upscaler: Upscaler) -> None:
    draw_some(tmp_path, 2)
    for outcome in outcomes(selection(tmp_path, "2", "3"), upscaler):
        assert outcome.windows == 1
        assert (outcome.device, outcome.precision) == ("cpu", "fp32")
        assert outcome.seconds > 0
        for output, scale in zip(outcome.outputs, (2, 3), strict=True):
            with Image.open(output.path) as image:
                assert image.size == (output.width, output.height)
            with Image.open(outcome.source) as image:
                assert (output.width, output.height) == (scale * image.width, scale * image.height)
            assert output.bytes == output.path.stat().st_size
            assert (output.scale, output.frames) == (str(scale), 1)


def test_the_summary_adds_up() -> None:
    def output(side: int) -> Output:
        path = Path(f"{side}.png")
        return Output(path=path, scale="2", width=side, height=side, frames=2, bytes=1)

    report = Report()
    source = Path("a.png")
    report.add(Outcome(source=source, status="done", outputs=(output(1000), output(2000))))
    report.add(Outcome(source=source, status="failed", warnings=("one", "two")))
    expected = "1 done (2 files), 1 failed, 2 warnings, 10.0 MP in 4.0 s, 2.50 MP/s"
    assert report.summary(4.0) == expected


def begin(folder: Path, tiny: Path, *more: str) -> subprocess.Popen[str]:
    command = ["upscale", str(folder / "in"), "-o", str(folder / "out"), "-m", str(tiny)]
    return subprocess.Popen(
        [sys.executable, "-m", "lapsr_cli", *command, "--batch-size", "1", *more],
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    while process.poll() is None and not happened():
        time.sleep(0.005)


def some_result(folder: Path) -> Callable[[], bool]:
    return lambda: any((folder / "out").glob("*.png"))


@pytest.mark.posix
def test_ctrl_c_and_again_gives_what_an_undisturbed_run_gives(
    lapsr: Lapsr, tmp_path: Path, tiny: Path
) -> None:
    draw_some(tmp_path, 150, 40)
    process = begin(tmp_path, tiny, "-s", "2,8", "--memory", "64M", "--report", str(tmp_path / "r"))
    wait_until(process, some_result(tmp_path))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "interrupted: " in err
    assert " not started" in err
    report = json.loads((tmp_path / "r").read_text(encoding="utf-8"))
    assert (report["interrupted"], report["exit_code"]) == (True, 130)
    there = contents(tmp_path / "out")
    stems = {name.partition("_")[0] for name in there}
    assert 0 < len(stems) < 150
    assert len(there) == 2 * len(stems), "a picture that was begun was not finished"
    command = ("upscale", tmp_path / "in", "-s", "2,8", "--batch-size", "1", "-m", tiny, "-o")
    ran = lapsr(*command, tmp_path / "out")
    assert f"{150 - len(stems)} done" in ran.err
    assert f"{len(stems)} skipped" in ran.err
    lapsr(*command, tmp_path / "undisturbed")
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


@pytest.mark.posix
def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    """For a pass of minutes; nothing half bears a final name."""
    draw(tmp_path / "in" / "0.png", 30, 30)
    draw(tmp_path / "in" / "1.png", 2600, 2000)
    command = ["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-s", "4"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lapsr_cli", *command, "--memory", "1G", "--offline"],
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(process, some_result(tmp_path))
    time.sleep(3)  # by then the large one is read and begun
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)  # the first one has the large picture finished
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted: " in err
    assert "Traceback" not in err
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["0_x4.png"]


def test_a_third_ctrl_c_does_not_disturb_what_the_second_one_does() -> None:
    """As the writing of the report."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_signal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.slow
def test_killed_at_twenty_moments_and_repeated(lapsr: Lapsr, tmp_path: Path, tiny: Path) -> None:
    draw_some(tmp_path, 300, 30)
    rng = random.Random(0)
    had = 0

    def has_more() -> bool:
        return len(list((tmp_path / "out").glob("*.png"))) > had

    for _ in range(20):
        had = len(list((tmp_path / "out").glob("*.png")))
        process = begin(tmp_path, tiny, "-s", "2,3,8")
        wait_until(process, has_more)
        time.sleep(rng.random() / 10)
        process.kill()
        process.communicate(timeout=PATIENCE)
    command = ("upscale", tmp_path / "in", "-s", "2,3,8", "--batch-size", "1", "-m", tiny, "-o")
    assert lapsr(*command, tmp_path / "out").code == 0
    assert lapsr(*command, tmp_path / "undisturbed").code == 0
    there = {name: data for name, data in contents(tmp_path / "out").items() if name[0] != "."}
    assert there == contents(tmp_path / "undisturbed")


def test_a_full_disk_ends_the_run_and_leaves_whole_pictures(
    lapsr: Lapsr, tmp_path: Path, small_disk: Path, tiny: Path
) -> None:
    draw_some(tmp_path, 60, 40)
    ran = lapsr("upscale", tmp_path / "in", "-o", small_disk, "-s", "4", "-f", "bmp", "-m", tiny)
    assert ran.code == 1
    last = ran.error_lines[-1]
    assert last.startswith("lapsr: ")
    assert "No space left on device" in last
    (warning,) = (line for line in ran.error_lines if line.startswith("warning: the results"))
    # 60 pictures of 160 x 160 to 168 x 160 pixels, three bytes each, in 400 kB.
    assert re.search(r"about (4|5) MB, but .* has only 0 MB free", warning)
    (stopped,) = (line for line in ran.error_lines if line.startswith("stopped: "))
    there = results_in(small_disk)
    assert 0 < len(there) < 60
    assert stopped.startswith(f"stopped: {len(there)} done ({len(there)} files)")
    assert " not started" in stopped
    for path in there:
        with Image.open(path) as image:
            image.load()
            assert image.height == 160


def test_a_report_that_finds_no_room_is_named(
    lapsr: Lapsr, tmp_path: Path, small_disk: Path, tiny: Path
) -> None:
    draw_some(tmp_path, 1)
    (small_disk / "full").write_bytes(bytes(400 << 10))
    report = small_disk / "report.json"
    ran = lapsr("upscale", tmp_path / "in", "-o", tmp_path / "out", "-m", tiny, "--report", report)
    assert ran.code == 1
    assert ran.error_lines[-1] == f"lapsr: {report}: No space left on device"
    assert [path.name for path in small_disk.iterdir()] == ["full"]


def test_what_stands_in_the_way_fails_one_picture(lapsr: Lapsr, tmp_path: Path, tiny: Path) -> None:
    draw_some(tmp_path, 3)
    (tmp_path / "out" / "001_x2.png").mkdir(parents=True)
    command = ("upscale", tmp_path / "in", "-o", tmp_path / "out", "-m", tiny)
    ran = lapsr(*command, "--if-exists", "overwrite")
    assert ran.code == 1
    assert f"failed: {tmp_path / 'out' / '001_x2.png'}: Is a directory" in ran.error_lines
    assert sorted(contents(tmp_path / "out")) == ["000_x2.png", "002_x2.png"]
