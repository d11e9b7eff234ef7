"""HTTP downloads that are either complete and verified or absent.

An interrupted download resumes where it stopped (Range), in this run or a later one. No server can
hold it for longer than `Retry` says, however slowly it sends. Proxies are taken from the
environment (HTTPS_PROXY, NO_PROXY).
"""

from __future__ import annotations

import email.utils
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING

from lapsr_cli.errors import ChecksumError, DownloadError
from lapsr_cli.weights.cache import sha256_of
from lapsr_cli.weights.request import Request

if TYPE_CHECKING:
    import requests

__all__ = ["Retry", "fetch"]

log = logging.getLogger(__name__)

_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416
_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class Retry:
    """When to retry, and when to give up.

    ``attempts``: in total. ``backoff``: seconds before the second attempt, doubled for each further
    one. ``longest_wait``: the longest delay between two attempts, in seconds, also if the server
    asks for more. ``lowest_rate``: bytes per second over ``timeout`` seconds; with fewer, an
    attempt has failed. ``timeout`` is also the longest wait for a first byte. ``longest``: seconds
    for all attempts together.
    """

    attempts: int = 5
    backoff: float = 0.5
    longest_wait: float = 60.0
    timeout: float = 30.0
    lowest_rate: float = 1000.0
    longest: float = 3600.0


class _Retriable(Exception):
    """An attempt failed but another may succeed. ``delay``: seconds, if the server asks for it."""

    def __init__(self, reason: str, delay: float | None = None) -> None:
        super().__init__(reason)
        self.delay = delay


def fetch(
    url: str,
    part: Path,
    *,
    size: int,
    sha256: str,
    retry: Retry | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Download ``url`` to the file ``part``, which must come to ``size`` bytes with ``sha256``.

    Whatever ``part`` already contains is taken as the beginning. ``progress`` is called with the
    number of bytes so far. Raises DownloadError, ChecksumError, and OSError if ``part`` cannot be
    written.
    """
    retry = retry or Retry()
    deadline = time.monotonic() + retry.longest
    reason = ""
    for attempt in range(1, retry.attempts + 1):
        resumed = part.exists() and part.stat().st_size > 0
        try:
            _get_rest(url, part, size, retry, deadline, progress)
        except _Retriable as failure:
            reason = str(failure)
            if attempt < retry.attempts:
                delay = min(_delay(failure, attempt, retry), max(0, deadline - time.monotonic()))
                log.warning("%s: %s; trying again in %.1f s", url, reason, delay)
                time.sleep(delay)
            continue
        if part.stat().st_size == size and sha256_of(part) == sha256:
            return
        part.unlink()
        if not resumed:
            raise ChecksumError(f"{url}: the server sent a different file (SHA-256 differs)")
        reason = "the resumed file had a wrong SHA-256"
        log.warning("%s: %s; starting over", url, reason)
    raise DownloadError(f"{url}: {reason} ({retry.attempts} attempts)")


def _get_rest(
    url: str,
    part: Path,
    size: int,
    retry: Retry,
    deadline: float,
    progress: Callable[[int], None],
) -> None:
    """Make one request for the missing bytes. Raises DownloadError and _Retriable."""
    import requests  # only for downloads: it takes long to load, and adds warnings filters

    have = part.stat().st_size if part.exists() else 0
    if have >= size:
        return
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with Request(url, headers, retry.timeout) as request:
            response = request.response(deadline)
            if have and response.status_code == _RANGE_NOT_SATISFIABLE:
                part.unlink()
                raise _Retriable("the server cannot resume there")
            if response.status_code in _WORTH_RETRYING:
                raise _Retriable(f"HTTP {response.status_code}", _retry_after(response))
            if not response.ok:
                raise DownloadError(f"{url}: HTTP {response.status_code} {response.reason}")
            if not _resumes(response, have):
                have = 0
            _receive(request, part, have, size, retry, deadline, progress)
    except Empty:
        raise DownloadError(
            f"{url}: not finished after {retry.longest:g} s; the next attempt will resume"
        ) from None
    except ValueError as error:
        # Errors of requests about addresses, including those of proxies and redirects, and errors
        # of urllib3 and urllib that it passes on.
        raise DownloadError(f"{url}: not an HTTP address ({error})") from error
    except requests.RequestException as error:
        raise _Retriable(f"no connection ({_root_cause(error)})") from error
    if part.stat().st_size < size:
        raise _Retriable("the connection was closed early")


def _resumes(response: requests.Response, have: int) -> bool:
    """Whether the body starts at byte ``have``, and not at the beginning."""
    if not have or response.status_code != _PARTIAL_CONTENT:
        return False
    return response.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _receive(
    request: Request,
    part: Path,
    have: int,
    size: int,
    retry: Retry,
    deadline: float,
    progress: Callable[[int], None],
) -> None:
    """Write the body to ``part``, which ``have`` bytes are kept of. Raises _Retriable for one that
    comes too slowly, and Empty at the deadline."""
    with part.open("ab" if have else "wb") as file:
        while not request.ended:
            enough = have + retry.lowest_rate * retry.timeout
            for block in request.blocks(min(time.monotonic() + retry.timeout, deadline)):
                file.write(block)
                have += len(block)
                progress(min(have, size))
                if have > size:
                    return
            if time.monotonic() >= deadline:
                raise Empty
            if have < enough and not request.ended:
                rate = f"{retry.lowest_rate / 1000:g} kB/s"
                raise _Retriable(f"slower than {rate} for {retry.timeout:g} s")


def _delay(failure: _Retriable, attempt: int, retry: Retry) -> float:
    """What the server asked for, or exponential backoff with jitter, in seconds."""
    delay = failure.delay
    if delay is None:
        delay = retry.backoff * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
    return min(delay, retry.longest_wait)


def _retry_after(response: requests.Response) -> float | None:
    """Seconds from Retry-After, given as such or as a date (RFC 9110, section 10.2.3)."""
    value = response.headers.get("Retry-After", "")
    try:
        if value.isascii() and value.isdigit():
            return float(value)
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _root_cause(error: BaseException) -> str:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
