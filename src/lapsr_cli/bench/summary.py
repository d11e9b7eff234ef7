"""Means over the pictures of a dataset, as in the papers' tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from lapsr_cli.bench.results import Quality

__all__ = ["Mean", "means"]


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Mean PSNR in dB, SSIM, IFC and seconds over a dataset at one scale, for one method.

    ``ifc``, ``seconds``: None if any picture has none: a mean of the others would not be
    comparable.
    """

    method: str
    dataset: str
    scale: int
    pictures: int
    psnr: float
    ssim: float
    ifc: float | None
    seconds: float | None


def means(qualities: Iterable[Quality]) -> list[Mean]:
    """One mean for each dataset, scale and method; datasets and methods in order of appearance."""
    groups: dict[tuple[str, int, str], list[Quality]] = {}
    for each in qualities:
        groups.setdefault((each.dataset, each.scale, each.method), []).append(each)
    datasets = list(dict.fromkeys(dataset for dataset, _, _ in groups))
    ordered = sorted(groups, key=lambda key: (datasets.index(key[0]), key[1]))
    return [_mean(key, groups[key]) for key in ordered]


def _mean(key: tuple[str, int, str], group: Sequence[Quality]) -> Mean:
    dataset, scale, method = key
    return Mean(
        method=method,
        dataset=dataset,
        scale=scale,
        pictures=len(group),
        psnr=fmean(each.psnr for each in group),
        ssim=fmean(each.ssim for each in group),
        ifc=_all_or_none([each.ifc for each in group]),
        seconds=_all_or_none([each.seconds for each in group]),
    )


def _all_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None
