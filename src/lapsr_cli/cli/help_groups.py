"""Help pages with options grouped under headings, and examples at the end."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import click

__all__ = ["GroupedCommand", "HelpGroup", "contexts", "examples", "grouped_option", "option_groups"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_NARROW = 60
"""Below this width in columns, descriptions go under their options instead of beside them."""
_TERM_WIDTH = 24
"""Descriptions start at this column plus 4; after a longer option, on the next line."""


class _HelpFormatter(click.HelpFormatter):
    """click's formatter, for narrow terminals too: click formats for at least 50 columns."""

    def __init__(
        self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None
    ) -> None:
        if width is None:
            columns = shutil.get_terminal_size().columns
            width = max(min(columns, max_width or 80) - 2, 20)
        super().__init__(indent_increment, width, max_width)

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = _TERM_WIDTH, col_spacing: int = 2
    ) -> None:
        """Write a two-column list, or one column if the terminal is narrow."""
        if self.width >= _NARROW:
            super().write_dl([*rows], col_max, col_spacing)
            return
        for term, description in rows:
            indent = " " * self.current_indent
            # Unlike write_text, this does not break options at their hyphens.
            self.write(
                textwrap.fill(
                    term,
                    self.width,
                    initial_indent=indent,
                    subsequent_indent=indent,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
            self.write("\n")
            with self.indentation(), self.indentation():
                self.write_text(description)


class _HelpContext(click.Context):
    formatter_class = _HelpFormatter


class _GroupedOption(click.Option):
    """An option with the heading of its group."""

    def __init__(self, param_decls: Sequence[str], *, group: str, **attrs: Any) -> None:
        super().__init__(param_decls, **attrs)
        self.group = group


class _Page(click.Command):
    """What the help pages of commands and of command groups have in common."""

    context_class = _HelpContext

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog flush left: "Examples:" is a heading like the others."""
        if self.epilog:
            formatter.write_paragraph()
            formatter.write_text(self.epilog)


class GroupedCommand(_Page):
    """A command whose help lists the options by group, in order of declaration."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section per group; descriptions are aligned across all of them."""
        groups = {
            heading: [record for option in options if (record := option.get_help_record(ctx))]
            for heading, options in option_groups(self, ctx).items()
        }
        terms = [term for records in groups.values() for term, _ in records]
        width = min(max(map(len, terms), default=0), _TERM_WIDTH)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl([(term.ljust(width), text) for term, text in records])


class HelpGroup(_Page, click.Group):
    """A group of commands; those declared with its decorator are `GroupedCommand`."""

    command_class = GroupedCommand

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their short help, which click would cut off to one line."""
        commands = sorted(self.commands.items())
        rows = [(name, command.get_short_help_str(limit=1000)) for name, command in commands]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def grouped_option(group: str, *param_decls: str, **attrs: Any) -> Callable[[_Command], _Command]:
    """`click.option` under the heading ``group`` of the command's help."""
    return click.option(*param_decls, cls=_GroupedOption, group=group, **attrs)


def option_groups(command: click.Command, ctx: click.Context) -> dict[str, list[click.Option]]:
    """The options of a command by heading. Those without a group come last."""
    groups: dict[str, list[click.Option]] = {}
    rest: list[click.Option] = []
    for parameter in command.get_params(ctx):
        if isinstance(parameter, _GroupedOption):
            groups.setdefault(parameter.group, []).append(parameter)
        elif isinstance(parameter, click.Option):
            rest.append(parameter)
    return groups | {"Other options" if groups else "Options": rest}


def contexts(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """The contexts of a command and of all commands below it, groups first."""
    context = command.make_context(name, [], parent, resilient_parsing=True)
    yield context
    if isinstance(command, click.Group):
        for inner, below in command.commands.items():
            yield from contexts(below, inner, context)


def examples(*lines: str) -> str:
    r"""An epilog of command lines, one a line. \b keeps click from joining them."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
