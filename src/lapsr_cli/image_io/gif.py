"""GIF files."""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lapsr_cli.image_io import gif_blocks
from lapsr_cli.image_io.decoded import Decoded
from lapsr_cli.image_io.encoding import Encoding
from lapsr_cli.image_io.photo import Metadata, Photo, Timing
from lapsr_cli.image_io.pil import match_channels, to_pil
from lapsr_cli.image_io.pil_files import open_image, read_frames
from lapsr_cli.pixels.picture import Picture

__all__ = ["decode", "encode"]

_CLEAR = 255
"""The palette entry of transparent pixels."""


def decode(data: bytes, max_pixels: int | None) -> Decoded:
    """Decode all frames. Raises UnreadablePicture."""
    with open_image(data, "GIF") as image:
        frames, durations = read_frames(image, max_pixels)
        timing = Timing(durations, _loop(image)) if len(frames) > 1 else None
        comment = gif_blocks.comment_of(data)
        metadata = Metadata(comments=(comment,) if comment else ())
        return Decoded(frames, False, metadata, timing)


def _loop(image: Image.Image) -> int:
    """How many times it plays; 0: forever. The file stores repetitions; without it, once."""
    repetitions = image.info.get("loop")
    if repetitions is None:
        return 1
    return repetitions + 1 if repetitions else 0


def encode(photo: Photo, _: Encoding, file: BinaryIO) -> None:
    """Encode all frames, each with a palette of its own, dithered; alpha becomes 1 bit.

    Where a frame has alpha, each is drawn on an empty screen, otherwise what differs from the frame
    before over that one.
    """
    frames = match_channels(photo.frames)
    clear = frames[0].alpha is not None
    durations = photo.timing.durations if photo.timing else (0,)
    before: NDArray[np.uint8] | None = None
    for frame, duration in zip(frames, durations, strict=True):
        image = _quantized(frame)
        colours = np.asarray(image.convert("RGB"))  # (H, W, 3)
        box = (0, 0, *image.size)
        if before is not None:
            drawn = np.asarray(image) != _CLEAR if clear else (colours != before).any(axis=2)
            box = _box_of(drawn)
        encoded = gif_blocks.Encoded(_encoded(image.crop(box)))
        if before is None:
            file.write(encoded.screen() + _extensions(photo))
        if clear or photo.timing:
            file.write(gif_blocks.control(duration, transparent=_CLEAR if clear else None))
        file.write(encoded.image(*box[:2]))
        before = colours
    file.write(gif_blocks.TRAILER)


def _extensions(photo: Photo) -> bytes:
    comments = b"".join(gif_blocks.comment(each) for each in photo.metadata.comments)
    if photo.timing is None or photo.timing.loop == 1:
        return comments
    return gif_blocks.loop(max(0, photo.timing.loop - 1)) + comments


def _box_of(drawn: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is True, of one pixel if nothing is."""
    columns, rows = (np.flatnonzero(drawn.any(axis=axis)) for axis in (0, 1))
    if not rows.size:
        return 0, 0, 1, 1
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "GIF", optimize=False, interlace=0)
    return file.getvalue()


def _quantized(frame: Picture) -> Image.Image:
    """A palette image; with alpha, entry _CLEAR is transparent."""
    image = to_pil(Picture(frame.pixels)).convert("RGB")
    if frame.alpha is None:
        return image.quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    # Colours of transparent pixels must not influence the palette.
    opaque = frame.alpha >= 128
    colours = np.where(opaque[..., None], np.asarray(image), 0).astype(np.uint8)
    palette = Image.fromarray(colours).quantize(255)
    indices = np.array(Image.fromarray(colours).quantize(palette=palette))
    indices[~opaque] = _CLEAR
    result = Image.frombytes("P", image.size, indices.tobytes())
    entries = palette.getpalette() or []
    result.putpalette([*(entries + [0] * 768)[:765], 0, 0, 0])
    return result
