"""One picture: arrays and PIL images in, a pyramid of the same kind out."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lapsr_cli import weights
from lapsr_cli.device.selection import Device, Precision, choose
from lapsr_cli.errors import UsageError
from lapsr_cli.image_io import chroma_step, from_pil, to_pil
from lapsr_cli.inference.batching import Advance, BatchRunner, Pyramid, Result, Stream, Task
from lapsr_cli.inference.runtime import Progress, Runtime
from lapsr_cli.inference.tiler import TileOptions
from lapsr_cli.network.interpolation import interpolate
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.pixels.picture import Picture
from lapsr_cli.weights.manifest import manifest

__all__ = ["Models", "Upscaler"]

AnyImage = TypeVar("AnyImage", Image.Image, NDArray[np.uint8], NDArray[np.uint16])
Key = TypeVar("Key")
Models = Mapping[str, LaplacianPyramid]

_LOSSY = {"JPEG", "MPO", "AVIF", "HEIF"}
"""PIL's names of lossy formats. PIL does not tell whether a WebP is lossy."""


class Upscaler:
    """Networks on a device that turn pictures into pyramids.

    ``models``: one network, or two by name with the same scales, the second for pictures from lossy
    files; ``Task.model`` names the one that a picture goes through. ``tiling``: how pictures are
    cut; by default into as few tiles as memory allows. ``memory``: bytes that a pass may take on
    the device; None: what `MemoryPolicy` gives to one network.
    """

    def __init__(
        self,
        models: LaplacianPyramid | Models,
        device: Device | None = None,
        tiling: TileOptions | None = None,
        *,
        tta: bool = False,
        memory: int | None = None,
    ) -> None:
        if isinstance(models, LaplacianPyramid):
            models = {"": models}
        self.device = device or choose()
        self.runner = BatchRunner(
            {name: Runtime(model, self.device, tta=tta) for name, model in models.items()},
            tiling or TileOptions(),
            memory,
        )
        self.name, *others = models
        self.lossy_name = others[-1] if others else self.name
        self.config = models[self.name].config

    @classmethod
    def from_weights(
        cls,
        model: str | Path | None = None,
        *,
        device: str | Device = "auto",
        precision: Precision = "auto",
        tiling: TileOptions | None = None,
        offline: bool = False,
        tta: bool = False,
        memory: int | None = None,
        denoise: float | None = None,
    ) -> Upscaler:
        """An upscaler from a model's name or file, downloaded if necessary; None: the two defaults,
        one for lossy files and one for all others.

        ``precision``: on a device given by name. ``denoise``: one network for all pictures instead,
        between that for lossless files (0) and that for lossy ones (1); only without ``model``.
        Raises ResourceError if the model or the device is not available, UsageError for a wrong
        value.
        """
        chosen = choose(device, precision) if isinstance(device, str) else device
        if denoise is not None:
            _check_denoise(denoise, model, chosen)
        names = manifest().defaults if model is None else (str(model),)
        models = {name: weights.load(name, offline=offline) for name in names}
        if denoise is not None:
            models = _between(models, denoise)
        return cls(models, chosen, tiling, tta=tta, memory=memory)

    def __call__(
        self,
        image: AnyImage,
        scales: Sequence[int] = (2, 4, 8),
        *,
        progress: Progress = lambda share: None,
    ) -> dict[int, AnyImage]:
        """Enlarge a PIL image or an array of uint8 or uint16 to every scale.

        Arrays are (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGB with straight alpha; results are of
        the same kind. A PIL image is turned upright according to its EXIF and keeps only its
        ICC profile.

        ``progress`` is called with the share (0-1, rising) that is done: every few rows on the CPU,
        after each tile on a GPU. The calls may come from other threads, but never two at a time; an
        exception that it raises ends the upscaling.

        Raises UsageError for a scale that the model does not make and for any other
        type of image, UnreadablePicture for a PIL image that cannot be converted without loss
        (CMYK, more than 8 bits), PictureError if the network gives infinity or NaN.
        """
        if isinstance(image, Image.Image):
            model, step = self.model_for(lossy=image.format in _LOSSY), chroma_step(image)
            pyramid = self._one(from_pil(image), scales, model, progress, step)
            return {scale: _to_pil(picture, image) for scale, picture in pyramid.items()}
        pyramid = self._one(_picture_of(image), scales, self.name, progress)
        return {scale: _array_of(picture) for scale, picture in pyramid.items()}

    def _one(
        self,
        picture: Picture,
        scales: Sequence[int],
        model: str,
        progress: Progress,
        chroma_step: float = 0.0,
    ) -> Pyramid:
        if not scales or not picture.pixels.size:
            raise UsageError("scales and image must not be empty")
        wanted = tuple(operator.index(scale) for scale in scales)
        task = Task(None, picture, wanted, model, chroma_step)
        (result,) = self.stream([task], lambda _, share: progress(share))
        return result.pyramid

    def model_for(self, *, lossy: bool) -> str:
        """The name of the network for a picture from a lossy or lossless file."""
        return self.lossy_name if lossy else self.name

    def check_scales(self, scales: Iterable[int]) -> None:
        """Raise UsageError for a scale that this model does not make."""
        for scale in scales:
            self.config.level_of(scale)

    def stream(
        self,
        tasks: Iterable[Task[Key]],
        advance: Advance[Key] = lambda key, share: None,
    ) -> Iterator[Result[Key]]:
        """Enlarge pictures in batches; results may come out of order (`Stream`)."""
        return self.runner.run(self._checked(tasks), advance)

    def open_stream(self, advance: Advance[Key]) -> Stream[Key]:
        """A stream for pictures that arrive over time."""
        return Stream(self.runner, advance)

    def _checked(self, tasks: Iterable[Task[Key]]) -> Iterator[Task[Key]]:
        for task in tasks:
            self.check_scales(task.scales)
            yield task


def _check_denoise(denoise: float, model: str | Path | None, device: Device) -> None:
    if model is not None:
        raise UsageError(f"--denoise {denoise:g}: cannot be combined with a model")
    if not 0 <= denoise <= 1:
        raise UsageError(f"--denoise {denoise:g}: must be between 0 and 1")
    if device.precision == "int8" and denoise not in (0, 1):
        raise UsageError(f"--denoise {denoise:g}: must be 0 or 1 with --precision int8")


def _between(models: Models, share: float) -> dict[str, LaplacianPyramid]:
    """The network between the first and the second of two, named by what it consists of."""
    (first, from_first), (second, from_second) = models.items()
    if share in (0, 1):
        return {second: from_second} if share else {first: from_first}
    name = f"{1 - share:g} {first} + {share:g} {second}"
    return {name: interpolate(from_first, from_second, share)}


def _to_pil(picture: Picture, like: Image.Image) -> Image.Image:
    image = to_pil(picture)
    if "icc_profile" in like.info:
        image.info["icc_profile"] = like.info["icc_profile"]
    return image


def _picture_of(image: object) -> Picture:
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16):
        raise UsageError("an image must be a PIL image or an array of uint8 or uint16")
    if not image.size or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
        raise UsageError(f"an array must be (H, W), (H, W, 3) or (H, W, 4), not {image.shape}")
    if image.ndim == 3 and image.shape[2] == 4:
        return Picture(image[..., :3], image[..., 3])
    return Picture(image)


def _array_of(picture: Picture) -> NDArray[Any]:
    if picture.alpha is None:
        return picture.pixels
    return np.concatenate([picture.pixels, picture.alpha[..., None]], axis=-1)
