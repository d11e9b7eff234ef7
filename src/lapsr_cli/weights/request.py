"""A request for a file over HTTP that can be left at any time.

It runs in a thread of its own, because no timeout of a socket ends the wait for a server that sends
its headers, or a block of its body, a byte at a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    import requests

__all__ = ["Request"]

_BLOCK = 1 << 12  # bytes; at most one block is lost when a connection breaks


class Request:
    """GET of ``url``. ``timeout``: seconds to connect, and without a byte.

    Both methods raise what requests raises, and ValueError for an address that is none.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float) -> None:
        self.ended = False
        self._response: requests.Response | None = None
        self._arrived: SimpleQueue[requests.Response | bytes | Exception] = SimpleQueue()
        self._left = Event()
        Thread(target=self._run, args=(url, headers, timeout), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._left.set()
        if self._response is not None:
            with suppress(ValueError, RuntimeError, OSError):  # it may have ended by itself
                self._response.raw.shutdown()

    def response(self, until: float) -> requests.Response:
        """The status and the headers. Raises Empty if they have not come by then."""
        self._response = self._next(until)
        return self._response

    def blocks(self, until: float) -> Iterator[bytes]:
        """What comes of the body by then. Afterwards ``ended`` tells whether that was all."""
        with suppress(Empty):
            while block := self._next(until):
                yield block
            self.ended = True

    def _next(self, until: float) -> Any:
        arrived = self._arrived.get(timeout=max(0, until - time.monotonic()))
        if isinstance(arrived, Exception):
            raise arrived
        return arrived

    def _run(self, url: str, headers: Mapping[str, str], timeout: float) -> None:
        import requests

        try:
            with requests.get(url, headers=headers, timeout=timeout, stream=True) as response:
                self._arrived.put(response)
                for block in response.iter_content(_BLOCK):
                    if self._left.is_set():
                        return
                    self._arrived.put(block)
            self._arrived.put(b"")
        except Exception as error:  # noqa: BLE001 (raised again by _next)
            self._arrived.put(error)
