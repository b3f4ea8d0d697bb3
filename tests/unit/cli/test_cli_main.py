"""The command line as a whole: what it offers is frozen, and errors are one paragraph."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from spiritsafe import cli
from spiritsafe import cli as cli_module

COMMANDS = {
    "code explain": {
        "--tests", "--rebuilder-endpoint", "--rebuilder-model", "--out", "--temperature", "--max-tokens", "--seed",
        "--fail-under", "--overwrite", "--json", "--python", "--model", "--endpoint", "--endpoint-model",
        "--api-key-env", "--timeout", "--request-tries", "--concurrency", "--thinks", "--endpoint-config",
    },
    "code tests": {
        "--budget", "--mutants", "--out", "--temperature", "--max-tokens", "--seed",
        "--fail-under", "--overwrite", "--json", "--python", "--model", "--endpoint", "--endpoint-model",
        "--api-key-env", "--timeout", "--request-tries", "--concurrency", "--thinks", "--endpoint-config",
    },
    "compare": {"--failed", "--scorer", "--metric", "--filter", "--out", "--json"},
    "doctor": {"--no-attacks", "--json"},
    "exam checkpoint": {"--key", "--out"},
    "exam dispute": {"--ledger", "--key", "--problem", "--try", "--propose", "--reason"},
    "exam edit": {"--ledger", "--key", "--dispute", "--status", "--reject", "--reason"},
    "exam exposure": {"--ledger", "--problem", "--json"},
    "exam export": {"--format", "--key", "--out"},
    "exam file": {"--paper", "--rerun", "--ledger", "--key"},
    "exam foreign": {"--out", "--json"},
    "exam import": {"--out", "--scorer", "--results", "--metric", "--filter", "--against", "--json"},
    "exam items": {"--paper", "--ledger", "--shorter", "--out", "--json"},
    "exam key": {"--holder", "--out"},
    "exam lapse": {"--registration", "--ledger", "--key", "--after", "--reason"},
    "exam memory": {"--ledger", "--key", "--out", "--model", "--endpoint", "--endpoint-model", "--api-key-env"},
    "exam overlap": {"--ledger", "--key", "--file", "--about", "--ngram", "--names", "--most", "--out"},
    "exam open": {"--ledger", "--key", "--reason", "--journal", "--out"},
    "exam register": {
        "--name", "--ledger", "--key", "--temperature", "--max-tokens", "--tries", "--hypothesis", "--out",
        "--claim", "--level", "--stop", "--budget", "--probes", "--deviate", "--shorter", "--as-precise-as",
        "--adaptive", "--model", "--endpoint", "--endpoint-model", "--api-key-env",
    },
    "exam registrations": {"--ledger", "--json"},
    "exam reissue": {"--paper", "--ledger", "--key", "--host-key", "--out"},
    "exam rerun": {
        "--paper", "--ledger", "--sealed-key", "--opened", "--key", "--out",
        "--model", "--endpoint", "--endpoint-model", "--api-key-env", "--timeout", "--request-tries", "--concurrency",
        "--thinks", "--endpoint-config",
    },
    "exam reveal": {
        "--registration", "--ledger", "--key", "--journal", "--problem", "--try", "--reason", "--out",
    },
    "exam review": {"--name", "--key", "--out"},
    "exam seal": {
        "--count", "--out", "--ledger", "--key",
        "--file", "--protocol", "--twins", "--recipient", "--reviewer", "--signoffs",
    },
    "exam sit": {
        "--registration", "--ledger", "--key", "--host-key", "--work", "--max-batch", "--reference", "--out",
        "--model", "--endpoint", "--endpoint-model", "--api-key-env", "--timeout", "--request-tries", "--concurrency",
        "--thinks", "--endpoint-config",
    },
    "exam verify": {
        "--paper", "--ledger", "--sealed", "--reference", "--revealed", "--overlap", "--memory", "--witness",
        "--witness-key", "--trust", "--rerun", "--long", "--trust-page", "--opened", "--items", "--json",
    },
    "exam withdraw": {"--registration", "--ledger", "--key", "--reason"},
    "exam witness": {"--ledger", "--key", "--name", "--out"},
    "models fetch": set(),
    "models list": {"--json"},
    "models show": {"--json"},
    "new": {"--teacher", "--teacher-model", "--api-key-env", "--student", "--out"},
    "plan": {"--set", "--model", "--tokens", "--teacher", "--lora", "--memory", "--json"},
    "recipes list": {"--json"},
    "recipes schema": set(),
    "recipes show": {"--resolved", "--set"},
    "release key": {"--out"},
    "release make": {
        *("--model", "--files", "--no-weights", "--title", "--version", "--about", "--text", "--out", "--json"),
    },
    "release push": {"--to", "--key", "--private", "--dry-run", "--json"},
    "release verify": {"--key", "--json"},
    "report": {"--json"},
    "run": {"--set", "--root", "--track", "--json"},
    "sample": {
        "--out", "--problems", "--samples", "--split", "--temperature", "--max-tokens", "--seed", "--curve",
        "--budgets", "--think-end", "--model", "--endpoint", "--endpoint-model", "--api-key-env", "--timeout",
        "--request-tries", "--concurrency", "--thinks", "--endpoint-config", "--json",
    },
    "serve calibrate": {
        "--bytes", "--cascade", "--cost", "--json", "--max-cost", "--max-loss", "--out", "--seed",
    },
    "serve key": {"--keys"},
    "serve run": {
        "--host", "--port", "--name", "--keys", "--no-keys", "--usage", "--max-batch", "--queue", "--queue-timeout",
        "--shutdown-timeout", "--dtype", "--device", "--max-context", "--router",
    },
    "serve usage": {"--by", "--json"},
    "tasks audit": {"--count", "--seed", "--json"},
    "tasks list": {"--refused", "--json"},
    "tasks show": {"--count", "--seed", "--model", "--json"},
}  # fmt: skip


def options_of(command: click.Command) -> set[str]:
    return {name for p in command.params if isinstance(p, click.Option) for name in p.opts}


def test_commands_and_options_are_frozen() -> None:
    """New knobs go into recipes. A wanted change edits the table above, in a commit that says why."""
    found: dict[str, set[str]] = {}
    context = click.Context(cli.cli)
    for name in cli.cli.list_commands(context):
        command = cli.cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": options_of(inner) for sub, inner in command.commands.items()}
        else:
            found[name] = options_of(command)
    assert found == COMMANDS


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("distill", " Did you mean 'run'?"),
        ("validate", " Did you mean 'plan'?"),
        ("eval", " Did you mean 'exam'?"),
        ("deploy", " Did you mean 'serve'?"),
        ("reprot", " Did you mean 'report'?"),
        ("xyzzy", ""),
        ("terminal", ""),
    ],
)
def test_a_command_of_other_tools_leads_to_ours(word: str, meant: str) -> None:
    done = CliRunner().invoke(cli.cli, [word, "--model", "x"])
    assert done.exit_code == 2
    assert f"Error: No such command '{word}'.{meant}\n" in done.output


def test_what_the_light_install_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name, code, words in (
        ("torch.nn", 4, "pip install 'spiritsafe[train]'"),
        ("prometheus_client", 4, "pip install 'spiritsafe[serve]'"),
        ("nosuch", 70, "This is a defect in spiritsafe"),
    ):
        monkeypatch.setattr(cli_module.cli, "main", lambda name=name, **_: missing(name))
        with pytest.raises(SystemExit) as ended:
            cli_module.main()
        assert ended.value.code == code
        assert words in capsys.readouterr().err


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "spiritsafe", *arguments], capture_output=True, text=True, check=False)


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
sys.argv = ["spiritsafe", "--help"]
from spiritsafe.cli import main
try:
    main()
finally:
    heavy = {"torch", "transformers", "scipy", "pyarrow", "pydantic", "numpy"} & set(sys.modules)
    assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Seal, register, sit" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("plan", "nosuch"), 2, ("no recipe", "quickstart")),
        (("plan", "tiny", "--set", "exams.exam.problms=3"), 2, ("exams.0.problms", "'problems'")),
        (("plan",), 2, ("recipe or --model",)),
        (("plan", "tiny", "--tokens", "9"), 2, ("--tokens", "--model")),
        (("plan", "--model", "/no/such/model"), 3, ("/no/such/model",)),
        (("tasks", "show", "arith:nosuch"), 2, ("nosuch",)),
        (("run", "tiny", "--track", "tensorbord"), 2, ("no tracker 'tensorbord'", "tensorboard")),
        (("run", "tiny", "--set", 'models.base.source="/no/such/model"'), 3, ("/no/such/model",)),
    ],
)
def test_an_error_is_one_paragraph_with_its_exit_code(
    arguments: tuple[str, ...], code: int, words: tuple[str, ...], tmp_path: object
) -> None:
    extra = ("--root", str(tmp_path)) if arguments[0] == "run" else ()
    done = run(*arguments, *extra)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    for word in words:
        assert word in errors[0]


def test_verbose_shows_the_traceback() -> None:
    done = run("--verbose", "plan", "nosuch")
    assert "Traceback" in done.stderr
    assert "Error: " in done.stderr


def test_version() -> None:
    assert run("--version").stdout.startswith("spiritsafe, version ")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "shift_jis"])
def test_a_terminal_without_the_letters_of_a_name_gets_their_numbers(tmp_path, encoding):
    line = [sys.executable, "-m", "spiritsafe", "exam", "key", "key", "--holder", "Ре́пин 山田"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert b"witness key" in done.stdout


def test_an_output_without_room_ends_in_a_sentence(tmp_path):
    with open("/dev/full", "w") as full:
        line = [sys.executable, "-m", "spiritsafe", "exam", "key", "key", "--holder", "Eve"]
        done = subprocess.run(line, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode not in (0, 70)
    assert done.stderr.startswith("Error: Nothing more can be written")


def test_no_memory_is_no_defect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def hungry(**more: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 23068672 bytes.")

    monkeypatch.setattr(cli_module.cli, "main", hungry)
    with pytest.raises(SystemExit) as ended:
        cli_module.main()
    assert ended.value.code == 5
    said = capsys.readouterr().err
    assert "Memory ran out: a further 23 MB" in said
    assert "micro_batch_tokens" in said
    assert "defect" not in said
