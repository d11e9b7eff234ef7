"""What results were made with, so that a later run can tell which it would make differently.

``DIR/.lapsr/results.jsonl`` in the output folder has a line of JSON for each result: its ``path``
in DIR, its size in ``bytes``, and all that its content depends on. Lines are appended, and the last
one for a path counts. Lines that cannot be read are ignored; so is the record of a result that has
another size by now, because something else has written it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lapsr_cli.batch.planning import Plan
from lapsr_cli.batch.report import Outcome, Output
from lapsr_cli.files import OWN_FOLDER
from lapsr_cli.image_io import Encoding, format_of, holds_alpha
from lapsr_cli.network.pyramid import LaplacianPyramid
from lapsr_cli.upscaler import Upscaler

__all__ = ["Provenance", "Records", "compare"]

log = logging.getLogger(__name__)

Record = Mapping[str, Any]

_DIGITS = 12
"""Of a checksum."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What the results of a run depend on, beside the pictures and the sizes.

    ``models``: the beginning of the SHA-256 of each model's weights, by the model's name. ``name``,
    ``lossy_name``: the models for pictures from lossless and from lossy files.
    """

    models: Mapping[str, str]
    name: str
    lossy_name: str
    precision: str
    tta: bool
    encoding: Encoding

    @classmethod
    def of(cls, upscaler: Upscaler, encoding: Encoding, *, tta: bool) -> Provenance:
        """Of a run with ``upscaler``."""
        runtimes = upscaler.runner.runtimes
        return cls(
            models={name: _checksum(each.reference) for name, each in runtimes.items()},
            name=upscaler.name,
            lossy_name=upscaler.lossy_name,
            precision=upscaler.device.precision,
            tta=tta,
            encoding=encoding,
        )

    def record(self, outcome: Outcome, output: Output) -> Record:
        """What a result was made with; what made no difference to it is left out."""
        record = {"bytes": output.bytes, **self._of_file(outcome.source, output.scale, output.path)}
        if outcome.windows:  # what is only made smaller needs no network
            record |= {"lossy": outcome.lossy, **self._of_network(outcome.model)}
        return record

    def differences(self, record: Record, source: Path, scale: str, path: Path) -> str:
        """How a result was made, as far as this run would make it differently: "with lapsr-photo,
        without --tta". Empty if it would not."""
        name = self.lossy_name if record.get("lossy") else self.name
        asked = {**self._of_file(source, scale, path), **self._of_network(name)}
        common = [key for key in _WORDS if key in asked and key in record]
        differing = [key for key in common if record[key] != asked[key]]
        return ", ".join(_WORDS[key](record, asked) for key in differing)

    def _of_file(self, source: Path, scale: str, path: Path) -> dict[str, Any]:
        """The size of the input, and the options that change what a file of that format holds."""
        encoding, form = self.encoding, format_of(path)
        values: dict[str, Any] = {"scale": scale, "strip_metadata": encoding.strip_metadata}
        with suppress(OSError):  # an input that has gone does not tell
            values["source_bytes"] = source.stat().st_size
        if form in ("WEBP", "AVIF"):
            values["lossless"] = encoding.lossless
        if form == "JPEG" or values.get("lossless") is False:
            values["quality"] = encoding.quality
        if encoding.background is not None and not holds_alpha(path):
            values["background"] = "#{:02x}{:02x}{:02x}".format(*encoding.background)
        return values

    def _of_network(self, name: str) -> dict[str, Any]:
        return {
            "model": Path(name).name,  # the folder of a model of one's own stays private
            "sha256": self.models[name],
            "precision": self.precision,
            "tta": self.tta,
        }


def _checksum(model: LaplacianPyramid) -> str:
    """Of all weights and ranges, in the order of the state dict."""
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()[:_DIGITS]


def _model_in_words(record: Record, asked: Record) -> str:
    name = record.get("model")
    return f"with another {name}" if name == asked["model"] else f"with {name}"


def _flag_in_words(key: str) -> Callable[[Record, Record], str]:
    flag = f"--{key.replace('_', '-')}"
    return lambda record, _: f"with {flag}" if record[key] else f"without {flag}"


_WORDS: Mapping[str, Callable[[Record, Record], str]] = {
    "source_bytes": lambda *_: "from another file",
    "scale": lambda record, _: f"at scale {record['scale']}",
    "sha256": _model_in_words,
    "precision": lambda record, _: f"in {record['precision']}",
    "tta": _flag_in_words("tta"),
    "lossless": _flag_in_words("lossless"),
    "quality": lambda record, _: f"with --quality {record['quality']}",
    "background": lambda record, _: f"with --background {record['background']}",
    "strip_metadata": _flag_in_words("strip_metadata"),
}
"""By the keys that are compared, the words for what a record has there."""


class Records:
    """The records of an output folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / OWN_FOLDER / "results.jsonl"
        self._writable = True

    def of(self, path: Path) -> Record | None:
        """The record of a result; None if there is none, or it is of another file by now."""
        line = self._lines.get(self._key(path))
        if line is None:
            return None
        record: Record = json.loads(line)
        with suppress(OSError):  # as it was there a moment ago, it has just been removed
            return record if record.get("bytes") == path.stat().st_size else None
        return None

    def add(self, records: Mapping[Path, Record]) -> None:
        """Append the records of results, in one write. A folder where that is not possible costs a
        warning, once, and no record."""
        text = "".join(
            json.dumps({"path": self._key(path), **record}) + "\n"
            for path, record in records.items()
        )
        if not text or not self._writable:
            return
        try:
            self._file.parent.mkdir(exist_ok=True)
            with self._file.open("a+b", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - 1, 0))
                is_cut_off = size and file.read(1) != b"\n"  # by the end of another process
                file.write((b"\n" if is_cut_off else b"") + text.encode("ascii"))
        except OSError as error:
            self._writable = False
            reason = error.strerror or error
            log.warning("%s: %s; what results are made with is not recorded", self._file, reason)

    def _key(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    @cached_property
    def _lines(self) -> dict[str, bytes]:
        """The last line for each path, parsed again when it is needed: a dict for each takes four
        times the memory."""
        if not self._file.is_file():
            return {}
        try:
            lines = self._file.read_bytes().split(b"\n")
        except OSError as error:
            log.warning("%s: %s; existing results are not compared", self._file, error.strerror)
            return {}
        return dict(_with_paths(lines))


def _with_paths(lines: Iterable[bytes]) -> Iterable[tuple[str, bytes]]:
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            yield str(json.loads(line)["path"]), line


def compare(todo: Plan, run: Provenance, records: Records) -> tuple[Plan, dict[Path, str]]:
    """The plan, in which pictures say which of their existing results the run would make
    differently; and all these results, each with how it was made."""
    differing: dict[Path, str] = {}
    remarks: dict[Path, list[str]] = {}
    for source, kept in todo.kept.items():
        for target, path in kept.items():
            record = records.of(path)
            if record and (made := run.differences(record, source, target.label, path)):
                differing[path] = made
                remarks.setdefault(source, []).append(f"{path.name} was made {made}")
    jobs = [
        replace(job, notes=(*job.notes, *remarks.get(job.source.path, ()))) for job in todo.jobs
    ]
    settled = [
        replace(each, message="; ".join([each.message, *remarks.get(each.source, ())]))
        for each in todo.settled
    ]
    return replace(todo, jobs=jobs, settled=settled), differing
