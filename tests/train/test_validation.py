"""Validation with degraded pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lapsr_cli.device.selection import choose
from lapsr_cli.inference.evaluation import bicubic_score
from lapsr_cli.metrics import protocol
from lapsr_cli.pixels import resize
from lapsr_cli.train.degrade import Degradation
from lapsr_cli.train.distributed import ProcessGroup
from lapsr_cli.train.validation import Validator, load_validation_sets
from tests.conftest import draw


def test_a_run_with_degradation_is_validated_on_degraded_pictures(tmp_path: Path) -> None:
    draw(tmp_path / "val" / "a.png", 64, 48)
    (each,) = load_validation_sets([str(tmp_path / "val")], tmp_path / "run", 2)
    ranks = ProcessGroup(0, 1, torch.device("cpu"))
    degraded = Validator([each], [2], choose("cpu"), ranks, Degradation.parse("jpeg:40,clean:1"))
    coded = io.BytesIO()
    lr = (resize.resize(each.hr[0], 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    Image.fromarray(lr.numpy()).save(coded, "JPEG", quality=40)
    decoded = torch.from_numpy(np.array(Image.open(coded))).double() / 255
    expected = protocol.score(resize.resize(decoded, 2.0), each.hr[0], 2)
    assert degraded.bicubic()["val"][2] == pytest.approx(expected, abs=1e-9)
    clean = Validator([each], [2], choose("cpu"), ranks).bicubic()["val"][2]
    assert clean == pytest.approx(bicubic_score(each.hr[0], 2), abs=1e-9)
    assert clean[0] > expected[0] + 0.1
