"""Pictures with alpha, enlarged and then laid over a colour, compared with the same pictures laid
over that colour first and enlarged without alpha.

    python benchmarks/transparency.py [-m lapsr-photo] [--picture text] [--scale 4] [--save DIR]

Text, fine print, a ring and a soft shadow are drawn in one colour on nothing. For each, the largest
difference and the 99.9th percentile in levels of 255, over white, black, the picture's own colour
and mid grey. --save writes the two enlargements over each ground, one above the other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lapsr_cli import Upscaler

Levels = NDArray[np.float64]
Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {"white": (255, 255, 255), "black": (0, 0, 0), "red": (230, 30, 30)}
GROUNDS: dict[str, Colour | None] = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "own": None,
    "grey": (128, 128, 128),
}


def text(words: str, size: int, width: int, height: int) -> Image.Image:
    """Words in Pillow's own font, white on black."""
    mask = Image.new("L", (width, height))
    font = ImageFont.load_default(size=size)
    ImageDraw.Draw(mask).text((3, height - 6), words, fill=255, font=font, anchor="ls")
    return mask


def ring() -> Image.Image:
    """A ring 4 pixels wide, drawn eight times too large and shrunk."""
    mask = Image.new("L", (8 * 36, 8 * 36))
    ImageDraw.Draw(mask).ellipse([24, 24, 264, 264], outline=255, width=32)
    return mask.resize((36, 36), Image.Resampling.BOX)


def shadow() -> Image.Image:
    """A soft shadow, at most 0.7 opaque."""
    mask = Image.new("L", (40, 32))
    ImageDraw.Draw(mask).rounded_rectangle([12, 10, 27, 21], 3, fill=180)
    return mask.filter(ImageFilter.GaussianBlur(3))


MASKS = {
    "text": text("Lapsr", 24, 64, 32),
    "fine print": text("fine print", 11, 52, 17),
    "ring": ring(),
    "shadow": shadow(),
}


def over(picture: NDArray[np.uint8], ground: Colour) -> Levels:
    """RGBA (H, W, 4) laid over a colour: RGB (H, W, 3)."""
    share = picture[..., 3:] / 255
    mixed: Levels = picture[..., :3] * share + np.array(ground) * (1 - share)
    return mixed


def enlargements(
    upscaler: Upscaler, mask: Image.Image, colour: Colour, scales: list[int]
) -> dict[tuple[str, int], tuple[Levels, Levels]]:
    """By ground and scale: enlarged and then laid over it, laid over it and then enlarged."""
    drawn = Image.new("RGB", mask.size, colour)
    drawn.putalpha(mask)
    picture = np.asarray(drawn)
    grounds = {name: ground or colour for name, ground in GROUNDS.items()}
    alone = upscaler(picture, scales)
    opaque = {
        ground: upscaler(over(picture, ground).round().astype(np.uint8), scales)
        for ground in set(grounds.values())
    }
    return {
        (name, scale): (over(alone[scale], ground), opaque[ground][scale].astype(float))
        for name, ground in grounds.items()
        for scale in scales
    }


def cell(pair: tuple[Levels, Levels]) -> str:
    """The largest difference and the 99.9th percentile."""
    apart = np.abs(pair[0] - pair[1]).max(axis=-1)
    return f"{apart.max():.0f} / {np.quantile(apart, 0.999):.0f}"


def main() -> None:
    """Print one row for each picture, colour and scale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", default="lapsr-classic")
    parser.add_argument("--picture", action="append", choices=list(MASKS))
    parser.add_argument("--scale", type=int, action="append")
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    upscaler = Upscaler.from_weights(options.model, device="cpu")
    scales = options.scale or [2, 4, 8]
    print(f"| picture | colour | scale | {' | '.join(f'over {name}' for name in GROUNDS)} |")
    print("|---|---|---|" + "---|" * len(GROUNDS))
    for shape in options.picture or MASKS:
        for name, colour in COLOURS.items():
            pairs = enlargements(upscaler, MASKS[shape], colour, scales)
            for scale in scales:
                cells = [cell(pairs[ground, scale]) for ground in GROUNDS]
                print(f"| {shape} | {name} | {scale}x | {' | '.join(cells)} |", flush=True)
            if options.save:
                save(pairs, options.save, f"{shape} {name}")


def save(pairs: dict[tuple[str, int], tuple[Levels, Levels]], folder: Path, name: str) -> None:
    """Write both enlargements over each ground, one above the other."""
    folder.mkdir(parents=True, exist_ok=True)
    for (ground, scale), pair in pairs.items():
        both = Image.fromarray(np.vstack(pair).round().astype(np.uint8))
        both.save(folder / f"{name} over {ground} {scale}x.png")


if __name__ == "__main__":
    main()
