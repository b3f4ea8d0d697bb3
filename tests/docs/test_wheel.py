"""What is published is what was tested: the wheel holds every file of the package, and works where no checkout is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "spiritsafe"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of these sources, built without a network and unpacked as an installer does."""
    place = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place / name)
    shutil.copytree(SOURCE, place / "src" / "spiritsafe", ignore=shutil.ignore_patterns("__pycache__"))
    line = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    done = subprocess.run(line, cwd=place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = (place / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "installed")
    return place / "installed"


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(unpacked: Path) -> None:
    def files(root: Path) -> set[str]:
        found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return {path.as_posix() for path in found if "__pycache__" not in path.parts}

    assert files(unpacked / "spiritsafe") == files(SOURCE)
    assert any(name.endswith(".toml") for name in files(SOURCE))
    assert any(name.endswith(".css") for name in files(SOURCE))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("plan", "tiny"), ("tasks", "list"), ("models", "show", "tiny:0", "--json")])
def test_the_wheel_works_where_no_checkout_is(arguments: tuple[str, ...], unpacked: Path, tmp_path: Path) -> None:
    program = (
        "import sys, spiritsafe; from spiritsafe.cli import main; "
        "print(spiritsafe.__file__, file=sys.stderr); sys.argv[0] = 'spiritsafe'; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "SPIRITSAFE_CACHE": str(tmp_path / "cache")}
    line = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert str(unpacked) in done.stderr
    assert done.stdout
