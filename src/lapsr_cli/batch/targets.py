"""Requested sizes, and the enlargement that each is made from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from lapsr_cli.errors import UsageError
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.pixels.picture import Size

__all__ = ["LARGEST_CASCADE", "Pass", "Target", "enlargement", "passes"]

LARGEST_CASCADE = 64

_LONGEST = 2**31 - 1
"""Pixels per side of any format (PNG)."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A requested size: a scale, or a box in pixels that the picture is fitted into.

    ``scale``: a decimal, as given. ``width``, ``height``: of the box, either or both;
    ``long_edge``: of the longer side. Raises UsageError, naming the flag.
    """

    scale: str = ""
    width: int | None = None
    height: int | None = None
    long_edge: int | None = None

    def __post_init__(self) -> None:
        if self.scale:
            self._fraction()
        for flag in ("width", "height", "long_edge"):
            value = getattr(self, flag)
            if value is not None and not 1 <= value <= _LONGEST:
                given = f"--{flag.replace('_', '-')} {value}"
                raise UsageError(f"{given}: must be from 1 to {_LONGEST}")
        if not self.scale and not self._bounds:
            raise UsageError("-s/--scale: name at least one scale")

    def _fraction(self) -> Fraction:
        try:
            if 1 <= float(self.scale) <= LARGEST_CASCADE:  # else 1e999999999 takes all memory
                return Fraction(self.scale)
        except ValueError:
            pass
        raise UsageError(
            f"-s/--scale {self.scale}: must be a list of numbers from 1 to {LARGEST_CASCADE},"
            " as in 2,4,8"
        )

    @property
    def _bounds(self) -> dict[str, int]:
        found = {"w": self.width, "h": self.height, "e": self.long_edge}
        return {letter: value for letter, value in found.items() if value is not None}

    @property
    def label(self) -> str:
        """The value of {scale} in names: "2", "2.5", "w1920", "w1920h1080", "e4000"."""
        if self.scale:
            value = self._fraction()
            return str(value) if value.denominator == 1 else f"{float(value):g}"
        return "".join(f"{letter}{value}" for letter, value in self._bounds.items())

    def factor(self, size: Size) -> Fraction:
        """Size of the result relative to ``size``; less than 1 if it is smaller."""
        if self.scale:
            return self._fraction()
        sides = {"w": size.width, "h": size.height, "e": max(size.height, size.width)}
        return min(Fraction(value, sides[letter]) for letter, value in self._bounds.items())

    def size(self, size: Size) -> Size:
        """Size of the result for an input of ``size``."""
        return size.times(self.factor(size))


def enlargement(factor: Fraction, scales: Sequence[int]) -> int:
    """The smallest enlargement that reaches ``factor``: 1 (none), one of ``scales``, or the largest
    of them times the enlargement of a second pass."""
    if factor <= 1:
        return 1
    sufficient = [scale for scale in scales if scale >= factor]
    if sufficient:
        return min(sufficient)
    return max(scales) * enlargement(factor / max(scales), scales)


class Pass(NamedTuple):
    """One pass of the network, to ``scales``, on a picture of ``multiple`` times the input's
    size."""

    multiple: int
    scales: tuple[int, ...]

    @property
    def largest(self) -> int:
        """The multiple of the input's size that its largest result has."""
        return self.multiple * self.scales[-1]

    def operations(self, config: PyramidConfig) -> int:
        """The network's operations per pixel of the input."""
        return self.multiple**2 * config.operations(self.scales[-1])


def passes(enlargements: Collection[int], scales: Sequence[int]) -> tuple[Pass, ...]:
    """The passes that make every one of ``enlargements``, as ``enlargement`` returns them: none if
    all are 1, more than one in a cascade."""
    found: list[Pass] = []
    multiple = 1
    while missing := {each // multiple for each in enlargements if each > multiple}:
        found.append(Pass(multiple, tuple(sorted({min(e, max(scales)) for e in missing}))))
        multiple = found[-1].largest
    return tuple(found)
