"""The runtime gives what the reference model gives."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lapsr_cli import weights
from lapsr_cli.device import selection as device
from lapsr_cli.device.selection import choose
from lapsr_cli.errors import DeviceError, LapsrError, UsageError
from lapsr_cli.inference.batching import Task
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.inference.tiler import TileOptions
from lapsr_cli.metrics.psnr import psnr
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from lapsr_cli.pixels.color import rgb_to_ycbcr, ycbcr_to_rgb
from lapsr_cli.pixels.picture import Picture
from lapsr_cli.pixels.resize import resize
from lapsr_cli.upscaler import Upscaler
from tests.conftest import PICTURES


@pytest.fixture(scope="module")
def classic() -> LaplacianPyramid:
    return weights.load("lapsr-classic", offline=True)


def random_bytes(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def levels_apart(a: torch.Tensor, b: torch.Tensor) -> int:
    return int((a.int() - b.int()).abs().max())


def test_colour_windows_equal_the_reference_in_float64(classic: LaplacianPyramid) -> None:
    windows = random_bytes(2, 3, 13, 10)
    results = Runtime(classic, choose("cpu"))(windows, (2, 4, 8))
    ycbcr = rgb_to_ycbcr(windows.double() / 255)
    reference = copy.deepcopy(classic).double()(ycbcr[:, :1])
    for scale, result in results.items():
        chroma = resize(ycbcr[:, 1:], float(scale))
        rgb = ycbcr_to_rgb(torch.cat([reference[scale], chroma], 1)).clamp(0, 1) * 255
        assert result.dtype == torch.uint8
        assert (result.double() - rgb).abs().max() < 0.5 + 1e-2


def test_grey_windows_go_in_as_they_are(classic: LaplacianPyramid) -> None:
    windows = random_bytes(1, 1, 9, 12)
    results = Runtime(classic, choose("cpu"))(windows, (4,))
    expected = classic(windows.float() / 255)[4].clamp(0, 1) * 255
    assert (results[4].float() - expected).abs().max() < 0.51


def test_fp32_features_equal_the_model(classic: LaplacianPyramid) -> None:
    luma = torch.rand(1, 1, 40, 33)
    prepared = Runtime(classic, choose("cpu")).model(luma)
    for scale, picture in classic(luma).items():
        assert (prepared[scale] - picture).abs().max() < 1e-5


def test_a_24_megapixel_picture_is_hardly_cut() -> None:
    """Features take memory for some rows only, so that no halo is computed twice."""
    model = LaplacianPyramid(PyramidConfig(depth=5, recursions=8))
    upscaler = Upscaler(model, choose("cpu"), memory=12 << 30)
    task = Task(0, Picture(np.zeros((4000, 6000, 3), np.uint8)), (2,), "")
    assert len(upscaler.runner.cut(task)) == 1
    upscaler = Upscaler(model, choose("cpu"), memory=4 << 30)
    windows = upscaler.runner.cut(task)
    assert len(windows) > 1
    computed = sum(window.shape[0] * window.shape[1] for window in windows)
    assert computed / (4000 * 6000) <= 1.10


def test_bf16_features_leave_the_image_branch_exact(classic: LaplacianPyramid) -> None:
    """Nearer to fp32, by 6 dB at least, than a network that is bf16 throughout."""
    image = np.array(Image.open(PICTURES / "lettering.png"))
    luma = torch.from_numpy(image)[None, None, :20, :24].float() / 255
    fine = classic(luma, 4)[4]
    coarse = Runtime(classic, choose("cpu", "bf16")).model(luma, 4)[4]
    throughout = copy.deepcopy(classic).bfloat16()(luma.bfloat16(), 4)[4]
    assert coarse.dtype == torch.float32
    assert math.inf > psnr(coarse, fine) > psnr(throughout, fine) + 6


def batches_of(upscaler: Upscaler) -> list[int]:
    """The size of every batch that goes through the network from now on."""
    batches: list[int] = []
    runtime = upscaler.runner.runtimes[""]
    network = runtime.model

    def counted(luma: torch.Tensor, scale: int | None = None) -> dict[int, torch.Tensor]:
        batches.append(luma.shape[0])
        pictures: dict[int, torch.Tensor] = network(luma, scale)
        return pictures

    runtime.model = counted  # type: ignore[assignment]
    return batches


pictures = st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))


@settings(max_examples=40)
@given(
    picture=pictures,
    depth=st.integers(1, 3),
    recursions=st.integers(1, 3),
    scale=st.sampled_from([2, 4, 8]),
    tile=st.integers(1, 24),
    batch=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_tiled_pictures_are_at_most_one_level_apart(
    picture: tuple[int, int, int],
    depth: int,
    recursions: int,
    scale: int,
    tile: int,
    batch: int,
    seed: int,
) -> None:
    height, width, channels = picture
    torch.manual_seed(seed)
    config = PyramidConfig(depth=depth, recursions=recursions, channels=8)
    model = LaplacianPyramid(config).requires_grad_(False)
    torch.nn.init.normal_(model.conv_in.weight, std=0.3)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    image = pixels[..., 0] if channels == 1 else pixels
    whole = Upscaler(model, choose("cpu"), TileOptions(tile=None))(image, (scale,))[scale]
    tiled = Upscaler(model, choose("cpu"), TileOptions(tile=tile, batch=batch))(image, (scale,))[
        scale
    ]
    assert whole.shape[:2] == (scale * height, scale * width)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_one_pass_gives_every_scale_and_windows_of_several_pictures_share_it(
    classic: LaplacianPyramid,
) -> None:
    upscaler = Upscaler(classic, choose("cpu"), TileOptions(tile=8, batch=4))
    batches = batches_of(upscaler)
    rng = np.random.default_rng(0)
    pictures = [Picture(rng.integers(0, 256, (60, 52, 3), np.uint8)) for _ in range(3)]
    tasks = [Task(i, picture, (2, 4, 8), "") for i, picture in enumerate(pictures)]
    done = list(upscaler.stream(tasks))
    results = {result.key: result.pyramid for result in done}
    windows = sum(result.windows for result in done)
    assert windows == sum(len(upscaler.runner.cut(task)) for task in tasks)
    assert sorted(results) == [0, 1, 2]
    assert all(sorted(pyramid) == [2, 4, 8] for pyramid in results.values())
    assert sum(batches) == windows, "a window went through the network more than once"
    assert batches == [4] * (windows // 4) + [windows % 4] * bool(windows % 4)
    assert windows % len(pictures) == 0
    assert (windows // 3) % 4, "some pass holds windows of two pictures"


def test_pictures_of_one_shape_share_a_pass_by_default(classic: LaplacianPyramid) -> None:
    upscaler = Upscaler(classic, choose("cpu"))
    batches = batches_of(upscaler)
    tasks = [Task(i, Picture(np.full((8, 9, 3), i, np.uint8)), (2,), "") for i in range(5)]
    assert sorted(result.key for result in upscaler.stream(tasks)) == [0, 1, 2, 3, 4]
    assert batches == [5]


def test_few_pictures_wait_open(classic: LaplacianPyramid) -> None:
    """A picture of a shape of its own does not wait for the end of the run."""
    upscaler = Upscaler(classic, choose("cpu"), TileOptions(batch=64))
    read = 0

    def tasks() -> Iterator[Task[int]]:
        nonlocal read
        for read in range(1, 60):
            yield Task(read, Picture(np.zeros((2, 1 + read), np.uint8)), (2,), "")

    assert next(iter(upscaler.stream(tasks()))).key == 1
    assert read <= 18


def test_the_python_door() -> None:
    from lapsr_cli import Upscaler as Door

    upscaler = Door.from_weights("lapsr-classic", device="cpu", offline=True)
    image = Image.open(PICTURES / "lettering.png").crop((0, 0, 30, 20))
    pyramid = upscaler(image, scales=(2, 4))
    assert {scale: (p.size, p.mode) for scale, p in pyramid.items()} == {
        2: ((60, 40), "L"),
        4: ((120, 80), "L"),
    }
    arrays = upscaler(np.array(image), scales=(4,))
    assert np.array_equal(arrays[4], np.array(pyramid[4]))
    rgb = upscaler(np.array(image.convert("RGB")), scales=(2,))[2]
    assert rgb.shape == (40, 60, 3)
    assert int(np.ptp(rgb.astype(int), axis=2).max()) <= 1, "grey came out tinted"


def test_the_python_door_turns_pictures_upright(classic: LaplacianPyramid) -> None:
    image = Image.open(PICTURES / "turned.jpg")
    assert image.getexif()[0x0112] == 6
    assert Upscaler(classic, choose("cpu"))(image, (2,))[2].size == (
        2 * image.height,
        2 * image.width,
    )


@pytest.mark.parametrize("scales", [(), (3,), [2, 9]])
def test_scales_that_cannot_be_made_from_python(
    classic: LaplacianPyramid, scales: list[int]
) -> None:
    with pytest.raises(UsageError):
        Upscaler(classic, choose("cpu"))(np.zeros((4, 4), np.uint8), scales)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 5), np.uint16),
        np.zeros((4,), np.uint8),
        np.zeros((0, 4), np.uint8),
        "a.png",
    ],
)
def test_the_python_door_refuses_what_is_no_picture(
    classic: LaplacianPyramid, image: object
) -> None:
    with pytest.raises(UsageError):
        Upscaler(classic, choose("cpu"))(image)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("name", "precision", "error"),
    [
        ("tpu", "auto", UsageError),
        ("xla", "auto", UsageError),
        ("cpu", "fp16", DeviceError),
        ("cpu", "fp8", UsageError),
        pytest.param(
            "cuda",
            "auto",
            DeviceError,
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_devices_that_are_not_there(name: str, precision: str, error: type[LapsrError]) -> None:
    with pytest.raises(error, match=r"--device|--precision"):
        device.choose(name, precision)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_cuda_equals_the_cpu(classic: LaplacianPyramid, precision: device.Precision) -> None:
    windows = random_bytes(2, 3, 48, 40)
    expected = Runtime(classic, choose("cpu"))(windows, (2, 4, 8))
    results = Runtime(classic, choose("cuda", precision))(windows, (2, 4, 8))
    for scale, result in results.items():
        assert levels_apart(result, expected[scale]) <= (1 if precision != "bf16" else 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_pictures_through_cuda_side_by_side(classic: LaplacianPyramid) -> None:
    """Copies on streams of their own, two passes under way: nothing is read before it is there."""
    pixels = [random_bytes(1, 3, 150 + number, 160)[0] for number in range(12)]
    arrays = [each.permute(1, 2, 0).numpy() for each in pixels]
    windows = TileOptions(tile=40, batch=3)
    upscaler = Upscaler(classic, choose("cuda", "fp32"), windows)
    tasks = [Task(number, Picture(array), (2, 4), "") for number, array in enumerate(arrays)]
    expected = Upscaler(classic, choose("cpu"), windows)
    for result in upscaler.stream(tasks):
        wanted = expected(arrays[result.key], (2, 4))
        for scale, picture in result.pyramid.items():
            assert np.abs(picture.pixels.astype(int) - wanted[scale]).max() <= 1
