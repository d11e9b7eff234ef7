"""GIF files."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from lapsr_cli.image_io.decoded import Decoded
from lapsr_cli.image_io.encoding import Encoding
from lapsr_cli.image_io.photo import Metadata, Photo, Timing
from lapsr_cli.image_io.pil import to_pil
from lapsr_cli.image_io.pil_files import open_image, read_frames, save
from lapsr_cli.pixels.picture import Picture

__all__ = ["decode", "encode"]


def decode(data: bytes, max_pixels: int | None) -> Decoded:
    """Decode all frames. Raises UnreadablePicture."""
    with open_image(data, "GIF") as image:
        frames, durations = read_frames(image, max_pixels)
        timing = Timing(durations, _loop(image)) if len(frames) > 1 else None
        return Decoded(frames, False, Metadata(), timing)


def _loop(image: Image.Image) -> int:
    """How many times it plays; 0: forever. The file stores repetitions; without it, once."""
    repetitions = image.info.get("loop")
    if repetitions is None:
        return 1
    return repetitions + 1 if repetitions else 0


def encode(photo: Photo, _: Encoding, file: BinaryIO) -> None:
    """Encode all frames, each with a palette of its own, dithered; alpha becomes 1 bit."""
    options: dict[str, Any] = {"optimize": False}
    if any(frame.alpha is not None for frame in photo.frames):
        options |= {"transparency": 255, "disposal": 2}
    if photo.timing and photo.timing.loop != 1:
        options["loop"] = max(0, photo.timing.loop - 1)
    save(photo, file, "GIF", convert=_quantized, **options)


def _quantized(frame: Picture) -> Image.Image:
    """A palette image; with alpha, entry 255 is transparent."""
    image = to_pil(Picture(frame.pixels)).convert("RGB")
    if frame.alpha is None:
        return image.quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    # Colours of transparent pixels must not influence the palette.
    opaque = frame.alpha >= 128
    colours = np.where(opaque[..., None], np.asarray(image), 0).astype(np.uint8)
    palette = Image.fromarray(colours).quantize(255)
    indices = np.array(Image.fromarray(colours).quantize(palette=palette))
    indices[~opaque] = 255
    result = Image.frombytes("P", image.size, indices.tobytes())
    entries = palette.getpalette() or []
    result.putpalette([*(entries + [0] * 768)[:765], 0, 0, 0])
    return result
