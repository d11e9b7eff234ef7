"""The shape of the house: floors, doors, and what every command owes its user."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import lapsr_cli
from lapsr_cli import errors
from lapsr_cli.cli import lapsr
from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "lapsr_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS: list[list[str]] = [
    ["errors", "lines"],
    ["model", "processor"],
    ["codegen"],
    ["color", "compiled", "fused", "relay", "resize", "rows", "tiling"],
    ["narrow", "upsampling", "winograd"],
    ["climbs", "half", "quantized"],
    ["strips"],
    ["metrics"],
    ["calibration", "composition", "files"],
    ["image_io", "device", "memory", "weights"],
    ["sizes", "transfer"],
    ["runtime"],
    ["evaluation", "passes"],
    ["upscaler"],
    ["report", "page"],
    ["batch", "train", "compare"],
    ["bench"],
    ["cli"],
    ["__main__"],
]
"""Lowest first: a room imports only from the rows above it in this list, and from itself."""

RANK = {room: rank for rank, row in enumerate(FLOORS) for room in row}
HEAVY = {"torch", "numpy", "scipy", "PIL", "rich", "requests", "safetensors", "jinja2"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The modules a file imports, from anywhere in it, type checking included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            if node.module == "lapsr_cli":
                yield from (f"lapsr_cli.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_from_floors_below(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    for module in imported(path):
        if not module.startswith("lapsr_cli.") or module == "lapsr_cli.__version__":
            continue
        target = module.split(".")[1]
        assert target == room or RANK[target] < RANK[room], f"{room} imports {target}"


def test_every_module_has_its_floor() -> None:
    assert {room_of(path) for path in MODULES} - {"__init__"} == set(RANK)


def test_click_and_printing_stay_on_the_top_floor() -> None:
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        if room_of(path) not in {"cli", "__main__"}:
            assert "click" not in set(imported(path)), path
            assert "print(" not in source, path


def test_mathematics_knows_no_files_and_no_logging() -> None:
    for path in MODULES:
        if room_of(path) in {
            "calibration",
            "climbs",
            "codegen",
            "compiled",
            "composition",
            "half",
            "narrow",
            "processor",
            "rows",
            "quantized",
            "upsampling",
            "model",
            "color",
            "fused",
            "strips",
            "winograd",
            "resize",
            "tiling",
            "metrics",
        }:
            assert not {"pathlib", "os", "io", "logging"} & set(imported(path)), path


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_all_names_what_is_there(path: Path) -> None:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    if name.endswith("__main__"):
        return
    module = importlib.import_module(name.removesuffix(".__init__"))
    for each in getattr(module, "__all__", []):
        assert hasattr(module, each), each


def test_all_of_errors_is_the_whole_tree() -> None:
    tree = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.LapsrError)
    }
    assert tree == set(errors.__all__)
    for name in tree:
        line = next(row for row in (errors.__doc__ or "").splitlines() if f" {name} " in row)
        assert str(getattr(errors, name).exit_code) in line.split()


def commands() -> Iterator[tuple[str, click.Command]]:
    def walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                yield from walk(f"{path} {name}", inner)

    yield from walk("lapsr", lapsr)


@pytest.mark.parametrize(("path", "command"), list(commands()), ids=str)
def test_every_command_has_help_and_stands_in_the_readme(path: str, command: click.Command) -> None:
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.name}"
    assert path in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_version_stands_in_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{lapsr_cli.__version__}]" in changelog


@pytest.mark.parametrize(
    "statement",
    [
        "from lapsr_cli.cli import lapsr; lapsr.main(['--help'], standalone_mode=False)",
        "from lapsr_cli.cli import lapsr; lapsr.main(['upscale', '--help'], standalone_mode=False)",
        "from lapsr_cli.cli import lapsr; lapsr.main(['compare', '--help'], standalone_mode=False)",
        "import lapsr_cli",
    ],
)
def test_help_and_import_load_nothing_heavy(statement: str) -> None:
    code = f"import sys\n{statement}\nprint('loaded', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.rpartition("loaded ")[2].split()
    assert "lapsr_cli" in loaded
    assert not HEAVY & set(loaded)


def test_the_package_is_the_python_door() -> None:
    code = "import lapsr_cli; print(lapsr_cli.Upscaler.__module__, sorted(lapsr_cli.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "lapsr_cli.upscaler"
    with pytest.raises(AttributeError, match="nothing_here"):
        lapsr_cli.__getattr__("nothing_here")
