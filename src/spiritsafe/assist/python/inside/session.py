"""One session of pytest's in which every program has its turn.

In: a job: the tests, the module under test by name and path, the order of tests in each turn. For each turn the other
side sends the module as compiled code. Out: for each turn a line of JSON behind the nonce: how each test went, how the
turn ended, the seconds that it computed. Each turn is a process of its own in which the project is imported anew, and
which finds no trace of the turns before; pytest, and what the project leans on, are imported once.
"""

from __future__ import annotations

import ast
import base64
import gc
import importlib
import json
import marshal
import os
import random
import socket
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from _pytest.assertion.rewrite import rewrite_asserts

from spiritsafe.assist.python.inside.modules import ProjectFinder, forget_modules, loaded_sources
from spiritsafe.assist.python.inside.outcomes import ItemOutcomes, Report, run_items, said, told_name
from spiritsafe.assist.python.inside.watch import MEMORY_READERS, TrustedCode, code_parts, trusted_code, watch
from spiritsafe.tasks.code.duet.inside.channel import ChannelLost, hear, say
from spiritsafe.tasks.code.duet.inside.fenced import fork_fenced, read_messages, wait_for

_MOST_REPORT_BYTES = 4 << 20
_MOST_ITEMS = 2000
_LOOK_S = 30.0
"""What importing the project, and all that it leans on, may take."""
_NOT_USED = (
    "cacheprovider",
    "faulthandler",
    "warnings",
    "doctest",
    "stepwise",
    "threadexception",
    "unraisableexception",
)
"""Plugins of pytest's own that write files, or look at what no test says."""
_LOOKED = "it looks at the code under test instead of at what it does"


def run_session(job: dict[str, Any]) -> None:
    """All turns; does not return."""
    plugins = [part for name in _NOT_USED for part in ("-p", f"no:{name}")]
    options = ["--noconftest", "-c", "pytest.ini", "--capture=no", "--assert=plain"]
    pytest.main([*plugins, *options, job["test_path"]], plugins=[_Turns(job)])
    os._exit(1)  # it never came to the turns


class _Turns:
    """A plugin that lets each program have its turn where pytest would look for tests."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._codes: dict[str, types.CodeType] = {}
        self._packages: list[str] = []
        self._trusted: TrustedCode = frozenset()
        self._tests: types.CodeType | str = ""
        self._outcomes = ItemOutcomes()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """All turns; does not return."""
        nonce, channel = self._job.pop("nonce"), socket.socket(fileno=3)
        session.config.pluginmanager.unregister(name="terminalreporter")
        session.config.pluginmanager.register(self._outcomes)
        self._job["root"] = root = f"{os.getcwd()}/project"
        self._job["path"] = f"{root}/{self._job['place']}"
        sys.stdout.write(f"\n{nonce} {json.dumps({'is_ready': True})}\n")
        sys.stdout.flush()
        with suppress(ChannelLost):
            say(channel, {"root": root})
            self._prepare(session.config, channel)
            for shuffle, is_traced in self._job["turns"]:
                turn = partial(self._turn, session, shuffle=shuffle, is_traced=is_traced)
                ended, cpu_s, messages = self._fork(channel, turn, self._job["cpu_s"], self._job["wall_s"])
                line = json.dumps({"code": ended, "cpu_s": round(cpu_s, 6), "said": messages})
                sys.stdout.write(f"{nonce} {line}\n")
                sys.stdout.flush()
                if self._job["stops_early"] and not any("end" in message for message in messages):
                    break
        channel.close()
        os._exit(0)

    def _fork(
        self, channel: socket.socket, work: Callable[[Report, dict[str, Any]], None], cpu_s: float, wall_s: float
    ) -> tuple[int, float, list[Any]]:
        """Let a process of its own work with the next program; how it ended, what it computed, what it said."""
        given = [hear(channel)]
        reading, writing = os.pipe()

        def begin() -> None:
            work(Report(writing), given.pop())  # which then is nowhere in this process's frames

        files = self._job["file_bytes"]
        pid = fork_fenced(begin, keep=(writing,), cpu_s=cpu_s, wall_s=wall_s, file_bytes=files)
        os.close(writing)
        messages = read_messages(reading, _MOST_REPORT_BYTES)
        return *wait_for(pid), messages

    def _prepare(self, config: pytest.Config, channel: socket.socket) -> None:
        """Import, or compile, whatever is the same in all turns, but nothing that a test wrote."""
        *_, found = self._fork(channel, self._look, _LOOK_S, _LOOK_S)
        seen = found[-1] if found else {"project": {}, "others": []}
        self._tests = _compiled(self._job["tests"], self._job["test_path"], config)
        self._import_once(seen["others"])
        for name, path in seen["project"].items():
            with suppress(OSError, SyntaxError, ValueError), open(path, "rb") as file:
                self._codes[name] = compile(file.read(), path, "exec", dont_inherit=True)
            if path.endswith("/__init__.py"):
                self._packages.append(name)
        self._trusted = trusted_code() | code_parts(self._codes.values())
        wanted = [name for name in _imported(self._job["tests"]) if name.partition(".")[0] not in MEMORY_READERS]
        self._import_once(wanted)  # which only the tests need, so it may not look at code
        gc.collect()
        gc.freeze()  # collecting in a turn would copy the pages that it shares with this process

    def _import_once(self, names: list[str]) -> None:
        for name in names:
            if name.partition(".")[0] not in self._tops:
                with suppress(BaseException):
                    importlib.import_module(name)

    @property
    def _tops(self) -> list[str]:
        return [*self._job["tops"], self._job["test_name"]]

    def _look(self, report: Report, given: dict[str, Any]) -> None:
        """In a process of its own: what the original imports."""
        known = set(sys.modules)
        self._import(given)
        project = loaded_sources(self._job["root"], self._job["path"])
        others = [name for name in sys.modules if name not in known and name not in project]
        report.say({"project": project, "others": others})

    def _import(self, given: dict[str, Any]) -> TrustedCode:
        """Import the module under test, and nothing of it is left but what is imported; its code."""
        job = self._job
        forget_modules(self._tops)
        code = marshal.loads(base64.b64decode(given.pop("code")))
        codes = {**self._codes, job["module"]: code}
        if isinstance(self._tests, types.CodeType):
            codes[job["test_name"]] = self._tests
        packages = [*self._packages, *([job["module"]] if job["is_package"] else [])]
        sys.path.insert(0, job["root"])
        sys.meta_path.insert(0, ProjectFinder(codes, packages))
        importlib.invalidate_caches()
        importlib.import_module(job["module"])
        return code_parts([code])

    def _turn(
        self, session: pytest.Session, report: Report, given: dict[str, Any], *, shuffle: int | None, is_traced: bool
    ) -> None:
        """In a process of its own: all tests against one program."""
        lines: set[int] = set()
        if is_traced:
            _trace(self._job["path"], lines)
        try:
            if "lost" in given:
                raise SyntaxError(given["lost"])
            own = self._import(given)
        except BaseException as error:  # noqa: BLE001  the module under test may raise anything
            report.say({"lost": said(error)})
            report.say({"end": 0})
            return
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed()  # which Python does by itself for its own
        if not is_traced:
            watch(self._job["path"], self._job["place"], self._trusted | own, partial(_refuse, report))
        try:
            if isinstance(self._tests, str):
                raise SyntaxError(self._tests)
            importlib.import_module(self._job["test_name"])
            items = [item for item in session.perform_collect() if told_name(item) not in self._job["without"]]
            if len(items) > _MOST_ITEMS:
                raise OverflowError(f"{len(items)} cases of tests are more than {_MOST_ITEMS}")
        except BaseException as error:  # noqa: BLE001  the module of tests itself may raise anything
            report.say({"broken": said(error)})
            report.say({"end": 0})
            return
        if shuffle is not None:
            random.Random(shuffle).shuffle(items)
        num_items = run_items(items, self._outcomes, report)
        sys.settrace(None)
        if is_traced:
            report.say({"lines": sorted(lines)})
        report.say({"end": num_items})


def _refuse(report: Report) -> None:
    report.say({"test": report.now, "outcome": "failed", "why": _LOOKED} if report.now else {"broken": _LOOKED})
    report.leave()


def _trace(path: str, lines: set[int]) -> None:
    """Gather the numbers of a file's lines, as they are run from here on."""

    def trace(frame: types.FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != path:
            return None
        if event == "line":
            lines.add(frame.f_lineno)
        return trace

    sys.settrace(trace)


def _compiled(tests: str, path: str, config: pytest.Config) -> types.CodeType | str:
    """The tests with asserts that say what they saw; or why they do not compile."""
    try:
        tree = ast.parse(tests, path)
        rewrite_asserts(tree, tests.encode("utf-8"), path, config)
        return compile(tree, path, "exec", dont_inherit=True)
    except Exception as error:  # noqa: BLE001  the text may be anything
        return str(error)


def _imported(tests: str) -> list[str]:
    """Modules that a text imports, as far as it says so at its top."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        body = ast.parse(tests).body
        plain = [name.name for node in body if isinstance(node, ast.Import) for name in node.names]
        return [*plain, *(node.module for node in body if isinstance(node, ast.ImportFrom) and node.module)]
    return []
