"""How far a run is, and how long the rest of it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapsr_cli.batch.estimate import Work
from lapsr_cli.batch.pipeline import ENCODERS
from lapsr_cli.batch.report import Outcome

__all__ = ["RunProgress"]

_LEAST_SHARE, _LEAST_SECONDS = 0.005, 1.0
"""Of the network's work: what must have been timed before its speed is used, either of them."""
_BURST = 0.1
"""Seconds in which the news of one pass comes, for all of its pictures."""
_ROUNDING = 1e-9
_FASTEST_ENCODER = 0.7
"""Times the seconds of `Work`."""


@dataclass(eq=False)
class _InHand:
    """A picture that has begun. ``share``: of the network's work on it; ``ready_since``: when
    that was done, and it could be written."""

    work: Work
    share: float = 0.0
    ready_since: float = math.inf


class RunProgress:
    """Progress of a run over the pictures of ``works``, each of which counts by its work.

    The network's speed is measured from its first news on, so that starting up does not count; that
    of the encoders, on the pictures that did not wait for one. To be called from one thread.
    ``clock``: in seconds.
    """

    def __init__(
        self, works: Mapping[Path, Work], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.pictures = len(works)
        self.done = self.failed = 0
        self._clock = clock
        self._started = clock()
        self._waiting = dict(works)
        self._in_hand: dict[Path, _InHand] = {}
        self._network = sum(work.network for work in works.values())
        self._encoding = sum(work.encoding for work in works.values())
        self._network_done = self._encoding_done = self._pixels_done = 0.0
        self._first_news: float | None = None
        self._timed_since = self._latest = (0.0, 0.0)  # when, and what the network had done
        self._encoders_took = self._encoders_expected = 0.0

    def advance(self, source: Path, share: float) -> None:
        """Take in that ``share`` (0-1) of the network's work on a picture is done."""
        now = self._clock()
        if source in self._waiting:
            self._in_hand[source] = _InHand(self._waiting.pop(source))
        picture = self._in_hand[source]
        step, picture.share = share - picture.share, share
        if share == 1:
            picture.ready_since = now
        self._network_done += step * picture.work.network
        self._pixels_done += step * picture.work.pixels
        self._first_news = now if self._first_news is None else self._first_news
        self._latest = now, self._network_done
        if now < self._first_news + _BURST:
            self._timed_since = self._latest

    def settle(self, outcome: Outcome) -> None:
        """Take in what became of a picture."""
        self.done += outcome.status == "done"
        self.failed += outcome.status == "failed"
        unread = self._waiting.pop(outcome.source, None)
        if unread is not None:  # there is less to do than expected
            self._network -= unread.network
            self._encoding -= unread.encoding
            return
        waited = self.writing > ENCODERS
        picture = self._in_hand.pop(outcome.source)
        self._network_done += (1 - picture.share) * picture.work.network
        self._encoding_done += picture.work.encoding
        if picture.share == 1 and not waited:
            self._encoders_took += self._clock() - picture.ready_since
            self._encoders_expected += picture.work.encoding

    @property
    def share(self) -> float:
        """Of the work that is done, 0 to 1, rising."""
        if not self._waiting and not self._in_hand:
            return 1.0
        total = self._network + self._encoding
        return (self._network_done + self._encoding_done) / total if total else 0.0

    @property
    def writing(self) -> int:
        """Pictures of which only the writing is left."""
        return sum(picture.share == 1 for picture in self._in_hand.values())

    @property
    def is_only_writing(self) -> bool:
        """Whether that is the state of all pictures that are left."""
        return not self._waiting and 0 < self.writing == len(self._in_hand)

    @property
    def megapixels_per_second(self) -> float:
        """Of the output, since the start."""
        return self._pixels_done / 1e6 / (self._clock() - self._started)

    @property
    def seconds_left(self) -> float | None:
        """None until the speed of the network is known."""
        if not self._waiting and not self._in_hand:
            return 0.0
        network = self._network_slowness()
        if network is None:
            return None
        encoding = self._encoding_slowness(network)
        in_hand = self._in_hand.values()
        computing = network * sum((1 - each.share) * each.work.network for each in in_hand)
        writing = self._seconds_to_write(encoding)
        waiting = encoding * sum(work.encoding for work in self._waiting.values())
        last = next(reversed(self._waiting.values())).encoding if self._waiting else 0.0
        # Which of them is the latest depends on sizes, and on how fast encoders and network are.
        return max(
            computing + max(*writing, 0.0, sum(writing) / ENCODERS),
            network * (self._network - self._network_done) + encoding * last,
            (sum(writing) + waiting) / ENCODERS,
        )

    def _network_slowness(self) -> float | None:
        """How many times the seconds of `Work` the network takes; None until that is known."""
        (began, before), (now, done) = self._timed_since, self._latest
        share, seconds = (done - before) / self._network if self._network else 0, now - began
        if share >= _LEAST_SHARE or (share > 0 and seconds >= _LEAST_SECONDS):
            return seconds / (done - before)
        nothing_left = self._network - done <= _ROUNDING * self._network
        return 1.0 if self._first_news is not None and nothing_left else None

    def _encoding_slowness(self, network: float) -> float:
        """The same of an encoder. Until it is measured, derived from that of the network: more
        cores, wider vectors or a GPU do little for an encoder, and other work harms it less."""
        if not self._encoders_expected:
            return max(_FASTEST_ENCODER, math.sqrt(network))
        return self._encoders_took / self._encoders_expected

    def _seconds_to_write(self, slowness: float) -> list[float]:
        """Of each picture in hand. Encoders are at work on those that have waited longest."""
        now = self._clock()
        by_wait = sorted(self._in_hand.values(), key=lambda each: each.ready_since)
        seconds: list[float] = []
        for number, each in enumerate(by_wait):
            spent = now - each.ready_since if number < ENCODERS else 0.0
            seconds.append(max(0.0, slowness * each.work.encoding - max(0.0, spent)))
        return seconds

    def to_json(self) -> dict[str, Any]:
        """The line of docs/report.md."""
        left = self.seconds_left
        return {
            "status": "progress",
            "share": round(self.share, 3),
            "seconds_left": None if left is None else round(left, 1),
            "pictures": self.pictures,
            "done": self.done,
            "failed": self.failed,
            "writing": self.writing,
        }
