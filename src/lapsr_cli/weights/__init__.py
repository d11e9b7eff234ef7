"""Models by name or file: finding, downloading, importing.

A name is looked up in the manifest, then among the imported models. Every model is verified before
it is returned: downloaded and embedded files by size and SHA-256, cached files by SHA-256, and
every tensor against the network's configuration.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from lapsr_cli.errors import ChecksumError, OfflineError, UnknownModel, UsageError, WeightsError
from lapsr_cli.network.calibration import ranges_of
from lapsr_cli.network.pyramid import LaplacianPyramid, PyramidConfig
from lapsr_cli.weights import cache
from lapsr_cli.weights.apart import read_mat_apart
from lapsr_cli.weights.download import Retry, fetch
from lapsr_cli.weights.manifest import Entry, embedded_folder, manifest
from lapsr_cli.weights.matconvnet import read_mat
from lapsr_cli.weights.serialization import Weights, read_pth, read_safetensors, write_safetensors

__all__ = ["calibrate", "download", "find", "import_file", "load", "obtain", "read_file"]

log = logging.getLogger(__name__)

_READABLE = (".mat", ".pt", ".pth", ".safetensors")


def load(model: str | None = None, *, offline: bool = False) -> LaplacianPyramid:
    """Load the network ``model``: a name, a file, or None for the default; ready for inference.

    A known model that is not on this machine is downloaded, unless ``offline``. Raises
    WeightsError.
    """
    path = obtain(model or manifest().default, offline=offline)
    return read_file(path).model(str(path))


def obtain(model: str, *, offline: bool = False) -> Path:
    """The verified file of a model, downloaded if necessary and allowed. Raises WeightsError."""
    try:
        path = find(model)
    except ChecksumError as error:
        entry = manifest().entries.get(model)
        if offline or entry is None or entry.embedded:
            raise
        log.warning("%s; downloading it again", error)
        path = None
    return path or download(model, offline=offline)


def find(model: str) -> Path | None:
    """The verified file of a model on this machine; None if it has to be downloaded.

    Raises UnknownModel for an unknown name, ChecksumError for a damaged file.
    """
    if os.sep in model or Path(model).suffix.lower() in _READABLE:
        if not os.path.isfile(model):
            raise UnknownModel(f"model {model}: no such file")
        return Path(model)
    entry = manifest().entries.get(model)
    if entry is not None and entry.embedded:
        return _embedded(entry)
    path = cache.model_path(model)
    try:
        if path.is_file():
            cache.check(path)
            return path
    except OSError as error:
        raise cache.unusable(error) from error
    if entry is None:
        raise _unknown(model)
    return None


def _embedded(entry: Entry) -> Path:
    path = embedded_folder() / entry.file
    if not path.is_file() or cache.sha256_of(path) != entry.sha256:
        raise ChecksumError(f"{path}: the embedded model is damaged; install lapsr again")
    return path


def _unknown(name: str) -> UnknownModel:
    if name in manifest().removed:
        return UnknownModel(f"model {name}: {manifest().removed[name]}")
    known = [*manifest().entries, *cache.names()]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "see `lapsr weights list`"
    return UnknownModel(f"model {name}: not known; {hint}")


def download(
    name: str,
    *,
    offline: bool = False,
    retry: Retry | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Path:
    """Download a model of the manifest, verify it, convert it, and store it in the cache.

    Does nothing if it is already there. LAPSR_WEIGHTS_URL, a base URL, replaces the authors'
    server. ``progress`` is called with the number of bytes so far. Of several processes, one
    downloads and the others wait for it. Raises UnknownModel, OfflineError, DownloadError,
    ChecksumError, WeightsError.
    """
    entry = manifest().entries.get(name)
    if entry is None:
        raise _unknown(name)
    if entry.url is None:
        return _embedded(entry)
    part = cache.home() / "downloads" / f"{entry.sha256}.part"
    try:
        if present := _present(name):
            return present
        if offline:
            raise OfflineError(f"model {name}: not on this machine, and --offline was given")
        part.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(name, part.with_suffix(".lock")):
            if present := _present(name):
                return present
            mirror = os.environ.get("LAPSR_WEIGHTS_URL", "").rstrip("/")
            url = f"{mirror}/{entry.file}" if mirror else entry.url
            log.info("downloading %s (%.1f MB)", url, entry.bytes / 1e6)
            fetch(url, part, size=entry.bytes, sha256=entry.sha256, retry=retry, progress=progress)
            path = cache.store(name, read_mat(part))
            part.unlink()
            return path
    except OSError as error:
        raise cache.unusable(error) from error


@contextmanager
def _only_one(name: str, lock_file: Path) -> Iterator[None]:
    """One process at a time, and a message where this one has to wait."""
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info(
            "model %s: waiting for another process that downloads it (lock %s)", name, lock_file
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _present(name: str) -> Path | None:
    """The cached model, if it is there and intact."""
    try:
        return find(name)
    except ChecksumError:
        return None


def read_file(path: Path, config: PyramidConfig | None = None) -> Weights:
    """Read a weights file in the format of its suffix. ``config``: for files without their own.

    Raises WeightsError, naming the file.
    """
    suffix = path.suffix.lower()
    if suffix == ".mat":
        return _read_mat(path)
    if suffix in (".pt", ".pth"):
        return read_pth(path, config)
    if suffix == ".safetensors":
        return read_safetensors(path, config)
    raise WeightsError(f"{path}: weights must be one of {', '.join(_READABLE)}")


def _read_mat(path: Path) -> Weights:
    try:
        is_known = manifest().by_sha256(cache.sha256_of(path)) is not None
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    return read_mat(path) if is_known else read_mat_apart(path)


def import_file(path: Path, output: Path | None = None, config: PyramidConfig | None = None) -> str:
    """Convert a weights file; return the value for ``-m``: a name in the cache, or ``output``.

    One of the authors' files gets its name in the manifest, any other file its own name. Raises
    WeightsError, also if another model has that name and is intact, and UsageError if there is no
    file.
    """
    if not os.path.isfile(path):
        raise UsageError(f"{path}: no such file")
    weights = read_file(path, config)
    _tried(weights, path)
    if output is not None:
        _write(weights, output)
        return str(output)
    known = manifest().by_sha256(cache.sha256_of(path))
    name = known.name if known else re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    if known is None and not name:
        raise UsageError(f"{path}: its name cannot be a model name; use -o/--output")
    if known is None and (name in manifest().entries or _is_intact(name)):
        raise WeightsError(f"{path}: a model named {name} already exists; use -o/--output")
    if known is None or not known.embedded:
        cache.store(name, weights)
    return name


def calibrate(path: Path, output: Path) -> None:
    """Write the weights of ``path`` to ``output`` with their ranges, which int8 needs.

    Raises WeightsError.
    """
    weights = read_file(path)
    _write(weights.with_ranges(ranges_of(_tried(weights, path))), output)


def _tried(weights: Weights, path: Path) -> LaplacianPyramid:
    """The network, which enlarges a small grey picture to finite values. Raises WeightsError."""
    model = weights.model(str(path))
    grey = torch.full((1, 1, 4, 4), 0.5)
    if not all(picture.isfinite().all() for picture in model(grey).values()):
        raise WeightsError(f"{path}: its network gives infinity or NaN even for a grey picture")
    return model


def _is_intact(name: str) -> bool:
    """Whether there is a cached model of this name, and it is not damaged."""
    return name in cache.names() and _present(name) is not None


def _write(weights: Weights, output: Path) -> None:
    try:
        write_safetensors(weights, output)
    except OSError as error:
        raise WeightsError(f"-o/--output {output}: {error.strerror or error}") from error
