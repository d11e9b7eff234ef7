"""The reference model prepared for one device: bytes in, one pass, bytes out."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor

from lapsr_cli.color import rgb_to_ycbcr, ycbcr_to_rgb
from lapsr_cli.device import Device, is_out_of_memory
from lapsr_cli.errors import DeviceError
from lapsr_cli.model import LaplacianPyramid
from lapsr_cli.resize import resize

__all__ = ["Runtime"]


class Runtime:
    """A network on a device.

    Features are computed channels-last in the device's precision; the image branch, the colour
    conversion and the chroma stay in fp32, so half precision costs a fraction of an 8-bit level.
    """

    def __init__(self, model: LaplacianPyramid, device: Device) -> None:
        self.config = model.config
        self.device = device
        self.model = copy.deepcopy(model).to(device.torch_device)
        self.model.conv_in.to(device.dtype)
        for number in range(1, len(self.config.scales) + 1):
            level = self.model.level(number)
            for part in (level.convs, level.up, level.conv_res):
                part.to(device.dtype)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def bytes_per_pixel(self, scale: int) -> int:
        """Device memory that one input pixel needs at the peak of a pass to ``scale``.

        The peak is the last level: its upsampled features, their cropped copy, and three maps of
        half that height and width. The CPU's allocator was measured to take two copies more.
        """
        copies = 4 if self.device.torch_device.type == "cpu" else 2.5
        maps = copies * scale**2 + 3 * (scale / 2) ** 2
        return round(maps * self.config.channels * self.device.dtype.itemsize)

    def __call__(self, windows: Tensor, scales: Iterable[int]) -> dict[int, Tensor]:
        """uint8 (B, C, H, W) on the CPU -> {scale: uint8 (B, C, scale H, scale W)} on the CPU.

        C is 3, RGB, or 1, grey, which goes in as it is. One pass of the network, whatever the
        scales. Raises DeviceError if the device has not the memory.
        """
        try:
            with torch.inference_mode():
                return self._enlarge(windows, sorted(scales))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            batch, _, height, width = windows.shape
            raise DeviceError(
                f"-t/--tile, --batch-size: {batch} windows of {width} x {height} pixels are more"
                f" than the memory of {self.device.torch_device} holds; give less"
            ) from error

    def enlarge_luma(self, luma: Tensor, scale: int) -> Tensor:
        """Luma (H, W) in [0, 1] -> (scale H, scale W), fp32 on the CPU, not clamped, not rounded:
        what the papers' protocol scores."""
        with torch.inference_mode():
            there = luma.to(self.device.torch_device, torch.float32)[None, None]  # (1, 1, H, W)
            pictures: dict[int, Tensor] = self.model(there, scale)
            return pictures[scale][0, 0].cpu()

    def _enlarge(self, windows: Tensor, wanted: list[int]) -> dict[int, Tensor]:
        bytes_there = windows.to(self.device.torch_device, non_blocking=True)
        pixels = bytes_there.float() / 255  # (B, C, H, W)
        if pixels.shape[1] == 1:
            pictures = self.model(pixels, wanted[-1])
            return {scale: _to_bytes(pictures[scale]) for scale in wanted}
        ycbcr = rgb_to_ycbcr(pixels)  # (B, 3, H, W)
        pictures = self.model(ycbcr[:, :1].contiguous(), wanted[-1])
        results: dict[int, Tensor] = {}
        for scale in wanted:
            chroma = resize(ycbcr[:, 1:], float(scale))  # (B, 2, scale H, scale W)
            enlarged = torch.cat([pictures[scale], chroma], dim=1)  # (B, 3, scale H, scale W)
            results[scale] = _to_bytes(ycbcr_to_rgb(enlarged))
        return results


def _to_bytes(picture: Tensor) -> Tensor:
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
