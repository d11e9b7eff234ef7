"""Recognises the papers' benchmark datasets by the sizes of their pictures."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["recognise"]

Size = tuple[int, int]
"""Height and width in pixels."""

_SET5: list[Size] = [(512, 512), (288, 288), (256, 256), (280, 280), (344, 228)]
_SET14: list[Size] = [
    (480, 500),
    (576, 720),
    (512, 512),
    (288, 352),
    (360, 250),
    (276, 276),
    (362, 500),
    (288, 352),
    (512, 512),
    (512, 512),
    (512, 768),
    (512, 512),
    (656, 528),
    (390, 586),
]
_BSDS: list[Size] = [(321, 481), (481, 321)]
_PAGE_HEIGHT = 1170
_PAGE_WIDTHS = (827, 1654)

_MULTIPLES = range(1, 13)


def recognise(sizes: Sequence[Size]) -> str | None:
    """ "Set5", "Set14", "BSDS100", "Manga109" or None, from the sizes (height, width) in any order.

    The datasets are distributed both uncropped and cropped to multiples of a scale, so all pictures
    may be cropped to one multiple, up to 12. Odd sides count as one pixel less: three pictures of
    Set14 circulate with and without an odd side.

    BSDS100 is any hundred pictures of the Berkeley dataset's one size, portrait or landscape.
    Manga109 has the weakest rule: 109 pictures within a tenth of its page, 1170 x 827 pixels, or
    double page, 1170 x 1654; a book of 109 pages scanned as A4 at 100 dpi would match. Urban100 is
    never recognised: its sizes could not be confirmed.
    """
    if any(_is_cropped(sizes, _SET5, multiple) for multiple in _MULTIPLES):
        return "Set5"
    if any(_is_cropped(sizes, _SET14, multiple) for multiple in _MULTIPLES):
        return "Set14"
    if len(sizes) == 100 and any(_are_berkeley(sizes, multiple) for multiple in _MULTIPLES):
        return "BSDS100"
    if len(sizes) == 109 and all(_is_page(size) for size in sizes):
        return "Manga109"
    return None


def _is_cropped(sizes: Sequence[Size], originals: Sequence[Size], multiple: int) -> bool:
    expected = [_even(_cropped(size, multiple)) for size in originals]
    return sorted(_even(size) for size in sizes) == sorted(expected)


def _are_berkeley(sizes: Sequence[Size], multiple: int) -> bool:
    expected = {_even(_cropped(size, multiple)) for size in _BSDS}
    return {_even(size) for size in sizes} <= expected


def _is_page(size: Size) -> bool:
    height, width = size
    return _is_near(height, _PAGE_HEIGHT) and any(_is_near(width, page) for page in _PAGE_WIDTHS)


def _is_near(length: int, expected: int) -> bool:
    return abs(length - expected) <= expected / 10


def _even(size: Size) -> Size:
    return _cropped(size, 2)


def _cropped(size: Size, multiple: int) -> Size:
    height, width = size
    return height - height % multiple, width - width % multiple
