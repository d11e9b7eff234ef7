"""Peak memory of real allocations; energy from counter files as Linux writes them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lapsr_cli.bench.meters import EnergyMeter, MemoryMeter, package_counters


def test_peak_memory_is_what_was_allocated() -> None:
    meter = MemoryMeter(torch.device("cpu"))
    with meter.measured():
        held = np.ones(100 << 20, np.uint8)
        time.sleep(0.05)
        del held
    assert 95 << 20 < meter.peak_bytes < 200 << 20
    with (again := MemoryMeter(torch.device("cpu"))).measured():
        pass
    assert again.peak_bytes < 20 << 20


def test_energy_is_the_counters_difference_and_they_wrap_around(tmp_path: Path) -> None:
    zones = [tmp_path / "intel-rapl:0", tmp_path / "intel-rapl:1", tmp_path / "intel-rapl:0:0"]
    for zone in zones:
        zone.mkdir()
        (zone / "max_energy_range_uj").write_text("10000000\n")

    def set_counters(first: int, second: int) -> None:
        (zones[0] / "energy_uj").write_text(f"{first}\n")
        (zones[1] / "energy_uj").write_text(f"{second}\n")

    meter = EnergyMeter(torch.device("cpu"), tmp_path)
    set_counters(1_000_000, 9_000_000)
    with meter.measured():
        set_counters(3_500_000, 1_000_000)
    assert meter.joules == pytest.approx(2.5 + 2)
    assert package_counters(tmp_path / "nothing") == []
    with (without := EnergyMeter(torch.device("cpu"), tmp_path / "nothing")).measured():
        pass
    assert without.joules is None
