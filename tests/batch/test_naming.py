"""Names of outputs: no two the same file, none an input."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from lapsr_cli.batch import naming as names
from lapsr_cli.batch.naming import Naming, name_outputs
from lapsr_cli.errors import UsageError
from lapsr_cli.files import Source, find
from tests.conftest import unprivileged

SUFFIXES = (".png", ".jpg")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def sources(*names: str, suffix: str = "") -> dict[Source, str]:
    """With the suffix of their outputs, which is their own unless another is given."""
    return {Source(Path("in") / n, Path(n)): suffix or Path(n).suffix for n in names}


def test_the_tree_is_mirrored(tmp_path: Path) -> None:
    naming = Naming(folder=tmp_path, scales=("2", "8"))
    (outputs,) = name_outputs(sources("deep/er/c.jpg"), naming).outputs.values()
    assert outputs == {s: tmp_path / "deep" / "er" / f"c_x{s}.jpg" for s in ("2", "8")}


def tells_case_apart(folder: Path) -> bool:
    (folder / "Case").touch()
    return not (folder / "case").exists()


def test_names_that_differ_in_case_are_two_where_the_file_system_says_so(tmp_path: Path) -> None:
    named = name_outputs(sources("a.png", "A.png"), Naming(folder=tmp_path, scales=("2",)))
    assert len(named.outputs) == (2 if tells_case_apart(tmp_path) else 1)


def test_pictures_of_one_stem_never_share_an_output(tmp_path: Path) -> None:
    naming = Naming(folder=tmp_path, scales=("2",))
    named = name_outputs(sources("a.jpg", "a.png", "A.webp", "b.jpg", suffix=".png"), naming)
    assert [outputs["2"].name for outputs in named.outputs.values()] == [
        "a_jpg_x2.png",
        "a_png_x2.png",
        "A_x2.png" if tells_case_apart(tmp_path) else "A_webp_x2.png",
        "b_x2.png",
    ]


def test_what_cannot_be_told_apart_is_left_out_by_name(tmp_path: Path) -> None:
    naming = Naming(folder=tmp_path, scales=("2",))
    one, two = (Source(Path(folder, "a.png"), Path("a.png")) for folder in ("one", "two"))
    named = name_outputs({one: ".png", two: ".png"}, naming)
    assert list(named.outputs) == [one]
    assert "one/a.png" in named.clashes[two]


@pytest.mark.parametrize("folder", ["lower", "Upper"])
def test_no_input_is_ever_overwritten(tmp_path: Path, folder: str) -> None:
    out = tmp_path / folder
    touch(out, "a.png", "a_x2.png")
    a, result = (Source(out / name, Path(name)) for name in ("a.png", "a_x2.png"))
    named = name_outputs({a: ".png", result: ".png"}, Naming(folder=out, scales=("2",)))
    assert list(named.outputs) == [result]
    assert f"overwrite the input {out / 'a_x2.png'}" in named.clashes[a]
    named = name_outputs({a: ".png"}, Naming(folder=out, scales=("2",), pattern="{stem}"))
    assert list(named.clashes) == [a]


@pytest.mark.posix
def test_a_folder_that_cannot_be_opened_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to nobody
        folder = Path(name)
        folder.chmod(0o755)
        touch(folder, "a.png", "closed/b.png")
        (folder / "closed").chmod(0)
        with unprivileged():
            found = find([name], SUFFIXES, folder / "out")
        (folder / "closed").chmod(0o755)
    assert found.problems == {str(folder / "closed"): "Permission denied"}
    assert [str(source.relative) for source in found.sources] == ["a.png"]


@pytest.mark.parametrize(
    "pattern",
    [
        *("{stem}", "{name}_{scale}", "x/{stem}_{scale}", "{", "..", "{stem.x}{scale}"),
        *("{stem.upper}{scale}", "{stem[0]}{scale}", "{stem!r}{scale}", "{stem:.3}{scale}"),
        *("{stem:>999}{scale}", "{stem:{scale}}", "{}{scale}", "}{scale}"),
    ],
)
def test_patterns_that_name_nothing_usable(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        Naming(folder=tmp_path, scales=("2", "4"), pattern=pattern)


def test_where_case_does_not_tell_names_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS and Windows; few machines here have such a file system."""
    monkeypatch.setattr(names, "_folds_case", lambda folder: True)
    sources = [Source(tmp_path / name, Path(name)) for name in ("a.png", "A.png", "a.jpg", "b.png")]
    naming = Naming(folder=tmp_path / "out", scales=("2",), pattern="{stem}_x{scale}")
    named = name_outputs(dict.fromkeys(sources, ".png"), naming)
    assert list(named.clashes) == [sources[1]]
    there = [path.name for outputs in named.outputs.values() for path in outputs.values()]
    assert there == ["a_png_x2.png", "a_jpg_x2.png", "b_x2.png"]
