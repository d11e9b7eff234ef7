"""Getting a file over HTTP so that it is either whole and verified or not there.

An interrupted download goes on where it stopped (Range), in this run or a later one. Proxies are
those of the environment (HTTPS_PROXY, NO_PROXY). One process downloads, others wait for it.
"""

from __future__ import annotations

import email.utils
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from lapsr_cli.errors import ChecksumError, DownloadError
from lapsr_cli.weights.cache import sha256_of

__all__ = ["Retry", "fetch"]

log = logging.getLogger(__name__)

_BLOCK = 1 << 12  # what is lost at most when a connection breaks
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416
_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How stubborn to be: ``attempts`` in all, ``backoff`` seconds before the second, doubling
    after that, never more than ``longest_wait`` seconds, ``timeout`` seconds without a byte."""

    attempts: int = 5
    backoff: float = 0.5
    longest_wait: float = 60.0
    timeout: float = 30.0


class _TryAgain(Exception):
    """This attempt failed in a way that another may not; ``wait`` is the server's wish, in s."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(
    url: str,
    part: Path,
    *,
    size: int,
    sha256: str,
    retry: Retry | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Bring ``url`` to the file ``part``: ``size`` bytes with this ``sha256``, or an error.

    What ``part`` already holds is taken as the beginning. ``progress`` is called with the bytes
    there so far. Raises DownloadError, ChecksumError, and OSError if ``part`` cannot be written.
    """
    retry = retry or Retry()
    reason = ""
    for attempt in range(1, retry.attempts + 1):
        resumed = part.exists() and part.stat().st_size > 0
        try:
            _get_rest(url, part, size, retry.timeout, progress)
        except _TryAgain as failure:
            reason = str(failure)
            if attempt < retry.attempts:
                wait = _wait(failure, attempt, retry)
                log.warning("%s: %s; trying again in %.1f s", url, reason, wait)
                time.sleep(wait)
            continue
        if part.stat().st_size == size and sha256_of(part) == sha256:
            return
        part.unlink()
        if not resumed:
            raise ChecksumError(f"{url}: the bytes served are not the model (SHA-256 differs)")
        reason = "the continued file had a wrong SHA-256"
        log.warning("%s: %s; starting over", url, reason)
    raise DownloadError(f"{url}: {reason} ({retry.attempts} attempts)")


def _get_rest(
    url: str, part: Path, size: int, timeout: float, progress: Callable[[int], None]
) -> None:
    """One request for the bytes that ``part`` still lacks."""
    have = part.stat().st_size if part.exists() else 0
    if have >= size:
        return
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with requests.get(url, headers=headers, timeout=timeout, stream=True) as response:
            if response.status_code == _RANGE_NOT_SATISFIABLE:
                part.unlink()
                raise _TryAgain("the server cannot continue there")
            if response.status_code in _WORTH_RETRYING:
                raise _TryAgain(f"HTTP {response.status_code}", _retry_after(response))
            if not response.ok:
                raise DownloadError(f"{url}: HTTP {response.status_code} {response.reason}")
            if not _continues(response, have):
                have = 0
            _receive(response, part, have, size, progress)
    except ValueError as error:
        # requests' errors for addresses, of proxies and redirects too, and those of urllib3 and
        # urllib that it lets through
        raise DownloadError(f"{url}: not an HTTP address ({error})") from error
    except requests.RequestException as error:
        raise _TryAgain(f"no connection ({_root_cause(error)})") from error
    if part.stat().st_size < size:
        raise _TryAgain("the connection was cut")


def _continues(response: requests.Response, have: int) -> bool:
    """Whether the body starts at byte ``have`` rather than at the beginning."""
    if not have or response.status_code != _PARTIAL_CONTENT:
        return False
    return response.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _receive(
    response: requests.Response,
    part: Path,
    have: int,
    size: int,
    progress: Callable[[int], None],
) -> None:
    with part.open("ab" if have else "wb") as file:
        for block in response.iter_content(_BLOCK):
            file.write(block)
            have += len(block)
            progress(min(have, size))
            if have > size:
                return


def _wait(failure: _TryAgain, attempt: int, retry: Retry) -> float:
    """The server's wish, or exponential back-off with jitter, in seconds."""
    wish = failure.wait
    if wish is None:
        wish = retry.backoff * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
    return min(wish, retry.longest_wait)


def _retry_after(response: requests.Response) -> float | None:
    """Retry-After, in seconds or as a date (RFC 9110 section 10.2.3)."""
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
