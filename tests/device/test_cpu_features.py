"""``LAPSR_CPU`` and what it leaves of a processor."""

from __future__ import annotations

import platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapsr_cli.device.cpu_features import CAPS, Processor, capped, this_processor
from lapsr_cli.errors import UsageError

AVX2 = ("avx", "avx2", "fma", "f16c", "avxvnni", "vaes")
AVX512 = ("avx512f", "avx512bw", "avx512vnni", "avx512bf16", "avx10.1-512", "evex512")
AMX = ("amx-tile", "amx-int8", "amx-bf16")
BASE = ("sse4.2", "popcnt", "bmi2", "sha")
SAPPHIRE_RAPIDS = dict.fromkeys((*BASE, *AVX2, *AVX512, *AMX), True) | {"xop": False}


@pytest.fixture(autouse=True)
def on_x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def enabled(processor: Processor) -> set[str]:
    return {name[1:] for name in processor.features.split(",") if name.startswith("+")}


@pytest.mark.parametrize(
    ("cap", "level", "vector_bytes", "registers", "has_vnni", "features"),
    [
        ("native", "amx", 64, 32, True, {*BASE, *AVX2, *AVX512, *AMX}),
        ("avx512", "avx512", 64, 32, True, {*BASE, *AVX2, *AVX512}),
        ("avx2", "avx2", 32, 16, True, {*BASE, *AVX2}),
        ("sse4", "sse4", 16, 16, False, {*BASE}),
    ],
)
def test_each_cap_excludes_the_instructions_above_it(
    cap: str, level: str, vector_bytes: int, registers: int, *, has_vnni: bool, features: set[str]
) -> None:
    processor = capped("sapphirerapids", SAPPHIRE_RAPIDS, cap)
    assert processor.name == "sapphirerapids"
    assert (processor.level, processor.vector_bytes) == (level, vector_bytes)
    assert processor.registers == registers
    assert processor.has_vnni == has_vnni
    assert processor.has_amx(1) == processor.has_amx(2) == (cap == "native")
    assert enabled(processor) == features
    # LLVM adds what the name stands for, so what is excluded must be stated.
    stated = {name[1:] for name in processor.features.split(",")}
    assert stated == set(SAPPHIRE_RAPIDS)


@given(
    present=st.sets(st.sampled_from(sorted(SAPPHIRE_RAPIDS))),
    caps=st.permutations(CAPS).map(lambda caps: sorted(caps[:2], key=CAPS.index)),
)
def test_a_cap_never_adds_anything(present: set[str], caps: list[str]) -> None:
    """Nor does a lower cap leave more than a higher one."""
    features = {name: name in present for name in SAPPHIRE_RAPIDS}
    higher, lower = (capped("any", features, cap) for cap in caps)
    assert enabled(lower) <= enabled(higher) <= present
    assert lower.vector_bytes <= higher.vector_bytes


@pytest.mark.parametrize(
    ("missing", "level", "has_vnni"),
    [
        (AMX, "avx512", True),
        ((*AMX, "avx512vnni"), "avx512", False),  # avxvnni has 32 bytes, not 64
        ((*AMX, *AVX512), "avx2", True),
        ((*AMX, *AVX512, "avxvnni"), "avx2", False),
        ((*AMX, *AVX512, "fma"), "sse4", False),
    ],
)
def test_the_level_follows_from_the_features(
    missing: tuple[str, ...], level: str, *, has_vnni: bool
) -> None:
    features = SAPPHIRE_RAPIDS | dict.fromkeys(missing, False)
    processor = capped("any", features, "native")
    assert processor.level == level
    assert processor.has_vnni == has_vnni


@pytest.mark.parametrize("cap", CAPS)
def test_caps_change_nothing_on_arm(cap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    features = {"neon": True, "fp-armv8": True, "sve": False}
    processor = capped("apple-m1", features, cap)
    assert processor == Processor("apple-m1", "+neon,+fp-armv8,-sve", 16, 32)
    assert processor.level == "neon"
    assert not processor.has_vnni


def test_an_unknown_cap_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPSR_CPU", "avx3")
    with pytest.raises(UsageError, match="LAPSR_CPU=avx3: must be one of native, avx512, avx2, s"):
        this_processor.__wrapped__()


@pytest.mark.parametrize("cap", CAPS)
def test_this_processor_is_capped_by_the_environment(
    cap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real machine
    monkeypatch.delenv("LAPSR_CPU", raising=False)
    native = this_processor.__wrapped__()
    monkeypatch.setenv("LAPSR_CPU", cap)
    processor = this_processor.__wrapped__()
    assert enabled(processor) <= enabled(native)
    assert processor.vector_bytes <= native.vector_bytes
    levels = ("amx", "avx512", "avx2", "sse4")
    if native.level != "neon":
        allowed = levels[CAPS.index(cap) :]
        assert processor.level == next(
            level for level in allowed if levels.index(level) >= levels.index(native.level)
        )
