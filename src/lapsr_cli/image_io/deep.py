"""16 bits a sample: libvips decodes and encodes what Pillow holds in 8 bits only.

libvips is loaded when the first such file comes; most runs never need it.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from lapsr_cli.image_io.frames import split
from lapsr_cli.image_io.picture import Picture

__all__ = ["decode", "encode_png"]


@functools.cache
def _vips() -> ModuleType:
    vips = importlib.import_module("pyvips")
    vips.cache_set_max(0)  # nothing is asked for twice, and pictures are large
    return vips


def decode(data: bytes, **options: int) -> Picture:
    """The 16-bit picture of an encoded PNG or of a page (``page=``) of a TIFF, as it
    is stored, but for alpha, which libvips makes straight.

    Raises pyvips.Error for data that are damaged or cut short.
    """
    image = _vips().Image.new_from_buffer(data, "", access="sequential", fail_on="error", **options)
    if image.format != "ushort":
        raise ValueError(f"{image.format} samples")
    samples: NDArray[np.uint16] = image.numpy()
    return split(samples)


def encode_png(picture: Picture, compress: int) -> bytes:
    """A 16-bit PNG of a picture, without any metadata."""
    samples = picture.pixels
    if picture.alpha is not None:
        samples = np.dstack([samples, picture.alpha])
    interpretation = "rgb16" if picture.pixels.ndim == 3 else "grey16"
    image = _vips().Image.new_from_array(samples, interpretation=interpretation)
    encoded: bytes = image.pngsave_buffer(compression=compress, bitdepth=16, keep="none")
    return encoded
