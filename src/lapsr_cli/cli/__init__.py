"""The command line. Commands import what they need when they run, so --help loads no torch."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import click

from lapsr_cli import __version__
from lapsr_cli.cli.bench import bench
from lapsr_cli.cli.compare import compare
from lapsr_cli.cli.help_groups import HelpGroup, examples
from lapsr_cli.cli.train import train
from lapsr_cli.cli.upscale import upscale
from lapsr_cli.cli.weights import weights
from lapsr_cli.errors import INTERRUPTED, LapsrError, ResourceError
from lapsr_cli.text import printable

__all__ = ["lapsr", "main"]


@click.group(
    cls=HelpGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "lapsr upscale photos -o large -s 4",
        "lapsr compare photos large -o look.html",
        "lapsr upscale --help",
    ),
)
@click.version_option(__version__, prog_name="lapsr")
def lapsr() -> None:
    """Upscale photos 2x, 4x and 8x with the LapSRN and MS-LapSRN networks.

    \b
    Exit status:
      0    all done or skipped
      1    some pictures failed
      2    invalid usage
      3    no input matched
      4    no model, weights or device
      130  interrupted

    \b
    Environment variables:
      LAPSR_CPU   CPU instructions to use:
                  native, avx512, avx2, sse4
      LAPSR_HOME  folder of the model cache
    """


lapsr.add_command(upscale)
lapsr.add_command(train)
lapsr.add_command(bench)
lapsr.add_command(compare)
lapsr.add_command(weights)


def main() -> None:
    """Run the command line. An expected error is printed as one line and sets the exit code."""
    if isinstance(sys.stdout, TextIOWrapper):
        # As on stderr: a character that the encoding lacks must not end the run.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = lapsr.main(standalone_mode=False)
    except LapsrError as error:
        code = _report_error(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = error.exit_code
    except click.ClickException as error:
        code = _report_error(error.format_message(), error.exit_code)
    except OSError as error:
        code = _report_error(f"{error.filename or 'output'}: {error.strerror or error}", 1)
    except MemoryError:
        code = _report_error(
            "out of memory; try a smaller --memory or -t/--tile", ResourceError.exit_code
        )
    except (click.Abort, KeyboardInterrupt):
        code = _report_error("interrupted", INTERRUPTED)
    sys.exit(code)


def _report_error(message: str, code: int) -> int:
    """Print an error as one line; returns ``code``."""
    click.echo(f"lapsr: {printable(' '.join(message.split()))}", err=True)
    return code
