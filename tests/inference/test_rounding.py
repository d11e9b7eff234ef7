"""How far results may differ between runs that compute the same: one level in single samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lapsr_cli.inference.batching import Task
from lapsr_cli.inference.tiler import TileOptions
from lapsr_cli.pixels.picture import Picture, Samples
from lapsr_cli.upscaler import Upscaler


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def smooth_noise(height: int, width: int, kind: type[np.uint8 | np.uint16], seed: int) -> Picture:
    """Of which nearly every sample of a result lies between two levels."""
    coarse = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0, 0]
    return Picture((fine.clamp(0, 1) * np.iinfo(kind).max).numpy().astype(kind))


@cache
def upscaler(tile: int | None) -> Upscaler:
    return Upscaler.from_weights("lapsr-classic", device="cpu", tiling=TileOptions(tile=tile))


def enlarged(
    picture: Picture, scales: Sequence[int], *, count: int, tile: int | None, cores: int
) -> Samples:
    """To 2x, as the last of several in one pass."""
    runs = upscaler(tile)
    with threads(cores):
        *_, result = runs.stream(
            Task(number, picture, tuple(scales), runs.name) for number in range(count)
        )
    return result.pyramid[2].pixels


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@settings(max_examples=4)
@given(data=st.data())
def test_scales_threads_batches_and_tiles_change_no_sample_by_more_than_a_level(
    kind: type[np.uint8 | np.uint16], data: st.DataObject
) -> None:
    """In fp32. The sizes are such that one run computes whole maps and the other strips of rows, or
    both strips of unequal heights."""
    height, width = data.draw(st.integers(60, 130)), data.draw(st.integers(60, 130))
    picture = smooth_noise(height, width, kind, data.draw(st.integers(0, 99)))
    alone = enlarged(picture, [2], count=1, tile=None, cores=1)
    other = enlarged(
        picture,
        data.draw(st.sampled_from([[2], [2, 4]])),
        count=data.draw(st.integers(1, 3)),
        tile=data.draw(st.sampled_from([None, 50])),
        cores=2,
    )
    assert np.abs(alone.astype(int) - other).max() <= 1
