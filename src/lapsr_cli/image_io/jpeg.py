"""JPEG files."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from PIL import Image

from lapsr_cli.errors import UnwritablePicture
from lapsr_cli.image_io import icc, iptc
from lapsr_cli.image_io.decoded import Decoded, check_pixels
from lapsr_cli.image_io.encoding import Encoding
from lapsr_cli.image_io.jpeg_stream import dropped_after
from lapsr_cli.image_io.photo import Metadata, Photo
from lapsr_cli.image_io.pil import picture_of
from lapsr_cli.image_io.pil_files import metadata_of, open_image, save

__all__ = ["chroma_step", "decode", "encode"]

_SEGMENT = 65_533
"""Bytes in a segment, without its length field."""
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/"


def decode(data: bytes, max_pixels: int | None) -> Decoded:
    """Decode the first image of a file; CMYK becomes RGB. Raises UnreadablePicture."""
    with open_image(data, "JPEG") as image:
        check_pixels(image.height, image.width, 1, max_pixels)
        image.load()
        metadata, faults = _metadata(image)
        warnings: list[str] = []
        if image.mode == "CMYK":
            picture, warning, profile_faults = icc.cmyk_to_rgb(image, metadata.icc_profile)
            metadata = replace(metadata, icc_profile=None)
            warnings.append(warning)
            faults += profile_faults
        else:
            picture = image
        if any(content.startswith(_EXTENDED_XMP) for _, content in _segments(image)):
            warnings.append("extended XMP dropped")
        warnings += dropped_after(data)
        return Decoded(
            (picture_of(picture),),
            True,
            metadata,
            warnings=tuple(warnings),
            faults=faults,
            chroma_step=chroma_step(image),
        )


def chroma_step(image: Image.Image) -> float:
    """The mean of the quantization table of chroma (ITU-T T.81, B.2.4.1), if a JPEG has fewer
    samples of chroma than of luma; 0 for all other pictures."""
    components: list[tuple[int, int, int, int]] = getattr(image, "layer", [])
    if len(components) != 3:  # identifier, samples across and down, number of the table
        return 0.0
    (_, across, down, _), (_, fewer_across, fewer_down, number) = components[:2]
    if across * down <= fewer_across * fewer_down:
        return 0.0
    tables: dict[int, list[int]] = getattr(image, "quantization", {})
    return statistics.fmean(tables[number]) if number in tables else 0.0


def _segments(image: Image.Image) -> list[tuple[str, bytes]]:
    """The APP and COM segments, by name."""
    return getattr(image, "applist", [])


def _metadata(image: Image.Image) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata, and what is wrong with the parts that cannot be parsed."""
    metadata = metadata_of(image)
    faults: tuple[str, ...] = ()
    if not metadata.icc_profile and any(
        c.startswith(b"ICC_PROFILE\0") for _, c in _segments(image)
    ):
        faults = ("ICC profile is damaged (a part of it is missing)",)
    resources = image.info.get("photoshop")
    records = resources.get(iptc.RESOURCE) if isinstance(resources, dict) else None
    metadata = replace(
        metadata,
        iptc=iptc.records(records) if isinstance(records, bytes) else None,
        dpi=_jfif_dpi(image.info),
        comments=tuple(content for name, content in _segments(image) if name == "COM"),
    )
    return metadata, faults


def _jfif_dpi(info: dict[Any, Any]) -> tuple[float, float] | None:
    """The resolution in the JFIF header; Pillow's "dpi" may be from EXIF or a default."""
    factor = {1: 1.0, 2: 2.54}.get(info.get("jfif_unit", 0))
    if factor is None:
        return None
    x, y = info["jfif_density"]
    return x * factor, y * factor


def encode(photo: Photo, encoding: Encoding, file: BinaryIO) -> None:
    """Encode at 4:4:4. Raises UnwritablePicture for metadata that do not fit into a segment."""
    metadata = photo.metadata
    options: dict[str, Any] = {"quality": encoding.quality, "subsampling": "4:4:4"}
    segments = b"".join(_comment_segments(metadata.comments))
    if metadata.exif:
        _check_segment("EXIF", len(metadata.exif) + 6)
        options["exif"] = b"Exif\0\0" + metadata.exif
    if metadata.xmp:
        _check_segment("XMP", len(metadata.xmp) + 29)
        options["xmp"] = metadata.xmp
    if metadata.iptc:
        block = b"Photoshop 3.0\0" + iptc.resource_block(metadata.iptc)
        _check_segment("IPTC", len(block))
        segments += _segment(b"\xff\xed", block)
    if metadata.dpi:
        options["dpi"] = tuple(min(65_535, value) for value in metadata.dpi)
    save(photo, file, "JPEG", icc_profile=metadata.icc_profile, extra=segments, **options)


def _comment_segments(comments: Iterable[bytes]) -> Iterator[bytes]:
    """Those of a GIF may need several segments."""
    for comment in comments:
        for at in range(0, len(comment), _SEGMENT):
            yield _segment(b"\xff\xfe", comment[at : at + _SEGMENT])


def _segment(marker: bytes, content: bytes) -> bytes:
    return marker + (len(content) + 2).to_bytes(2, "big") + content


def _check_segment(kind: str, size: int) -> None:
    if size > _SEGMENT:
        raise UnwritablePicture(
            f"its {kind} of {size} bytes exceeds what a JPEG can hold ({_SEGMENT});"
            " use -f png or --strip-metadata"
        )
