"""The command line under bad files, words and recipes: what a run does, in process, through its own entry point.

``Bench`` makes a whole small exam and command lines that work over it; ``cases`` replaces one file or one word of one
of them by a bad one; ``Bench.run`` tells how it ended. Exercised by ``pytest tests/props/test_command_fuzz.py``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import click
import pytest
from places import ROOT, TESTS

from spiritsafe import cli
from spiritsafe.cli import paths
from spiritsafe.core.errors import SourceError
from spiritsafe.serve import UsageLedger

FOREIGN = TESTS / "golden" / "foreign"
LADDER = ROOT / "experiments" / "ladder"
UNEXPECTED = 70
WORDS = (
    *("", " ", "-1", "0", "1", "101", "2.5", "999999999999", "99999999999999999999999", "1e400", "nan", "inf", "-inf"),
    *("٣", ".", "score >= .", "score >= 1e999", "better than 7 by .", "no worse than / by 1", "a\0b", "\udcff\udc80"),
    *(
        "\x1b[2J",
        "x" * 100_000,
        "../../../etc/passwd",
        "/dev/zero",
        "math:/dev/zero",
        "mix:a|b",
        "a.b=[[[",
        "a=" + "[" * 5000,
    ),
    *("arith:sums?terms=999999999", "tokens=abc", "tokens=1e999,cost=nan", "cost=1,prices=./.", "looks:0"),
    *("looks:999999999999", "betting:٣", "betting:0", "http://[::1", "file:///etc/passwd", "%s%n{0}"),
    *("sha256:" + "0" * 64, "exams.exam.problems=1e400"),
)


class Runaway(BaseException):
    """A run took too long."""


def _stop(*_: object) -> None:
    raise Runaway


@dataclass(frozen=True)
class Case:
    """A command line with one thing wrong in it."""

    name: str
    arguments: tuple[str, ...]
    parameter: str = ""
    bad: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.parameter} = {self.bad[:40]!r}"


def run_main(arguments: list[str], *, seconds: float = 20.0) -> tuple[int, str]:
    """Exit code and stderr of ``spiritsafe ARGUMENTS``, whose output goes to a strict terminal.

    Raises:
        Runaway: It was not done in time.
    """
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace")]
    argv, before = sys.argv, signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        sys.argv = ["spiritsafe", *arguments]
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        sys.argv = argv
    for stream in streams:
        stream.flush()
    return code, streams[1].buffer.getvalue().decode("utf-8", "replace")  # type: ignore[attr-defined]


def commands() -> dict[str, click.Command]:
    """All commands by their full names."""
    context, found = click.Context(cli.cli), {}
    for name in cli.cli.list_commands(context):
        command = cli.cli.get_command(context, name)
        assert command is not None
        inner = command.commands if isinstance(command, click.Group) else {"": command}
        found |= {f"{name} {sub}".strip(): each for sub, each in inner.items()}
    return found


def spoil(folder: Path, good: Path) -> dict[str, Path]:
    """Bad files in place of a good one."""
    data = good.read_bytes() if good.is_file() else b"{}"
    deep = 100_000
    contents: dict[str, bytes] = {
        "empty": b"",
        "null": b"null",
        "number": b"1",
        "text": b'"text"',
        "list": b"[[], {}]\n",
        "object": b"{}\n",
        "deep list": b"[" * deep,
        "deep object": b'{"a":' * deep,
        "deep and whole": b'{"body":' * 200 + b"1" + b"}" * 200 + b"\n",
        "huge integer": b'{"index": ' + b"9" * 5000 + b"}",
        "large integer": b'{"index": ' + b"9" * 200 + b"}",
        "infinite": b'[{"foreign": Infinity, "epochs": 1e400, "version": NaN}]',
        "not UTF-8": b"\xff\xfe{}",
        "NUL": b"\0" * 100,
        "binary": bytes(range(256)) * 4,
        "surrogate": b'{"kind": "\\ud800", "model_name": "\\udfff"}',
        "half": data[: len(data) // 2],
        "twice": data + data,
        "with newline": data + b"\n\n{",
        "unknown field": data.replace(b"{", b'{"zzz":1,', 1),
        "infinite somewhere": data.replace(b":1,", b":1e999,", 1).replace(b":0,", b":-Infinity,", 1),
        "nested somewhere": data.replace(b":1,", b":" + b"[" * 300 + b"]" * 300 + b",", 1),
        "wrong kind": (FOREIGN / "sums-a.json").read_bytes(),
    }
    found = {}
    for name, content in contents.items():
        found[name] = folder / f"{name}{good.suffix}"
        found[name].write_bytes(content)
        found[name].chmod(0o600)
    with zipfile.ZipFile(folder / "bomb.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", b" " * (8 << 20))
    found |= {"bomb": folder / "bomb.eval", "folder": folder}
    found |= {name: folder / f"{name}{good.suffix}" for name in ("missing", "pipe", "zero", "loop", "sparse")}
    os.mkfifo(found["pipe"])
    found["zero"].symlink_to("/dev/zero")
    found["loop"].symlink_to(found["loop"])
    with found["sparse"].open("wb") as file:
        file.truncate(1 << 36)
    found["sparse"].chmod(0o600)
    return found


class Bench:
    """A whole small exam in a folder, and the command lines that made it and read it.

    Args:
        root: An empty folder.
        url: An endpoint that answers every question.
    """

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.good = root, root / "good"
        self.good.mkdir()
        self._lines = self._command_lines(url)
        cwd = Path.cwd()
        os.chdir(self.good)
        try:
            UsageLedger(self.good / "usage.sqlite").close()
            (self.good / "training.jsonl").write_text('{"text": "nothing of it"}\n')
            shutil.copy(str(resources.files("spiritsafe.pipeline") / "recipes" / "tiny.toml"), self.good)
            (self.good / "protocol.json").write_text('{"sampling": {"temperature": 0.0, "max_tokens": 8}}')
            (self.good / "bank.jsonl").write_text('{"family": "number", "question": "1+1?", "answer": "2"}\n')
            rows = [
                {"name": n, "foreign": k, "num_foreign": 9, "fresh": 4, "num_fresh": 9}
                for n, k in zip("stu", (8, 4, 5), strict=True)
            ]
            (self.good / "counts.json").write_text(json.dumps([{**rows[0], "student": True}, *rows[1:]]))
            for line in self._making(url):
                code, said = run_main(line, seconds=60.0)
                assert code == 0, (line, said)
        finally:
            os.chdir(cwd)

    def _making(self, url: str) -> Iterator[list[str]]:
        for name in ("eve", "mary", "sam"):
            yield ["exam", "key", f"{name}.key", "--holder", name, "--out", f"{name}.json"]
        yield from (
            self._line(name) for name in ("exam seal", "exam register", "exam sit", "exam rerun", "exam overlap")
        )
        yield from (self._line(name) for name in ("exam witness", "exam import", "exam foreign", "exam items"))
        yield self._line("exam reveal")
        yield self._line("release key")
        yield self._line("serve key")

    def _line(self, name: str, **instead: str) -> list[str]:
        values = {**self._lines[name], **instead}
        return [*name.split(), *arguments_of(commands()[name], values)]

    @staticmethod
    def _command_lines(url: str) -> dict[str, dict[str, Any]]:
        """Values by parameter; a list is given several times."""
        paper, certificate = {"paper": "paper"}, {"certificate": "certificate.json"}
        ledger, registration = {"ledger": "ledger.jsonl"}, {"registration": "registration.json"}
        model = {"endpoint": url, "endpoint_model": "m"}
        eve, mary, sam = ({"key": f"{name}.key"} for name in ("eve", "mary", "sam"))
        reason, problem = {"reason": "r"}, {"problem": "0"}
        return {
            "exam key": {"file": "eve.key", "holder": "Eve", "out": "eve.json"},
            "exam seal": {"task": "arith:sums?terms=2&digits=1-2", "count": "8", "out": "paper", **ledger, **eve},
            "exam register": {**paper, **model, **ledger, **mary, "name": "m", "hypothesis": "h", "probes": "0",
                              "tries": "1", "max_tokens": "8", "temperature": "0", "claim": "score >= 0.5",
                              "level": "0.025", "stop": "fixed", "out": "registration.json"},
            "exam sit": {**paper, **registration, **model, **ledger, **eve, "work": "work", "out": "certificate.json"},
            "exam verify": {**certificate, **paper, **ledger, "sealed": "paper/sealed.age", "overlaps": "overlap.json",
                            "reruns": "rerun.json", "revealed": "revealed.json", "witnesses": "seen.jsonl"},
            "exam rerun": {**certificate, **paper, **model, **sam, "out": "rerun.json"},
            "exam overlap": {**paper, **ledger, **eve, "files": "training.jsonl", "out": "overlap.json"},
            "exam memory": {**paper, **model, **ledger, **eve, "out": "memory.json"},
            "exam foreign": {"file": "counts.json", "out": "foreign.json"},
            "exam items": {"certificates": [str(LADDER / f"{name}.certificate.json") for name in ("teacher", "base")],
                           "paper": str(LADDER / "paper.json"), "ledger": str(LADDER / "ledger.jsonl"),
                           "shorter": "20", "out": "items.json"},
            "exam witness": {"other": "ledger.jsonl", "ledger": "seen.jsonl", **sam, "name": "n", "out": "note.txt"},
            "exam checkpoint": {"ledger": "ledger.jsonl", **eve, "out": "point.txt"},
            "exam review": {"file": "bank.jsonl", "name": "n", **sam, "out": "signed.jsonl"},
            "exam withdraw": {**paper, **registration, **ledger, **mary, **reason},
            "exam lapse": {**paper, **registration, **ledger, **eve, **reason, "days": "30"},
            "exam registrations": {**paper, **ledger},
            "exam exposure": {**paper, **ledger, **problem},
            "exam reveal": {**paper, **registration, **ledger, **eve, "journal": "work/answers.jsonl", **problem,
                            **reason, "out": "revealed.json"},
            "exam open": {**paper, **ledger, **eve, **reason, "out": "opened"},
            "exam dispute": {**certificate, **ledger, **sam, **problem, "sample": "0", "propose": "wrong", **reason},
            "exam edit": {**certificate, **ledger, **eve, "dispute": "sha256:" + "0" * 64, "status": "wrong", **reason},
            "exam reissue": {**certificate, **paper, **ledger, **eve, "out": "second.json"},
            "exam file": {**certificate, **paper, **ledger, **sam, "rerun": "rerun.json"},
            "exam import": {"file": str(FOREIGN / "sums-a.json"), "out": "practice.jsonl"},
            "exam export": {**certificate, "kind": "in-toto", **eve, "out": "export.json"},
            "compare": {"a": str(FOREIGN / "sums-a.json"), "b": str(FOREIGN / "sums-b.json"), "out": "compared.csv"},
            "new": {"data": "training.jsonl", "teacher": url, "teacher_model": "m", "student": "none",
                    "out": "new.toml"},
            "code tests": {"path": "tiny.toml", **model, "budget": "1", "out": "written"},
            "code explain": {"path": "tiny.toml", **model, "tests_path": "tiny.toml", "out": "explained"},
            "recipes list": {},
            "recipes show": {"recipe": "tiny.toml"},
            "recipes schema": {},
            "plan": {"recipe": "tiny.toml", "overrides": "seed=1"},
            "run": {"recipe": "no such recipe", "overrides": "seed=1", "root": "runs"},
            "release key": {"file": "release.pem", "out": "public.pem"},
            "release make": {"run": ".", "files": "q8_0", "out": "released"},
            "release verify": {"directory": ".", "public_key": "public.pem"},
            "release push": {"directory": ".", "repository": "a/b", "public_key": "public.pem"},
            "report": {"run": "."},
            "sample": {"task": "arith:sums", **model, "num_problems": "2", "num_samples": "1", "out": "samples"},
            "serve run": {"targets": "/no/such/model", "host": "127.0.0.1", "port": "0", "name": "m",
                          "keys_file": "keys.toml", "usage_file": "usage.sqlite"},
            "serve calibrate": {"attempts": ["work"], "out": "router.json"},
            "serve key": {"name": "Eve", "file": "keys.toml"},
            "serve usage": {"file": "usage.sqlite"},
            "tasks show": {"spec": "arith:sums", "count": "2", "seed": "0"},
            "tasks audit": {"specs": "arith:sums", "count": "4", "seed": "0"},
            "tasks list": {},
            "models show": {"source": "/no/such/model"},
            "models fetch": {"source": "/no/such/model"},
            "models list": {},
            "doctor": {},
        }  # fmt: skip

    def cases(self) -> list[Case]:
        """One thing wrong in each: every path against every bad file, every word against every bad word."""
        names = self.root / "names"
        names.mkdir()
        spoils = sorted(spoil(names, names / "x.json"))
        shutil.rmtree(names)
        found = []
        for name, command in commands().items():
            for param in command.params:
                if getattr(param, "is_flag", False):
                    continue
                reads = isinstance(param.type, click.Path)
                bads = spoils if reads else WORDS
                found += [Case(name, (), str(param.name), bad) for bad in bads]
                if isinstance(param.type, paths.NamesFiles):
                    found += [Case(name, (), str(param.name), f"file: {bad}") for bad in spoils]
        return found

    def run(self, case: Case, number: int) -> tuple[int, str]:
        """A case in a copy of the exam."""
        place = self.root / f"case-{number}"
        shutil.copytree(self.good, place, symlinks=True)
        bad_folder = place / "bad"
        bad_folder.mkdir()
        command = commands()[case.name]
        param = next(p for p in command.params if p.name == case.parameter)
        values = dict(self._lines[case.name])
        if isinstance(param.type, click.Path) or case.bad.startswith("file: "):
            good = values.get(case.parameter, "certificate.json")
            good = place / str(good[0] if isinstance(good, list) else good)
            values[case.parameter] = str(spoil(bad_folder, good)[case.bad.removeprefix("file: ")])
        else:
            values[case.parameter] = case.bad
        cwd = Path.cwd()
        os.chdir(place)
        try:
            return run_main([*case.name.split(), *arguments_of(command, values)])
        finally:
            os.chdir(cwd)
            shutil.rmtree(place)


def arguments_of(command: click.Command, values: dict[str, Any]) -> list[str]:
    """A command's values as words; options first, since an argument may look like one."""
    assert values.keys() <= {param.name for param in command.params}, command.name
    words: list[str] = []
    for param in command.params:
        value = values.get(str(param.name))
        if isinstance(param, click.Option) and value is not None:
            each = [value] * param.nargs if param.nargs > 1 else [value]
            words += [max(param.opts, key=len), *each]
    words.append("--")
    for param in command.params:
        if isinstance(param, click.Argument) and param.name in values:
            value = values[param.name]
            words += value if isinstance(value, list) else [value]
    return words


def no_model(*_: object, **__: object) -> Any:
    """In place of the process that holds weights: it would load torch for each run."""
    raise SourceError("There is no model here.", hint="Use an endpoint.")


def no_run(*_: object, **__: object) -> Any:
    """In place of a whole pipeline."""
    raise SourceError("Nothing is run here.", hint="Use plan.")


def quick(patch: pytest.MonkeyPatch) -> None:
    """Leave out what takes minutes and is no part of the command line."""
    patch.setattr("spiritsafe.rollouts.PipeGenerator", no_model)
    patch.setattr("spiritsafe.pipeline.run_recipe", no_run)
    patch.setattr("spiritsafe.cli.answers.serve.run.local_model", no_model)


VALUES: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 10**9, 123456789012, 10**18, -(10**18), 0.5, -0.5, 1e300, float("inf"), float("nan"), True, False),
    *("", "tiny", "../x", "/dev/zero", "\x1b[2J", "math:/dev/zero", "arith:sums?terms=999999999", "x" * 5000, "٣"),
    *([], [1], ["a"], {}, {"a": 1}, [{}], [[[]]]),
)


_KEYS = ("repeat", "seed", "steps", "name", "zzz", "kind", "problems", "learns", "defaults", "sits")


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*at, key)
        yield from _places(one, (*at, key))


def _shown(target: Any, key: Any) -> str:
    """What stands at a key now."""
    try:
        return repr(target[key])[:60]
    except (KeyError, IndexError):
        return "gone"


def bad_recipe(rng: random.Random, *, wild: bool) -> tuple[str, str]:
    """What was changed in a packaged recipe, and its text: one value, or several, keys gone, doubled or made up."""
    folder = resources.files("spiritsafe.pipeline") / "recipes"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    name = rng.choice(names)
    recipe, changes = tomllib.loads((folder / name).read_text("utf-8")), [name]
    for _ in range(rng.randint(2, 6) if wild else 1):
        *parents, last = rng.choice(list(_places(recipe)))
        target: Any = recipe
        for key in parents:
            target = target[key]
        value = target[last]
        kind = rng.random()
        if wild and kind < 0.2 and isinstance(target, dict):
            target[
                rng.choice(["repeat", "seed", "steps", "name", "zzz", "kind", "problems", "learns", "defaults", "sits"])
            ] = rng.choice(VALUES)
        elif wild and kind < 0.3:
            del target[last]
        elif wild and kind < 0.4 and isinstance(target, list):
            target += target[:50]
        elif not wild and isinstance(value, int | float) and not isinstance(value, bool):
            target[last] = rng.choice([-value, value * 1000, 10**9, 123456789012, 0, value + 0.5, 10**18])
        else:
            target[last] = rng.choice(VALUES)
        changes.append(f"{'.'.join(map(str, (*parents, last)))}: {_shown(target, last)}")
        if not list(_places(recipe)):
            break
    return "; ".join(changes), toml(recipe)


def toml(recipe: dict[str, Any]) -> str:
    """TOML with everything inline."""
    return "".join(f"{json.dumps(str(key))} = {_toml(value)}\n" for key, value in recipe.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return {"inf": "inf", "-inf": "-inf", "nan": "nan"}.get(
            str(value), f"{value:.3e}" if value > 1e16 else str(value)
        )
    return json.dumps(value)
