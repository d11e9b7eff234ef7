"""The wheel contains the package, the embedded models and the page templates."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from lapsr_cli.weights.manifest import manifest
from tests.conftest import PICTURES, ROOT


def test_the_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    """Unpacked elsewhere, with the dependencies of this environment."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("lapsr_cli-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "lapsr_cli/py.typed" in names
    assert "lapsr_cli/embedded/manifest.json" in names
    for entry in manifest().entries.values():
        assert (f"lapsr_cli/embedded/{entry.file}" in names) == entry.embedded
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import lapsr_cli; assert 'site' in lapsr_cli.__file__\n"
        "from lapsr_cli.cli import main; main()"
    )
    picture = PICTURES / "lettering.png"
    arguments = ["upscale", str(picture), "-o", str(tmp_path / "out"), "--offline"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "lettering_x2.png").is_file()
    arguments = ["compare", str(picture), str(picture), "-o", str(tmp_path / "page.html")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr  # the page's templates are in the wheel
