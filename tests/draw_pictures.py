"""Draws the sample pictures of tests/pictures; ``python tests/draw_pictures.py`` rewrites them.

Everything is made here, from formulas and seeds: each picture is drawn eight times too large and
shrunk, so that its edges are as soft as a camera's. Lengths are in pixels of the small picture.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from math import atan2, cos, degrees, hypot, pi, radians, sin, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

PICTURES = Path(__file__).resolve().parent / "pictures"
FINE = 8
ORIENTATION = 0x0112

Color = tuple[int, ...]
Point = tuple[float, float]
Pixels = NDArray[np.float64]
Boat = Callable[["Canvas"], float]


class Canvas:
    """A picture in the making, FINE times its final size, drawn in final pixels."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.draw = ImageDraw.Draw(image, "RGBA" if image.mode == "RGB" else None)

    @classmethod
    def plain(cls, width: int, height: int, color: Color) -> Canvas:
        """One colour all over; a fourth number makes it a layer with transparency."""
        size = (width * FINE, height * FINE)
        return cls(Image.new("RGB" if len(color) == 3 else "RGBA", size, color))

    @classmethod
    def of(cls, pixels: Pixels) -> Canvas:
        """A ground of (height, width, 3) values in 0..255, already FINE times as large."""
        return cls(Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8)))

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """A filled polygon."""
        self.draw.polygon([(x * FINE, y * FINE) for x, y in points], fill=color)

    def box(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        """A filled rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], color)

    def line(self, points: Sequence[Point], color: Color, width: float) -> None:
        """A line through the points."""
        scaled = [(x * FINE, y * FINE) for x, y in points]
        self.draw.line(scaled, fill=color, width=max(1, round(width * FINE)), joint="curve")

    def disc(self, center: Point, radius: float, color: Color) -> None:
        """A filled circle."""
        x, y = center
        corners = [(x - radius) * FINE, (y - radius) * FINE, (x + radius) * FINE]
        self.draw.ellipse([*corners, (y + radius) * FINE], fill=color)

    def ring(self, center: Point, radius: float, color: Color, width: float) -> None:
        """A circle's outline, its outer edge at ``radius``."""
        x, y = center
        corners = [(x - radius) * FINE, (y - radius) * FINE, (x + radius) * FINE]
        thick = max(1, round(width * FINE))
        self.draw.ellipse([*corners, (y + radius) * FINE], outline=color, width=thick)

    def text(
        self,
        at: Point,
        words: str,
        color: Color,
        size: float,
        *,
        anchor: str = "ls",
        bold: float = 0,
        turn: float = 0,
    ) -> None:
        """Words at a point, thickened by pixels, turned clockwise by degrees around it."""
        place = (at[0] * FINE, at[1] * FINE)
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).text(
            place,
            words,
            fill=255,
            font=font(size),
            anchor=anchor,
            stroke_width=round(bold * FINE / 2),
        )
        if turn:
            mask = mask.rotate(-turn, Image.Resampling.BICUBIC, center=place)
        self.image.paste(color, mask=mask)

    def shrunk(self) -> Image.Image:
        """The picture at its final size."""
        size = (self.image.width // FINE, self.image.height // FINE)
        return self.image.resize(size, Image.Resampling.LANCZOS)


@cache
def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at a size in final pixels."""
    return ImageFont.load_default(size=size * FINE)


def mixed(a: Color, b: Color, share: float) -> Color:
    """The color ``share`` of the way from one to the other."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))


def polar(center: Point, radius: float, angle: float) -> Point:
    """The point at an angle, in degrees clockwise from the top."""
    return center[0] + radius * sin(radians(angle)), center[1] - radius * cos(radians(angle))


def grid(width: int, height: int) -> tuple[Pixels, Pixels]:
    """x and y of every fine pixel, in final pixels."""
    y, x = np.mgrid[: height * FINE, : width * FINE]
    return (x + 0.5) / FINE, (y + 0.5) / FINE


def ramp(at: Pixels, stops: Sequence[tuple[float, Color]]) -> Pixels:
    """Colors between the stops, wherever ``at`` lies."""
    places = [place for place, _ in stops]
    channels = [np.interp(at, places, [color[c] for _, color in stops]) for c in range(3)]
    return np.stack(channels, axis=-1)


# The harbour

SHORE = 72.0
SUN = (121.0, 47.0)


def harbour() -> Image.Image:
    """An evening harbour: houses on a quay, a lighthouse, boats with their rigging."""
    canvas = Canvas.of(evening_sky())
    clouds(canvas)
    hills(canvas)
    quay(canvas)
    lighthouse(canvas)
    gulls(canvas)
    canvas = Canvas.of(with_water(canvas))
    ripples(canvas)
    for boat in (cutter, ketch, dinghy):
        afloat(canvas, boat)
    return canvas.shrunk()


def evening_sky() -> Pixels:
    """The sky, with the glow around the sun."""
    x, y = grid(160, 120)
    stops = [(0, (58, 92, 150)), (26, (128, 150, 184)), (48, (240, 190, 150))]
    sky: Pixels = ramp(y, [*stops, (SHORE, (255, 222, 168))])
    far = np.hypot(x - SUN[0], (y - SUN[1]) * 1.1)
    glow = np.exp(-far / 16)[..., None] * 0.75
    sky = sky * (1 - glow) + glow * np.array([255, 236, 178])
    disc = np.clip((7.2 - far) * 4, 0, 1)[..., None]
    sky += disc * (np.array([255, 250, 226]) - sky)
    return sky


def clouds(canvas: Canvas) -> None:
    """Long thin clouds, lit from below."""
    rng = random.Random(3)
    layer = Image.new("L", canvas.image.size)
    draw = ImageDraw.Draw(layer)
    for x, y, length in ((34, 13, 46), (82, 24, 40), (150, 18, 36), (12, 33, 26), (70, 36, 20)):
        for _ in range(16):
            wide, cx = length * rng.uniform(0.15, 0.4), x + rng.gauss(0, length * 0.22)
            cy, high = y + rng.gauss(0, 1.1), rng.uniform(0.5, 1.5)
            corners = (cx - wide, cy - high, cx + wide, cy + high)
            draw.ellipse([value * FINE for value in corners], fill=rng.randint(60, 150))
    soft = layer.filter(ImageFilter.GaussianBlur(0.7 * FINE))
    canvas.image.paste((255, 226, 200), mask=soft)


def hills(canvas: Canvas) -> None:
    """Three ridges, each nearer and darker."""
    ridges = (
        (53.0, (197, 160, 160), (5, 0.045, 0.3, 1.6, 0.16)),
        (59.0, (146, 124, 142), (4, 0.06, 2.1, 1.2, 0.23)),
        (64.0, (92, 96, 112), (3, 0.08, 4.4, 0.7, 0.37)),
    )
    for base, color, (high, slow, phase, low, quick) in ridges:
        edge = [
            (x / 2, base - high * sin(x / 2 * slow + phase) - low * sin(x / 2 * quick + phase))
            for x in range(-2, 324)
        ]
        canvas.polygon([*edge, (162, SHORE), (-2, SHORE)], color)


def quay(canvas: Canvas) -> None:
    """A row of gabled houses, on a wall of stones."""
    rng = random.Random(11)
    walls = (
        (178, 74, 58), (226, 190, 124), (96, 126, 142), (206, 120, 72),
        (232, 220, 198), (138, 92, 84), (216, 158, 92), (112, 140, 116),
    )  # fmt: skip
    left = -3.0
    for wall in walls:
        width = rng.uniform(9.5, 13)
        house(canvas, left, width, rng.uniform(15, 23), wall)
        left += width
    canvas.box(-2, 67.6, left + 7, SHORE, (112, 100, 94))
    for row in range(3):
        for column in range(33):
            x = column * 3.1 + (row % 2) * 1.5 - 2
            color = mixed((98, 86, 82), (158, 142, 128), rng.random())
            canvas.box(x, 67.9 + row * 1.4, min(x + 2.8, left + 7), 69 + row * 1.4, color)
    for x in range(4, 96, 13):
        canvas.box(x, 66.2, x + 0.9, 68, (52, 46, 48))


def house(canvas: Canvas, left: float, width: float, high: float, wall: Color) -> None:
    """One house: a gable with roof, chimney, windows and a door."""
    foot, right, middle = 67.8, left + width, left + width / 2
    eaves = foot - high
    ridge = eaves - width * 0.55
    roof = mixed((104, 52, 44), (70, 58, 66), (high * 7) % 1)
    canvas.box(right - 3.6, ridge + 0.6, right - 1.9, eaves, mixed(wall, (60, 40, 40), 0.5))
    canvas.box(right - 3.9, ridge + 0.3, right - 1.6, ridge + 1.1, (66, 52, 50))
    canvas.polygon([(left - 0.5, eaves + 0.3), (middle, ridge - 0.6), (right + 0.5, eaves)], roof)
    canvas.polygon([(left, eaves + 0.4), (middle, ridge + 0.7), (right, eaves + 0.4)], wall)
    canvas.box(left, eaves + 0.3, right, foot, wall)
    canvas.box(left, eaves, left + 0.5, foot, mixed(wall, (40, 30, 40), 0.45))
    canvas.line([(left, eaves + 0.6), (right, eaves + 0.6)], mixed(wall, (255,) * 3, 0.45), 0.45)
    canvas.disc((middle, eaves - 1.6), 0.9, (62, 56, 66))
    rows = int((high - 5.5) / 4.4)
    columns = 3 if width > 11 else 2
    for row in range(rows + 1):
        for column in range(columns):
            x = left + width * (column + 0.5) / columns
            lit = (row * 5 + column * 3 + int(width * 10)) % 4 == 0
            if row == rows and column == columns - 1:
                door(canvas, x, foot)
            else:
                window(canvas, x, eaves + 2 + row * 4.4, (255, 224, 138) if lit else (70, 84, 106))


def window(canvas: Canvas, x: float, top: float, glass: Color) -> None:
    """A window with a white frame, a cross bar and a sill."""
    canvas.box(x - 1.25, top, x + 1.25, top + 3.1, (246, 238, 224))
    for side in (-1.0, 0.15):
        canvas.box(x + side, top + 0.25, x + side + 0.85, top + 1.4, glass)
        canvas.box(x + side, top + 1.65, x + side + 0.85, top + 2.85, glass)
    canvas.box(x - 1.5, top + 3.0, x + 1.5, top + 3.4, (92, 76, 72))


def door(canvas: Canvas, x: float, foot: float) -> None:
    """A door with a fanlight and a step."""
    canvas.box(x - 1.5, foot - 4.9, x + 1.5, foot, (240, 230, 214))
    canvas.box(x - 1.1, foot - 4.5, x + 1.1, foot - 3.8, (255, 220, 140))
    canvas.box(x - 1.1, foot - 3.5, x + 1.1, foot, (52, 74, 66))
    canvas.line([(x, foot - 3.5), (x, foot)], (30, 46, 42), 0.25)


def lighthouse(canvas: Canvas) -> None:
    """A striped lighthouse at the end of a rocky mole."""
    rng = random.Random(5)
    for _ in range(70):
        x = rng.uniform(134, 164)
        y = SHORE - rng.uniform(-0.6, 3.4) * min(1.0, (x - 131) / 8)
        stone = mixed((58, 54, 62), (140, 120, 112), rng.random())
        canvas.polygon([polar((x, y), rng.uniform(0.8, 1.8), a) for a in range(20, 380, 72)], stone)
    for row in range(6):
        top, bottom = 41 + row * 4.7, 41 + (row + 1) * 4.7
        half, wider = 2.0 + row * 0.3, 2.3 + row * 0.3
        shape = [(149 - half, top), (149 + half, top), (149 + wider, bottom), (149 - wider, bottom)]
        canvas.polygon(shape, (244, 236, 224) if row % 2 else (188, 60, 50))
        canvas.polygon([(149 + half * 0.3, top), *shape[1:3], (149 + wider * 0.3, bottom)], SHADE)
    canvas.box(146, 40.2, 152, 41.1, (54, 50, 58))
    canvas.box(147.4, 36.4, 150.6, 40.2, (255, 232, 150))
    for x in (147.4, 149, 150.6):
        canvas.line([(x, 36.2), (x, 40.4)], (54, 50, 58), 0.4)
    canvas.polygon([(146.8, 36.6), (149, 33.2), (151.2, 36.6)], (150, 48, 44))
    for x in range(5):
        canvas.line([(146.2 + x * 1.4, 38.6), (146.2 + x * 1.4, 40.4)], (54, 50, 58), 0.25)
    canvas.line([(146, 38.6), (152, 38.6)], (54, 50, 58), 0.3)
    canvas.line([(149, 33.4), (149, 31.2)], (54, 50, 58), 0.35)
    for y in (50.0, 59.5):
        canvas.box(148.5, y, 149.5, y + 1.9, (60, 60, 74))


SHADE = (60, 30, 60, 60)


def gulls(canvas: Canvas) -> None:
    """Birds, far off."""
    for x, y, wide in ((62, 16, 3.4), (70, 21, 2.7), (56, 23, 2.3), (135, 28, 2.7), (20, 24, 2.2)):
        wing = [(t / 6, abs(sin(t / 6 * pi))) for t in range(-6, 7)]
        shape = [(x + t * wide, y - lift * wide * 0.6) for t, lift in wing]
        canvas.line(shape, (56, 56, 78), 0.5)


def mirrored(pixels: Pixels, waterline: float) -> Pixels:
    """What still water below the line would show of the picture, broken by small waves."""
    height, width = pixels.shape[:2]
    first = round(waterline * FINE)
    depth = np.arange(height - first)[:, None] / FINE
    across = np.arange(width)[None, :] / FINE
    wave = np.sin(9 * np.sqrt(depth + 1) + 0.11 * across) + 0.6 * np.sin(
        17 * np.sqrt(depth + 2) - 0.23 * across
    )
    reach = 0.2 + 0.03 * depth
    rows = np.clip(first - 1 - np.round((depth * 1.05 + 0.45 * wave * reach) * FINE), 0, first - 1)
    columns = np.clip(np.round((across + wave * reach) * FINE), 0, width - 1)
    out = np.zeros_like(pixels)
    out[first:] = pixels[rows.astype(int), columns.astype(int)]
    return out


def with_water(canvas: Canvas) -> Pixels:
    """The scene above the shore, and under it the water that mirrors it."""
    scene = np.asarray(canvas.image, np.float64)
    _, y = grid(160, 120)
    sea = ramp(y, [(SHORE, (168, 150, 146)), (92, (76, 100, 128)), (120, (28, 56, 88))])
    clear = np.interp(y, [SHORE, 90, 120], [0.72, 0.55, 0.3])[..., None]
    water = mirrored(scene, SHORE) * clear + sea * (1 - clear)
    edge = np.exp(-np.maximum(y - SHORE, 0) / 0.8)[..., None] * 0.5
    water = water * (1 - edge) + edge * np.array([40, 42, 56])
    return np.where((y < SHORE)[..., None], scene, water)


def lens(x: float, y: float, length: float, high: float) -> list[Point]:
    """The outline of one glint: thick in the middle, pointed at both ends."""
    steps = range(-6, 7)
    upper = [(x + length * t / 12, y - high / 2 * (1 - (t / 6) ** 2)) for t in steps]
    lower = [(x + length * t / 12, y + high / 2 * (1 - (t / 6) ** 2)) for t in reversed(steps)]
    return upper + lower


def ripples(canvas: Canvas) -> None:
    """Waves that catch the sky or the deep, and the sun's path over them."""
    rng = random.Random(8)
    for _ in range(360):
        depth = rng.random() ** 0.8
        y = SHORE + 2 + depth * 46
        size = 0.3 + depth
        dark = rng.random() < 0.55
        color = (22, 44, 74, 120) if dark else (226, 206, 196, 110)
        shape = lens(rng.uniform(-4, 164), y, size * rng.uniform(3, 8), size * 0.62)
        canvas.polygon(shape, color)
    for _ in range(150):
        depth = rng.random()
        y = SHORE + 1 + depth * 46
        size = 0.35 + depth * 0.8
        x = SUN[0] + rng.gauss(0, 2.5 + depth * 7)
        shape = lens(x, y, size * rng.uniform(2, 6), size * 0.7)
        canvas.polygon(shape, (255, 238, 186, 205))


def afloat(canvas: Canvas, boat: Boat) -> None:
    """A boat over its reflection."""
    layer = Canvas.plain(160, 120, (0, 0, 0, 0))
    waterline = boat(layer)
    pixels = np.asarray(layer.image, np.float64)
    image = mirrored(pixels, waterline)
    image[..., :3] = image[..., :3] * 0.7 + np.array([28, 52, 84]) * 0.3
    _, y = grid(160, 120)
    image[..., 3] *= np.interp(y - waterline, [0, 6, 40], [0.85, 0.62, 0.2])
    below = Image.fromarray(image.astype(np.uint8))
    canvas.image.paste(below, mask=below)
    canvas.image.paste(layer.image, mask=layer.image)


def hull(
    canvas: Canvas, ends: Point, waterline: float, high: float, paint: Sequence[Color]
) -> None:
    """A hull between stern and bow: sides, a stripe under the rail, the foot in the water."""
    stern, bow = ends
    length = bow - stern
    steps = [t / 20 for t in range(21)]

    def sheer(t: float, drop: float) -> Point:
        return stern + length * t, waterline - high * (0.7 + 1.4 * (t - 0.42) ** 2) + drop

    top = [sheer(t, 0) for t in steps]
    rake = length * 0.1
    side, stripe, foot = paint
    canvas.polygon([*top, (bow - rake, waterline), (stern + rake * 0.6, waterline)], side)
    low = waterline - high * 0.16
    edges = [(stern + rake * 0.5, low), (bow - rake * 0.86, low)]
    canvas.polygon([*edges, (bow - rake, waterline), (stern + rake * 0.6, waterline)], foot)
    canvas.line([sheer(t, high * 0.2) for t in steps[:-1]], stripe, high * 0.07)
    canvas.line([sheer(t, high * 0.42) for t in steps[:-1]], mixed(side, (0, 0, 0), 0.3), 0.3)
    canvas.line(top, (236, 222, 196), 0.55)


def shrouds(canvas: Canvas, foot: Sequence[float], top: Point, rungs: int) -> None:
    """The stays on both sides of a mast, with their ratlines."""
    left, right, deck = foot
    rope = (48, 40, 46)
    for share in (0.0, 0.5, 1.0):
        canvas.line([(left + (top[0] - left) * share * 0.35, deck), top], rope, 0.3)
        canvas.line([(right + (top[0] - right) * share * 0.35, deck), top], rope, 0.3)
    for rung in range(1, rungs):
        share = rung / rungs * 0.72
        y = deck + (top[1] - deck) * share
        for side in (left, right):
            inner = side + (top[0] - side) * 0.35
            ends = [(x + (top[0] - x) * share, y) for x in (side, inner)]
            canvas.line(ends, rope, 0.25)


def mast(canvas: Canvas, x: float, top: float, deck: float, width: float) -> None:
    """A mast, lit from the sun's side."""
    canvas.polygon(
        [(x - width / 2, deck), (x - width / 3, top), (x + width / 3, top), (x + width / 2, deck)],
        (116, 70, 44),
    )
    canvas.line([(x + width / 4, deck), (x + width / 5, top)], (226, 164, 104), width * 0.3)
    canvas.disc((x, top), width * 0.45, (240, 224, 190))


def furled(canvas: Canvas, start: Point, end: Point, cloth: Color) -> None:
    """A boom with the sail lashed on top of it."""
    canvas.line([start, end], (110, 66, 42), 0.7)
    steps = [t / 12 for t in range(13)]
    (x0, y0), (x1, y1) = start, end
    along = [(x0 + (x1 - x0) * t, y0 + (y1 - y0) * t) for t in steps]
    belly = [0.4 + 1.9 * sin(pi * min(1, t * 0.9 + 0.1)) ** 0.6 for t in steps]
    bulge = [(x, y - up) for (x, y), up in zip(along, belly, strict=True)]
    canvas.polygon([*along, *reversed(bulge)], cloth)
    for (x, y), (_, high) in list(zip(along, bulge, strict=True))[1:-1:2]:
        canvas.line([(x - 0.3, y), (x + 0.3, high)], mixed(cloth, (60, 40, 30), 0.6), 0.3)


PENNANTS = ((196, 52, 44), (244, 236, 220), (44, 84, 142), (240, 190, 66), (60, 124, 96))


def pennants(canvas: Canvas, ends: Sequence[Point], sag: float) -> None:
    """Little flags on sagging lines from point to point."""
    number = 0
    for (x0, y0), (x1, y1) in pairwise(ends):
        count = max(3, int(hypot(x1 - x0, y1 - y0) / 3.3))
        rope = []
        for step in range(count * 2 + 1):
            t = step / count / 2
            rope.append((x0 + (x1 - x0) * t, y0 + (y1 - y0) * t + sag * 4 * t * (1 - t)))
        canvas.line(rope, (58, 50, 56), 0.25)
        for a, b in list(zip(rope[1::2], rope[2::2], strict=False))[:-1]:
            tip = ((a[0] + b[0]) / 2 + 0.25, (a[1] + b[1]) / 2 + 2.1)
            canvas.polygon([a, b, tip], PENNANTS[number % len(PENNANTS)])
            number += 1


def ketch(canvas: Canvas) -> float:
    """Two masts, dressed with pennants."""
    line, deck = 101.0, 94.5
    rope = (48, 40, 46)
    hull(canvas, (66, 131), line, 9.0, ((34, 60, 76), (232, 196, 112), (150, 56, 46)))
    canvas.line([(127, 92.6), (141, 88.2)], (116, 70, 44), 0.9)
    canvas.box(86, 90.4, 97, deck - 0.3, (226, 206, 170))
    canvas.box(85.4, 89.8, 97.6, 90.6, (128, 74, 48))
    for x in (88.0, 91.2, 94.4):
        canvas.disc((x, 92.4), 0.85, (62, 70, 88))
        canvas.ring((x, 92.4), 0.95, (196, 150, 84), 0.25)
    for x in range(69, 127, 3):
        canvas.line([(x, 90.8), (x, deck + 0.4)], (210, 196, 176), 0.25)
    canvas.line([(68, 90.8), (127, 90.8)], (222, 208, 188), 0.25)
    for x, top, width in ((106.0, 27.0, 1.3), (77.5, 45.0, 1.1)):
        for end in ((140.0, 88.4), (68.0, 93.0)) if x > 100 else ((68.0, 93.0),):
            canvas.line([(x, top + 2.5), end], rope, 0.3)
        shrouds(canvas, (x - 5.5, x + 5.5, deck), (x, top + 8), 12)
        mast(canvas, x, top, deck + 0.5, width)
        canvas.line([(x - 3.2, top + 14), (x + 3.2, top + 14)], (92, 56, 38), 0.45)
    canvas.line([(77.5, 47), (106, 38)], rope, 0.3)
    furled(canvas, (105.4, 86.5), (84.0, 84.8), (206, 138, 82))
    furled(canvas, (77, 86.8), (63.5, 85.0), (206, 138, 82))
    canvas.line([(84.3, 84.8), (105.6, 31)], rope, 0.25)
    canvas.line([(63.8, 85), (77.3, 49)], rope, 0.25)
    for x, y in ((112, 91.6), (119, 91.2)):
        canvas.ring((x, y + 0.8), 1.25, (228, 92, 56), 0.6)
    pennants(canvas, [(140.5, 88.4), (106, 27.6), (77.5, 45.6), (67, 90.6)], 1.6)
    return line


def cutter(canvas: Canvas) -> float:
    """A fishing boat with a wheelhouse, at its mooring."""
    line, deck = 85.0, 80.6
    rope = (48, 40, 46)
    hull(canvas, (22, 57), line, 6.4, ((202, 74, 54), (246, 232, 208), (44, 48, 60)))
    canvas.box(28, 73.6, 36.5, deck, (242, 234, 218))
    canvas.box(27.4, 72.8, 37.4, 73.9, (66, 92, 112))
    for x in (28.7, 31.3, 33.9):
        canvas.box(x, 74.6, x + 2.0, 76.8, (62, 78, 98))
    canvas.line([(28, 78.4), (36.5, 78.4)], (202, 74, 54), 0.5)
    canvas.box(38.6, 77.8, 43, deck, (176, 136, 92))
    canvas.line([(38.6, 79.2), (43, 79.2)], (110, 76, 52), 0.3)
    mast(canvas, 45.5, 50, deck, 1.0)
    shrouds(canvas, (42.5, 48.5, deck - 0.6), (45.5, 56), 8)
    canvas.line([(45.5, 51.5), (56.2, 78.6)], rope, 0.3)
    canvas.line([(45.5, 51.5), (23.5, 79.5)], rope, 0.3)
    canvas.line([(45, 76), (33, 62)], (110, 66, 42), 0.6)
    canvas.line([(33, 62), (45.5, 53)], rope, 0.25)
    mast(canvas, 26, 66, deck, 0.6)
    canvas.polygon([(25.8, 66.3), (21.8, 67.2), (25.8, 69.2)], (44, 84, 142))
    return line


def dinghy(canvas: Canvas) -> float:
    """A rowing boat in the foreground, its oars shipped."""
    line = 110.0
    hull(canvas, (19, 45), line, 6.2, ((236, 222, 194), (54, 110, 120), (54, 110, 120)))
    canvas.line([(15, 103.0), (37, 105.4)], (188, 132, 82), 0.6)
    canvas.line([(16, 104.6), (38, 104.2)], (156, 104, 64), 0.6)
    canvas.polygon([(11.5, 102.0), (15.5, 102.5), (15.3, 103.6), (11.4, 103.4)], (188, 132, 82))
    canvas.polygon([(12.4, 104.4), (16.4, 104.1), (16.4, 105.2), (12.4, 105.7)], (156, 104, 64))
    return line


# The page of lettering


def lettering() -> Image.Image:
    """A printer's specimen: one alphabet in several sizes, between thin rules."""
    canvas = Canvas.of(paper(150, 90))
    ink, soft = (34, 32, 34), (104, 100, 100)
    for inset, width in ((3.0, 1.0), (6.5, 0.5)):
        corners = [(inset, inset), (150 - inset, inset), (150 - inset, 90 - inset)]
        canvas.line([*corners, (inset, 90 - inset), (inset, inset), (9, inset)], ink, width)
    canvas.text((75, 25), "Laplace", ink, 21, anchor="ms", bold=0.5)
    canvas.line([(11, 31.5), (139, 31.5)], ink, 0.6)
    canvas.text((75, 42.5), "fine from coarse, 2 4 8", ink, 11.5, anchor="ms", bold=0.2)
    canvas.line([(11, 46.5), (139, 46.5)], soft, 0.4)
    canvas.text((11, 55.5), "ABCDEFGHIJKL", ink, 8.5, bold=0.2)
    canvas.text((11, 64), "abcdefghijklmn", ink, 8.5, bold=0.2)
    canvas.text((11, 72), "sphinx of black quartz", ink, 7, bold=0.2)
    canvas.text((11, 79), "judge my vow & 01234567", ink, 6, bold=0.2)
    canvas.line([(88, 50), (88, 80)], soft, 0.4)
    for row in range(5):
        canvas.line([(92, 51 + row * 2.6), (110, 51 + row * 2.6)], ink, 0.2 + row * 0.25)
    left = 114.0
    for row in range(9):
        canvas.line([(left, 50.5), (left, 62)], ink, 0.8)
        left += 1.8 + row * 0.35
    canvas.text((92, 76.5), "Qg", ink, 17, bold=0.7)
    canvas.text((124, 70.5), "No.", soft, 7, bold=0.2)
    canvas.text((124, 79.5), "42", ink, 11, bold=0.3)
    return canvas.shrunk().convert("L")


def paper(width: int, height: int) -> Pixels:
    """Paper: nearly white, a little darker to one corner, with a faint tooth."""
    x, y = grid(width, height)
    rng = np.random.default_rng(4)
    tooth = Image.fromarray(rng.normal(0, 1, (height * 2, width * 2)).astype(np.float32))
    grain = tooth.resize((width * FINE, height * FINE), Image.Resampling.BICUBIC)
    level = 243 - 14 * (x / width * 0.5 + y / height * 0.5) ** 2 + 1.6 * np.asarray(grain)
    return np.repeat(level[..., None], 3, axis=-1)


# The fern


def leaf() -> Image.Image:
    """A fern's frond, every leaflet with its vein, before a wood out of focus."""
    canvas = Canvas(undergrowth())
    spine = list(frond_spine())
    for number in range(2, len(spine) - 1):
        (x, y), (before_x, before_y) = spine[number], spine[number - 1]
        heading = degrees(atan2(x - before_x, before_y - y))
        t = number / (len(spine) - 1)
        reach = 56 * (1 - t) ** 0.85 * min(1, 0.62 + 2 * t) + 2
        gap = hypot(x - before_x, y - before_y)
        for side in (-1, 1):
            pinna(canvas, (x, y), heading + side * (70 - 18 * t), side, (reach, gap))
    for start, (a, b) in enumerate(pairwise(spine)):
        width = 2.2 * (1 - start / len(spine)) + 0.5
        canvas.line([a, b], (84, 96, 38), width)
        canvas.line([(a[0] - 0.25, a[1] - 0.25), (b[0] - 0.25, b[1] - 0.25)],
                    (206, 206, 122), width * 0.35)  # fmt: skip
    return canvas.shrunk()


def frond_spine() -> Iterator[Point]:
    """Points up the middle of the frond, closer together towards its tip."""
    for step in range(19):
        t = 1 - (1 - step / 18) ** 1.3
        a, b, c = (22.0, 150.0), (48.0, 66.0), (130.0, 14.0)
        u = 1 - t
        yield (
            u * u * a[0] + 2 * u * t * b[0] + t * t * c[0],
            u * u * a[1] + 2 * u * t * b[1] + t * t * c[1],
        )


def pinna(canvas: Canvas, root: Point, angle: float, side: int, size: Point) -> None:
    """One side branch: leaflets on both of its sides, bent a little towards the tip."""
    rng = random.Random(round(root[0] * 1000) * 2 + side)
    reach, gap = size
    count = max(4, int(reach / 2.5))
    angle += rng.uniform(-3, 3)
    point = root
    light = rng.uniform(0.25, 0.6) + (0.14 if side > 0 else -0.06)
    stalk = [root]
    leaflets: list[tuple[Point, float, float]] = []
    for step in range(count):
        t = step / count
        angle -= side * 22 / count
        point = polar(point, reach / count, angle)
        stalk.append(point)
        long = min(0.2 * reach, gap * 0.54) * (1 - t) ** 0.6 + 0.8
        leaflets += [(point, angle + turn, long) for turn in (-58.0, 58.0)]
    for at, heading, long in leaflets:
        tone = light + rng.uniform(-0.09, 0.09) - 0.1 * cos(radians(heading - 40))
        leaflet(canvas, at, heading, long, tone)
    canvas.line(stalk, (182, 190, 98), 0.5)


def leaflet(canvas: Canvas, at: Point, heading: float, long: float, tone: float) -> None:
    """A leaflet: a dark edge, a lit blade, a vein with its branches."""
    blade = mixed((26, 74, 26), (172, 208, 78), min(1, max(0, tone)))
    wide = 0.16 * long + 0.45

    def outline(size: float) -> list[Point]:
        rim = [(t / 8, sin(pi * (t / 8) ** 0.8) ** 0.75 * wide * size) for t in range(9)]
        middle = [(polar(at, long * (0.5 + (t - 0.5) * size), heading), high) for t, high in rim]
        left = [polar(p, high, heading - 90) for p, high in middle]
        return left + [polar(p, high, heading + 90) for p, high in reversed(middle)]

    canvas.polygon(outline(1.0), mixed(blade, (8, 36, 16), 0.55))
    canvas.polygon(outline(0.86), blade)
    vein = mixed(blade, (232, 240, 150), 0.45)
    canvas.line([at, polar(at, long * 0.9, heading)], vein, 0.25)
    if long > 3:
        for share in (0.25, 0.45, 0.65):
            start = polar(at, long * share, heading)
            for turn in (-42, 42):
                canvas.line([start, polar(start, wide * 0.8, heading + turn)], vein, 0.13)


def undergrowth() -> Image.Image:
    """Greens and browns with discs of light, blurred."""
    rng = random.Random(21)
    ground = Image.new("RGB", (144, 144), (34, 58, 40))
    draw = ImageDraw.Draw(ground, "RGBA")
    shades = ((70, 96, 48), (22, 44, 36), (104, 98, 56), (58, 84, 76), (30, 62, 34))
    for _ in range(60):
        x, y, r = rng.uniform(0, 144), rng.uniform(0, 144), rng.uniform(8, 30)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(*rng.choice(shades), 120))
    ground = ground.filter(ImageFilter.GaussianBlur(9))
    lights = Image.new("RGB", (144, 144))
    draw = ImageDraw.Draw(lights, "RGBA")
    for _ in range(26):
        x, y, r = rng.uniform(0, 144), rng.uniform(0, 120), rng.uniform(3, 9)
        fill = (190, 200, 120, rng.randint(20, 80))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    ground = ImageChops.screen(ground, lights.filter(ImageFilter.GaussianBlur(1.8)))
    return ground.resize((144 * FINE, 144 * FINE), Image.Resampling.BICUBIC)


# The tiles

GROUT = (238, 228, 204)
COBALT, TEAL, OCHRE, RUST = (30, 66, 138), (34, 140, 146), (214, 158, 62), (166, 72, 48)


def tiles() -> Image.Image:
    """Eight-pointed stars and crosses, glazed by hand."""
    canvas = Canvas.plain(128, 96, GROUT)
    rng = random.Random(16)
    for row in range(3):
        for column in range(4):
            x, y = column * 48 - 8, row * 48
            cross_tile(canvas, (x, y), mixed(TEAL, (20, 100, 122), rng.random()))
            star_tile(canvas, (x + 24, y + 24), mixed(COBALT, (48, 84, 160), rng.random()))
    return Canvas.of(glazed(canvas)).shrunk()


def star(center: Point, radius: float, deep: float = 0) -> list[Point]:
    """A star's outline; ``deep`` is the inner radius, by default that of two crossed squares."""
    inner = deep or radius / sqrt(2) / cos(pi / 8)
    return [polar(center, inner if k % 2 else radius, k * 22.5) for k in range(16)]


def star_tile(canvas: Canvas, center: Point, glaze: Color) -> None:
    """A star in a star, with a rosette of petals."""
    canvas.polygon(star(center, 22.6), glaze)
    canvas.polygon(star(center, 19.2), GROUT)
    canvas.polygon(star(center, 17.8), mixed(glaze, (10, 24, 70), 0.45))
    for k in range(8):
        angle = k * 45 + 22.5
        a, b = polar(center, 6.4, angle - 20), polar(center, 6.4, angle + 20)
        petal = [polar(center, 2.7, angle), a, polar(center, 13.4, angle), b]
        canvas.polygon(petal, OCHRE if k % 2 else (240, 208, 132))
        canvas.line([polar(center, 3.3, angle), polar(center, 10.4, angle)], RUST, 0.7)
        canvas.disc(polar(center, 13.4, k * 45), 1.1, (244, 236, 214))
    canvas.polygon(star(center, 6.0), GROUT)
    canvas.polygon(star(center, 4.8), RUST)
    canvas.disc(center, 1.8, (250, 240, 214))


def cross_tile(canvas: Canvas, center: Point, glaze: Color) -> None:
    """A pointed cross with a small star, lines and dots in its arms."""
    canvas.polygon(cross(center, 1.4), glaze)
    canvas.polygon(cross(center, 3.9), GROUT)
    canvas.polygon(cross(center, 4.9), mixed(glaze, (214, 240, 226), 0.22))
    for k in range(4):
        for shift in (-1.9, 0, 1.9):
            start = polar(polar(center, 8.2, k * 90), shift, k * 90 + 90)
            canvas.line([start, polar(start, 3.4 if shift else 6.4, k * 90)], (16, 62, 84), 0.7)
        canvas.disc(polar(center, 18.9, k * 90), 0.9, (246, 238, 214))
    canvas.polygon(star(center, 7.6), GROUT)
    canvas.polygon(star(center, 6.4), OCHRE)
    canvas.polygon(star(center, 4.8, deep=2.0), RUST)
    canvas.disc(center, 1.2, GROUT)


def cross(center: Point, inset: float) -> list[Point]:
    """What four stars around leave free, its edges moved in by ``inset``."""
    arm = 24 * (1 - 1 / sqrt(2)) - inset
    outline: list[Point] = []
    for k in range(4):
        neck = polar(center, 24 / sqrt(2) + inset * (1 - sqrt(2)), k * 90)
        outline.append(polar(center, arm * sqrt(2), k * 90 - 45))
        outline += [polar(neck, arm, k * 90 - 90), polar(neck, arm, k * 90)]
        outline.append(polar(neck, arm, k * 90 + 90))
    return outline


def glazed(canvas: Canvas) -> Pixels:
    """The picture with the uneven sheen of glaze, and dark edges where tile meets grout."""
    pixels = np.asarray(canvas.image, np.float64)
    rng = np.random.default_rng(9)
    cloud = Image.fromarray(rng.normal(0, 1, (24, 32)).astype(np.float32))
    height, width = pixels.shape[:2]
    sheen = np.asarray(cloud.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    x, y = grid(width // FINE, height // FINE)
    light = 1.04 + 0.035 * sheen - 0.16 * ((x / 128 - 0.35) ** 2 + (y / 96 - 0.3) ** 2)
    return pixels * light[..., None]


# The dial

HUB = (60.0, 60.0)
NUMERALS = ("XII", "I", "II", "III", "IIII", "V", "VI", "VII", "VIII", "IX", "X", "XI")
BRASS, INK, STEEL = (196, 154, 84), (38, 34, 40), (36, 58, 120)


def dial() -> Image.Image:
    """A clock's dial: ticks, numerals, an engraved middle, blued hands."""
    canvas = Canvas.of(brass_case())
    ticks(canvas)
    engraving(canvas)
    for hour, numeral in enumerate(NUMERALS):
        canvas.text(
            polar(HUB, 32.6, hour * 30), numeral, INK, 9.6, anchor="ms", bold=0.4, turn=hour * 30
        )
    seconds(canvas)
    hand(canvas, 304, 24, 2.4)
    hand(canvas, 51, 40, 1.7)
    canvas.disc(HUB, 2.4, STEEL)
    canvas.disc(HUB, 1.5, BRASS)
    canvas.disc((59.6, 59.6), 0.6, (252, 236, 190))
    return canvas.shrunk()


def brass_case() -> Pixels:
    """A dark board, a turned brass ring, and an ivory face."""
    x, y = grid(120, 120)
    far = np.hypot(x - HUB[0], y - HUB[1])
    slope = (x - HUB[0] + y - HUB[1]) / np.maximum(far, 1) / sqrt(2)
    wave = np.sin(y * 0.9 + 2.5 * np.sin(x * 0.05) + 0.7 * np.sin(y * 0.21)) * 0.5 + 0.5
    board = ramp(wave, [(0, (58, 34, 26)), (1, (86, 50, 34))])
    board *= (1 - 0.5 * np.exp(-np.maximum(far - 57, 0) / 3))[..., None]
    round_off = (far - 54.5) / 3.5
    shine = np.clip(0.5 - 0.45 * slope * np.sign(round_off) * np.abs(round_off) ** 0.7, 0, 1)
    stops = [(0, (82, 54, 26)), (0.5, BRASS), (0.85, (250, 226, 160)), (1, (255, 248, 216))]
    metal = ramp(shine, stops)
    face = ramp(far, [(0, (250, 246, 234)), (44, (244, 236, 216)), (51, (212, 198, 170))])
    out = np.where((far < 58)[..., None], metal, board)
    return np.where((far < 51)[..., None], face, out)


def ticks(canvas: Canvas) -> None:
    """A minute track between two circles, with half minutes and dots at the hours."""
    canvas.ring(HUB, 49.2, INK, 0.35)
    canvas.ring(HUB, 44.2, INK, 0.35)
    for k in range(120):
        inner, width = (44.2, 1.0) if k % 10 == 0 else (45.6, 0.6) if k % 2 == 0 else (47.2, 0.4)
        canvas.line([polar(HUB, inner, k * 3), polar(HUB, 49.1, k * 3)], INK, width)
    for k in range(12):
        diamond = [polar(polar(HUB, 42.4, k * 30), 1.2, k * 30 + a) for a in (0, 90, 180, 270)]
        canvas.polygon(diamond, (168, 52, 44) if k == 0 else INK)


def engraving(canvas: Canvas) -> None:
    """Interlaced circles, as a rose engine cuts them."""
    for k in range(24):
        canvas.ring(polar(HUB, 13.5, k * 15), 14.5, (158, 138, 104), 0.32)
    canvas.ring(HUB, 29.6, BRASS, 0.9)
    canvas.ring(HUB, 28.2, (120, 92, 56), 0.3)


def seconds(canvas: Canvas) -> None:
    """The small dial of the seconds."""
    center = (60.0, 76.5)
    canvas.disc(center, 9.4, (120, 92, 56))
    canvas.disc(center, 9.0, (248, 242, 226))
    for k in range(24):
        inner = 6.2 if k % 6 == 0 else 7.2
        canvas.line([polar(center, inner, k * 15), polar(center, 8.5, k * 15)], INK, 0.4)
    canvas.line([polar(center, -2.5, 222), polar(center, 7.4, 222)], (176, 44, 40), 0.45)
    canvas.disc(center, 0.8, (176, 44, 40))


def hand(canvas: Canvas, angle: float, length: float, width: float) -> None:
    """A leaf-shaped hand with an eye in it."""
    tail = polar(HUB, -6, angle)
    middle = polar(HUB, length * 0.62, angle)
    for shift, color in (((0.8, 1.0), (110, 100, 90, 110)), ((0.0, 0.0), STEEL)):
        shape = [tail, polar(middle, width, angle - 90), polar(HUB, length, angle)]
        shape.append(polar(middle, width, angle + 90))
        canvas.polygon([(x + shift[0], y + shift[1]) for x, y in shape], color)
    canvas.line([tail, polar(HUB, length * 0.95, angle)], (104, 134, 204), 0.35)
    canvas.disc(middle, width * 0.55, (246, 240, 222))


# The picture that lies on its side


def turned() -> Image.Image:
    """An arrow and the word UP, as a camera held upright stores them: on their side."""
    _, y = grid(64, 96)
    canvas = Canvas.of(ramp(y / 96, [(0, (70, 130, 190)), (0.6, (176, 212, 226)), (1, GROUT)]))
    for k in range(24):
        ends = [polar((32, 40), 90, k * 15 - 2), polar((32, 40), 90, k * 15 + 2)]
        canvas.polygon([(32, 40), *ends], (255, 255, 255, 46))
    arrow = [(32, 8), (54, 34), (41, 34), (41, 64), (23, 64), (23, 34), (10, 34)]
    canvas.polygon([(x + 1.4, y + 1.8) for x, y in arrow], (30, 40, 70, 110))
    canvas.polygon(arrow, (250, 244, 228))
    inner = [(32, 11.2), (50, 32.4), (39.4, 32.4), (39.4, 62.4), (24.6, 62.4), (24.6, 32.4)]
    canvas.polygon([*inner, (14, 32.4)], (204, 66, 48))
    for row in range(5):
        y0 = 59.5 - row * 5.5
        canvas.line([(26, y0), (32, y0 - 2.5), (38, y0)], (250, 214, 170), 1.1)
    canvas.text((32, 90), "UP", (36, 44, 74), 25, anchor="ms", bold=1.6)
    return canvas.shrunk().transpose(Image.Transpose.ROTATE_90)


def main() -> None:
    """Write all of them."""
    (PICTURES / "nested" / "deep").mkdir(parents=True, exist_ok=True)
    harbour().save(PICTURES / "harbour.png", optimize=True)
    lettering().save(PICTURES / "lettering.png", optimize=True)
    leaf().save(PICTURES / "leaf.jpg", quality=92)
    tiles().save(PICTURES / "nested" / "tiles.webp", quality=90)
    dial().save(PICTURES / "nested" / "deep" / "dial.tiff", compression="tiff_lzw")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned().save(PICTURES / "turned.jpg", quality=92, exif=exif)


if __name__ == "__main__":
    main()
