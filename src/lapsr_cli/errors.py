"""The exceptions that lapsr raises, and the exit code of each.

    LapsrError                     1   something failed
    ├── UsageError                 2   an invalid option, argument or call
    ├── NothingMatched             3   no picture matches the inputs
    ├── PictureError               1   one picture failed; the others are not affected
    │   ├── UnreadablePicture      1
    │   └── UnwritablePicture      1
    ├── DiskFull                   1   no space for the results; those on disk are complete
    ├── TrainingError              1   a training run that cannot continue
    └── ResourceError              4   no model, weights or device
        ├── DeviceError            4
        └── WeightsError           4
            ├── UnknownModel       4
            ├── WeightsMismatch    4   the tensors do not match the file's configuration
            └── DownloadError      4
                ├── OfflineError   4   a download is needed, but --offline forbids it
                └── ChecksumError  4   size or SHA-256 differs from the expected one

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

OUTPUT_CLOSED = 141
"""Exit code of a command whose output nobody reads any longer (128 + SIGPIPE)."""


class LapsrError(Exception):
    """Base class of all errors that lapsr raises."""

    exit_code: ClassVar[int] = 1


class UsageError(LapsrError):
    """An invalid option, argument or call."""

    exit_code = 2


class NothingMatched(LapsrError):
    """No picture matches the inputs."""

    exit_code = 3


class PictureError(LapsrError):
    """One picture failed; the others are not affected."""


class UnreadablePicture(PictureError):
    """A file that is damaged, not a picture, or has unsupported contents."""


class UnwritablePicture(PictureError):
    """A result that could not be written."""


class DiskFull(LapsrError):
    """No space for the next result; those on disk are complete."""


class TrainingError(LapsrError):
    """A training run whose loss is not finite, or whose checkpoint cannot be used."""


class ResourceError(LapsrError):
    """Something that the whole run needs is missing."""

    exit_code = 4


class DeviceError(ResourceError):
    """The device does not exist or does not support what was requested."""


class WeightsError(ResourceError):
    """Weights that cannot be obtained or used."""


class UnknownModel(WeightsError):
    """A model name that is not in the manifest and not a file."""


class WeightsMismatch(WeightsError):
    """A weights file whose tensors do not match its configuration."""


class DownloadError(WeightsError):
    """A download that failed."""


class OfflineError(DownloadError):
    """A download is needed, but --offline forbids it."""


class ChecksumError(DownloadError):
    """A file whose size or SHA-256 differs from that in the manifest or in the cache."""
