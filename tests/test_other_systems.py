"""Whoever verifies may have any machine: the light rooms and `exam verify` need no Unix."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CERTIFICATES = Path(__file__).parent / "golden" / "certificates"
ROOMS = ("core", "ledger", "stats", "tasks", "rollouts", "exam", "report", "serve", "cli")

# what other systems do not have; libraries that bring their own answer to that are imported before it is taken away
HIDE = """
import importlib, importlib.util, json, os, pkgutil, select, signal, sys
import aiohttp, asyncio, click, cryptography.hazmat.primitives.asymmetric.ed25519, math_verify, numpy, orjson
import psutil, pyarrow.parquet, pydantic, pyrage, rfc8785, rich.progress, scipy.optimize, scipy.special, socket
import subprocess, sympy, tempfile, uuid
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
import filelock
for name in ("fork", "forkpty", "register_at_fork", "killpg", "getpgrp", "getpgid", "setsid", "sysconf", "getuid",
             "geteuid", "getgid", "fchmod", "fchown", "chown", "mkfifo", "pread", "pwrite", "statvfs", "uname", "wait",
             "waitstatus_to_exitcode", "sched_getaffinity", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "WNOHANG"):
    if hasattr(os, name):
        delattr(os, name)
for module, names in ((signal, ("SIGKILL", "SIGHUP", "SIGALRM", "SIGXCPU", "SIGSTOP", "SIGCHLD", "setitimer",
                                "ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")), (select, ("poll", "epoll"))):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""


def elsewhere(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script where Unix is not."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HIDE + body, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


# libraries of the extras that families of tasks bring, and the modules that need them: only children import these
FAMILIES_LIBRARIES = ("reasoning_gym", "langdetect", "punkt")
NEED_AN_EXTRA = [
    "spiritsafe.tasks.families.gym.child",
    "spiritsafe.tasks.families.ifeval.child",
    "spiritsafe.tasks.families.ifeval.reading",
]


def test_every_light_module_is_imported_without_extras() -> None:
    body = """
extras, failed, need_an_extra = json.loads(sys.argv[2]), {}, []
sys.modules.update(dict.fromkeys(extras))  # missing on every machine, wherever the test runs
for room in json.loads(sys.argv[1]):
    package = importlib.import_module(f"spiritsafe.{room}")
    names = [found.name for found in pkgutil.walk_packages(package.__path__, f"spiritsafe.{room}.")]
    light = ("spiritsafe.cli.exam", "spiritsafe.cli.answers.serve.calibrate")  # others need torch and say so
    names = [name for name in names if ".inside." not in name]  # programs of the sandbox, which only Linux has
    for name in [name for name in names if room != "cli" or name.startswith(light)]:
        try:
            importlib.import_module(name)
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in extras:
                need_an_extra.append(name)
            else:
                failed[name] = repr(error)
print(json.dumps([failed, sorted(need_an_extra), "torch" in sys.modules]))
"""
    done = elsewhere(body, json.dumps(ROOMS), json.dumps(FAMILIES_LIBRARIES))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{}, NEED_AN_EXTRA, False]


RUN = """
from spiritsafe.cli import main
main()
"""


def verify(certificate: Path) -> subprocess.CompletedProcess[str]:
    files = ("--paper", str(CERTIFICATES / "paper.json"), "--ledger", str(CERTIFICATES / "ledger.jsonl"))
    return elsewhere(RUN, "exam", "verify", str(certificate), *files)


def test_a_published_certificate_is_verified(tmp_path: Path) -> None:
    certificate = CERTIFICATES / "plain.certificate.json"
    here = subprocess.run(
        [sys.executable, "-c", RUN, "exam", "verify", str(certificate), "--paper", str(CERTIFICATES / "paper.json"),
         "--ledger", str(CERTIFICATES / "ledger.jsonl")],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    done = verify(certificate)
    assert (done.returncode, done.stderr) == (0, here.stderr)
    assert "certificate signatures" in done.stderr
    forged = tmp_path / "forged.json"
    forged.write_text(certificate.read_text("utf-8").replace("Mary Maker", "Mary Faker"), "utf-8")
    assert verify(forged).returncode == 9


@pytest.mark.parametrize(
    "body",
    [
        "from spiritsafe.tasks import GraderPool\nwhat = lambda: GraderPool('arith:sums?terms=2')",
        "from spiritsafe.core.process.children.pool import Handler, shared_pool\n"
        "what = lambda: shared_pool().call(Handler('json', 'loads'), '1')",
        "from spiritsafe.rollouts import PipeGenerator\nwhat = lambda: PipeGenerator(['x']).describe()",
    ],
)
def test_what_needs_children_says_so_with_a_hint(body: str) -> None:
    code = "\nfrom spiritsafe.core.errors import SpiritsafeError\ntry: what()\nexcept SpiritsafeError as error: "
    done = elsewhere(body + code + "print(error.diagnostics())")
    assert "cannot be started on it. Use Linux or macOS; on Windows," in done.stdout, done.stderr


def test_a_lock_says_that_there_are_none_and_files_are_written_without(tmp_path: Path) -> None:
    body = """
from pathlib import Path
from spiritsafe.core.errors import StorageError
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.core.files.lock import locked
folder = Path(sys.argv[1])
write_json(folder / "x.json", 1)
(folder / "link").symlink_to(folder / "x.json")
print(read_json(folder / "x.json"))
for name in ("lock", "link"):
    try:
        with locked(folder / name): pass
    except StorageError as error:
        print(error.diagnostics())
"""
    done = elsewhere(body, str(tmp_path))
    assert done.stdout.startswith("1\n"), done.stderr
    lock, link = done.stdout.splitlines()[1:]
    assert "cannot be locked" in lock
    assert "on a file system that has locks" in lock
    assert "is a link" in link
