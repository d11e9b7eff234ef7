"""Where downloaded and imported models are kept, each checked again whenever it is used.

LAPSR_HOME, or the user's cache folder, holds ``models/NAME.safetensors`` and beside each its
checksum in the form of sha256sum, and ``downloads/`` for what is on the way.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import platformdirs

from lapsr_cli.errors import ChecksumError, WeightsError
from lapsr_cli.files import atomic_write
from lapsr_cli.weights.stored import Weights, write_safetensors

__all__ = ["check", "home", "model_path", "names", "sha256_of", "store", "unusable"]


def home() -> Path:
    """LAPSR_HOME, or the place the system has for a user's caches."""
    return Path(os.environ.get("LAPSR_HOME") or platformdirs.user_cache_path("lapsr"))


def model_path(name: str) -> Path:
    """Where the model ``name`` is kept, whether it is there or not."""
    return home() / "models" / f"{name}.safetensors"


def names() -> list[str]:
    """The models in the cache. Raises WeightsError if it cannot be looked into."""
    try:
        return sorted(path.stem for path in (home() / "models").glob("*.safetensors"))
    except OSError as error:
        raise unusable(error) from error


def store(name: str, weights: Weights) -> Path:
    """Keep ``weights`` as ``name``. Raises WeightsError if the cache cannot be written.

    The checksum goes first: a kill between the two leaves a model that is not there, or one that
    is found not to match and made again, never one that passes unchecked.
    """
    path = model_path(name)
    draft = path.with_name(f".{name}.{os.getpid()}.safetensors.part")
    try:
        write_safetensors(weights, draft)
        with atomic_write(_checksum_path(path)) as file:
            file.write(f"{sha256_of(draft)}  {path.name}\n".encode())
        draft.replace(path)
    except OSError as error:
        raise unusable(error) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return path


def check(path: Path) -> None:
    """Raise ChecksumError if a cached model is not, byte for byte, what was stored."""
    try:
        expected = _checksum_path(path).read_text(encoding="ascii").split()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise ChecksumError(f"{path}: its checksum file is missing or damaged") from error
    if sha256_of(path) != expected:
        raise ChecksumError(f"{path}: the cached file is damaged (SHA-256 differs)")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def unusable(error: OSError) -> WeightsError:
    """What to say when the cache cannot be read or written."""
    return WeightsError(
        f"{home()}: the model cache cannot be used ({error.strerror or error});"
        " set LAPSR_HOME to a folder that can"
    )


def _checksum_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
