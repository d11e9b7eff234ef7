"""The cache of downloaded and imported models, each verified again whenever it is loaded.

LAPSR_HOME, or the user's cache folder, contains ``models/NAME.safetensors``, next to each its
checksum in the format of sha256sum, and ``downloads/`` with incomplete downloads.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import platformdirs

from lapsr_cli.errors import ChecksumError, WeightsError
from lapsr_cli.files import atomic_write
from lapsr_cli.weights.serialization import Weights, write_safetensors

__all__ = ["check", "home", "model_path", "names", "sha256_of", "store", "unusable"]


def home() -> Path:
    """LAPSR_HOME, or the operating system's folder for a user's caches."""
    return Path(os.environ.get("LAPSR_HOME") or platformdirs.user_cache_path("lapsr"))


def model_path(name: str) -> Path:
    """The path of the model ``name``, whether it exists or not."""
    return home() / "models" / f"{name}.safetensors"


def names() -> list[str]:
    """The names of the models in the cache. Raises WeightsError if it cannot be read."""
    try:
        return sorted(path.stem for path in (home() / "models").glob("*.safetensors"))
    except OSError as error:
        raise unusable(error) from error


def store(name: str, weights: Weights) -> Path:
    """Store ``weights`` as ``name``. Raises WeightsError if the cache cannot be written.

    The checksum is written first. If the process is killed in between, the model is absent, or does
    not match its checksum and is made again; it is never used unverified.
    """
    path = model_path(name)
    temporary = path.with_name(f".{name}.{os.getpid()}.safetensors.part")
    try:
        write_safetensors(weights, temporary)
        with atomic_write(_checksum_path(path)) as file:
            file.write(f"{sha256_of(temporary)}  {path.name}\n".encode())
        temporary.replace(path)
    except OSError as error:
        raise unusable(error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def check(path: Path) -> None:
    """Raise ChecksumError if a cached model is not byte for byte what was stored."""
    try:
        expected = _checksum_path(path).read_text(encoding="ascii").split()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise ChecksumError(f"{path}: its checksum file is missing or damaged") from error
    if sha256_of(path) != expected:
        raise ChecksumError(f"{path}: the cached file is damaged (SHA-256 differs)")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def unusable(error: OSError) -> WeightsError:
    """The error for a cache that cannot be read or written."""
    return WeightsError(
        f"{home()}: the model cache is not accessible ({error.strerror or error});"
        " set LAPSR_HOME to another folder"
    )


def _checksum_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
