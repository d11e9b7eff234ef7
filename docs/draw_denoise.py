"""Draw docs/denoise.png: a noisy photograph of the sample harbour, enlarged by several ways.

    python docs/draw_denoise.py [-m MODEL]...

The harbour is shrunk, gets noise as of a camera, and is encoded as a JPEG of quality 85. Two parts
of it, a flat one and one with detail, are enlarged 2x and 4x: by bicubic, by Lanczos, and by every
model (by default lapsr-classic and lapsr-photo).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lapsr_cli import Upscaler
from lapsr_cli.train.degrade import Degradation

DOCS = Path(__file__).resolve().parent
NOISE = "noise:6,shot:0.9,correlation:0.5,jpeg:85"
PARTS = ((8, 4), (52, 48))
"""Left and top of the parts, in pixels of the LR picture."""
SIDE = 40
"""Of a part, in pixels of the LR picture."""
GAP, LABEL = 6, 14


def noisy(small: Image.Image) -> Image.Image:
    """With noise and JPEG in every channel."""
    rng = np.random.default_rng(0)
    channels = []
    for channel in small.split():
        samples = np.asarray(channel, dtype=np.float64) / 255
        (drawn,) = Degradation.parse(NOISE).sample(rng, 1)
        channels.append(Image.fromarray((drawn.apply(samples) * 255).round().astype(np.uint8)))
    return Image.merge(small.mode, channels)


def enlarged(small: Image.Image, scale: int, models: list[str]) -> dict[str, Image.Image]:
    """By every way, by its name."""
    size = (scale * small.width, scale * small.height)
    results = {
        "bicubic": small.resize(size, Image.Resampling.BICUBIC),
        "Lanczos": small.resize(size, Image.Resampling.LANCZOS),
    }
    for model in models:
        upscaler = Upscaler.from_weights(model, device="cpu")
        results[Path(model).stem] = upscaler(small, scales=(scale,))[scale]
    return results


def row(small: Image.Image, scale: int, models: list[str], part: tuple[int, int]) -> Image.Image:
    """The part by every way, all at 4x: what is 2x is shown with pixels twice as large."""
    left, top = (scale * corner for corner in part)
    box = (left, top, left + scale * SIDE, top + scale * SIDE)
    tiles = enlarged(small, scale, models)
    side = 4 * SIDE
    strip = Image.new("RGB", (len(tiles) * (side + GAP) - GAP, side + LABEL), "white")
    for number, (name, picture) in enumerate(tiles.items()):
        tile = picture.crop(box).resize((side, side), Image.Resampling.NEAREST)
        strip.paste(tile, (number * (side + GAP), LABEL))
        ImageDraw.Draw(strip).text((number * (side + GAP), 0), f"{scale}x, {name}", fill="black")
    return strip


def main() -> None:
    """Enlarge, crop, and put the parts below each other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", action="append")
    models = parser.parse_args().model or ["lapsr-classic", "lapsr-photo"]
    small = noisy(Image.open(DOCS.parent / "tests" / "pictures" / "harbour.png").convert("RGB"))
    rows = [row(small, scale, models, part) for scale in (2, 4) for part in PARTS]
    height = sum(each.height + GAP for each in rows) - GAP
    picture = Image.new("RGB", (rows[0].width, height), "white")
    top = 0
    for each in rows:
        picture.paste(each, (0, top))
        top += each.height + GAP
    picture.save(DOCS / "denoise.png", optimize=True)


if __name__ == "__main__":
    main()
