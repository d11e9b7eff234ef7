"""lapsr weights: list, download, verify, info, import, export, calibrate, path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lapsr_cli.cli.help_groups import HelpGroup, examples
from lapsr_cli.cli.params import GivenPath
from lapsr_cli.errors import LapsrError, UnknownModel, UsageError, WeightsError
from lapsr_cli.text import printable

if TYPE_CHECKING:
    from lapsr_cli.network.pyramid import PyramidConfig, Skip
    from lapsr_cli.weights.manifest import Entry

_Command = TypeVar("_Command", bound=Callable[..., Any])

_UNFOLDED = 1000
"""Columns of a table in a file or a pipe, so that no cell wraps."""

_offline_option = click.option("--offline", is_flag=True, help="Disable network access.")


def _output_option(suffixes: str) -> Callable[[_Command], _Command]:
    """The required option -o; ``suffixes``: of the file, in words."""
    return click.option(
        "-o",
        "--output",
        required=True,
        type=GivenPath(),
        metavar="FILE",
        help=f"File to write, ending in {suffixes}.",
    )


@click.group(cls=HelpGroup, short_help="List, download, verify and convert models.")
def weights() -> None:
    """List, download, verify and convert the models that -m/--model takes."""


@weights.command("list", short_help="List all models.", epilog=examples("lapsr weights list"))
def list_models() -> None:
    """List all models with their scales, location and licence."""
    from lapsr_cli.weights import cache
    from lapsr_cli.weights.manifest import manifest

    cached = cache.names()
    rows = [
        (
            f"{entry.name}{_use(entry.name)}",
            ",".join(map(str, entry.scales)),
            _location(entry, cached),
            entry.licence,
            f"{entry.title}: {entry.description}",
        )
        for entry in manifest().entries.values()
    ]
    known = manifest().entries
    imported = (name for name in cached if name not in known)
    rows += [(printable(name), "", "imported", "", "") for name in imported]
    _print_models(rows)


def _print_models(rows: Iterable[tuple[str, str, str, str, str]]) -> None:
    """A table, or a block of lines per model on a terminal that is too narrow for the table."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _UNFOLDED
    headings = ("name", "scales", "location", "licence", "description")
    table = Table(*headings, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    unfolded = console.options.update(width=_UNFOLDED)
    if console.measure(table, options=unfolded).maximum <= console.width:
        console.print(table)
        return
    for name, scales, location, licence, description in rows:
        parts = (
            f"scales {scales}" if scales else "",
            location,
            f"licence: {licence}" if licence else "",
        )
        console.print(name)
        for line in (", ".join(filter(None, parts)), description):
            console.print(Padding(line, (0, 0, 0, 2)))


def _location(entry: Entry, cached: Sequence[str]) -> str:
    """Where a model of the manifest is: bundled with lapsr, in the cache, or on a server."""
    if entry.embedded:
        return "bundled"
    return "cached" if entry.name in cached else "remote"


def _use(name: str) -> str:
    """The inputs that a model is the default for."""
    from lapsr_cli.weights.manifest import manifest

    known = manifest()
    if name == known.default:
        return " (default)"
    return " (default for lossy files)" if name == known.default_lossy else ""


@weights.command(
    short_help="Download models into the cache.",
    epilog=examples(
        "lapsr weights download mslapsrn-d5r8",
        "LAPSR_WEIGHTS_URL=https://mirror.example.org lapsr weights download --all",
    ),
)
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "every", is_flag=True, help="Download all models.")
@_offline_option
def download(names: tuple[str, ...], every: bool, offline: bool) -> None:
    """Download models, verify and convert them, and store them in the cache.

    Interrupted downloads resume where they stopped. A server that sends less than 1 kB/s for 30 s
    is asked again, 5 times in all, and a download is given up after an hour.

    \b
    Environment variables:
      LAPSR_HOME         folder of the cache
      LAPSR_WEIGHTS_URL  mirror to download from
      HTTPS_PROXY        proxy
    """
    from lapsr_cli import weights as models
    from lapsr_cli.cli.console import ByteBar, show_log
    from lapsr_cli.weights.manifest import manifest

    show_log()
    wanted = tuple(manifest().entries) if every else names
    if not wanted:
        raise UsageError("NAME is missing: name models to download, or use --all")
    for name in wanted:
        entry = manifest().entries.get(name)
        with ByteBar(name, entry.bytes if entry else 0) as bar:
            path = models.download(name, offline=offline, progress=bar.advance)
        click.echo(path)


@weights.command(
    short_help="Verify the checksums of models.",
    epilog=examples("lapsr weights verify", "lapsr weights verify mslapsrn-d5r8"),
)
@click.argument("names", nargs=-1, metavar="[NAME...]")
def verify(names: tuple[str, ...]) -> int:
    """Verify the SHA-256 checksums of the given models, by default of all on this machine.

    The exit status is 4 if a model is damaged or missing.
    """
    from lapsr_cli import weights as models
    from lapsr_cli.weights import cache
    from lapsr_cli.weights.manifest import manifest

    embedded = [entry.name for entry in manifest().entries.values() if entry.embedded]
    bad = 0
    for name in names or embedded + cache.names():
        try:
            path = models.find(name)
            if path is None:
                raise UnknownModel(f"{name}: not on this machine")
            models.read_file(path).model(str(path))
            status = f"ok       {name}  {path}"
        except UnknownModel as error:
            bad += 1
            status = f"missing  {name}  {error}"
        except LapsrError as error:
            bad += 1
            status = f"damaged  {name}  {error}"
        click.echo(printable(status))
    return WeightsError.exit_code if bad else 0


@weights.command(
    short_help="Show details of a model.",
    epilog=examples("lapsr weights info lapsr-classic", "lapsr weights info model.safetensors"),
)
@click.argument("model", metavar="NAME|FILE")
def info(model: str) -> None:
    """Show a model's network, parameters, scales, halo, source, licence and checksums."""
    from lapsr_cli import weights as models
    from lapsr_cli.network.halo import halo
    from lapsr_cli.weights import cache
    from lapsr_cli.weights.manifest import manifest

    entry = manifest().entries.get(model)
    path = models.find(model)
    rows: dict[str, object] = {"name": model}
    if entry is not None:
        rows |= {
            "title": entry.title,
            "description": entry.description,
            "papers": ", ".join(entry.papers),
            "licence": entry.licence,
            "source": entry.url or "bundled with lapsr",
            "source SHA-256": entry.sha256,
        }
    if path is None:
        rows["file"] = f"not on this machine: lapsr weights download {model}"
    else:
        weights = models.read_file(path)
        config, network = weights.config, weights.model(str(path))
        rows |= {
            "file": path,
            "SHA-256": cache.sha256_of(path),
            "origin": weights.origin,
            "network": config.title,
            "depth D": config.depth,
            "recursions R": config.recursions,
            "skip": config.skip,
            "shared": "yes" if config.shared else "no",
            "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
            "int8": "not calibrated" if network.ranges is None else "calibrated",
        }
        for scale in config.scales:
            reach = max(halo(config, scale))
            rows[f"{scale}x"] = f"{config.layers(scale)} layers deep, halo {reach} input pixels"
    for name, value in rows.items():
        click.echo(f"{name + ':':<16}{printable(str(value))}")


@weights.command(
    "import",
    short_help="Import a .mat, .safetensors or .pth file.",
    epilog=examples(
        "lapsr weights import MSLapSRN_D5R8.mat",
        "lapsr weights import mine.pth --recursions 2 -o mine.safetensors",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=GivenPath(),
    metavar="FILE",
    help="Write this .safetensors file instead of storing the model in the cache.",
)
@click.option(
    "--depth", type=int, metavar="N", help="D: convolutions per recursive block.  [default: 5]"
)
@click.option("--recursions", type=int, metavar="N", help="R: recursive blocks per level.")
@click.option("--channels", type=int, metavar="N", help="Channels of the features.  [default: 64]")
@click.option(
    "--skip",
    type=click.Choice(["ss", "ds", "ns"]),
    help="Skip connections: shared source, different source or none.  [default: ss]",
)
def import_file(
    file: Path,
    output: Path | None,
    depth: int | None,
    recursions: int | None,
    channels: int | None,
    skip: Skip | None,
) -> None:
    """Import FILE: a .mat file of the authors, a .safetensors file or a .pth state dict.

    Prints the name or path to use with -m. A model that is damaged in the cache can be imported
    again. An MS-LapSRN file without lapsr's metadata needs --recursions, which cannot be told from
    its tensors; --depth, --channels and --skip then describe the rest of the network.
    """
    from lapsr_cli import weights as models
    from lapsr_cli.cli.console import show_log
    from lapsr_cli.weights.destination import check_destination

    show_log()
    if output is not None:
        check_destination(output)
    click.echo(models.import_file(file, output, _config(depth, recursions, channels, skip)))


def _config(
    depth: int | None, recursions: int | None, channels: int | None, skip: Skip | None
) -> PyramidConfig | None:
    from lapsr_cli.network.pyramid import PyramidConfig

    if recursions is None:
        if (depth, channels, skip) != (None, None, None):
            raise UsageError("--depth, --channels, --skip: need --recursions")
        return None
    return PyramidConfig(
        depth=5 if depth is None else depth,
        recursions=recursions,
        channels=64 if channels is None else channels,
        skip=skip or "ss",
    )


@weights.command(
    short_help="Export a model as safetensors or ONNX.",
    epilog=examples(
        "lapsr weights export lapsr-classic -o classic.onnx",
        "lapsr weights export run/model.safetensors -o model.onnx",
    ),
)
@click.argument("model", metavar="NAME|FILE")
@_output_option(".safetensors or .onnx")
@_offline_option
def export(model: str, output: Path, offline: bool) -> None:
    """Export a model as safetensors or ONNX, depending on the suffix of -o.

    The ONNX model takes luma of shape (1, 1, H, W) in [0, 1], with any height and width; its
    outputs are x2, x4 and x8, one for each scale of the model. ONNX needs lapsr-cli[onnx].
    """
    from lapsr_cli import weights as models
    from lapsr_cli.cli.console import show_log
    from lapsr_cli.weights.destination import check_destination
    from lapsr_cli.weights.export import export as write

    show_log()
    check_destination(output, (".safetensors", ".onnx"))
    path = models.obtain(model, offline=offline)
    write(models.read_file(path), output, source=str(path))
    click.echo(output)


@weights.command(
    epilog=examples(
        "lapsr weights calibrate mslapsrn-d5r8 -o d5r8.safetensors",
        "lapsr upscale photos -o large -m d5r8.safetensors --precision int8",
    )
)
@click.argument("model", metavar="NAME|FILE")
@_output_option(".safetensors")
@_offline_option
def calibrate(model: str, output: Path, offline: bool) -> None:
    """Calibrate a model for --precision int8.

    The weights are copied unchanged, and the value ranges of the convolutions' inputs are stored
    with them: --precision int8 divides each range into 256 steps. The ranges are measured on
    generated patterns as demanding as pictures get, so no pictures are needed.
    """
    from lapsr_cli import weights as models
    from lapsr_cli.cli.console import show_log
    from lapsr_cli.weights.destination import check_destination

    show_log()
    check_destination(output)
    models.calibrate(models.obtain(model, offline=offline), output)
    click.echo(output)


@weights.command(
    short_help="Print the path of a model's file.",
    epilog=examples("lapsr weights path lapsr-classic"),
)
@click.argument("model", metavar="NAME")
def path(model: str) -> None:
    """Print the path of a model's file on this machine."""
    from lapsr_cli import weights as models

    found = models.find(model)
    if found is None:
        raise WeightsError(f"{model}: not on this machine: lapsr weights download {model}")
    click.echo(found)
