"""Reading and writing pictures: 8-bit RGB and grey, in JPEG, PNG, WebP and TIFF."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lapsr_cli.errors import UnreadablePicture, UnwritablePicture
from lapsr_cli.files import whole_file

__all__ = ["SUFFIXES", "Picture", "from_pil", "read", "to_pil", "write"]

SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""What is read and written, by the suffix in lower case."""

_LONGEST_SIDE = {"JPEG": 65_535, "WEBP": 16_383}
_DIRECT = {"RGB", "L"}
_EXACT = {"1": "L", "P": "RGB"}


@dataclass(frozen=True)
class Picture:
    """Pixels, upright, as uint8 (H, W, 3) RGB or (H, W) grey, and the ICC profile they mean."""

    pixels: NDArray[np.uint8]
    icc_profile: bytes | None = None

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.pixels.shape[1])


def read(path: Path) -> Picture:
    """Read a picture and turn it upright. Raises UnreadablePicture, naming the file and why."""
    if path.exists() and not path.is_file():
        raise UnreadablePicture(f"{path}: not a regular file")
    try:
        with path.open("rb") as file, Image.open(file) as image:
            image.load()
            return from_pil(ImageOps.exif_transpose(image))
    except UnreadablePicture as error:
        raise UnreadablePicture(f"{path}: {error}") from error
    except UnidentifiedImageError as error:
        raise UnreadablePicture(f"{path}: not a picture that can be read") from error
    except OSError as error:
        raise UnreadablePicture(f"{path}: {error.strerror or error}") from error
    except Image.DecompressionBombError as error:
        raise UnreadablePicture(f"{path}: too many pixels ({error})") from error
    # Pillow's decoders raise whatever a damaged file makes them trip over.
    except Exception as error:
        raise UnreadablePicture(f"{path}: damaged ({type(error).__name__}: {error})") from error


def from_pil(image: Image.Image) -> Picture:
    """A Picture of a PIL image. Palettes and 1-bit pictures become RGB and grey, which is exact.

    Raises UnreadablePicture for what would lose something: transparency, more than 8 bits, CMYK.
    """
    if image.has_transparency_data and not _opaque(image):
        raise UnreadablePicture("transparency is not supported yet")
    if image.mode in ("RGBA", "LA"):
        image = image.convert(image.mode[:-1])
    mode = _EXACT.get(image.mode, image.mode)
    if mode not in _DIRECT:
        raise UnreadablePicture(f"pixel mode {image.mode} is not supported yet")
    pixels = np.asarray(image if mode == image.mode else image.convert(mode))
    return Picture(pixels, image.info.get("icc_profile"))


def _opaque(image: Image.Image) -> bool:
    alpha = image.convert("RGBA").getchannel("A")
    return alpha.getextrema() == (255, 255)


def to_pil(picture: Picture) -> Image.Image:
    """The PIL image of a Picture, its ICC profile in ``info``."""
    image = Image.fromarray(picture.pixels)
    if picture.icc_profile:
        image.info["icc_profile"] = picture.icc_profile
    return image


def write(picture: Picture, path: Path, *, quality: int = 95) -> None:
    """Write a picture in the format of the path's suffix, whole or not at all.

    ``quality`` is that of JPEG (4:4:4) and WebP, 1 to 100. Raises UnwritablePicture, naming the
    file and why.
    """
    form = SUFFIXES[path.suffix.lower()]
    longest = _LONGEST_SIDE.get(form)
    if longest and max(picture.height, picture.width) > longest:
        raise UnwritablePicture(
            f"{path}: {picture.width} x {picture.height} pixels are more than {form} holds"
            f" ({longest} a side); give -f png"
        )
    options: dict[str, object] = {"icc_profile": picture.icc_profile}
    if form == "JPEG":
        options |= {"quality": quality, "subsampling": "4:4:4"}
    elif form == "WEBP":
        options |= {"quality": quality, "method": 4}
    elif form == "TIFF":
        options |= {"compression": "tiff_lzw"}
    encoded = io.BytesIO()
    try:
        to_pil(picture).save(encoded, form, **options)
        with whole_file(path) as file:
            file.write(encoded.getbuffer())
    except OSError as error:
        raise UnwritablePicture(f"{path}: {error.strerror or error}") from error
    except (ValueError, MemoryError) as error:
        raise UnwritablePicture(f"{path}: {error}") from error
