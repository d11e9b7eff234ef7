"""lapsr: upscale photos 2x, 4x and 8x with the Laplacian pyramid super-resolution network.

from lapsr_cli import Upscaler
upscaler = Upscaler.from_weights("lapsr-classic", device="auto")
pyramid = upscaler(image, scales=(2, 4, 8))  # {2: image, 4: image, 8: image}

Importing the package is cheap, because torch is loaded on first access to ``Upscaler``. Neither
changes the state of the process: warnings filters, logging, signals and Pillow's settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapsr_cli.errors import LapsrError

if TYPE_CHECKING:
    from lapsr_cli.upscaler import Upscaler

__version__ = "0.2.0"
__all__ = ["LapsrError", "Upscaler", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Upscaler":
        from lapsr_cli.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
