"""libvips, for 16-bit PNG and TIFF, which Pillow supports in 8 bits only.

It also decodes compressed 8-bit TIFFs. libvips is loaded for the first such file; most runs never
need it.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from lapsr_cli.pixels.picture import Picture, Samples

__all__ = ["decode", "decode_file", "encode_png"]


@functools.cache
def _vips() -> ModuleType:
    vips = importlib.import_module("pyvips")
    vips.cache_set_max(0)  # no operation is repeated, and results are large
    return vips


def decode(data: bytes) -> Samples:
    """The samples, (H, W, C) uint8 or uint16, of an encoded PNG or of the first page of a TIFF.

    They are as stored, except that libvips makes premultiplied alpha straight. Raises ValueError
    for samples of other types, and pyvips.Error for damaged or truncated data.
    """
    return _samples(_vips().Source.new_from_memory(data))  # a buffer would be copied


def decode_file(file: BinaryIO) -> Samples:
    """As ``decode``, of an open file, of which no more is in memory than is needed. Raises OSError
    as well."""
    failures: list[Exception] = []

    def read(size: int) -> bytes | None:
        try:
            return file.read(size)
        except (OSError, MemoryError) as error:  # nothing may be raised in a callback of libvips
            failures.append(error)
            return None

    def seek(offset: int, whence: int) -> int:
        try:
            return file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1

    source = _vips().SourceCustom()
    source.on_read(read)
    source.on_seek(seek)
    try:
        return _samples(source)
    except Exception as error:
        raise (failures or [error])[0] from error


def _samples(source: Any) -> Samples:
    image = _vips().Image.new_from_source(source, "", access="sequential", fail_on="error")
    if image.format not in ("uchar", "ushort"):
        raise ValueError(f"{image.format} samples")
    samples: Samples = image.numpy()
    return samples.reshape(image.height, image.width, image.bands)  # (H, W, C)


def encode_png(picture: Picture, compress: int) -> bytes:
    """A 16-bit PNG of a picture, without metadata. ``compress``: zlib level, 0 to 9."""
    samples = picture.pixels
    if picture.alpha is not None:
        samples = np.dstack([samples, picture.alpha])
    interpretation = "rgb16" if picture.pixels.ndim == 3 else "grey16"
    image = _vips().Image.new_from_array(samples, interpretation=interpretation)
    encoded: bytes = image.pngsave_buffer(compression=compress, bitdepth=16, keep="none")
    return encoded
