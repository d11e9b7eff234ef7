"""A limit on the bytes of pictures held at a time; threads wait for their share."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

__all__ = ["Budget"]


class Budget:
    """Bytes that threads take and give back.

    A request for more than the total is granted when nothing else is held.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._held = 0
        self._changed = Condition()

    def take(self, amount: int, given_up: Callable[[], bool]) -> bool:
        """Wait until ``amount`` is free and take it; False if ``given_up`` returns True first."""
        with self._changed:
            while self._held and self._held + amount > self.total:
                if given_up():
                    return False
                self._changed.wait(0.1)
            self._held += amount
            return True

    def give(self, amount: int) -> None:
        """Give back what was taken."""
        with self._changed:
            self._held -= amount
            self._changed.notify_all()
