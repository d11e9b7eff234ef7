"""The authors' weights by the papers' protocol give the published figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lapsr_cli import weights
from lapsr_cli.device.selection import choose
from lapsr_cli.inference.runtime import Runtime
from lapsr_cli.metrics.protocol import Score, bicubic, degrade, luma_of, score

Table = dict[tuple[str, str, int], tuple[float, float | None]]

EXPECTED: Table = {
    ("bicubic", "Set5", 2): (33.66, 0.9297),
    ("bicubic", "Set5", 4): (28.42, 0.8098),
    ("bicubic", "Set5", 8): (24.39, 0.6570),
    ("bicubic", "Set14", 2): (30.23, 0.8688),
    ("bicubic", "Set14", 4): (26.00, 0.7024),
    ("bicubic", "Set14", 8): (23.09, 0.5642),
    ("LapSRN_x2", "Set5", 2): (37.45, 0.9582),
    ("LapSRN_x4", "Set5", 4): (31.52, 0.8842),
    ("LapSRN_x8", "Set5", 8): (26.13, 0.7368),
    ("LapSRN_x2", "Set14", 2): (32.95, 0.9118),
    ("LapSRN_x4", "Set14", 4): (28.08, 0.7693),
    ("LapSRN_x8", "Set14", 8): (24.34, 0.6196),
    ("MSLapSRN_D5R2", "Set5", 2): (37.55, 0.9585),
    ("MSLapSRN_D5R2", "Set5", 4): (31.60, 0.8856),
    ("MSLapSRN_D5R2", "Set5", 8): (26.19, 0.7454),
    ("MSLapSRN_D5R2", "Set14", 2): (33.10, 0.9127),
    ("MSLapSRN_D5R2", "Set14", 4): (28.15, 0.7712),
    ("MSLapSRN_D5R2", "Set14", 8): (24.45, 0.6251),
    ("MSLapSRN_D5R5", "Set5", 2): (37.64, None),
    ("MSLapSRN_D5R5", "Set5", 4): (31.72, None),
    ("MSLapSRN_D5R5", "Set5", 8): (26.33, None),
    ("MSLapSRN_D5R8", "Set5", 2): (37.70, 0.9591),
    ("MSLapSRN_D5R8", "Set5", 4): (31.72, 0.8879),
    ("MSLapSRN_D5R8", "Set5", 8): (26.33, 0.7515),
    ("MSLapSRN_D5R8", "Set14", 2): (33.25, 0.9141),
    ("MSLapSRN_D5R8", "Set14", 4): (28.25, 0.7736),
    ("MSLapSRN_D5R8", "Set14", 8): (24.56, 0.6279),
}
"""(method, dataset, scale): PSNR in dB and SSIM of luma, measured independently of this project."""


# The default suite has six minutes on two cores; the other cases run with -m slow.
def is_fast(method: str, pictures: str, scale: int) -> bool:
    """Bicubic, each kind of network on Set5, and D5R2 on Set14 at 4x."""
    is_deep = method in ("MSLapSRN_D5R5", "MSLapSRN_D5R8")
    on_set5 = pictures == "Set5" and not is_deep
    return method == "bicubic" or on_set5 or (method, scale) == ("MSLapSRN_D5R2", 4)


def cases() -> list[object]:
    return [
        pytest.param(*case, marks=() if is_fast(*case) else pytest.mark.slow) for case in EXPECTED
    ]


def enlarge(method: str, folder: Path, lr: torch.Tensor, scale: int) -> torch.Tensor:
    if method == "bicubic":
        return bicubic(lr, scale)
    model = weights.read_file(folder / f"{method}.mat").model(method)
    network = Runtime(model, choose("cpu")).model
    with torch.inference_mode():
        picture: torch.Tensor = network(lr[None, None].float(), scale)[scale][0, 0]
    return picture


@pytest.mark.parametrize(("method", "pictures", "scale"), cases())
def test_published_quality(
    shared: Callable[[str], Path], method: str, pictures: str, scale: int
) -> None:
    folder = shared("reference/authors-weights")
    scores: list[Score] = []
    for path in sorted(shared(f"data/test/{pictures}").glob("*.png")):
        pixels = np.array(Image.open(path))
        planes = torch.from_numpy(pixels[..., None] if pixels.ndim == 2 else pixels)
        hr = luma_of(planes.permute(2, 0, 1))
        scores.append(score(enlarge(method, folder, degrade(hr, scale), scale), hr, scale))
    psnr, ssim = np.mean(scores, axis=0)
    expected_psnr, expected_ssim = EXPECTED[method, pictures, scale]
    assert psnr == pytest.approx(expected_psnr, abs=0.03)
    if expected_ssim is not None:
        assert ssim == pytest.approx(expected_ssim, abs=0.002)
