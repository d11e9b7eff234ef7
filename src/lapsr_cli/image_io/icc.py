"""ICC profiles: whether they can be used, and what they say in sRGB."""

from __future__ import annotations

import io

from PIL import Image, ImageCms

from lapsr_cli.image_io.ifd import Damaged

__all__ = ["check", "space_of", "to_srgb"]

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def check(icc_profile: bytes, mode: str) -> None:
    """Raise Damaged, with the reason, for a profile that lcms cannot use for pixels of ``mode``,
    which is L, RGB or CMYK."""
    _transform(icc_profile, mode)


def space_of(icc_profile: bytes) -> str:
    """The colours a profile is for, by its header: RGB, GRAY, CMYK, Lab, ..."""
    return icc_profile[16:20].decode("latin-1").strip()


def to_srgb(image: Image.Image, icc_profile: bytes) -> Image.Image:
    """An image of mode L, RGB or CMYK in sRGB (RGB), by its profile.

    The intent is relative colorimetric with black point compensation, as in other programs.
    Raises Damaged.
    """
    converted = ImageCms.applyTransform(image, _transform(icc_profile, image.mode))
    if converted is None:
        raise Damaged("lcms gave no picture")
    return converted


def _transform(icc_profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    if len(icc_profile) < 128 or len(icc_profile) < int.from_bytes(icc_profile[:4], "big"):
        raise Damaged("cut short")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        space = profile.profile.xcolor_space.strip()
        if space != _SPACES[mode]:
            raise Damaged(f"it is for {space} pixels, and these are {_SPACES[mode]}")
        return ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ImageCms.PyCMSError) as error:
        raise Damaged(str(error)) from error
