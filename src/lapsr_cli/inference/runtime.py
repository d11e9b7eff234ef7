"""A network prepared for one device: samples in, one pass, samples out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lapsr_cli.cpu.kernels.low_precision import supports_int8
from lapsr_cli.cpu.streaming import StreamingPyramid, bytes_per_column
from lapsr_cli.device.memory import is_out_of_memory
from lapsr_cli.device.selection import Device, FeaturePrecision
from lapsr_cli.device.transfer import Download, Transfer
from lapsr_cli.errors import UsageError, WeightsError
from lapsr_cli.network.fused import FusedPyramid
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.pixels.planes import merge, split

__all__ = ["NotFinite", "OutOfMemory", "PassResult", "PendingResult", "Progress", "Runtime"]

Progress = Callable[[float], None]
"""Called with the share (0-1) of a pass that is done. The calls may come from any thread, but never
two at a time; an exception ends the pass."""

_CPU_BYTES_PER_OUTPUT_PIXEL = 45
"""Measured at 8x and 2x: 6 to 9 for grey, 10 to 22 for RGB, up to 39 with alpha and 16 bits, up to
40 with test-time augmentation, and 64 with both."""
_OTHER_OPERATIONS = 10_000
"""Operations of the network that take as long, on the CPU, as the image branch, chroma and rounding
of an output pixel; measured to be 9,300 to 9,700 in fp32 with AVX2."""


class OutOfMemory(Exception):
    """Not enough device memory for this pass; a smaller one may succeed."""


class NotFinite(Exception):
    """The network gave infinity or NaN: half precision overflowed, where fp32 may not, or the
    weights are unusable."""


@dataclass(frozen=True)
class PassResult:
    """What a pass gave, on the CPU: {scale: (B, C, scale H, scale W)}, and for each of the B
    windows whether all that the network gave is finite. If not, its samples mean nothing."""

    pictures: dict[int, Tensor]
    finite: list[bool]

    @property
    def is_finite(self) -> bool:
        """Of all windows."""
        return all(self.finite)


class PendingResult:
    """The result of a launched pass."""

    def __init__(self, scales: list[int], download: Download) -> None:
        self._scales = scales
        self._download = download

    def result(self) -> PassResult:
        """Wait for the pass."""
        finite, *pictures = self._download.wait()
        return PassResult(dict(zip(self._scales, pictures, strict=True)), finite.tolist())


class Runtime:
    """A network on a device.

    On a GPU all features have the device's precision. On the CPU, where the network runs in strips
    of rows, only the inputs of the convolutions in the recursive blocks do. The image branch,
    colour conversion and chroma are fp32 everywhere, so half precision costs a fraction of an 8-bit
    level. ``tta``: luma is the mean over the eight flips and rotations of a window. ``reference``:
    the network as given.

    For int8, raises WeightsError if the network has no ranges, and UsageError if its channels do
    not fill the vectors of this processor.
    """

    def __init__(self, model: LaplacianPyramid, device: Device, *, tta: bool = False) -> None:
        self.config = model.config
        self.device = device
        self.tta = tta
        self.transfer = Transfer(device.torch_device)
        self.reference = model
        self.model = _prepared(model, device)

    @property
    def passes_per_luma(self) -> int:
        """How often the network runs on a luma."""
        return 8 if self.tta else 1

    def in_precision(self, precision: FeaturePrecision) -> Runtime:
        """The same network on the same device in another precision. Raises like the class."""
        return Runtime(self.reference, replace(self.device, precision=precision), tta=self.tta)

    def bytes_per_pixel(self, scale: int) -> int:
        """Device memory that one input pixel takes at the peak of a pass to ``scale``.

        On the CPU that is luma in fp32 and what is computed from it, as measured; features exist
        for a few rows only (``overhead_rows``). On a GPU the peak is the last level: its
        upsampled features, their cropped copy, and three maps of half that height and width.
        """
        if self.device.torch_device.type == "cpu":
            return _CPU_BYTES_PER_OUTPUT_PIXEL * scale**2
        maps = 2.5 * scale**2 + 3 * (scale / 2) ** 2
        return round(maps * self.config.channels * self.device.dtype.itemsize)

    def overhead_rows(self, scale: int) -> int:
        """The memory of a window that does not depend on its height, in rows of
        ``bytes_per_pixel``: on the CPU, the features of a strip."""
        if self.device.torch_device.type != "cpu":
            return 0
        features = bytes_per_column(self.config, scale)
        return math.ceil(features / self.bytes_per_pixel(scale))

    def __call__(self, windows: Tensor, scales: Iterable[int]) -> dict[int, Tensor]:
        """(B, C, H, W) on the CPU -> {scale: (B, C, scale H, scale W)} on the CPU.

        Samples are uint8 or uint16, in and out. C is 1 for grey, which is processed as luma, or 3
        for RGB; one more for straight alpha. One pass of the network computes all scales. Raises
        OutOfMemory and NotFinite.
        """
        result = self.launch(windows, scales).result()
        if not result.is_finite:
            raise NotFinite
        return result.pictures

    def launch(
        self,
        windows: Tensor,
        scales: Iterable[int],
        progress: Progress = lambda share: None,
        *,
        chroma_step: float = 0.0,
    ) -> PendingResult:
        """Start the same pass. It is asynchronous on CUDA; elsewhere it is complete when this
        returns. On the CPU, ``progress`` is called after each strip of rows. ``chroma_step``: as in
        `split`. Raises OutOfMemory."""
        with _out_of_memory_as_such(), torch.inference_mode():
            return self._launch(windows, sorted(scales), progress, chroma_step)

    def enlarge_luma(self, luma: Tensor, scale: int) -> Tensor:
        """Luma (H, W) in [0, 1] -> (scale H, scale W), fp32 on the CPU, not clamped, not rounded,
        as the papers' protocol scores it. Raises OutOfMemory and NotFinite."""
        with _out_of_memory_as_such(), torch.inference_mode():
            batch = luma.to(self.device.torch_device, torch.float32)[None, None]  # (1, 1, H, W)
            picture = self._pictures(batch, scale)[scale]  # (1, 1, scale H, scale W)
            if not bool(_finite([picture])):
                raise NotFinite
            return picture[0, 0].cpu()

    def _launch(
        self, windows: Tensor, wanted: list[int], progress: Progress, chroma_step: float
    ) -> PendingResult:
        full = torch.iinfo(windows.dtype).max
        planes = split(self.transfer.upload(windows).to(torch.float32) / full, chroma_step)
        parts = self._shared_out(progress, wanted[-1], len(planes.lumas))
        lumas = [
            self._enlarged(luma, wanted, part)
            for luma, part in zip(planes.lumas, parts, strict=True)
        ]
        samples = [
            merge(planes, [each[scale] for each in lumas], scale, windows.dtype) for scale in wanted
        ]
        finite = _finite([picture for each in lumas for picture in each.values()])
        return PendingResult(wanted, self.transfer.download([finite, *samples]))

    def _shared_out(self, progress: Progress, scale: int, count: int) -> list[Progress]:
        """``progress`` of a pass, split into that of the network on each of ``count`` lumas; the
        rest follows them."""
        operations = self.config.operations(scale) * self.passes_per_luma
        share = operations / (count * operations + _OTHER_OPERATIONS * scale**2)
        return [_part(progress, number * share, share) for number in range(count)]

    def _enlarged(self, luma: Tensor, wanted: list[int], progress: Progress) -> dict[int, Tensor]:
        pictures = self._pictures(luma, wanted[-1], progress)
        return {scale: pictures[scale] for scale in wanted}

    def _pictures(
        self, luma: Tensor, scale: int, progress: Progress = lambda share: None
    ) -> dict[int, Tensor]:
        """Every picture up to ``scale`` of luma (B, 1, H, W)."""
        if self.tta:
            return self._mean_of_eight(luma, scale, progress)
        return self._once(luma, scale, progress)

    def _mean_of_eight(self, luma: Tensor, scale: int, progress: Progress) -> dict[int, Tensor]:
        total: dict[int, Tensor] = {}
        for number in range(8):
            turns, mirror = divmod(number, 2)
            turned = torch.rot90(luma.flip(-1) if mirror else luma, turns, (-2, -1))
            pictures = self._once(turned.contiguous(), scale, _part(progress, number / 8, 1 / 8))
            for size, picture in pictures.items():
                back = torch.rot90(picture, -turns, (-2, -1))
                back = back.flip(-1) if mirror else back
                total[size] = total[size] + back if size in total else back
        return {size: picture / 8 for size, picture in total.items()}

    def _once(self, luma: Tensor, scale: int, progress: Progress) -> dict[int, Tensor]:
        """Without test-time augmentation. Only the CPU computes in strips, between which it reports
        progress."""
        if isinstance(self.model, StreamingPyramid):
            return self.model(luma, scale, progress)
        pictures: dict[int, Tensor] = self.model(luma, scale)
        return pictures


def _part(progress: Progress, start: float, length: float) -> Progress:
    """Progress of the part of ``progress`` that begins at ``start``."""
    return lambda share: progress(start + length * share)


def _finite(pictures: Iterable[Tensor]) -> Tensor:
    """Which windows of pictures (B, 1, H, W) are finite: (B,), on their device. A sum is finite
    only if everything in it is, and takes one pass without another map."""
    sums = torch.stack([picture.sum((1, 2, 3)) for picture in pictures])  # (N, B)
    return sums.isfinite().all(0)


@contextmanager
def _out_of_memory_as_such() -> Iterator[None]:
    """Raise OutOfMemory in place of torch's and Python's errors, without their traceback, which
    would keep the features of the pass alive while the error is handled."""
    is_out = False
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        is_out = True
    if is_out:
        raise OutOfMemory


def _prepared(model: LaplacianPyramid, device: Device) -> FusedPyramid | StreamingPyramid:
    """``model`` for a device: on the CPU in strips of rows, elsewhere in whole maps whose features
    have the device's dtype."""
    network = FusedPyramid.copy_of(model).to(device.torch_device)
    for module in network.modules():  # module by module: ranges have 5 dimensions
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.torch_device.type == "cpu":
        if device.precision == "int8":
            _check_int8(network)
        return StreamingPyramid(network, device.precision)
    network.conv_in.to(device.dtype)
    for number in range(1, len(model.config.scales) + 1):
        level = network.level(number)
        for part in (level.convs, level.up, level.conv_res):
            part.to(device.dtype)
    return network


def _check_int8(network: LaplacianPyramid) -> None:
    """Raise WeightsError for a network without ranges, UsageError for one whose channels do not
    fill the vectors of this processor."""
    if network.ranges is None:
        raise WeightsError(
            f"--precision int8: {network.config.title} was not calibrated for it;"
            " run `lapsr weights calibrate`"
        )
    conv = network.level(1).convs[0]
    assert isinstance(conv, nn.Conv2d)
    if not supports_int8(conv):
        raise UsageError(f"--precision int8: does not support {conv.out_channels} channels")
