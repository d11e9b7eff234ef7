"""Reading and writing pictures: 8-bit RGB and grey, in JPEG, PNG, WebP and TIFF."""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from lapsr_cli.errors import UnreadablePicture, UnwritablePicture
from lapsr_cli.files import whole_file

__all__ = ["SUFFIXES", "Picture", "check_size", "from_pil", "read", "to_pil", "write"]

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
_FORMATS = sorted(set(SUFFIXES.values()))
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a stored picture upright, by EXIF orientation (Exif 2.32, tag 0x0112)."""
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
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadablePicture("not a regular file")
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            _refuse_what_would_be_lost(image)
            image.load()
            return from_pil(image)
    except UnreadablePicture as error:
        raise UnreadablePicture(f"{path}: {error}") from error
    except UnidentifiedImageError as error:
        raise UnreadablePicture(f"{path}: not a JPEG, PNG, WebP or TIFF picture") from error
    except OSError as error:
        raise UnreadablePicture(f"{path}: {error.strerror or error}") from error
    except Image.DecompressionBombError as error:
        raise UnreadablePicture(f"{path}: too many pixels ({error})") from error
    # Pillow's decoders raise whatever a damaged file makes them trip over.
    except Exception as error:
        raise UnreadablePicture(f"{path}: damaged ({type(error).__name__}: {error})") from error


def _refuse_what_would_be_lost(image: Image.Image) -> None:
    """Before Pillow decodes: it takes the first frame alone, and 16-bit RGB as 8-bit RGB."""
    # A JPEG of a phone may carry a second picture (MPO), a preview or a depth map.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise UnreadablePicture("several frames or pages are not supported yet")
    if image.mode in ("RGB", "RGBA", "LA", "L") and ";16" in str(getattr(image, "tile", "")):
        raise UnreadablePicture("16 bits a channel are not supported yet")


def from_pil(image: Image.Image) -> Picture:
    """A Picture of a PIL image, turned as its EXIF says.

    Palettes and 1-bit pictures become RGB and grey, which is exact. Raises UnreadablePicture for
    what would lose something: transparency, more than 8 bits, CMYK.
    """
    if image.has_transparency_data and not _opaque(image):
        raise UnreadablePicture("transparency is not supported yet")
    if image.mode in ("RGBA", "LA"):
        image = image.convert(image.mode[:-1])
    mode = _EXACT.get(image.mode, image.mode)
    if mode not in _DIRECT:
        raise UnreadablePicture(f"pixel mode {image.mode} is not supported yet")
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    upright = image if turn is None else image.transpose(turn)
    pixels = np.asarray(upright if mode == upright.mode else upright.convert(mode))
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


def check_size(path: Path, height: int, width: int) -> None:
    """Raise UnwritablePicture if the format of ``path`` cannot hold that many pixels a side."""
    form = SUFFIXES[path.suffix.lower()]
    longest = _LONGEST_SIDE.get(form)
    if longest and max(height, width) > longest:
        raise UnwritablePicture(
            f"{path}: {width} x {height} pixels are more than {form} holds ({longest} a side);"
            " give -f png"
        )


def write(picture: Picture, path: Path, *, quality: int = 95) -> None:
    """Write a picture in the format of the path's suffix, whole or not at all.

    ``quality`` is that of JPEG (4:4:4) and WebP, 1 to 100. Raises UnwritablePicture, naming the
    file and why.
    """
    check_size(path, picture.height, picture.width)
    form = SUFFIXES[path.suffix.lower()]
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
    # Pillow's encoders raise many things; none of them concerns the other pictures.
    except Exception as error:
        raise UnwritablePicture(f"{path}: {type(error).__name__}: {error}") from error
