"""The layers of the package, and what every command owes its user."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import click
import pytest

import lapsr_cli
from lapsr_cli import errors
from lapsr_cli.cli import lapsr
from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "lapsr_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))


def layers() -> Iterator[tuple[str, ...]]:
    """The modules of each row of CONTRIBUTING.md's table, lowest layer first."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Architecture")[1]
    table = section[section.index("|---|---|") :].split("\n\n")[0]
    for row in table.splitlines()[1:]:
        yield tuple(re.findall(r"`([\w.]+)`", row.split("|")[1]))


POSIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "docs"])
def test_every_module_can_be_imported_on_windows(folder: str) -> None:
    for path in sorted((ROOT / folder).rglob("*.py")):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Import):
                names = {alias.name.partition(".")[0] for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom):
                names = {(statement.module or "").partition(".")[0]}
            else:
                continue
            assert not names & POSIX_ONLY, path


RANK = {entry: rank for rank, row in enumerate(layers()) for entry in row}
HEAVY = {"torch", "numpy", "scipy", "PIL", "rich", "requests", "safetensors", "jinja2"}


def name_of(path: Path) -> str:
    """The module of a file without "lapsr_cli.": cpu.kernels.winograd, or cpu.kernels."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__") if len(parts) > 1 else parts[0]


def entry_of(module: str) -> str | None:
    """The most specific row of the table that a module belongs to."""
    while module and module not in RANK:
        module = module.rpartition(".")[0]
    return module or None


def imported(path: Path) -> Iterator[str]:
    """The modules a file imports, from anywhere in it, type checking included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_module = PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py").is_file()
                yield name if is_module or node.module == "lapsr_cli" else node.module


def inner_imports(path: Path) -> Iterator[str]:
    """Modules of this package that a file imports, without "lapsr_cli."."""
    for module in imported(path):
        if module.startswith("lapsr_cli.") and module != "lapsr_cli.__version__":
            yield module.removeprefix("lapsr_cli.")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_layers_below(path: Path) -> None:
    if name_of(path) == "__init__":
        return
    own = entry_of(name_of(path))
    if own is None:  # a package whose modules have rows of their own: a docstring, no imports
        assert not list(inner_imports(path))
        return
    for module in inner_imports(path):
        target = entry_of(module)
        assert target, f"{path} imports {module}, which is in no layer"
        assert target == own or RANK[target] < RANK[own], f"{own} imports {target}"


def test_every_module_has_its_layer_and_every_layer_a_module() -> None:
    packages = {entry.rpartition(".")[0] for entry in RANK}
    modules = {name_of(path) for path in MODULES} - {"__init__"}
    assert {entry_of(module) for module in modules - packages} == set(RANK)


def test_no_modules_import_each_other_in_a_circle() -> None:
    files = {name_of(path): path for path in MODULES}
    graph = {
        name: {module for module in inner_imports(path) if module in files} - {name}
        for name, path in files.items()
        if name != "__init__"
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_click_and_printing_stay_in_cli() -> None:
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        if name_of(path).split(".")[0] not in {"cli", "__main__"}:
            assert "click" not in set(imported(path)), path
            assert "print(" not in source, path


def test_arithmetic_knows_no_files_and_no_logging() -> None:
    for path in MODULES:
        if name_of(path).split(".")[0] in {"network", "pixels", "metrics", "cpu"}:
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
    documents = ["docs/cli.md"] if path.count(" ") > 1 else ["docs/cli.md", "README.md"]
    for document in documents:
        assert path in (ROOT / document).read_text(encoding="utf-8"), document


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


def test_upscaler_is_the_python_api() -> None:
    code = "import lapsr_cli; print(lapsr_cli.Upscaler.__module__, sorted(lapsr_cli.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "lapsr_cli.upscaler"
    with pytest.raises(AttributeError, match="nothing_here"):
        lapsr_cli.__getattr__("nothing_here")
