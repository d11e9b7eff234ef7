"""16 bits a sample: libvips decodes and encodes what Pillow holds in 8 bits only.

It also decodes compressed TIFFs of 8 bits. libvips is loaded when the first such file comes; most
runs never need it.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import numpy as np

from lapsr_cli.pixels.picture import Picture, Samples

__all__ = ["decode", "encode_png"]


@functools.cache
def _vips() -> ModuleType:
    vips = importlib.import_module("pyvips")
    vips.cache_set_max(0)  # nothing is asked for twice, and pictures are large
    return vips


def decode(data: bytes, **options: int) -> Samples:
    """The samples, (H, W, channels), of an encoded PNG or of a page (``page=``) of a TIFF, as they
    are stored, but for alpha, which libvips makes straight.

    Raises pyvips.Error for data that are damaged or cut short.
    """
    image = _vips().Image.new_from_buffer(data, "", access="sequential", fail_on="error", **options)
    if image.format not in ("uchar", "ushort"):
        raise ValueError(f"{image.format} samples")
    samples: Samples = image.numpy()
    return samples.reshape(image.height, image.width, image.bands)


def encode_png(picture: Picture, compress: int) -> bytes:
    """A 16-bit PNG of a picture, without any metadata."""
    samples = picture.pixels
    if picture.alpha is not None:
        samples = np.dstack([samples, picture.alpha])
    interpretation = "rgb16" if picture.pixels.ndim == 3 else "grey16"
    image = _vips().Image.new_from_array(samples, interpretation=interpretation)
    encoded: bytes = image.pngsave_buffer(compression=compress, bitdepth=16, keep="none")
    return encoded
