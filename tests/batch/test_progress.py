"""How far a run is and how long it still takes, against runs whose course is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lapsr_cli.batch.estimate import Work, survey
from lapsr_cli.batch.limits import Limits
from lapsr_cli.batch.pipeline import ENCODERS, run
from lapsr_cli.batch.planning import Selection, plan
from lapsr_cli.batch.progress import RunProgress
from lapsr_cli.batch.report import Outcome
from lapsr_cli.batch.targets import Target, enlargement, passes
from lapsr_cli.device.selection import choose
from lapsr_cli.image_io import Encoding
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from lapsr_cli.upscaler import Upscaler
from tests.conftest import draw, tiny_network


@pytest.fixture(scope="module")
def network() -> LaplacianPyramid:
    return tiny_network(PyramidConfig(depth=1, recursions=1, channels=4))


class Clock:
    """Of a run that takes no time but what is added."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def written(path: Path, status: str = "done") -> Outcome:
    return Outcome(source=path, status="done" if status == "done" else "failed")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scales=st.sets(st.sampled_from(["1", "2", "3", "4", "8", "16", "32"]), min_size=1, max_size=3),
    frames=st.integers(1, 3),
    tta=st.booleans(),
    alpha=st.booleans(),
)
def test_every_picture_of_a_run_rises_to_one(
    network: LaplacianPyramid,
    tmp_path_factory: pytest.TempPathFactory,
    scales: set[str],
    frames: int,
    tta: bool,
    alpha: bool,
) -> None:
    """Second passes of a cascade, the eightfold mean, several scales and frames included; and so
    does the run."""
    folder = tmp_path_factory.mktemp("run")
    pages = [
        Image.new("RGBA" if alpha else "RGB", (6 + n, 5), (9, 80, 200, 99)[: 3 + alpha])
        for n in range(frames)
    ]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    draw(folder / "one.png", 7, 9)
    chosen = Selection(
        inputs=(str(folder),),
        output=folder / "out",
        targets=tuple(Target(scale=scale) for scale in scales),
    )
    upscaler = Upscaler(network, choose("cpu"), tta=tta)
    limits = Limits(cascade=True)
    jobs = plan(chosen).jobs
    progress = RunProgress(survey(jobs, upscaler, limits, Encoding()).works)
    shares: dict[Path, list[float]] = defaultdict(list)
    of_run = [0.0]

    def advance(source: Path, share: float) -> None:
        shares[source].append(share)
        progress.advance(source, share)
        of_run.append(progress.share)

    for outcome in run(jobs, [upscaler], chosen, limits=limits, advance=advance):
        assert outcome.status == "done", outcome.message
        assert shares[outcome.source][-1] == 1, "written before the network was done"
        progress.settle(outcome)
        of_run.append(progress.share)
    assert len(shares) == 2
    for told in shares.values():
        assert all(before < after for before, after in pairwise([0.0, *told]))
        assert told[-1] == 1
    assert all(before <= after + 1e-12 for before, after in pairwise(of_run))
    assert of_run[-1] == 1
    assert progress.seconds_left == 0


@given(
    factors=st.sets(st.fractions(1, 64), min_size=1, max_size=5),
    scales=st.sampled_from([(2, 4, 8), (2, 4), (2,)]),
)
def test_passes_make_every_enlargement(factors: set[float], scales: tuple[int, ...]) -> None:
    needed = {enlargement(factor, scales) for factor in factors}  # type: ignore[arg-type]
    made = {1}
    for each in passes(needed, scales):
        assert each.multiple in made, "it begins with what no pass has made"
        assert set(each.scales) <= set(scales)
        made |= {each.multiple * scale for scale in each.scales}
    assert needed <= made


def course(
    works: Mapping[Path, Work], network: float, encoding: float, step: float
) -> Iterator[tuple[float, str, Path, float]]:
    """The events of a run, by time: pictures one after the other in the network, in steps of that
    share, ``network`` times as slow as `Work` says; each then written, ``encoding`` times as
    slow, by an encoder of its own."""
    events: list[tuple[float, str, Path, float]] = []
    now = 0.5  # reading and compiling
    for path, work in works.items():
        steps = max(1, round(1 / step))
        for number in range(1, steps + 1):
            now += network * work.network / steps
            events.append((now, "advance", path, number / steps))
        events.append((now + encoding * work.encoding, "settle", path, 1))
    return iter(sorted(events, key=lambda event: event[0]))


def works_of(*seconds: tuple[float, float]) -> dict[Path, Work]:
    return {
        Path(str(number)): Work(network=network, encoding=encoding, pixels=1000)
        for number, (network, encoding) in enumerate(seconds)
    }


RUNS = {
    "one large picture": works_of((40, 0.4)),
    "one that is long to write": works_of((40, 12)),
    "a small one, then a large one": works_of((1, 0.1), (60, 3)),
    "a large one, then many small ones": works_of((60, 5), *[(0.5, 0.05)] * 40),
    "from small to large": works_of(*[(0.1 * number, 0.02 * number) for number in range(1, 30)]),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(("network", "encoding"), [(0.3, 0.8), (1, 1), (5, 2.5)])
def test_the_time_left_is_right_from_a_tenth_on(name: str, network: float, encoding: float) -> None:
    """Within 30 %, counted by work and not by pictures: on many cores, on the machine of `Work`,
    and beside other work."""
    works, clock = RUNS[name], Clock()
    events = list(course(works, network, encoding, 0.01))
    end, start = max(event[0] for event in events), clock.now
    progress = RunProgress(works, clock)
    judged = 0
    for when, kind, path, share in events:
        clock.now = start + when
        progress.advance(path, share) if kind == "advance" else progress.settle(written(path))
        if 0.1 * end < when < 0.95 * end:
            left = progress.seconds_left
            assert left == pytest.approx(end - when, rel=0.3)
            judged += 1
    assert judged > 20
    assert (progress.share, progress.seconds_left) == (1, 0)


def test_a_device_faster_than_the_encoders_waits_for_them() -> None:
    """The network is done with everything at once; encoders have work for minutes."""
    works, clock = works_of(*[(10, 30)] * 40), Clock()
    progress = RunProgress(works, clock)
    for path in works:
        clock.now += 0.2
        progress.advance(path, 1.0)
    assert progress.seconds_left == pytest.approx(40 * 30 / ENCODERS, rel=0.4)
    assert progress.is_only_writing
    assert progress.writing == 40


def test_what_cannot_be_read_is_no_work() -> None:
    works, clock = works_of((10, 1), (1000, 1), (10, 1)), Clock()
    first, broken, last = works
    progress = RunProgress(works, clock)
    assert progress.seconds_left is None
    for number in range(1, 11):
        clock.now += 1
        progress.advance(first, number / 10)
    assert progress.share < 0.02
    progress.settle(written(broken, "failed"))
    assert progress.share == pytest.approx(10 / 22, rel=0.1)
    assert progress.seconds_left == pytest.approx(11, rel=0.3)
    progress.settle(written(first))
    progress.advance(last, 1.0)
    progress.settle(written(last))
    assert progress.to_json() == {
        "status": "progress",
        "share": 1.0,
        "seconds_left": 0.0,
        "pictures": 3,
        "done": 2,
        "failed": 1,
        "writing": 0,
    }


def test_small_pictures_that_share_a_pass_do_not_look_fast() -> None:
    """Their news comes all at once, after the pass."""
    works, clock = works_of(*[(1, 0)] * 120), Clock()
    progress = RunProgress(works, clock)
    for number, path in enumerate(works):
        if number % 30 == 0:
            clock.now += 30
        progress.advance(path, 1.0)
        if 30 < number < 119 and number % 30 == 29:
            assert progress.seconds_left == pytest.approx(120 - number, rel=0.3)


def test_a_survey_weighs_every_picture(network: LaplacianPyramid, tmp_path: Path) -> None:
    """From few headers where there are many pictures: what follows counts like its neighbour."""
    for number in range(200):
        draw(tmp_path / f"{number:03}.png", 8 if number < 100 else 16, 8)
    jobs = plan(
        Selection(inputs=(str(tmp_path),), output=tmp_path / "o", targets=(Target(scale="2"),))
    ).jobs
    works = survey(jobs, Upscaler(network, choose("cpu")), Limits(), Encoding()).works
    assert len(works) == 200
    total = sum(work.pixels for work in works.values())
    assert total == pytest.approx(100 * (8 + 16) * 8 * 4, rel=0.05)
    assert works[tmp_path / "000.png"].network == pytest.approx(
        works[tmp_path / "199.png"].network / 2
    )
