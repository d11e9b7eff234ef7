"""Draw docs/before-after.png: a part of the sample harbour, 4x, by bicubic and by lapsr."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from lapsr_cli import Upscaler

DOCS = Path(__file__).resolve().parent
PART = (0, 100, 400, 480)
GAP = 8


def main() -> None:
    """Enlarge, crop, and put the two side by side."""
    small = Image.open(DOCS.parent / "tests" / "pictures" / "harbour.png").convert("RGB")
    large = Upscaler.from_weights("lapsr-classic", device="cpu")(small, scales=(4,))[4]
    before = small.resize(large.size, Image.Resampling.BICUBIC).crop(PART)
    both = Image.new("RGB", (2 * before.width + GAP, before.height), "white")
    both.paste(before, (0, 0))
    both.paste(large.crop(PART), (before.width + GAP, 0))
    both.save(DOCS / "before-after.png", optimize=True)


if __name__ == "__main__":
    main()
