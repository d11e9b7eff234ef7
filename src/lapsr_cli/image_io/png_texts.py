"""Text chunks of PNG files (W3C PNG, third edition, 11.3.3), and comments as such.

Texts are copied as they are, compressed or not. Only those in which other programs store XMP, EXIF
and IPTC are read, and only one called Comment is what JPEG and GIF call a comment.
"""

from __future__ import annotations

import zlib

from lapsr_cli.image_io.damage import Damaged

__all__ = ["KINDS", "XMP", "comment_of", "decompressed", "from_comment", "keyword_of", "value_of"]

KINDS = (b"tEXt", b"zTXt", b"iTXt")
XMP = b"XML:com.adobe.xmp"
_COMMENT = b"Comment"
_LARGEST = 64 << 20
"""Bytes that are decompressed of a text or profile."""


def decompressed(content: bytes, name: str) -> bytes:
    """What zlib compressed, up to 64 MiB. Raises Damaged, with the ``name`` of the content."""
    try:
        return zlib.decompressobj().decompress(content, _LARGEST)
    except zlib.error as error:
        raise Damaged(f"{name}: {error}") from error


def keyword_of(content: bytes) -> bytes:
    """The keyword of a text chunk."""
    return content.partition(b"\0")[0]


def value_of(kind: bytes, content: bytes) -> bytes:
    """The text of a chunk, in Latin-1 or, if ``kind`` is iTXt, UTF-8. Raises Damaged."""
    value = content.partition(b"\0")[2]
    compressed = kind == b"zTXt"
    if kind == b"iTXt":
        compressed = value[:1] == b"\1"
        value = b"\0".join(value[2:].split(b"\0", 2)[2:])
    elif compressed:
        value = value[1:]
    return decompressed(value, "a text") if compressed else value


def comment_of(kind: bytes, content: bytes) -> bytes | None:
    """The text in UTF-8 if it is a comment that can be read."""
    if keyword_of(content) != _COMMENT:
        return None
    try:
        value = value_of(kind, content)
    except Damaged:
        return None
    return value if kind == b"iTXt" else value.decode("latin-1").encode()


def from_comment(comment: bytes) -> tuple[bytes, bytes]:
    """The kind and content of a text chunk for a comment, taken as UTF-8 or else as Latin-1."""
    try:
        text = comment.decode()
    except UnicodeDecodeError:
        text = comment.decode("latin-1")
    text = text.replace("\0", "")
    try:
        return b"tEXt", _COMMENT + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", _COMMENT + b"\0\0\0\0\0" + text.encode()
