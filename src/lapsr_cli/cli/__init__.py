"""The command line. Commands import what they need when they run, so --help loads no torch."""

from __future__ import annotations

import os
import sys
import threading
from typing import NoReturn

import click

from lapsr_cli import __version__
from lapsr_cli.cli.bench import bench
from lapsr_cli.cli.compare import compare
from lapsr_cli.cli.help_groups import HelpGroup, examples
from lapsr_cli.cli.streams import OutputClosed, guard_streams
from lapsr_cli.cli.train import train
from lapsr_cli.cli.upscale import upscale
from lapsr_cli.cli.weights import weights
from lapsr_cli.errors import INTERRUPTED, OUTPUT_CLOSED, LapsrError, ResourceError
from lapsr_cli.text import printable

__all__ = ["lapsr", "main", "run"]

_OUT_OF_MEMORY = b"lapsr: out of memory; try a smaller --memory or -t/--tile\n"


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
      141  output closed, as by `| head`

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


def main() -> NoReturn:
    """Run the command line and end the process, however that goes."""
    guard_streams()
    try:
        code = run()
    except OutputClosed:
        code = OUTPUT_CLOSED
    except MemoryError:
        os.write(2, _OUT_OF_MEMORY)  # there may be no memory to print it as the others
        code = ResourceError.exit_code
    except BaseException:  # noqa: BLE001 (a defect)
        sys.excepthook(*sys.exc_info())
        code = 1
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process. All that could be printed has been flushed."""
    if code == 0 and threading.active_count() == 1:
        sys.exit(code)
    # The interpreter would wait for a pass of the network, abort in a thread inside torch, or fail
    # to flush what could not be printed.
    os._exit(code)


def run() -> int:
    """Run the command line; the exit code. An expected error is printed as one line."""
    try:
        code = int(lapsr.main(standalone_mode=False) or 0)
    except LapsrError as error:
        code = _report_error(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = error.exit_code
    except click.ClickException as error:
        code = _report_error(error.format_message(), error.exit_code)
    except ImportError as error:
        code = _report_unloadable(error)
    except OSError as error:
        if error.errno is None:  # from a loader: the system's errors have a number
            code = _report_unloadable(error)
        else:
            code = _report_error(f"{error.filename or 'output'}: {error.strerror or error}", 1)
    except (click.Abort, KeyboardInterrupt):
        code = _report_error("interrupted", INTERRUPTED)
    return code


def _report_unloadable(error: Exception) -> int:
    """Of a library: it is damaged or missing, or a limit of the memory leaves no room for it."""
    return _report_error(f"a library cannot be loaded: {error}", ResourceError.exit_code)


def _report_error(message: str, code: int) -> int:
    """Print an error as one line; returns ``code``."""
    click.echo(f"lapsr: {printable(' '.join(message.split()))}", err=True)
    return code
