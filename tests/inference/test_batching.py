"""Alpha, 16 bits, the eight-fold mean, and a device without memory: what a pass makes of them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lapsr_cli.cpu.streaming import StreamingPyramid
from lapsr_cli.device.selection import Device, choose
from lapsr_cli.device.transfer import Download, Transfer
from lapsr_cli.errors import DeviceError
from lapsr_cli.inference.batching import BatchRunner, Result, Stream, Task
from lapsr_cli.inference.runtime import OutOfMemory, PendingResult, Progress, Runtime
from lapsr_cli.inference.tiler import TileOptions
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from lapsr_cli.pixels.picture import Picture, Samples
from lapsr_cli.upscaler import Upscaler
from tests.conftest import random_network, tiny_network

CONFIG = PyramidConfig(depth=2, recursions=1, channels=4)


@pytest.fixture(scope="module")
def network() -> LaplacianPyramid:
    return tiny_network(CONFIG)


def smooth(*shape: int, seed: int = 0, dtype: type = np.uint8) -> Samples:
    """Noise over the whole range, neighbours alike."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, shape[2] if len(shape) == 3 else 1, 5, 5)))
    fine = torch.nn.functional.interpolate(coarse, shape[:2], mode="bilinear")[0].permute(1, 2, 0)
    samples: Samples = (fine.numpy() * np.iinfo(dtype).max).round().astype(dtype)
    return samples if len(shape) == 3 else samples[..., 0]


def enlarged(
    model: LaplacianPyramid,
    picture: Picture,
    *scales: int,
    windows: TileOptions | None = None,
    tta: bool = False,
) -> dict[int, Picture]:
    upscaler = Upscaler(model, choose("cpu"), windows or TileOptions(tile=None), tta=tta)
    (result,) = upscaler.stream([Task(None, picture, scales, "")])
    return result.pyramid


def alpha_of(picture: Picture) -> Samples:
    assert picture.alpha is not None
    return picture.alpha


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(13, 17), (13, 17, 3)])
def test_opaque_alpha_changes_nothing(
    network: LaplacianPyramid, shape: tuple[int, ...], dtype: type
) -> None:
    pixels = smooth(*shape, dtype=dtype)
    full: Samples = np.full(shape[:2], np.iinfo(dtype).max, dtype)
    plain = enlarged(network, Picture(pixels), 2, 4, 8)
    opaque = enlarged(network, Picture(pixels, full), 2, 4, 8)
    for scale, picture in opaque.items():
        assert np.array_equal(picture.pixels, plain[scale].pixels)
        assert (alpha_of(picture) == np.iinfo(dtype).max).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_clear_stays_clear_and_opaque_stays_opaque(network: LaplacianPyramid, dtype: type) -> None:
    """Two pixels off the edge between them; and what is clear is black."""
    full = np.iinfo(dtype).max
    alpha: Samples = np.zeros((20, 24), dtype)
    alpha[:, 12:] = full
    for scale, result in enlarged(
        network, Picture(smooth(20, 24, 3, dtype=dtype), alpha), 2, 8
    ).items():
        assert (alpha_of(result)[:, : 10 * scale] == 0).all()
        assert (alpha_of(result)[:, 14 * scale :] == full).all()
        assert (result.pixels[alpha_of(result) == 0] == 0).all()


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    hidden=st.integers(0, 1000),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    scale=st.sampled_from([2, 4, 8]),
)
def test_hidden_colours_have_no_influence(
    network: LaplacianPyramid, seed: int, hidden: int, dtype: type, scale: int
) -> None:
    pixels = smooth(14, 12, 3, seed=seed, dtype=dtype)
    alpha = smooth(14, 12, seed=seed + 1, dtype=dtype)
    alpha[alpha < np.iinfo(dtype).max // 2] = 0
    other = pixels.copy()
    other[alpha == 0] = smooth(14, 12, 3, seed=hidden, dtype=dtype)[alpha == 0]
    one = enlarged(network, Picture(pixels, alpha), scale)[scale]
    two = enlarged(network, Picture(other, alpha), scale)[scale]
    assert np.array_equal(alpha_of(one), alpha_of(two))
    assert np.array_equal(one.pixels, two.pixels)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    scale=st.sampled_from([2, 4, 8]),
)
def test_alpha_is_exact_where_all_around_is_opaque_or_clear(
    network: LaplacianPyramid, seed: int, dtype: type, scale: int
) -> None:
    """Two pixels around; of blocks with hard edges, beside which a network overshoots most."""
    full = np.iinfo(dtype).max
    rng = np.random.default_rng(seed)
    alpha = rng.choice(np.array([0, 0, full, full, full // 4], dtype), (3, 4)).repeat(6, 0)
    alpha = alpha.repeat(6, 1)
    height, width = alpha.shape
    pixels = smooth(height, width, 3, seed=seed, dtype=dtype)
    result = alpha_of(enlarged(network, Picture(pixels, alpha), scale)[scale])
    padded = np.pad(alpha, 2, mode="edge")
    around = np.stack([padded[y:][:height, x:][:, :width] for y in range(5) for x in range(5)])
    for value in (0, full):
        exact = (around == value).all(0).repeat(scale, 0).repeat(scale, 1)
        assert (result[exact] == value).all()


@settings(max_examples=30)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    colours=st.sampled_from([1, 3]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    tile=st.integers(1, 20),
    batch=st.integers(1, 4),
    scale=st.sampled_from([2, 4, 8]),
    tta=st.booleans(),
    seed=st.integers(0, 99),
)
def test_tiled_equals_whole_with_alpha_and_sixteen_bits(
    network: LaplacianPyramid,
    size: tuple[int, int],
    colours: int,
    dtype: type,
    tile: int,
    batch: int,
    scale: int,
    tta: bool,
    seed: int,
) -> None:
    """What is seen: colours times alpha. Where alpha is next to nothing a hair is many levels."""
    shape = size if colours == 1 else (*size, colours)
    picture = Picture(smooth(*shape, seed=seed, dtype=dtype), smooth(*size, seed=1, dtype=dtype))
    whole = enlarged(network, picture, scale, tta=tta)[scale]
    windows = TileOptions(tile=tile, batch=batch)
    tiled = enlarged(network, picture, scale, windows=windows, tta=tta)[scale]
    level = np.iinfo(dtype).max / 255
    assert np.abs(alpha_of(whole).astype(int) - alpha_of(tiled)).max() <= level
    seen, again = (
        np.atleast_3d(each.pixels) * (alpha_of(each)[..., None] / picture.full)
        for each in (whole, tiled)
    )
    assert np.abs(seen - again).max() <= level + 1


def test_sixteen_bits_are_eight_bits_and_finer(network: LaplacianPyramid) -> None:
    pixels = smooth(24, 30, 3)
    eight = enlarged(network, Picture(pixels), 4)[4].pixels
    sixteen = enlarged(network, Picture(pixels.astype(np.uint16) * 257), 4)[4].pixels
    assert sixteen.dtype == np.uint16
    assert np.abs(sixteen / 257 - eight).max() <= 0.5 + 1e-6
    assert len(np.unique(sixteen)) > 4 * len(np.unique(eight))


def eight_transforms(luma: Tensor) -> Iterable[tuple[Tensor, int, bool]]:
    """(the picture transformed, quarter turns, mirrored before)"""
    for mirrored in (False, True):
        for turns in range(4):
            yield torch.rot90(luma.flip(-1) if mirrored else luma, turns, (-2, -1)), turns, mirrored


def test_tta_is_the_mean_over_eight_transforms_of_the_plain_model(
    network: LaplacianPyramid,
) -> None:
    pixels = smooth(11, 15)
    luma = torch.from_numpy(pixels).double()[None, None] / 255
    plain = tiny_network(CONFIG).double()
    total: dict[int, Tensor] = defaultdict(lambda: torch.zeros(()))
    for turned, turns, mirrored in eight_transforms(luma):
        for scale, picture in plain(turned.contiguous()).items():
            back = torch.rot90(picture, -turns, (-2, -1))
            total[scale] = total[scale] + (back.flip(-1) if mirrored else back) / 8
    once = enlarged(network, Picture(pixels), 2, 4, 8)
    for scale, result in enlarged(network, Picture(pixels), 2, 4, 8, tta=True).items():
        exact = (total[scale][0, 0].clamp(0, 1) * 255).numpy()
        assert np.abs(result.pixels - exact).max() < 0.5 + 1e-3
        assert (result.pixels != once[scale].pixels).any(), "the mean changes nothing here"


@pytest.mark.parametrize("transform", [np.fliplr, np.flipud, np.rot90])
def test_tta_turns_with_the_picture(network: LaplacianPyramid, transform: object) -> None:
    assert callable(transform)
    pixels, alpha = smooth(12, 9, 3), smooth(12, 9, seed=4)
    turned = Picture(transform(pixels).copy(), transform(alpha).copy())
    expected = enlarged(network, Picture(pixels, alpha), 4, tta=True)[4]
    result = enlarged(network, turned, 4, tta=True)[4]
    assert np.abs(alpha_of(result).astype(int) - transform(alpha_of(expected))).max() <= 1
    visible = alpha_of(result) > 25
    apart = np.abs(result.pixels.astype(int) - transform(expected.pixels))
    assert apart[visible].max() <= 1


@pytest.mark.parametrize("scale", [4, 8])  # where one side of the halo is larger
def test_under_tta_every_side_has_the_larger_halo(scale: int) -> None:
    """Of 16 bits, where one pixel too few is seen; and nothing may cancel."""
    model = random_network(PyramidConfig(depth=1, recursions=1, channels=4)).float()
    picture = Picture(smooth(40, 44, dtype=np.uint16) // 4 + 20_000)
    whole = enlarged(model, picture, scale, tta=True)[scale].pixels.astype(int)
    tiled = enlarged(model, picture, scale, windows=TileOptions(tile=3), tta=True)[scale].pixels
    assert 0 < whole.min() <= whole.max() < 65535
    assert np.abs(whole - tiled).max() <= 1


def test_tiles_see_what_fills_transparent_pixels() -> None:
    """Of 16 bits, with colours from as far away as they may come; and nothing may cancel."""
    model = random_network(PyramidConfig(depth=1, recursions=1, channels=4)).float()
    alpha: Samples = np.zeros((30, 44), np.uint16)
    alpha[::9, ::9] = 40_000
    picture = Picture(smooth(30, 44, seed=3, dtype=np.uint16) // 4 + 20_000, alpha)
    whole = enlarged(model, picture, 4)[4]
    tiled = enlarged(model, picture, 4, windows=TileOptions(tile=3))[4]
    assert np.abs(alpha_of(whole).astype(int) - alpha_of(tiled)).max() <= 1
    assert np.abs(whole.pixels.astype(int) - tiled.pixels).max() <= 1


class Beside(Transfer):
    """A device that computes beside the program: what was not waited for is not there yet."""

    overlaps = True

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.under_way = self.most_under_way = 0

    def upload(self, samples: Tensor) -> Tensor:
        return samples.clone()

    def download(self, tensors: Sequence[Tensor]) -> Download:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        return Later(self, [tensor.clone() for tensor in tensors])


class Later(Download):
    def __init__(self, transfer: Beside, tensors: list[Tensor]) -> None:
        super().__init__([torch.zeros_like(tensor) for tensor in tensors])
        self.transfer = transfer
        self.arriving = tensors

    def wait(self) -> list[Tensor]:
        self.transfer.under_way -= 1
        return self.arriving


class Small(Runtime):
    """A device that holds ``most`` pixels of windows at a time, and says so as devices do."""

    def launch(
        self,
        windows: Tensor,
        scales: Iterable[int],
        progress: Progress = lambda share: None,
        *,
        chroma_step: float = 0.0,
    ) -> PendingResult:
        if windows.shape[0] * windows.shape[2] * windows.shape[3] > self.most:
            self.refused += 1
            raise OutOfMemory("cannot hold it")
        self.passes.append(tuple(windows.shape))
        return super().launch(windows, scales, progress, chroma_step=chroma_step)

    def __init__(self, model: LaplacianPyramid, most: int) -> None:
        super().__init__(model, choose("cpu"))
        self.most = most
        self.refused = 0
        self.passes: list[tuple[int, ...]] = []


def several(count: int, height: int = 30, width: int = 26) -> list[Task[int]]:
    return [
        Task(key, Picture(smooth(height, width, 3, seed=key)), (2, 4), "") for key in range(count)
    ]


def undisturbed(network: LaplacianPyramid, tasks: list[Task[int]]) -> dict[int, Result[int]]:
    upscaler = Upscaler(network, choose("cpu"), TileOptions(tile=None, batch=1))
    return {result.key: result for result in upscaler.stream(tasks)}


@pytest.mark.parametrize(
    "windows", [TileOptions(), TileOptions(tile=None), TileOptions(tile=12, batch=4)]
)
@pytest.mark.parametrize("most", [30 * 26 * 3, 30 * 26, 500, 300])
@pytest.mark.parametrize("transfer", [None, Beside()], ids=["in turn", "beside"])
def test_without_memory_windows_and_batches_get_smaller(
    network: LaplacianPyramid,
    windows: TileOptions,
    most: int,
    transfer: Transfer | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = several(7)
    runtime = Small(network, most)
    runtime.transfer = transfer or runtime.transfer
    shares: dict[int, list[float]] = defaultdict(list)
    with caplog.at_level(logging.WARNING, "lapsr_cli"):
        results = list(
            BatchRunner({"": runtime}, windows).run(
                tasks, lambda key, share: shares[key].append(share)
            )
        )
    assert sorted(result.key for result in results) == list(range(7))
    expected = undisturbed(network, tasks)
    for result in results:
        for scale, picture in result.pyramid.items():
            whole = expected[result.key].pyramid[scale].pixels.astype(int)
            assert np.abs(picture.pixels - whole).max() <= 1
    assert sorted(shares) == list(range(7))
    for told in shares.values():
        assert_rises_to_one(told)
    halved = [record for record in caplog.records if "continuing with half" in record.message]
    noted = {note for result in results for note in result.notes}
    assert len(halved) == runtime.refused
    assert bool(noted) == bool(halved)
    assert halved or windows.tile, "nothing was too large for it"
    assert all("out of memory at " in note for note in noted)
    assert max(n * h * w for n, _, h, w in runtime.passes) <= most


def assert_rises_to_one(shares: Sequence[float]) -> None:
    """Strictly, and to exactly 1."""
    assert shares
    assert all(before < after for before, after in pairwise([0.0, *shares]))
    assert shares[-1] == 1


@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 10)),
    scales=st.sets(st.sampled_from([2, 4, 8]), min_size=1),
    alpha=st.booleans(),
    tta=st.booleans(),
    tile=st.sampled_from([None, 12]),
    batch=st.integers(1, 3),
)
def test_progress_rises_to_one_strip_by_strip(
    network: LaplacianPyramid,
    size: tuple[int, int],
    scales: set[int],
    alpha: bool,
    tta: bool,
    tile: int | None,
    batch: int,
) -> None:
    """Of each picture, whatever it is computed in; and inside a single window too."""
    upscaler = Upscaler(network, choose("cpu"), TileOptions(tile=tile, batch=batch), tta=tta)
    model = upscaler.runner.runtimes[""].model
    assert isinstance(model, StreamingPyramid)
    model.whole_pixels, model.strip_pixels = 0, 100
    hole = smooth(*size, seed=9) if alpha else None
    tasks = [
        Task(key, Picture(smooth(*size, 3, seed=key), hole), tuple(sorted(scales)), "")
        for key in range(2)
    ]
    shares: dict[int, list[float]] = defaultdict(list)
    for _ in upscaler.stream(tasks, lambda key, share: shares[key].append(share)):
        pass
    assert sorted(shares) == [0, 1]
    for told in shares.values():
        assert_rises_to_one(told)
    if tile is None and batch == 1:
        assert len(shares[0]) >= size[0] // 12, "a window was one step"


def test_progress_ends_a_pass_that_it_does_not_want(network: LaplacianPyramid) -> None:
    """Raised in whichever thread of the engine, it comes back, and is not taken for a lack of
    memory."""

    def stop(_: float) -> None:
        raise RuntimeError("enough")

    upscaler = Upscaler(network, choose("cpu"))
    with pytest.raises(RuntimeError, match="enough"):
        upscaler(np.zeros((200, 200), np.uint8), (4,), progress=stop)


def test_one_pass_computes_while_another_is_put_in_place(network: LaplacianPyramid) -> None:
    runtime = Runtime(network, choose("cpu"))
    runtime.transfer = transfer = Beside()
    tasks = several(5)
    results = list(BatchRunner({"": runtime}, TileOptions(tile=16, batch=2)).run(tasks))
    assert transfer.most_under_way == 2
    assert transfer.under_way == 0
    expected = undisturbed(network, tasks)
    for result in results:
        for scale, picture in result.pyramid.items():
            whole = expected[result.key].pyramid[scale].pixels.astype(int)
            assert np.abs(picture.pixels - whole).max() <= 1


def test_a_picture_under_way_is_given_before_the_next_is_waited_for(
    network: LaplacianPyramid,
) -> None:
    runtime = Runtime(network, choose("cpu"))
    runtime.transfer = Beside()
    given: list[int] = []

    stream: Stream[int] = Stream(BatchRunner({"": runtime}, TileOptions()), lambda *_: None)
    for number, task in enumerate(several(3)):
        assert given == list(range(number)), "a picture was held back for the next one"
        given += [result.key for result in stream.submit(task)]
        given += [result.key for result in stream.flush()]
    assert given == [0, 1, 2]


def test_what_overflows_beside_the_program_is_computed_in_fp32() -> None:
    model = overflowing(PyramidConfig(depth=1, recursions=1, channels=4, levels=1))
    runtime = Runtime(model, Device(torch.device("cpu"), "fp16", "a test"))
    runtime.transfer = Beside()
    tasks = [Task(key, Picture(smooth(12, 14, 3, seed=key)), (2,), "") for key in range(4)]
    for result in BatchRunner({"": runtime}, TileOptions(tile=None, batch=1)).run(tasks):
        expected = enlarged(model, tasks[result.key].picture, 2)[2].pixels
        assert np.array_equal(result.pyramid[2].pixels, expected)
        assert result.notes == ("fp16 overflowed: computed again in fp32",)


def test_a_picture_that_begins_again_is_never_behind_what_was_told(
    network: LaplacianPyramid,
) -> None:
    """Memory runs out when half of its windows are done."""
    task = Task(0, Picture(smooth(60, 60, 3)), (2,), "")
    runtime = Small(network, 10**9)
    shares: list[float] = []

    def advance(_: int, share: float) -> None:
        shares.append(share)
        if len(shares) == 3:
            runtime.most = 500

    (result,) = BatchRunner({"": runtime}, TileOptions(tile=16, batch=1)).run([task], advance)
    assert runtime.refused
    assert 0.1 < shares[2] < 0.9
    assert_rises_to_one(shares)
    whole = enlarged(network, task.picture, 2)[2].pixels.astype(int)
    assert np.abs(result.pyramid[2].pixels - whole).max() <= 1


def test_pictures_that_came_first_are_not_begun_again(network: LaplacianPyramid) -> None:
    """One large picture among small ones: only it is cut."""
    tasks: list[Task[str]] = [
        Task("small", Picture(smooth(16, 16, 3)), (2,), ""),
        Task("large", Picture(smooth(60, 60, 3)), (2,), ""),
        Task("after", Picture(smooth(16, 16, 3, seed=2)), (2,), ""),
    ]
    runner = BatchRunner({"": Small(network, 1000)}, TileOptions(batch=1))
    results = {result.key: result for result in runner.run(tasks)}
    assert results["small"].windows == results["after"].windows == 1
    assert results["large"].windows > 3
    assert not results["small"].notes
    assert not results["after"].notes
    assert results["large"].notes


def test_a_device_that_holds_nothing_is_an_error(network: LaplacianPyramid) -> None:
    with pytest.raises(DeviceError, match=r"--device cpu: not enough memory"):
        list(BatchRunner({"": Small(network, 40)}, TileOptions()).run(several(2, 40, 40)))


def overflowing(config: PyramidConfig) -> LaplacianPyramid:
    """Features of a million, which fp16 does not hold, taken back before the picture."""
    model = tiny_network(config)
    with torch.no_grad():
        model.conv_in.weight.mul_(1e6)
        model.level(1).conv_res.weight.mul_(1e-6)
    return model


@pytest.mark.parametrize("batch", [1, 3])
def test_what_overflows_in_half_precision_is_computed_in_fp32(batch: int) -> None:
    model = overflowing(PyramidConfig(depth=1, recursions=1, channels=4, levels=1))
    half = Device(torch.device("cpu"), "fp16", "a test")
    tasks = [Task(key, Picture(smooth(12, 14, 3, seed=key)), (2,), "") for key in range(3)]
    results = {
        r.key: r for r in Upscaler(model, half, TileOptions(tile=None, batch=batch)).stream(tasks)
    }
    single = Upscaler(model, choose("cpu"), TileOptions(tile=None, batch=batch)).stream(tasks)
    for expected in single:
        assert np.array_equal(results[expected.key].pyramid[2].pixels, expected.pyramid[2].pixels)
        assert results[expected.key].notes == ("fp16 overflowed: computed again in fp32",)
        assert expected.notes == ()


def test_half_precision_that_does_not_overflow_says_nothing(network: LaplacianPyramid) -> None:
    half = Device(torch.device("cpu"), "fp16", "a test")
    picture = Picture(smooth(12, 14, 3))
    (result,) = Upscaler(network, half).stream([Task(0, picture, (2,), "")])
    assert result.notes == ()
    apart = result.pyramid[2].pixels.astype(int) - enlarged(network, picture, 2)[2].pixels
    assert np.abs(apart).max() <= 1


def test_two_networks_each_get_their_pictures(network: LaplacianPyramid) -> None:
    other = tiny_network(CONFIG, seed=5)
    upscaler = Upscaler({"clean": network, "lossy": other}, choose("cpu"))
    assert upscaler.model_for(lossy=False) == "clean"
    assert upscaler.model_for(lossy=True) == "lossy"
    picture = Picture(smooth(10, 10, 3))
    tasks = [Task(name, picture, (2,), name) for name in ("clean", "lossy", "clean")]
    for result in upscaler.stream(tasks):
        model = network if result.key == "clean" else other
        assert np.array_equal(result.pyramid[2].pixels, enlarged(model, picture, 2)[2].pixels)
    first, second = (enlarged(model, picture, 2)[2].pixels for model in (network, other))
    assert (first != second).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_leave_no_trace_in_restored_chroma(
    network: LaplacianPyramid, channels: int, dtype: type
) -> None:
    """In batches with others, with alpha and without; the same picture without a step differs if it
    has colours."""
    rng = np.random.default_rng(0)
    pixels = smooth(90, 83, channels, dtype=dtype)
    noise: Samples = rng.integers(0, np.iinfo(dtype).max // 16, pixels.shape).astype(dtype)
    pixels = (pixels // 2 + noise).astype(dtype)
    colours = pixels if channels == 3 else pixels[..., 0]
    for alpha in (None, smooth(90, 83, seed=1, dtype=dtype)):
        picture = Picture(colours, alpha)
        tasks = [Task(step, picture, (2, 4), "", step) for step in (0.0, 20.0, 43.0)]
        whole, tiled = (
            {
                result.key: result.pyramid
                for result in Upscaler(network, choose("cpu"), w).stream(tasks)
            }
            for w in (TileOptions(tile=None), TileOptions(tile=8, batch=5))
        )
        for step, pyramid in whole.items():
            for scale, result in pyramid.items():
                apart = result.pixels.astype(int) - tiled[step][scale].pixels
                assert np.abs(apart).max() <= 1 + 2 * (dtype == np.uint16)
            differs = (pyramid[2].pixels != whole[0.0][2].pixels).any()
            assert differs == (channels == 3 and step > 0)


def test_chroma_is_restored_too_where_half_precision_overflowed() -> None:
    model = overflowing(PyramidConfig(depth=1, recursions=1, channels=4, levels=1))
    half = Device(torch.device("cpu"), "fp16", "a test")
    task = Task(0, Picture(smooth(12, 14, 3)), (2,), "", 43.0)
    (expected,) = Upscaler(model, choose("cpu")).stream([task])
    (result,) = Upscaler(model, half).stream([task])
    assert result.notes
    assert np.array_equal(result.pyramid[2].pixels, expected.pyramid[2].pixels)
