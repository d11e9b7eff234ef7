"""Bytes that are expected of results, against those that are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lapsr_cli.batch.estimate import survey
from lapsr_cli.batch.file_sizes import expected_bytes
from lapsr_cli.batch.limits import Limits
from lapsr_cli.batch.pipeline import run
from lapsr_cli.batch.planning import Selection, plan
from lapsr_cli.batch.targets import Target
from lapsr_cli.image_io import Encoding
from lapsr_cli.image_io.photo import Header, HeaderPart
from lapsr_cli.upscaler import Upscaler

PHOTOGRAPHS = ("img_001.png", "img_006.png", "img_009.png", "img_012.png")


@pytest.mark.parametrize("inputs", ["png", "jpg"])
def test_expected_bytes_are_those_that_are_written(
    shared: Callable[[str], Path], tmp_path: Path, inputs: str
) -> None:
    """Of four photographs together, within 30 %, in every format."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in PHOTOGRAPHS:
        with Image.open(shared(f"data/test/Set14/{name}")) as image:
            part = image.convert("RGB").crop((60, 60, 252, 252))
        part.save(folder / f"{Path(name).stem}.{inputs}", quality=88)
    upscaler = Upscaler.from_weights(device="cpu", offline=True)
    for form in ("jpg", "png", "webp", "avif", "tiff", "gif"):
        chosen = Selection(
            inputs=(str(folder),), output=tmp_path / form, targets=(Target(scale="2"),), form=form
        )
        jobs = plan(chosen).jobs
        expected = survey(jobs, upscaler, Limits(), Encoding()).bytes
        outputs = [o for outcome in run(jobs, [upscaler], chosen) for o in outcome.outputs]
        assert len(outputs) == 4
        assert expected == pytest.approx(sum(each.bytes for each in outputs), rel=0.3), form


HEADERS = st.builds(
    Header,
    form=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "HEIF"]),
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    channels=st.integers(1, 4),
    depth=st.sampled_from([8, 16]),
    parts=st.builds(lambda frames: (HeaderPart(frames, 0, 0),), st.integers(1, 3)),
)


@given(
    header=HEADERS,
    source_bytes=st.integers(1, 10**9),
    form=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP"]),
    quality=st.integers(1, 99),
    growth=st.integers(1, 8),
    lossless=st.booleans(),
)
def test_more_quality_and_more_pixels_take_more_bytes(
    header: Header, source_bytes: int, form: str, quality: int, growth: int, lossless: bool
) -> None:
    """Whatever a header says, even if the file is much too small or too large for it."""

    def expected(quality: int, growth: int) -> int:
        pixels = header.height * header.width * header.frames * growth**2
        encoding = Encoding(quality=quality, lossless=lossless)
        return expected_bytes(source_bytes, header, form, pixels, encoding)

    assert 0 <= expected(quality, growth) <= expected(quality + 1, growth)
    assert expected(quality, growth) <= expected(quality, growth + 1) + 1
