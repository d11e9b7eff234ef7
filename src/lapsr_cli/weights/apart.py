"""Reading a .mat file of unknown content, in a process of its own.

scipy's reader is not made for such files: some end the process that reads them (SIGSEGV).
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lapsr_cli.errors import WeightsError
from lapsr_cli.weights.matconvnet import read_mat
from lapsr_cli.weights.serialization import Weights, read_safetensors, write_safetensors

__all__ = ["convert", "read_mat_apart"]

_CONVERT = f"from {__name__} import convert; convert()"


def read_mat_apart(path: Path) -> Weights:
    """As `read_mat`."""
    with TemporaryDirectory(prefix="lapsr-") as folder:
        output = Path(folder, "model.safetensors")
        command = [sys.executable, "-P", "-X", "utf8", "-c", _CONVERT, str(path), str(output)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if done.returncode == 0:
            return _in_memory(output)
    if done.returncode == WeightsError.exit_code:
        raise WeightsError(done.stdout)
    raise WeightsError(f"{path}: not a MATLAB 5 file (its reader crashed)")


def convert() -> None:
    """In that process: the arguments are a .mat file and the .safetensors file to write; what is
    wrong with the first goes to stdout."""
    path, output = map(Path, sys.argv[1:])
    try:
        write_safetensors(read_mat(path), output)
    except WeightsError as error:
        sys.stdout.write(str(error))
        sys.exit(error.exit_code)


def _in_memory(path: Path) -> Weights:
    """Without a map of the file, which may then be removed."""
    mapped = read_safetensors(path)
    return replace(mapped, tensors={name: t.clone() for name, t in mapped.tensors.items()})
