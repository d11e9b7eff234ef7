"""Everything lapsr raises on purpose, and the exit code each ends a command with.

    LapsrError                     1   something failed
    ├── UsageError                 2   an option, argument or call that cannot work
    ├── NothingMatched             3   no picture was found where one was asked for
    ├── PictureError               1   one picture; the others are not concerned
    │   ├── UnreadablePicture      1
    │   └── UnwritablePicture      1
    ├── DiskFull                   1   the results find no room; those that are there are whole
    ├── TrainingError              1   a run that cannot go on
    └── ResourceError              4   no model, weights or device
        ├── DeviceError            4
        └── WeightsError           4
            ├── UnknownModel       4
            ├── WeightsMismatch    4   the tensors are not those of the file's configuration
            └── DownloadError      4
                ├── OfflineError   4   the network is needed and was forbidden
                └── ChecksumError  4   the bytes are not those that were promised

Messages are one line and name the file or the flag.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ChecksumError",
    "DeviceError",
    "DiskFull",
    "DownloadError",
    "LapsrError",
    "NothingMatched",
    "OfflineError",
    "PictureError",
    "ResourceError",
    "TrainingError",
    "UnknownModel",
    "UnreadablePicture",
    "UnwritablePicture",
    "UsageError",
    "WeightsError",
    "WeightsMismatch",
]

INTERRUPTED = 130
"""Exit code of a command stopped by Ctrl-C (128 + SIGINT)."""


class LapsrError(Exception):
    """Base of every error that lapsr raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(LapsrError):
    """An option, argument or call that cannot work."""

    exit_code = 2


class NothingMatched(LapsrError):
    """No picture was found where one was asked for."""

    exit_code = 3


class PictureError(LapsrError):
    """One picture could not be handled; the others are not concerned."""


class UnreadablePicture(PictureError):
    """A file that is no picture, is damaged, or holds what lapsr cannot take in."""


class UnwritablePicture(PictureError):
    """A result that could not be put on disk."""


class DiskFull(LapsrError):
    """There is no room for the next result; those on disk are whole."""


class TrainingError(LapsrError):
    """A run whose loss ceased to be a number, or whose checkpoint cannot be used."""


class ResourceError(LapsrError):
    """Something the whole run needs is missing."""

    exit_code = 4


class DeviceError(ResourceError):
    """The device asked for is not there or cannot do what was asked of it."""


class WeightsError(ResourceError):
    """Weights that cannot be had or cannot be used."""


class UnknownModel(WeightsError):
    """A model name that is in no manifest and names no file."""


class WeightsMismatch(WeightsError):
    """A weights file whose tensors are not those of its configuration."""


class DownloadError(WeightsError):
    """A download that did not succeed."""


class OfflineError(DownloadError):
    """The network is needed and --offline forbids it."""


class ChecksumError(DownloadError):
    """Bytes whose size or SHA-256 is not that of the manifest, or of what was stored."""
