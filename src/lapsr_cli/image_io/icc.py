"""ICC profiles: validation, and conversion to sRGB with lcms (through Pillow)."""

from __future__ import annotations

import io

from PIL import Image, ImageCms

from lapsr_cli.image_io.damage import Damaged
from lapsr_cli.text import one_line

__all__ = ["check", "cmyk_to_rgb", "color_space", "to_srgb"]

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def check(icc_profile: bytes, mode: str) -> None:
    """Raise Damaged, with the reason, for a profile that lcms cannot apply to pixels of ``mode``,
    which is L, RGB or CMYK."""
    _transform(icc_profile, mode)


def color_space(icc_profile: bytes) -> str:
    """The colour space in a profile's header: RGB, GRAY, CMYK, Lab, ..."""
    return icc_profile[16:20].decode("latin-1").strip()


def to_srgb(image: Image.Image, icc_profile: bytes) -> Image.Image:
    """An image of mode L, RGB or CMYK in sRGB (RGB), by its profile.

    The rendering intent is relative colorimetric with black point compensation, as in other
    programs. Raises Damaged.
    """
    converted = ImageCms.applyTransform(image, _transform(icc_profile, image.mode))
    if converted is None:
        raise Damaged("lcms returned no image")
    return converted


def cmyk_to_rgb(
    image: Image.Image, icc_profile: bytes | None
) -> tuple[Image.Image, str, tuple[str, ...]]:
    """A CMYK image as RGB: sRGB by its profile or, without a usable one, by the naive formula.

    Returns the image, a warning that tells which, and what is wrong with the profile, if anything.
    """
    if icc_profile is None:
        return image.convert("RGB"), "CMYK without a profile: converted by the naive formula", ()
    try:
        return to_srgb(image, icc_profile), "CMYK converted to sRGB by its profile", ()
    except Damaged as error:
        fault = f"ICC profile is damaged ({one_line(error)})"
        return image.convert("RGB"), "CMYK converted to RGB by the naive formula", (fault,)


def _transform(icc_profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    if len(icc_profile) < 128 or len(icc_profile) < int.from_bytes(icc_profile[:4], "big"):
        raise Damaged("truncated")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        space = profile.profile.xcolor_space.strip()
        if space != _SPACES[mode]:
            raise Damaged(f"it is for {space} pixels, but these are {_SPACES[mode]}")
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
