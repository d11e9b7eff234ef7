"""docs/cli.md: made by its script from the commands as they are, and complete."""

from __future__ import annotations

import runpy

import click
import pytest

from tests.cli.test_help import CONTEXTS
from tests.conftest import ROOT

REFERENCE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_the_reference_is_what_the_script_makes() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "generate_cli_reference.py"))
    assert script["reference"]() == REFERENCE, "run python docs/generate_cli_reference.py"


@pytest.mark.parametrize("path", CONTEXTS)
def test_every_option_of_every_command_stands_in_the_reference(path: str) -> None:
    """By the commands alone, not by the script."""
    section = REFERENCE.partition(f"\n## `{path}`\n")[2].partition("\n## ")[0]
    assert section
    for option in CONTEXTS[path].command.params:
        if isinstance(option, click.Option):
            assert option.help
            for flag in (*option.opts, *option.secondary_opts):
                (row,) = (
                    line
                    for line in section.split("### Presets")[0].splitlines()
                    if line.startswith("| `")
                    and flag in line.split("`")[1].replace(",", "").split()
                )
                assert option.help.split("  [")[0].replace("|", "\\|") in row
