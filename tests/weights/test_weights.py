"""Weights files: reading, validation, import, export, and the embedded models."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

from lapsr_cli import weights
from lapsr_cli.errors import UnknownModel, WeightsError, WeightsMismatch
from lapsr_cli.network.pyramid import PyramidConfig
from lapsr_cli.weights import cache
from lapsr_cli.weights.export import export, is_onnx
from lapsr_cli.weights.manifest import embedded_folder, manifest
from lapsr_cli.weights.serialization import Weights, read_safetensors, write_safetensors
from tests.conftest import SMALL_CONFIGS, Ran, random_network, run_lapsr

CONFIG = SMALL_CONFIGS[0]


def some_weights(config: PyramidConfig = CONFIG) -> Weights:
    return Weights(config, random_network(config).float().state_dict(), "a test")


def damaged(path: Path, *, offset: int = -5) -> Path:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x40
    path.write_bytes(content)
    return path


def test_weights_round_trip(tmp_path: Path, small_config: PyramidConfig) -> None:
    written = some_weights(small_config)
    write_safetensors(written, tmp_path / "a.safetensors")
    read = read_safetensors(tmp_path / "a.safetensors")
    assert (read.config, read.origin) == (small_config, "a test")
    state = read.model("a").state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in written.tensors.items())


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_safetensors(some_weights(), tmp_path / f"{name}.safetensors")
    assert cache.sha256_of(tmp_path / "a.safetensors") == cache.sha256_of(
        tmp_path / "b.safetensors"
    )


def changed(change: Callable[[dict[str, torch.Tensor]], object]) -> Weights:
    whole = some_weights()
    tensors = dict(whole.tensors)
    change(tensors)
    return Weights(whole.config, tensors, whole.origin)


@pytest.mark.parametrize(
    ("change", "tensor"),
    [
        (lambda t: t.pop("levels.0.up.bias"), "levels.0.up.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra is not part"),
        (
            lambda t: t.update({"conv_in.weight": torch.zeros(4, 1, 5, 5)}),
            r"conv_in.weight is \(4, 1, 5, 5\), but MS-LapSRN D2R2 has \(4, 1, 3, 3\)",
        ),
        (
            lambda t: t.update({"conv_in.bias": torch.full((4,), torch.nan)}),
            "conv_in.bias has values that are not finite",
        ),
    ],
)
def test_tensors_that_do_not_match_are_named(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], tensor: str
) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(changed(change), path)
    with pytest.raises(WeightsMismatch, match=f"a.safetensors: tensor {tensor}"):
        weights.load(str(path))


def test_files_that_are_not_weights(tmp_path: Path) -> None:
    for name in ("a.safetensors", "a.pth", "a.mat", "a.bin"):
        (tmp_path / name).write_bytes(b"MATLAB 5.0 or anything else" * 20)
        with pytest.raises(WeightsError, match=name):
            weights.read_file(tmp_path / name)
    write_safetensors(some_weights(), tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    with pytest.raises(WeightsError, match=r"cut\.safetensors: not a complete"):
        weights.read_file(tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    "tensor", [torch.zeros(4, dtype=torch.complex64), torch.zeros(4).to_sparse()], ids=str
)
def test_tensors_of_unsupported_kinds_are_named(tmp_path: Path, tensor: torch.Tensor) -> None:
    odd = changed(lambda t: t.update({"conv_in.bias": tensor}))
    torch.save(dict(odd.tensors), tmp_path / "odd.pth")
    with pytest.raises(WeightsMismatch, match=r"conv_in\.bias is not a dense tensor of real"):
        weights.read_file(tmp_path / "odd.pth", CONFIG).model("odd.pth")


def test_tensors_that_share_memory_can_be_written(tmp_path: Path) -> None:
    def tie(tensors: dict[str, torch.Tensor]) -> None:
        tensors["levels.0.convs.1.weight"] = tensors["levels.0.convs.0.weight"]

    write_safetensors(changed(tie), tmp_path / "tied.safetensors")
    assert weights.load(str(tmp_path / "tied.safetensors")).config == CONFIG


@pytest.mark.parametrize(
    "about",
    [
        "{",
        json.dumps({"format": 2, "config": asdict(CONFIG), "origin": ""}),
        json.dumps({"format": 1, "config": {"width": 3}, "origin": ""}),
        json.dumps({"format": 1, "config": {"depth": 0}, "origin": ""}),
        json.dumps({"format": 1, "config": {"depth": 2.5}, "origin": ""}),
        json.dumps({"format": 1, "config": [], "origin": ""}),
        json.dumps({"format": 1, "config": asdict(CONFIG), "origin": ["a"]}),
        json.dumps([1]),
        "[" * 100_000 + "]" * 100_000,
    ],
    ids=range(9),
)
def test_unusable_metadata_is_an_error(tmp_path: Path, about: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file(dict(some_weights().tensors), path, metadata={"lapsr": about})
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        weights.read_file(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channels", 10**9),
        ("depth", 10**9),
        ("recursions", 10**9),
        ("recursions", 10**4000),
        ("depth", 513),
        ("recursions", 257),  # times a depth of 2
        ("levels", 2.0),
        ("shared", "yes"),
        ("pyramid", 1),
        ("global_residual", None),
        ("skip", ["ss"]),
        ("skip", "s" * 100_000),
    ],
    ids=lambda value: str(value)[:12],
)
def test_metadata_of_a_network_that_cannot_be_is_one_short_line(
    lapsr: Callable[..., Ran], tmp_path: Path, field: str, value: object
) -> None:
    about = {"format": 1, "config": {**asdict(CONFIG), field: value}, "origin": ""}
    path = tmp_path / "a.safetensors"
    save_file(dict(some_weights().tensors), path, metadata={"lapsr": json.dumps(about)})
    ran = lapsr("weights", "import", path)
    assert ran.code == 4
    (line,) = ran.error_lines
    assert line.startswith(f"lapsr: {path}: its lapsr metadata is damaged (")
    assert field in line
    assert len(line) < len(str(path)) + 160


def test_metadata_beyond_the_tensors_names_a_tensor(
    lapsr: Callable[..., Ran], tmp_path: Path
) -> None:
    about = {"format": 1, "config": {**asdict(CONFIG), "depth": 200}, "origin": ""}
    path = tmp_path / "a.safetensors"
    save_file(dict(some_weights().tensors), path, metadata={"lapsr": json.dumps(about)})
    assert "levels.0.convs.2.weight is missing" in lapsr("weights", "import", path).err


def test_weights_that_give_no_picture_are_not_imported(
    lapsr: Callable[..., Ran], tmp_path: Path
) -> None:
    whole = some_weights()
    huge = replace(whole, tensors={name: t * 1e30 for name, t in whole.tensors.items()})
    path, output = tmp_path / "huge.safetensors", tmp_path / "out.safetensors"
    write_safetensors(huge, path)
    for command in (
        ("import", path),
        ("import", path, "-o", output),
        ("calibrate", path, "-o", output),
    ):
        ran = lapsr("weights", *command)
        assert (ran.code, ran.error_lines) == (
            4,
            [f"lapsr: {path}: its network gives infinity or NaN even for a grey picture"],
        )
    assert cache.names() == []
    assert not output.exists()


def test_nothing_in_metadata_reaches_the_terminal_as_it_is(
    lapsr: Callable[..., Ran], tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(replace(some_weights(), origin="red \x1b[31m\nname:  other"), path)
    ran = lapsr("weights", "info", path)
    assert "origin:         red \\x1b[31m\\nname:  other\n" in ran.out
    save_file({"\x1b[31mred\n": torch.zeros(1)}, path)
    (line,) = lapsr("weights", "info", path).error_lines
    assert line.endswith("unknown tensors \\x1b[31mred")


class Gadget:
    """What a malicious pickle contains: code that runs when it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("executed",))


def test_nothing_in_a_pth_is_executed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.save({"conv_in.weight": Gadget()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth: not a state dict"):
        weights.read_file(tmp_path / "a.pth")
    assert "executed" not in capfd.readouterr().out


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"state_dict": t}, lambda t: {"model": t}])
def test_import_of_a_state_dict(
    lapsr: Callable[..., Ran],
    tmp_path: Path,
    wrap: Callable[[dict[str, torch.Tensor]], object],
) -> None:
    tensors = {f"module.{name}": t for name, t in some_weights().tensors.items()}
    torch.save(wrap(tensors), tmp_path / "My Net.pth")
    assert lapsr("weights", "import", tmp_path / "My Net.pth").code == 4
    assert lapsr("weights", "import", tmp_path / "My Net.pth", "--depth", "2").code == 2
    for option in ("--depth", "--channels"):
        ran = lapsr("weights", "import", tmp_path / "My Net.pth", "--recursions", "2", option, "0")
        assert (ran.code, option[2:] in ran.err) == (2, True)
    given = ("--recursions", "2", "--depth", "2", "--channels", "4")
    ran = lapsr("weights", "import", tmp_path / "My Net.pth", *given)
    assert (ran.code, ran.out.strip()) == (0, "my-net")
    model = weights.load("my-net", offline=True)
    assert model.config == CONFIG
    assert torch.equal(model.conv_in.weight, some_weights().tensors["conv_in.weight"])


OTHER_NETWORKS = [
    ("an ESRGAN network", "params_ema", ("conv_first.weight", "body.0.rdb1.conv1.weight")),
    ("an ESRGAN network", None, ("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight")),
    ("an ESRGAN network", None, ("conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight")),
    ("a Real-ESRGAN compact network", "params", ("body.0.weight", "body.1.weight")),
    (
        "a SwinIR network",
        "params",
        ("conv_first.weight", "layers.0.residual_group.blocks.0.attn.qkv.weight"),
    ),
    (
        "a HAT network",
        "params_ema",
        (
            "layers.0.residual_group.blocks.0.attn.qkv.weight",
            "layers.0.residual_group.overlap_attn.qkv.weight",
        ),
    ),
    ("an RCAN network", None, ("head.0.weight", "body.0.body.0.body.0.weight")),
    ("an EDSR network", None, ("head.0.weight", "body.0.body.0.weight")),
    ("a waifu2x or Real-CUGAN network", None, ("unet1.conv1.conv.0.weight",)),
]


@pytest.mark.parametrize(("network", "key", "names"), OTHER_NETWORKS)
@pytest.mark.parametrize("options", [(), ("--recursions", "2")], ids=["bare", "described"])
def test_other_networks_are_named(
    lapsr: Callable[..., Ran],
    tmp_path: Path,
    network: str,
    key: str | None,
    names: tuple[str, ...],
    options: tuple[str, ...],
) -> None:
    path = tmp_path / "other.pth"
    tensors = dict.fromkeys(names, torch.zeros(4))
    torch.save(tensors if key is None else {key: tensors}, path)
    ran = lapsr("weights", "import", path, *options)
    (line,) = ran.error_lines
    assert ran.code == 4
    assert line.startswith(f"lapsr: {path}: {network}")
    assert line.endswith("; lapsr reads LapSRN and MS-LapSRN")


def test_tensors_of_an_unknown_network_are_listed(
    lapsr: Callable[..., Ran], tmp_path: Path
) -> None:
    path = tmp_path / "other.safetensors"
    names = ["conv_in.weight", *(f"stem.{number}.weight" for number in range(5)), "x" * 10_000]
    save_file({name: torch.zeros(4) for name in names}, path)
    (line,) = lapsr("weights", "import", path).error_lines
    assert "unknown tensors stem.0.weight, stem.1.weight, stem.2.weight and 3 more" in line


def odd_tensors() -> list[object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is quantized or nested is deprecated or a prototype
        return [
            torch.quantize_per_tensor(torch.zeros(4, 1, 3, 3), 0.1, 0, torch.qint8),
            torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
            torch.zeros(4, device="meta"),
            torch.zeros(1).expand(10**12, 1, 3, 3),
            torch.zeros(()),
        ]


@pytest.mark.filterwarnings("ignore:TypedStorage")
@pytest.mark.parametrize("tensor", odd_tensors(), ids=range(5))
@pytest.mark.parametrize("config", [CONFIG, None], ids=["described", "inferred"])
def test_hostile_tensors_of_a_state_dict(
    tmp_path: Path, tensor: torch.Tensor, config: PyramidConfig | None
) -> None:
    state = {**some_weights(config or SMALL_CONFIGS[4]).tensors, "conv_in.weight": tensor}
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match=r"odd\.pth: "):
        weights.read_file(tmp_path / "odd.pth", config).model(str(tmp_path / "odd.pth"))


def test_names_of_a_state_dict_are_text(tmp_path: Path) -> None:
    deep: object = "a"
    for _ in range(900):
        deep = (deep,)
    torch.save({deep: torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match=r"odd\.pth: not a state dict of tensors"):
        weights.read_file(tmp_path / "odd.pth", CONFIG)


def test_the_configuration_of_lapsrn_is_inferred_from_its_tensors(tmp_path: Path) -> None:
    lapsrn = some_weights(SMALL_CONFIGS[4])
    save_file(dict(lapsrn.tensors), tmp_path / "plain.safetensors")
    assert weights.load(str(tmp_path / "plain.safetensors")).config == lapsrn.config


def test_import_to_a_file_and_names_that_are_taken(
    lapsr: Callable[..., Ran], tmp_path: Path
) -> None:
    source = tmp_path / "lapsrn-x2.safetensors"
    write_safetensors(some_weights(), source)
    ran = lapsr("weights", "import", source)
    assert ran.code == 4
    assert "a model named lapsrn-x2 already exists" in ran.err
    ran = lapsr("weights", "import", source, "-o", tmp_path / "mine.safetensors")
    assert ran.out.strip() == str(tmp_path / "mine.safetensors")
    assert weights.load(ran.out.strip()).config == CONFIG
    assert lapsr("weights", "import", source, "-o", tmp_path / "mine.onnx").code == 2
    assert lapsr("weights", "import", tmp_path / "gone.mat").code == 2


def test_a_damaged_import_is_refused(lapsr: Callable[..., Ran], tmp_path: Path) -> None:
    source = tmp_path / "mine.safetensors"
    write_safetensors(some_weights(), source)
    assert lapsr("weights", "import", source).out.strip() == "mine"
    assert lapsr("weights", "verify", "mine").code == 0
    path = damaged(cache.model_path("mine"))
    ran = lapsr("weights", "verify")
    assert ran.code == 4
    assert f"damaged  mine  {path}" in ran.out
    assert lapsr("weights", "path", "mine").code == 4


def test_a_damaged_import_can_be_imported_again(lapsr: Callable[..., Ran], tmp_path: Path) -> None:
    source = tmp_path / "mine.safetensors"
    write_safetensors(some_weights(), source)
    assert lapsr("weights", "import", source).code == 0
    assert "a model named mine already exists" in lapsr("weights", "import", source).err
    damaged(cache.model_path("mine"))
    ran = lapsr("weights", "import", source)
    assert (ran.code, ran.out) == (0, "mine\n")
    assert lapsr("weights", "verify", "mine").code == 0


def test_unknown_names(lapsr: Callable[..., Ran], tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="did you mean mslapsrn-d5r8"):
        weights.load("mslapsrn-d5r9")
    with pytest.raises(UnknownModel, match=r"gone\.safetensors: no such file"):
        weights.load(str(tmp_path / "gone.safetensors"))
    assert lapsr("weights", "path", "mslapsrn-d5r2").code == 4
    assert lapsr("weights", "download").code == 2


@pytest.mark.parametrize("command", ["path", "info", "download"])
def test_a_removed_model_names_its_successor(lapsr: Callable[..., Ran], command: str) -> None:
    ran = lapsr("weights", command, "lapsr-draft")
    assert ran.code == UnknownModel.exit_code
    removed = "lapsr: model lapsr-draft: removed in lapsr 0.2.0; use lapsr-classic"
    assert ran.error_lines == [removed]


def test_the_successors_of_removed_models_exist() -> None:
    for name, note in manifest().removed.items():
        assert name not in manifest().entries
        assert note.rpartition("use ")[2] in manifest().entries


def test_the_default_needs_no_network(lapsr: Callable[..., Ran]) -> None:
    ran = lapsr("weights", "path", manifest().default)
    assert ran.code == 0
    assert Path(ran.out.strip()).is_file()
    assert weights.load(offline=True).config == PyramidConfig(depth=5, recursions=2)


def test_manifest_files_and_cards_agree() -> None:
    folder = embedded_folder()
    embedded = [entry for entry in manifest().entries.values() if entry.embedded]
    assert {path.name for path in folder.glob("*.safetensors")} == {e.file for e in embedded}
    assert set(manifest().defaults) <= {entry.name for entry in embedded}
    for entry in embedded:
        path = folder / entry.file
        card = path.with_suffix(".md").read_text(encoding="utf-8")
        assert path.stat().st_size == entry.bytes < 1_000_000
        assert cache.sha256_of(path) == entry.sha256
        assert entry.sha256 in card
        model = weights.load(entry.name, offline=True)
        assert model.config.scales == entry.scales
        assert f"{sum(p.numel() for p in model.parameters()):,}" in card


def test_the_manifest_matches_the_authors_files(shared: Callable[[str], Path]) -> None:
    folder = shared("reference/authors-weights")
    served = {entry.file: entry for entry in manifest().entries.values() if not entry.embedded}
    assert set(served) == {path.name for path in folder.glob("*.mat")}
    for name, entry in served.items():
        assert (folder / name).stat().st_size == entry.bytes
        assert cache.sha256_of(folder / name) == entry.sha256
        model = weights.read_file(folder / name).model(name)
        assert model.config.scales == entry.scales
        assert entry.title.startswith(model.config.title.split(" D")[0])
        assert not model.config.shared or model.config.title == entry.title


def test_an_imported_file_of_the_authors_gets_its_name(
    lapsr: Callable[..., Ran], shared: Callable[[str], Path]
) -> None:
    path = shared("reference/authors-weights/MSLapSRN_D5R8.mat")
    assert lapsr("weights", "import", path).out.strip() == "mslapsrn-d5r8"
    ran = lapsr("weights", "info", "mslapsrn-d5r8")
    assert "222,801" in ran.out
    assert "halo 72 input pixels" in ran.out
    assert "cached" in lapsr("weights", "list").out


@pytest.mark.parametrize("config", [SMALL_CONFIGS[0], SMALL_CONFIGS[4]], ids=lambda c: c.title)
def test_onnx_gives_the_same_pictures(tmp_path: Path, config: PyramidConfig) -> None:
    path = tmp_path / "a.onnx"
    export(some_weights(config), path, source="a")
    assert is_onnx(path)  # and may be replaced by the next export
    model = some_weights(config).model("a")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == [f"x{s}" for s in config.scales]
    for height, width in ((1, 1), (5, 30), (31, 8)):
        luma = torch.rand(1, 1, height, width)
        outputs = session.run(None, {"luma": luma.numpy()})
        for ours, theirs in zip(model(luma).values(), outputs, strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), atol=2e-6)


def test_an_export_leaves_nothing_in_the_temporary_folder(tmp_path: Path, tiny: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    elsewhere = f"import tempfile; tempfile.tempdir = {str(temporary)!r}"
    ran = run_lapsr("weights", "export", tiny, "-o", tmp_path / "a.onnx", before=elsewhere)
    assert ran.code == 0, ran.err
    assert (tmp_path / "a.onnx").is_file()
    assert list(temporary.iterdir()) == []


def test_the_suffix_decides_the_export_format(lapsr: Callable[..., Ran], tmp_path: Path) -> None:
    ran = lapsr("weights", "export", "lapsr-classic", "-o", tmp_path / "d.safetensors")
    assert ran.code == 0
    exported = load_file(tmp_path / "d.safetensors")
    original = weights.load("lapsr-classic").state_dict()
    assert all(torch.equal(exported[name], original[name]) for name in original)
    assert lapsr("weights", "export", "lapsr-classic", "-o", tmp_path / "d.tflite").code == 2
    below_a_file = tmp_path / "d.safetensors" / "e.safetensors"
    assert lapsr("weights", "export", "lapsr-classic", "-o", below_a_file).code == 2
