"""Write docs/cli.md, the reference of all commands and options, from the commands themselves.

    python docs/generate_cli_reference.py

A test compares the file with what this script makes, so run it after changing an option.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click

from lapsr_cli.cli import lapsr
from lapsr_cli.cli.help_groups import contexts, option_groups
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.train.recipe import PRESETS, Recipe

_TARGET = Path(__file__).with_name("cli.md")
_INTRODUCTION = """\
# Command-line reference

Generated from the help texts by `python docs/generate_cli_reference.py`. Every command also has
`-h, --help`.
"""


def reference() -> str:
    """The whole file."""
    return "\n".join([_INTRODUCTION, *(page(context) for context in contexts(lapsr, "lapsr"))])


def page(context: click.Context) -> str:
    """The section of one command."""
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"## `{context.command_path}`\n", f"```sh\n{usage}\n```\n", prose(command.help or "")]
    if isinstance(command, click.Group):
        parts.append(commands(command, context.command_path))
    groups = option_groups(command, context)
    if context.parent:  # --help stands once, at the top
        groups = {
            heading: [o for o in groups[heading] if "--help" not in o.opts] for heading in groups
        }
    groups = {heading: options for heading, options in groups.items() if options}
    for heading, options in groups.items():
        parts.append(f"### {heading}\n" if len(groups) > 1 else "")
        parts.append(table(options, context))
    if context.command_path == "lapsr train":
        parts.append(presets(command))
    if command.epilog:
        lines = inspect.cleandoc(command.epilog).split("Examples:\n")[1]
        parts.append(f"Examples:\n\n```sh\n{textwrap.dedent(lines)}\n```\n")
    return "\n".join(filter(None, parts))


def prose(text: str) -> str:
    r"""A help text as Markdown; a paragraph after \b keeps its lines."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n".join(
        f"```text\n{each.removeprefix(chr(8)).strip()}\n```\n"
        if each.startswith("\b")
        else f"{' '.join(each.split())}\n"
        for each in paragraphs
    )


def commands(group: click.Group, path: str) -> str:
    """The commands of a group and what each is for."""
    rows = [
        (f"`{path} {name}`", each.get_short_help_str(1000)) for name, each in group.commands.items()
    ]
    return markdown_table(("command", "description"), rows)


def table(options: list[click.Option], context: click.Context) -> str:
    """Options with their defaults, as ``--help`` has them."""
    rows: list[tuple[str, ...]] = []
    for option in options:
        record = option.get_help_record(context)
        assert record, option
        term, text = record
        found = re.fullmatch(r"(.*?)(?:\s*\[([^][]*)\])?", text, re.DOTALL)
        assert found
        default = (found[2] or "").removeprefix("default: ").replace("_", "\\_")
        rows.append((f"`{term}`", default, found[1]))
    return markdown_table(("option", "default", "description"), rows)


def presets(command: click.Command) -> str:
    """What the presets of lapsr train set the options to."""
    common = {
        each.name: each.default
        for each in (*fields(PyramidConfig), *fields(Recipe))
        if each.default is not MISSING
    }
    modern, paper = (common | PRESETS[name] for name in ("modern", "paper"))
    modern["precision"] = "bf16 where the device is faster in it, else fp32"
    rows = [
        (f"`{option.opts[0]}`", _shown(modern[option.name]), _shown(paper[option.name]))
        for option in command.params
        if option.name in common and option.name != "init"
    ]
    return "### Presets\n\n" + markdown_table(("option", "modern", "paper"), rows)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in (None, "") else str(value)


def markdown_table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table; a pipe within a cell is escaped."""
    lines = [headings, ("---",) * len(headings)]
    lines += [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    _TARGET.write_text(reference(), encoding="utf-8")
