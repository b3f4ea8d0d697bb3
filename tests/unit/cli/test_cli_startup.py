"""What a command loads before it does anything: nothing heavy to show its help, and only its own to do its work."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from spiritsafe import cli

EXPERIMENT = Path(__file__).parents[3] / "experiments" / "ladder"
HEAVY = frozenset(
    {"aiohttp", "cryptography", "huggingface_hub", "jinja2", "math_verify", "numpy", "pyarrow", "pyrage", "pydantic"}
    | {"reasoning_gym", "rich", "safetensors", "scipy", "sympy", "tokenizers", "torch", "transformers"}
)
RECORDS = frozenset({"pydantic"})  # what every command is made of
KEYS = RECORDS | {"cryptography", "pyrage"}
STATISTICS = KEYS | {"numpy", "scipy"}

PROGRAM = """
import sys
from spiritsafe.cli import main
sys.argv = ["spiritsafe", *sys.argv[1:]]
try:
    main()
finally:
    print(sorted({name.partition(".")[0] for name in sys.modules}), sorted(sys.modules), sep="\\n", file=sys.stderr)
"""


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Every group and command, by walking from the top."""
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


def loaded_by(*arguments: str, says: str = "", **environment: str) -> tuple[set[str], set[str]]:
    """The packages and the modules that a command loads, which says this."""
    line = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(line, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout + done.stderr
    packages, modules = (set(ast.literal_eval(text)) for text in done.stderr.splitlines()[-2:])
    return packages, modules


@pytest.mark.parametrize("path", list(commands(cli.cli)), ids=" ".join)
def test_help_loads_what_commands_are_made_of_and_no_more(path: tuple[str, ...]) -> None:
    packages, modules = loaded_by(*path, "--help", says="Usage: ")
    allowed = KEYS if path[:1] == ("exam",) else RECORDS if path else frozenset()
    assert packages & HEAVY <= allowed | ({"rich"} if path[:1] == ("tasks",) else set())
    assert "scipy.stats" not in modules


@pytest.mark.parametrize(
    ("words", "found"),
    [("", "doctor"), ("exam ", "verify"), ("exam verify --", "--paper"), ("run --", "--root"), ("models ", "list")],
)
def test_completing_a_line_loads_no_more(words: str, found: str) -> None:
    line = f"spiritsafe {words}"
    count = len(line.split()) - (not line.endswith(" "))
    packages, modules = loaded_by(
        says=found, _SPIRITSAFE_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(count)
    )
    assert packages & HEAVY <= KEYS | {"rich"}
    assert "scipy.stats" not in modules


def test_verifying_loads_keys_and_statistics() -> None:
    certificate = next(EXPERIMENT.glob("kl-*.certificate.json"))
    packages, modules = loaded_by(
        "exam", "verify", str(certificate), "--paper", str(EXPERIMENT / "paper.json"), says="ok     "
    )
    assert packages & HEAVY <= STATISTICS
    assert "scipy.stats" not in modules
    assert "scipy.optimize" not in modules


def test_models_are_listed_without_torch(tmp_path: Path) -> None:
    lineage = tmp_path / "models" / "m" / "lineage.json"
    lineage.parent.mkdir(parents=True)
    lineage.write_text(
        '{"digest":"sha256:0","license":"MIT","name":"m","num_parameters":1,"parents":[],"recipe":null,"weight_bytes":4}'
    )
    packages, _ = loaded_by("models", "list", says="m: 0.0 M parameters", SPIRITSAFE_CACHE=str(tmp_path))
    assert packages & HEAVY <= RECORDS


def test_each_command_of_the_top_is_the_file_that_says_so() -> None:
    """A file that begins with its name and a line of help is a command; nothing else lists it."""
    here = Path(cli.__file__).parent
    context = click.Context(cli.cli)
    for name in cli.cli.list_commands(context):
        folders = [*here.glob(f"{name}/__init__.py"), *here.glob(f"*/{name}/__init__.py")]
        assert folders or len([*here.glob(f"{name}.py"), *here.glob(f"*/{name}.py")]) == 1
        command = cli.cli.get_command(context, name)
        assert command is not None
        assert command.name == name
    assert cli.cli.get_command(context, "terminal") is None
    assert cli.cli.get_command(context, "recipe") is None
    assert cli.cli.get_command(context, "nosuch") is None


def test_the_commands_are_found_in_an_archive(tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "program"), "zip", Path(cli.__file__).parents[2], "spiritsafe")
    text = subprocess.run(
        [sys.executable, "-m", "spiritsafe", "exam", "verify", "--help"],
        env={**os.environ, "PYTHONPATH": archive},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "Recompute everything that CERTIFICATE claims" in text


def test_a_file_beside_the_commands_that_is_no_module_is_no_command(tmp_path: Path) -> None:
    room = tmp_path / "spiritsafe" / "cli" / "recipe"
    shutil.copytree(Path(cli.__file__).parents[1], tmp_path / "spiritsafe")
    (room / "._run.py").write_bytes(b"\x00\x05\x16\x07\xb0")  # what some file systems keep a file's attributes in
    (room / ".#run.py").symlink_to("nobody@nowhere")  # an editor's mark
    done = subprocess.run(
        [sys.executable, "-m", "spiritsafe", "--help"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert re.search(r"^  run +Run a recipe, or go on with it\.$", done.stdout, flags=re.M)
