"""The tools, each in an environment of its own, on one module beside one model; and mutmut, which judges tests.

Versions are pinned. Where one does not run as pip installs it today, what else had to be pinned stands beside it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modules import Module, make_project

REQUIRED = {
    # its plugin pytest-isolate 0.0.17 fails every test under pytest 9 (no ``_pytest.warnings.apply_warning_filters``)
    "coverup": ("coverup==0.6.3", "pytest<9"),
    "mutmut": ("mutmut==3.8.1",),
    # from 1.0 on its grammars are fetched at run time, which fails without the network; those before bring them along
    "codocs": ("codocs==0.1.0", "tree-sitter-language-pack<1"),
}
KEY = {"OPENAI_API_KEY": "none"}


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a program ended: its exit code (None: it was stopped at its limit), its time, the end of what it said."""

    code: int | None
    seconds: float
    said: str


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Where everything lies."""

    environments: Path
    packages: Path
    limit_s: float

    def script(self, tool: str, name: str) -> str:
        """A program of a tool's environment."""
        return str(self.environments / tool / "bin" / name)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What a tool may spend where it can be told: questions and mutants of a module; and whether the worst is asked."""

    budget: int
    mutants: int
    hostile: bool


def make_environments(folder: Path, tools: Sequence[str]) -> None:
    """Each tool's own, by pip; once."""
    for tool in tools:
        done = folder / tool / "pins"
        if done.exists() and done.read_text("utf-8") == "\n".join(REQUIRED[tool]):
            continue
        shutil.rmtree(folder / tool, ignore_errors=True)
        venv.create(folder / tool, with_pip=True)
        command = [str(folder / tool / "bin" / "python"), "-m", "pip", "install", "--quiet", *REQUIRED[tool]]
        subprocess.run(command, check=True)
        done.write_text("\n".join(REQUIRED[tool]), "utf-8")


def run(command: Sequence[str], folder: Path, limit_s: float, environment: Mapping[str, str] | None = None) -> Ran:
    """A program in a folder; at its limit it is stopped with all that it has started."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OPENAI", "COVERAGE"))}
    log, began = folder / "said.txt", time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**known, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code: int | None = None
        try:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(limit_s)
            seconds = time.monotonic() - began
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Ran(code=code, seconds=seconds, said=log.read_text("utf-8", errors="replace")[-2000:])


def ask_spiritsafe(tools: Tools, module: Module, project: Path, url: str, asking: Asking) -> Ran:
    """Our own tool, as it comes; what it wrote lies in ``out``."""
    command = [sys.executable, "-m", "spiritsafe", "code", "tests", module.path, "--json", "--out", "out"]
    command += [
        "--endpoint",
        url,
        "--endpoint-model",
        "scripted",
        "--budget",
        str(asking.budget),
        "--mutants",
        str(asking.mutants),
    ]
    ours = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return run(command, project, tools.limit_s, {**KEY, **ours})


def ask_coverup(tools: Tools, module: Module, project: Path, url: str, asking: Asking) -> Ran:
    """CoverUp; what it wrote lies in ``tests``. It has no budget of questions: three a piece of code, as it comes.

    It runs two of its tests at once, not 50; and only beside the hostile model each test in a process of its own, as it
    comes: on two cores most answers would run into its limit of a minute.
    """
    command = [tools.script("coverup", "coverup"), "--model", "openai/gpt-4.1", "--package-dir", module.package]
    command += ["--tests-dir", "tests", "--max-concurrency", "2", module.path]
    command += [] if asking.hostile else ["--no-isolate-tests"]
    local = {"OPENAI_BASE_URL": url, "OPENAI_API_BASE": url, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return run(command, project, tools.limit_s, {**KEY, **local})


def ask_codocs(tools: Tools, module: Module, project: Path, url: str, asking: Asking) -> Ran:
    """codocs; what it wrote lies in ``out/tests``. A round is a question."""
    command = [tools.script("codocs", "codocs"), "testgen", ".", "-o", "out", "--files", module.path]
    command += ["--model", "scripted", "--max-file-lines", "5000", "--source-lang", "python", "--refresh-llm"]
    command += ["--test-rounds", str(asking.budget), "--mutants", str(asking.mutants)]
    return run(command, project, tools.limit_s, {**KEY, "OPENAI_BASE_URL": url, "HOME": str(project / "home")})


ASKED = {"spiritsafe": ask_spiritsafe, "coverup": ask_coverup, "codocs": ask_codocs}
WRITTEN = {"spiritsafe": "out/test_*.py", "coverup": "tests/test_*.py", "codocs": "out/tests/**/*test*.py"}


def written_tests(tool: str, project: Path) -> list[str]:
    """The texts of the files that a tool has left."""
    return [path.read_text("utf-8") for path in sorted(project.glob(WRITTEN[tool])) if path.stat().st_size]


def judge_by_mutmut(
    tools: Tools, module: Module, project: Path, tests: Sequence[str], *, only: str
) -> dict[str, int | float | str]:
    """How many of mutmut's mutants the tests kill, and in how many seconds; or why it does not say.

    Args:
        tools: Where everything lies.
        module: What is mutated.
        project: A folder, made anew.
        tests: Files of tests.
        only: Of all mutants those whose name ends so; "": all.
    """
    make_project(tools.packages, module, project)
    for number, text in enumerate(tests):
        (project / "tests" / f"test_{number}.py").write_text(text, "utf-8")
    told = (project / "pyproject.toml").read_text("utf-8")
    (project / "pyproject.toml").write_text(
        f'{told}\n[tool.mutmut]\nsource_paths = ["{module.package}"]\nonly_mutate = ["{module.path}"]\n'
        'pytest_add_cli_args_test_selection = ["tests"]\nuse_git_change_detection = false\n',
        "utf-8",
    )
    command = [tools.script("mutmut", "mutmut"), "run", "--max-children", "2", *([f"*{only}"] if only else [])]
    ran = run(command, project, tools.limit_s)
    listed = subprocess.run(
        [tools.script("mutmut", "mutmut"), "results", "--all", "true"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    found = Counter(re.findall(r": ([a-z ]+)$", listed, re.MULTILINE))
    found.pop("not checked", None)
    if ran.code != 0 or not found:
        reasons = [line for line in ran.said.splitlines() if line.strip()]
        why = "stopped at its limit" if ran.code is None else reasons[-1] if reasons else "it says nothing"
        return {"refused": why[-200:], "seconds": round(ran.seconds, 1)}
    killed = found["killed"] + found["timeout"] + found["segfault"]
    return {"mutants": sum(found.values()), "killed": killed, "seconds": round(ran.seconds, 1)}


def versions(tools: Tools, tool: str) -> dict[str, str]:
    """Of what was pinned, and of pytest."""
    listed = subprocess.run(
        [tools.script(tool, "python"), "-m", "pip", "list", "--format", "json"], capture_output=True, check=True
    ).stdout
    names = {re.split(r"[<=>]", pin)[0] for pin in REQUIRED[tool]} | {"pytest"}
    return {row["name"]: row["version"] for row in json.loads(listed) if row["name"].lower() in names}
