"""lapsr weights: list, download, verify, info, import, export, calibrate, path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lapsr_cli.cli.params import GivenPath
from lapsr_cli.errors import LapsrError, UnknownModel, UsageError, WeightsError

if TYPE_CHECKING:
    from lapsr_cli.network.pyramid import PyramidConfig, Skip

_Command = TypeVar("_Command", bound=Callable[..., Any])

offline_option = click.option("--offline", is_flag=True, help="Never use the network.")


def _output_option(endings: str) -> Callable[[_Command], _Command]:
    return click.option(
        "-o",
        "--output",
        required=True,
        type=GivenPath(),
        metavar="FILE",
        help=f"Ends in {endings}.",
    )


@click.group(short_help="List, download, check, convert models.")
def weights() -> None:
    """List, download, check and convert the models that -m takes."""


@weights.command("list")
def list_models() -> None:
    """Every model: its scales, whether it is on this machine, its licence."""
    from rich.console import Console
    from rich.table import Table

    from lapsr_cli.weights import cache
    from lapsr_cli.weights.manifest import manifest

    table = Table("name", "scales", "where", "licence", "what", box=None, pad_edge=False)
    cached = cache.names()
    for entry in manifest().entries.values():
        place = "with lapsr" if entry.embedded else "cached" if entry.name in cached else "download"
        name = f"{entry.name}{_use(entry.name)}"
        scales = ",".join(map(str, entry.scales))
        what = f"{entry.title}: {entry.description}"
        table.add_row(name, scales, place, entry.licence, what)
    for name in cached:
        if name not in manifest().entries:
            table.add_row(name, "", "imported", "", "")
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def _use(name: str) -> str:
    """What a model is the default for."""
    from lapsr_cli.weights.manifest import manifest

    known = manifest()
    if name == known.default:
        return " (default)"
    return " (default for JPEG and the like)" if name == known.default_lossy else ""


@weights.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "every", is_flag=True, help="Every model there is.")
@offline_option
def download(names: tuple[str, ...], every: bool, offline: bool) -> None:
    """Download models, check them, convert them, and keep them in the cache.

    An interrupted download goes on where it stopped. LAPSR_HOME moves the cache,
    LAPSR_WEIGHTS_URL names a mirror, HTTPS_PROXY a proxy.
    """
    from lapsr_cli import weights as models
    from lapsr_cli.cli.console import ByteBar, show_log
    from lapsr_cli.weights.manifest import manifest

    show_log()
    wanted = tuple(manifest().entries) if every else names
    if not wanted:
        raise UsageError("NAME is missing: name models, or give --all")
    for name in wanted:
        entry = manifest().entries.get(name)
        with ByteBar(name, entry.bytes if entry else 0) as bar:
            path = models.download(name, offline=offline, progress=bar.advance)
        click.echo(path)


@weights.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
def verify(names: tuple[str, ...]) -> int:
    """Check the SHA-256 of the named models, or of all that are on this machine.

    Exit code 4 if one is damaged or missing.
    """
    from lapsr_cli import weights as models
    from lapsr_cli.weights import cache
    from lapsr_cli.weights.manifest import manifest

    here = [entry.name for entry in manifest().entries.values() if entry.embedded] + cache.names()
    bad = 0
    for name in names or here:
        try:
            path = models.find(name)
            if path is None:
                raise UnknownModel(f"{name}: not on this machine")
            models.read_file(path).model(str(path))
            click.echo(f"ok       {name}  {path}")
        except UnknownModel as error:
            bad += 1
            click.echo(f"missing  {name}  {error}")
        except LapsrError as error:
            bad += 1
            click.echo(f"damaged  {name}  {error}")
    return WeightsError.exit_code if bad else 0


@weights.command()
@click.argument("model", metavar="NAME|FILE")
def info(model: str) -> None:
    """What a model is: network, parameters, scales, halo, source, licence, checksum."""
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
            "source": entry.url or "comes with lapsr",
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
        click.echo(f"{name + ':':<16}{value}")


@weights.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=GivenPath(),
    metavar="FILE",
    help="Write a .safetensors file here instead of into the cache.",
)
@click.option("--depth", type=int, help="D of a file that does not say; 5 if not given.")
@click.option("--recursions", type=int, help="R of a file that does not say.")
@click.option("--channels", type=int, help="Width of such a network; 64 if not given.")
@click.option(
    "--skip",
    type=click.Choice(["ss", "ds", "ns"]),
    help="Skip connection of such a network; ss if not given.",
)
def import_file(
    file: Path,
    output: Path | None,
    depth: int | None,
    recursions: int | None,
    channels: int | None,
    skip: Skip | None,
) -> None:
    """Convert a .mat of the authors, a .safetensors or a state-dict .pth.

    Prints the name or path that -m takes. The options are for .safetensors without lapsr's
    metadata and for .pth, whose tensors do not tell the number of recursions.
    """
    from lapsr_cli import weights as models

    click.echo(models.import_file(file, output, _config(depth, recursions, channels, skip)))


def _config(
    depth: int | None, recursions: int | None, channels: int | None, skip: Skip | None
) -> PyramidConfig | None:
    from lapsr_cli.network.pyramid import PyramidConfig

    if recursions is None:
        if (depth, channels, skip) != (None, None, None):
            raise UsageError("--depth, --channels, --skip: only together with --recursions")
        return None
    return PyramidConfig(
        depth=depth or 5, recursions=recursions, channels=channels or 64, skip=skip or "ss"
    )


@weights.command()
@click.argument("model", metavar="NAME|FILE")
@_output_option(".safetensors or .onnx")
@offline_option
def export(model: str, output: Path, offline: bool) -> None:
    """Write a model as safetensors or ONNX, by the ending of FILE.

    ONNX takes luma (1, 1, H, W) in [0, 1] of any height and width and gives x2, x4, x8.
    """
    from lapsr_cli import weights as models
    from lapsr_cli.weights.export import export as write

    path = models.obtain(model, offline=offline)
    write(models.read_file(path), output, source=str(path))
    click.echo(output)


@weights.command()
@click.argument("model", metavar="NAME|FILE")
@_output_option(".safetensors")
@offline_option
def calibrate(model: str, output: Path, offline: bool) -> None:
    """Write a model that can be computed in 8 bits, with --precision int8.

    The weights stay as they are. Beside them goes what the network's convolutions read at most, on
    patterns as hard as pictures get; --precision int8 has 256 steps for that.
    """
    from lapsr_cli import weights as models

    models.calibrate(models.obtain(model, offline=offline), output)
    click.echo(output)


@weights.command()
@click.argument("model", metavar="NAME")
def path(model: str) -> None:
    """Print the file of a model that is on this machine."""
    from lapsr_cli import weights as models

    found = models.find(model)
    if found is None:
        raise WeightsError(f"{model}: not on this machine: lapsr weights download {model}")
    click.echo(found)
