"""Where weights may be written: a new file, or one that lapsr wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lapsr_cli.errors import UsageError
from lapsr_cli.outputs import Kind, check_output
from lapsr_cli.weights.export import is_onnx
from lapsr_cli.weights.serialization import is_safetensors

__all__ = ["check_destination"]

_KINDS = {
    ".safetensors": Kind("a safetensors file of lapsr", is_safetensors),
    ".onnx": Kind("an ONNX file of lapsr", is_onnx),
}


def check_destination(path: Path, suffixes: Sequence[str] = (".safetensors",)) -> None:
    """Check, before anything is computed, that weights can be written to ``path``.

    Raises UsageError for another suffix, and for what `check_output` refuses.
    """
    if path.suffix not in suffixes:
        raise UsageError(f"-o/--output {path}: must end in {' or '.join(suffixes)}")
    check_output(path, "-o/--output", _KINDS[path.suffix])
