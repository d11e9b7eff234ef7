"""How much memory is free, under real limits of the process and of control groups, and who may
take how much of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lapsr_cli.device import memory
from lapsr_cli.device.memory import MemoryPolicy, free_memory

MIB = 1 << 20
CPU = torch.device("cpu")
GROUPS = Path("/sys/fs/cgroup/memory")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="limits are asked for on Linux only")


def said(program: str, start: tuple[str, ...] = ()) -> list[int]:
    """Numbers that a Python process prints."""
    command = [*start, sys.executable, "-c", f"{PREAMBLE}\n{program}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


PREAMBLE = """
import resource, torch
from lapsr_cli.device.memory import *
cpu = torch.device("cpu")
def limit(kind, size):
    used = {"AS": 0, "DATA": 5}[kind]
    used = int(open("/proc/self/statm").read().split()[used]) * resource.getpagesize()
    resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (used + size, used + size))
"""


@on_linux
def test_without_limits_it_is_what_the_machine_has() -> None:
    """As the kernel's own file says, read before and after; a new process keeps next to nothing."""
    if any(left < psutil.virtual_memory().available for left in memory._left_in_groups(Path("/"))):
        pytest.skip("a control group limits the memory of this process")
    before, free, after = said(
        "def available():\n"
        "    facts = dict(line.split(':') for line in open('/proc/meminfo'))\n"
        "    return 1024 * int(facts['MemAvailable'].split()[0])\n"
        "print(available(), free_memory(cpu), available())"
    )
    assert min(before, after) - 64 * MIB < free < max(before, after) + 64 * MIB


DEVICES = st.lists(
    st.sampled_from([CPU, torch.device("cuda:0"), torch.device("cuda:1")]), min_size=1, max_size=6
)


@given(devices=DEVICES, limit=st.integers(0, 1 << 40))
def test_a_limit_is_given_out_once(devices: list[torch.device], limit: int) -> None:
    """Pictures and the tiles of all networks on the CPU together, nothing left over but crumbs."""
    policy = MemoryPolicy(devices, limit)
    on_cpu = [policy.tiles(device) for device in devices if device == CPU]
    assert limit - len(on_cpu) - 1 <= policy.pictures() + sum(on_cpu) <= limit
    assert len(set(on_cpu)) <= 1


def test_two_networks_on_one_device_share_its_memory() -> None:
    free = free_memory(CPU)
    one, two = MemoryPolicy([CPU]), MemoryPolicy([CPU, CPU])
    assert one.tiles(CPU) == pytest.approx(2 * two.tiles(CPU), rel=0.1)
    assert two.pictures() + 2 * two.tiles(CPU) < 0.75 * free
    assert one.dataset(CPU) < 0.5 * free


@given(limit=st.integers(0, 1 << 40), ranks=st.integers(1, 8))
def test_ranks_share_what_a_training_set_may_take(limit: int, ranks: int) -> None:
    assert MemoryPolicy([CPU] * ranks, limit).dataset(CPU) == pytest.approx(limit / ranks, abs=1)


@on_linux
@pytest.mark.parametrize("kind", ["AS", "DATA"])
def test_limits_of_the_process_count(kind: str) -> None:
    (free,) = said(f"limit('{kind}', 300 << 20)\nprint(free_memory(cpu))")
    assert 290 * MIB < free < 310 * MIB


@on_linux
def test_what_was_freed_and_kept_is_free() -> None:
    before, during, after = said(
        "keep_freed_memory()\nlimit('DATA', 900 << 20)\nprint(free_memory(cpu))\n"
        "x = torch.zeros(500 << 20, dtype=torch.uint8)\nprint(free_memory(cpu))\n"
        "del x\nprint(free_memory(cpu))"
    )
    assert abs(before - during - 500 * MIB) < 32 * MIB  # a thread began
    assert abs(before - after) < 32 * MIB


@on_linux
def test_what_the_system_would_not_give_is_demanded_in_vain() -> None:
    refused, given, kept = said(
        "def gives(size):\n"
        "    try:\n        ensure_allocatable(size)\n"
        "    except MemoryError:\n        return 0\n"
        "    return 1\n"
        "limit('DATA', 400 << 20)\nkeep_freed_memory()\n"
        "print(gives(500 << 20), gives(300 << 20))\n"
        "x = torch.zeros(300 << 20, dtype=torch.uint8)\ndel x\n"
        "print(gives(300 << 20))  # once it was given back"
    )
    assert (refused, given, kept) == (0, 1, 1)


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of 700 MiB; the test is skipped where none can be made."""
    path = GROUPS / "lapsr-test"
    try:
        path.mkdir(exist_ok=True)
        (path / "memory.limit_in_bytes").write_text(str(700 * MIB))
    except OSError as error:
        pytest.skip(f"no control group (version 1) can be made here: {error}")
    yield path
    path.rmdir()


def test_control_groups_count(group: Path) -> None:
    inside = ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    before, after = said(
        "print(free_memory(cpu))\nx = torch.zeros(300 << 20, dtype=torch.uint8)\n"
        "print(free_memory(cpu))",
        inside,
    )
    assert 300 * MIB < before < 700 * MIB
    assert abs(before - after - 300 * MIB) < 16 * MIB


def write_group(path: Path, most: str, used: int, cached: int) -> None:
    path.mkdir(parents=True)
    (path / "memory.max").write_text(f"{most}\n")
    (path / "memory.current").write_text(f"{used}\n")
    (path / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\nactive_file 2\n")


def test_groups_of_version_2_are_read_with_those_around_them(tmp_path: Path) -> None:
    """Files as the kernel's documentation has them; the outermost group has none."""
    base = tmp_path / "sys/fs/cgroup"
    write_group(base / "user", "max", 10, 0)
    write_group(base / "user/job", "5000", 1500, 200)
    write_group(base / "user/job/step", "9000", 1000, 100)
    own = tmp_path / "proc/self/cgroup"
    own.parent.mkdir(parents=True)
    own.write_text("1:name=systemd:/x\n0::/user/job/step\n")
    assert sorted(memory._left_in_groups(tmp_path)) == [5000 - 1500 + 200, 9000 - 1000 + 100]


def test_a_system_without_groups_has_no_limit_of_them(tmp_path: Path) -> None:
    assert list(memory._left_in_groups(tmp_path)) == []


def test_in_a_container_the_own_group_is_the_outermost_that_is_seen(tmp_path: Path) -> None:
    write_group(tmp_path / "sys/fs/cgroup", "7000", 3000, 0)
    own = tmp_path / "proc/self/cgroup"
    own.parent.mkdir(parents=True)
    own.write_text("0::/../../elsewhere\n")
    assert list(memory._left_in_groups(tmp_path)) == [4000]
