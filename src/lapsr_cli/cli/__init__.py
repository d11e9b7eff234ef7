"""The command line. Commands import what they need when they run: --help loads no torch."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import click

from lapsr_cli import __version__
from lapsr_cli.cli.bench import bench
from lapsr_cli.cli.compare import compare
from lapsr_cli.cli.train import train
from lapsr_cli.cli.upscale import upscale
from lapsr_cli.cli.weights import weights
from lapsr_cli.errors import INTERRUPTED, LapsrError, ResourceError

__all__ = ["lapsr", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lapsr")
def lapsr() -> None:
    """Upscale photos 2x, 4x and 8x with the Laplacian pyramid network (LapSRN, MS-LapSRN).

    Exit codes: 0 all done or skipped; 1 some pictures failed, the rest are done; 2 wrong usage;
    3 nothing matched; 4 no model, weights or device; 130 interrupted.
    """


lapsr.add_command(upscale)
lapsr.add_command(train)
lapsr.add_command(bench)
lapsr.add_command(compare)
lapsr.add_command(weights)


def main() -> None:
    """Run the command line; every expected error becomes one line and its exit code."""
    if isinstance(sys.stdout, TextIOWrapper):
        # As stderr: what the terminal's encoding lacks, in a name or a unit, ends nothing.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = lapsr.main(standalone_mode=False)
    except LapsrError as error:
        code = _complain(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = error.exit_code
    except click.ClickException as error:
        code = _complain(error.format_message(), error.exit_code)
    except OSError as error:
        code = _complain(f"{error.filename or 'output'}: {error.strerror or error}", 1)
    except MemoryError:
        code = _complain(
            "out of memory; give a smaller --memory or -t/--tile", ResourceError.exit_code
        )
    except (click.Abort, KeyboardInterrupt):
        code = _complain("interrupted", INTERRUPTED)
    sys.exit(code)


def _complain(message: str, code: int) -> int:
    click.echo(f"lapsr: {' '.join(message.split())}", err=True)
    return code
