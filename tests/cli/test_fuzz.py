"""Damaged pictures through all of `lapsr upscale`: each costs one line, and nothing else.

Deselected by default: it takes two minutes, and what it finds depends on chance.
"""

from __future__ import annotations

import io
import json
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from tests import drawn_files
from tests.conftest import PICTURES

pytestmark = [pytest.mark.fuzz, pytest.mark.linux]

SECONDS = 120
PATIENCE = 60
"""Seconds for one run of up to eight small pictures, on a busy machine."""
MEMORY = 4 << 30

SCALE = 2
LIMITS = ("--max-pixels", "500k", "--memory", "1G", "--offline")

WORKER = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]), int(sys.argv[1])))
from lapsr_cli import cli
for line in sys.stdin:
    sys.argv = ["lapsr", *json.loads(line)]
    print(cli.run(), flush=True)
"""

TELLING = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 1 << 24, 0x7FFFFFFF, 0xFFFFFFFF]
"""Integers at which sizes, counts and offsets go wrong."""
ORDERS: st.SearchStrategy[Any] = st.sampled_from(["big", "little"])


def encoded(form: str, mode: str, **options: Any) -> bytes:
    """A small picture of noise in a format."""
    pixels = np.random.default_rng(0).integers(0, 256, (18, 24, 4), np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@cache
def originals() -> dict[str, bytes]:
    """Whole pictures of every readable format and of the kinds that have code of their own."""
    found = {p.name: p.read_bytes() for p in sorted(PICTURES.rglob("*.*")) if p.is_file()}
    found |= {f"{mode}.png": encoded("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")}
    found |= {f"{mode}.jpg": encoded("JPEG", mode) for mode in ("L", "RGB", "CMYK")}
    found |= {f"{mode}.bmp": encoded("BMP", mode) for mode in ("1", "P", "RGB", "RGBA")}
    for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        found[f"{name}.tif"] = encoded("TIFF", "RGB", compression=name)
    others = [Image.new("RGB", (24, 18), colour) for colour in ("red", "blue")]
    for suffix, form in ((".gif", "GIF"), (".webp", "WEBP"), (".png", "PNG"), (".avif", "AVIF")):
        moving = {"save_all": True, "append_images": others, "duration": 50}
        found[f"moving{suffix}"] = encoded(form, "RGB", **moving)
    found["pages.tif"] = encoded("TIFF", "RGB", save_all=True, append_images=others)
    found["big.tif"] = encoded("TIFF", "RGBA", big_tiff=True)
    found["lossless.webp"] = encoded("WEBP", "RGBA", lossless=True)
    found["still.avif"] = encoded("AVIF", "RGBA")
    said = {"exif": drawn_files.exif(), "icc_profile": drawn_files.icc(), "xmp": drawn_files.xmp()}
    found |= {
        f"said.{form.lower()}": encoded(form, "RGB", **said) for form in ("JPEG", "WEBP", "AVIF")
    }
    deep = np.random.default_rng(0).integers(0, 65536, (18, 24, 3), np.uint16)
    told = ((b"iCCP", b"icc\0\0" + zlib.compress(drawn_files.icc())), (b"eXIf", drawn_files.exif()))
    found["deep.png"] = drawn_files.png(deep, *told)
    pillow_heif = pytest.importorskip("pillow_heif")
    heic = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray((deep >> 8).astype(np.uint8))).save(heic)
    return found | {"still.heic": heic.getvalue()}


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """The name and the bytes of a picture with one to four defects."""
    name = draw(st.sampled_from(sorted(originals())))
    data = originals()[name]
    for _ in range(draw(st.integers(1, 4))):
        data = with_a_defect(draw, data)
    if name.endswith(".png") and draw(st.booleans()):
        data = with_checksums(data)  # or nothing else of it is looked at
    return name, data


def with_a_defect(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, min(200, len(data))) | st.integers(0, len(data)))  # often in a header
    length = draw(st.integers(1, 8) | st.integers(1, 1 + len(data) // 2))
    before, part, after = data[:at], data[at : at + length], data[at + length :]
    match draw(st.sampled_from(["bit", "number", "truncated", "left out", "twice", "spliced"])):
        case "bit":
            flipped = bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in part[:1])
            return before + flipped + data[at + 1 :]
        case "number":
            size = draw(st.sampled_from([1, 2, 4]))
            value = draw(st.sampled_from(TELLING)) % (1 << 8 * size)
            return before + value.to_bytes(size, draw(ORDERS)) + data[at + size :]
        case "truncated":
            return before
        case "left out":
            return before + after
        case "twice":
            return before + part + part + after
    other = originals()[draw(st.sampled_from(sorted(originals())))]
    start = draw(st.integers(0, len(other)))
    return before + other[start : start + length] + after


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums that belong to them."""
    result, at = data[:8], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        result += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return result + data[at:]


class Worker:
    """A process that runs lapsr again and again, with little memory; a new one if it ends."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def run(self, *arguments: str) -> tuple[int, str]:
        """The exit code, and what was printed to stderr."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", WORKER, str(MEMORY)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log.open("a"),
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.truncate(self._log, 0)
        timer = Timer(PATIENCE, self._process.kill)
        timer.start()
        print(json.dumps(arguments), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        timer.cancel()
        err = self._log.read_text(errors="backslashreplace")
        assert answer, f"ended with {self.close()}: {err}"
        return int(answer), err

    def close(self) -> int:
        """End the process, if there is one."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.kill()  # of no effect if it has ended
        process.communicate()
        return process.returncode


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    (tmp_path / "log").touch()
    worker = Worker(tmp_path / "log")
    yield worker
    worker.close()


def check(worker: Worker, folder: Path, tiny: Path, pictures: list[tuple[str, bytes]]) -> None:
    """Upscale the pictures, and compare what is said with what is there."""
    folder.mkdir()
    for index, (name, data) in enumerate(pictures):
        (folder / f"{index}{Path(name).suffix}").write_bytes(data)
    out, report = folder / "out", folder / "report.json"
    given = ("-o", str(out), "-m", str(tiny), "-s", str(SCALE), "--report", str(report), *LIMITS)
    code, err = worker.run("upscale", str(folder), *given)
    assert code in (0, 1), (code, err)
    assert report.exists(), err
    stored = json.loads(report.read_text())["pictures"]
    assert len(stored) == len(pictures)
    failed = [each["message"] for each in stored if each["status"] == "failed"]
    assert code == bool(failed)
    assert sorted(f"failed: {message}" for message in failed) == sorted(
        line for line in err.splitlines() if line.startswith("failed: ")
    ), err
    starts = ("failed: ", "warning: ", "model: ", "device: ", f"{len(pictures) - len(failed)} done")
    assert [line for line in err.splitlines() if not line.startswith(starts)] == []
    for each in stored:
        if each["status"] == "failed":
            assert each["message"].startswith((each["source"], str(out))), each
        for output in each["outputs"]:
            with Image.open(output["path"]) as image:
                image.load()
                assert image.size == (output["width"], output["height"])
            with suppress(UnidentifiedImageError), Image.open(each["source"]) as image:  # not HEIC
                expected = {SCALE * side for side in image.size}  # which orientation may turn
                assert {output["width"], output["height"]} == expected
    promised = {output["path"] for each in stored for output in each["outputs"]}
    assert {str(path) for path in out.iterdir() if path.name != ".lapsr"} == promised
    assert not list(out.rglob("*.part"))


def test_damaged_pictures_for_two_minutes(worker: Worker, tmp_path: Path, tiny: Path) -> None:
    end = time.monotonic() + SECONDS
    first = random.randrange(1 << 32)
    runs = 0

    def once(pictures: list[tuple[str, bytes]]) -> None:
        nonlocal runs
        runs += 1
        check(worker, tmp_path / str(runs), tiny, pictures)

    while time.monotonic() < end:
        fuzz = given(st.lists(damaged(), min_size=1, max_size=8))(once)
        limited = settings(
            max_examples=20,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        seed(first + runs)(limited(fuzz))()
    assert runs > 0
