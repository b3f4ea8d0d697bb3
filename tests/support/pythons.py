"""Environments of other Pythons that this machine has, with the pytest that runs these tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_MINORS = range(9, 16)


def other_python() -> Path:
    """An interpreter of another minor version; the test is skipped where there is none."""
    names = [f"python3.{minor}" for minor in _MINORS if minor != sys.version_info.minor]
    for path in [place for name in names for place in (f"/usr/bin/{name}", shutil.which(name)) if place]:
        if (
            Path(path).exists()
            and subprocess.run([path, "-c", "import venv"], check=False, capture_output=True).returncode == 0
        ):
            return Path(path)
    pytest.skip("no other Python here: apt-get install python3")


def environment_with_pytest(python: Path, folder: Path) -> Path:
    """The interpreter of a new environment in a folder, in which pytest can be imported."""
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True, capture_output=True)
    made = folder / "bin" / "python"
    packages_of(made).joinpath("pytest.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    return made


def packages_of(python: Path) -> Path:
    """The folder of an environment's packages."""
    said = subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"], text=True)
    return Path(said.strip())
