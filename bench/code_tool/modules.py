"""Five modules of installed packages, and folders that hold one of them as a project of its own."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PINS = ("packaging==26.4", "idna==3.20", "toolz==1.2.0", "boltons==26.2.0", "sortedcontainers==2.4.0")


@dataclass(frozen=True, kw_only=True)
class Module:
    """One file of a package."""

    package: str
    name: str

    @property
    def path(self) -> str:
        """Below the folder that its package lies in."""
        return f"{self.package}/{self.name}.py"

    @property
    def key(self) -> str:
        """What its answers and its results are called."""
        return f"{self.package}_{self.name}"


MODULES = (
    Module(package="packaging", name="version"),
    Module(package="idna", name="core"),
    Module(package="toolz", name="itertoolz"),
    Module(package="boltons", name="strutils"),
    Module(package="sortedcontainers", name="sortedlist"),
)


def install_packages(folder: Path) -> None:
    """The pinned packages, by pip and whatever index it is set up with; once."""
    done = folder / "pins"
    if done.exists() and done.read_text("utf-8") == "\n".join(PINS):
        return
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *PINS]
    subprocess.run(command, check=True)
    done.write_text("\n".join(PINS), "utf-8")


def make_project(packages: Path, module: Module, folder: Path) -> Path:
    """The module's package alone, with an empty folder ``tests`` and a ``pyproject.toml`` beside it; the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(packages / module.package, folder / module.package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{module.package}"\nversion = "1.0"\n', "utf-8")
    return folder


def digest_of(folder: Path) -> str:
    """Of all that is in a package, compiled files aside."""
    said = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            said.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return said.hexdigest()
