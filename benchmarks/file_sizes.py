"""Bytes of upscaled files, and how well they are predicted from the bytes of their inputs.

    python benchmarks/file_sizes.py DIR... [--crop 128] [--every 20] [--rows rows.json] [-m MODEL]

The middle of every picture is saved as PNG, JPEG and WebP of several qualities, upscaled to 2x and
4x, and written in every format. Of bits per sample, the logarithm to base 2 is fitted by least
squares:

    output = constant + slope * input + growth * log2(scale) + colour (0 for grey pictures)
        + step * log2(mean quantization step of a JPEG) + modern (0 for JPEG)

with a constant for each quality, and separately for inputs without loss, which have neither of the
last two. Half of the pictures, drawn at random, make the fit. The table has its coefficients and
the errors on the other half: the median, and the 90th percentile; then, for each input, that of all
pictures together. --rows keeps the measurements in a file; pictures that are in it already are not
measured again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lapsr_cli import image_io
from lapsr_cli.image_io import Encoding
from lapsr_cli.inference.batching import Task
from lapsr_cli.upscaler import Upscaler

SCALES = (2, 4)
INPUTS = (
    ("png", 0),
    *(("jpg", quality) for quality in (60, 75, 85, 90, 95)),
    *(("webp", quality) for quality in (75, 90)),
)
"""Suffix and quality."""
FULLY_MEASURED = (("png", 0), ("jpg", 90))
"""Inputs with outputs of every quality; others have only the highest below 100."""
OUTPUTS = {
    "JPEG": (".jpg", (50, 75, 85, 95, 100)),
    "WEBP": (".webp", (50, 75, 85, 95, 100)),
    "AVIF": (".avif", (50, 75, 95, 100)),
    "PNG": (".png", (0,)),
    "TIFF": (".tif", (0,)),
    "GIF": (".gif", (0,)),
    "WEBP lossless": (".webp", (0,)),
}
"""By name: the suffix, and the qualities; 0 where there is none."""


@dataclass(frozen=True)
class Row:
    """One file that was written. Bits are per sample. ``step``: 0 if the input is no JPEG."""

    picture: str
    input: str
    colour: bool
    step: float
    scale: int
    form: str
    quality: int
    bits_in: float
    bits_out: float


def measured(path: Path, crop: int, upscaler: Upscaler) -> Iterator[Row]:
    """Every output of one picture."""
    with Image.open(path) as image:
        colour = image.mode not in ("1", "L", "I;16", "LA")
        picture = image.convert("RGB" if colour else "L")
    width, height = (min(crop, side) for side in picture.size)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    part = picture.crop((left, top, left + width, top + height))
    samples = width * height * (3 if colour else 1)
    with tempfile.TemporaryDirectory() as folder:
        for suffix_in, quality_in in INPUTS:
            source = Path(folder) / f"in.{suffix_in}"
            part.save(source, quality=quality_in)
            photo, header = image_io.read(source), image_io.probe(source)
            bits_in = 8 * source.stat().st_size / samples
            task = Task(None, photo.frames[0], SCALES, upscaler.model_for(lossy=photo.lossy))
            (result,) = upscaler.stream([task])
            for scale, enlarged in result.pyramid.items():
                for form, quality, encoding in encodings(suffix_in, quality_in):
                    target = Path(folder) / f"out{OUTPUTS[form][0]}"
                    image_io.write(replace(photo, frames=(enlarged,)), target, encoding)
                    bits = 8 * target.stat().st_size / (samples * scale**2)
                    name = f"{suffix_in} {quality_in}" if quality_in else suffix_in
                    step = header.quantization
                    yield Row(path.name, name, colour, step, scale, form, quality, bits_in, bits)


def encodings(suffix: str, quality_in: int) -> Iterator[tuple[str, int, Encoding]]:
    """The outputs that are measured for an input: format, quality, options."""
    for form, (_, qualities) in OUTPUTS.items():
        for quality in qualities:
            if (suffix, quality_in) in FULLY_MEASURED or quality in (0, 95):
                options = Encoding(quality=quality or 95, lossless=form.endswith("lossless"))
                yield form, quality, options


def features(rows: Sequence[Row], qualities: Sequence[int]) -> NDArray[np.float64]:
    """(rows, qualities + 5): one column per quality, then input, scale, colour, step, modern."""
    return np.array(
        [
            [float(row.quality == quality) for quality in qualities]
            + [np.log2(row.bits_in), np.log2(row.scale), float(row.colour)]
            + [np.log2(row.step) if row.step else 0.0, float(row.input.startswith("webp"))]
            for row in rows
        ]
    )


def fit(rows: Sequence[Row], qualities: Sequence[int]) -> NDArray[np.float64]:
    """The coefficients, in the order of the features."""
    targets = np.log2([row.bits_out for row in rows])
    return np.asarray(np.linalg.lstsq(features(rows, qualities), targets, rcond=None)[0])


def line(form: str, lossy: bool, rows: Sequence[Row]) -> str:
    """One row of the table: fitted to half of the pictures, judged on the rest."""
    qualities = OUTPUTS[form][1]
    pictures = sorted({row.picture for row in rows})
    drawn = set(np.random.default_rng(0).permutation(pictures)[: (len(pictures) + 1) // 2])
    fitted = [row for row in rows if row.picture in drawn]
    held_out = [row for row in rows if row.picture not in drawn]
    coefficients = fit(fitted, qualities)
    predicted = 2 ** (features(held_out, qualities) @ coefficients)
    actual = np.array([row.bits_out for row in held_out])
    errors = np.abs(predicted / actual - 1)
    sums = []
    for name in dict.fromkeys(row.input for row in held_out):
        of_input = np.array([row.input == name for row in held_out])
        sums.append(f"{name} {predicted[of_input].sum() / actual[of_input].sum() - 1:+.0%}")
    cells = [
        f"{form}, {'lossy' if lossy else 'lossless'} input",
        " ".join(f"{each:.2f}" for each in coefficients[: len(qualities)]),
        *(f"{each:.2f}" for each in coefficients[len(qualities) :]),
        f"{np.median(errors):.0%}",
        f"{np.quantile(errors, 0.9):.0%}",
        ", ".join(sums),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("-m", "--model")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture of a folder")
    parser.add_argument("--rows", type=Path)
    options = parser.parse_args()
    rows: list[Row] = []
    if options.rows and options.rows.exists():
        rows = [Row(**each) for each in json.loads(options.rows.read_text())]
    known = {row.picture for row in rows}
    paths = [p for f in options.folders for p in sorted(f.glob("*.*"))[:: options.every]]
    upscaler = Upscaler.from_weights(options.model, device="cpu")
    for path in paths:
        if path.name not in known:
            rows += measured(path, options.crop, upscaler)
            if options.rows:
                options.rows.write_text(json.dumps([asdict(row) for row in rows]))
    print("| output | constants | slope | growth | colour | step | modern | median | 90 % | all |")
    print("|---|" + "---|" * 9)
    for form in OUTPUTS:
        for lossy in (False, True):
            chosen = [r for r in rows if r.form == form and (r.input != "png") == lossy]
            print(line(form, lossy, chosen))


if __name__ == "__main__":
    main()
