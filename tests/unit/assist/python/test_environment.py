from __future__ import annotations

import json
import math
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path

import pytest

from spiritsafe.assist.python.environment import environment_of, own_environment
from spiritsafe.core.errors import TaskError


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_python_itself_is_no_library_and_pytest_is_in_one() -> None:
    own = {Path(json.__file__).parents[1], Path(math.__file__).parent if hasattr(math, "__file__") else Path("/")}
    found = own_environment()
    assert not own & {*found.libraries}
    assert Path(pytest.__file__).parents[1] in found.libraries
    assert found.version == sys.version_info[:3]


def test_what_has_a_modules_name_is_not_shown_but_for_what_pytest_needs(tmp_path: Path) -> None:
    for name in ("three", "four", "__pycache__"):
        (tmp_path / name).mkdir()
    (tmp_path / "three.libs").mkdir()
    (tmp_path / "two.py").touch()
    environment = replace(own_environment(), libraries=(tmp_path,))
    shown = {Path(path).name for path in environment.readable_parts(["three"])}
    assert shown == {"two.py", "four"}
    for top in ("other", "packaging"):
        assert environment.readable_parts([top]) == (str(tmp_path),)


def test_an_environment_that_is_named_is_asked_where_it_looks(tmp_path: Path) -> None:
    """Against what Python says of itself there."""
    bare = tmp_path / "bare"
    venv.create(bare, symlinks=True)
    python = bare / "bin" / "python"
    with pytest.raises(TaskError, match="has no pytest") as raised:
        environment_of(python)
    assert f"{python} -m pip install" in raised.value.hint
    packages = Path(
        subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"], text=True).strip()
    )
    (packages / "beside.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    found = environment_of(python)
    assert found.named == python
    assert found.executable == Path(sys.executable).resolve()
    assert found.version == sys.version_info[:3]
    assert {packages.resolve(), Path(pytest.__file__).parents[1]} <= {*found.libraries}
    assert not any("lib-dynload" in str(path) for path in found.libraries)


def test_the_folder_of_the_caller_is_no_place_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project may have a module of any name; none of it is run outside of the sandbox."""
    (tmp_path / "json.py").write_text("raise SystemExit(1)\n")
    monkeypatch.chdir(tmp_path)
    found = environment_of(Path(sys.executable))
    assert tmp_path not in found.libraries


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 1", "is no Python that can be run"),
        ("echo hello", "is no Python that can be run"),
        ("echo '[1]'", "is no Python that can be run"),
        (
            'echo \'{"version": [3, 8, 1], "implementation": "cpython", "pytest": [8, 1], "executable": "/x", '
            '"prefixes": [], "library": [], "paths": []}\'',
            r"is cpython 3\.8\.1, in which tests cannot be run",
        ),
        (
            'echo \'{"version": [3, 12, 1], "implementation": "pypy", "pytest": [8, 1], "executable": "/x", '
            '"prefixes": [], "library": [], "paths": []}\'',
            r"is pypy 3\.12\.1, in which",
        ),
        (
            'echo \'{"version": [3, 12, 1], "implementation": "cpython", "pytest": [7, 4], "executable": "/x", '
            '"prefixes": [], "library": [], "paths": []}\'',
            r"has pytest 7\.4, which is too old",
        ),
    ],
)
def test_what_is_no_python_for_tests_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TaskError, match=said) as raised:
        environment_of(script(tmp_path / "python", text))
    assert raised.value.hint


def test_what_cannot_be_executed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("plain", "zero", ".", "missing"):
        with pytest.raises(TaskError, match="is no Python that can be run"):
            environment_of(tmp_path / name)
