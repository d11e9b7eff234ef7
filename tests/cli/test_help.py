"""Help pages: complete, readable at every width, and with examples that work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from lapsr_cli.cli import lapsr
from lapsr_cli.cli.help_groups import (
    GroupedCommand,
    contexts,
    examples,
    grouped_option,
    option_groups,
)
from lapsr_cli.weights.manifest import manifest

CONTEXTS = {context.command_path: context for context in contexts(lapsr, "lapsr")}
COMMANDS = {path: c for path, c in CONTEXTS.items() if not isinstance(c.command, click.Group)}


def help_at(path: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    return CONTEXTS[path].get_help()


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("path", CONTEXTS)
def test_a_help_page_fits_the_terminal(
    path: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for examples, which are to be copied, other preformatted lines, and overlong words."""
    text = help_at(path, columns, monkeypatch).partition("\nExamples:\n")[0]
    help_text = CONTEXTS[path].command.help or ""
    preformatted = "".join(re.findall(r"\x08\n(.*?)(?:\n\n|\Z)", help_text, re.DOTALL))
    for line in text.splitlines():
        longest_word = max(map(len, line.split()), default=0)
        if line.strip() not in preformatted and longest_word < columns - 10:
            assert len(line) <= min(columns, 100), line


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("path", CONTEXTS)
def test_every_option_stands_once_in_the_help(
    path: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    headings = option_groups(CONTEXTS[path].command, CONTEXTS[path])
    text = help_at(path, columns, monkeypatch).partition(f"\n{next(iter(headings))}:\n")[2]
    for option in CONTEXTS[path].command.get_params(CONTEXTS[path]):
        if isinstance(option, click.Option):
            for flag in (*option.opts, *option.secondary_opts):
                entries = re.findall(
                    rf"^  (?:-\w, |--[\w-]+ / )*{flag}(?=[ ,\n])", text, re.MULTILINE
                )
                assert len(entries) == 1, flag


GROUPED_HELP = """\
Second:
  -b N                      Of the second group.
  -c N                      Of the second group too.

First:
  --a-long-option-that-takes-a-line N
                            Of the first.

Other options:
  -d TEXT                   Of none.
  --help                    Show this message and exit.

Examples:
  tool -b 1
  tool -c 2"""


def test_options_stand_under_their_headings_in_the_order_of_declaration() -> None:
    @click.command(cls=GroupedCommand, epilog=examples("tool -b 1", "tool -c 2"))
    @grouped_option("Second", "-b", metavar="N", help="Of the second group.")
    @grouped_option("First", "--a-long-option-that-takes-a-line", metavar="N", help="Of the first.")
    @grouped_option("Second", "-c", metavar="N", help="Of the second group too.")
    @click.option("-d", help="Of none.")
    def tool() -> None:
        """Do nothing."""

    context = tool.make_context("tool", [])
    assert tool.get_help(context).split("\n\n", 2)[2] == GROUPED_HELP


@pytest.mark.parametrize(
    ("path", "headings"),
    [
        ("lapsr upscale", ["Input", "Model", "Sizes", "Output", "Device", "Run"]),
        (
            "lapsr train",
            ["Data", "Run", "Network", "Patches and loss", "Optimizer", "Device"],
        ),
    ],
)
def test_large_commands_group_their_options(path: str, headings: list[str]) -> None:
    groups = option_groups(CONTEXTS[path].command, CONTEXTS[path])
    assert list(groups) == [*headings, "Other options"]
    assert [option.opts for option in groups["Other options"]] == [["-h", "--help"]]


def example_lines(command: click.Command) -> list[str]:
    """The commands of "Examples:", those continued on a second line joined."""
    text = (command.epilog or "").partition("Examples:\n")[2].replace("\\\n", "")
    return [line.strip() for line in text.splitlines()]


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_an_example_of_itself(path: str) -> None:
    assert any(f"{path} " in f"{line} " for line in example_lines(COMMANDS[path].command))


@pytest.mark.parametrize(
    "line", [line for each in CONTEXTS.values() for line in example_lines(each.command)]
)
def test_examples_parse(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)
    while "=" in words[0]:  # an environment variable
        words = words[1:]
    assert words[0] == "lapsr"
    for word in words[1:]:
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", word):
            Path(word).mkdir(exist_ok=True)  # some options take only a folder that exists
    command: click.Command = lapsr
    while isinstance(command, click.Group):
        words = words[1:]
        command = command.commands[words[0]]
    if words[-1] != "--help":
        command.make_context(words[0], words[1:])  # raises UsageError


def test_the_default_models_of_the_help_are_those_of_the_manifest() -> None:
    (option,) = (o for o in CONTEXTS["lapsr upscale"].command.params if o.name == "model")
    assert isinstance(option, click.Option)
    lossless, lossy = manifest().defaults
    assert option.help
    assert option.help.endswith(
        f"[default: {lossy} for JPEG and other lossy files, {lossless} for the rest]"
    )
