"""The side of the tests; descriptor 3 leads to the side of the code.

In: the tests, on standard input, as JSON, with a nonce. For each turn of a program the other side sends a socket on
which its functions can be called. Out: for each turn a line of JSON behind the nonce: how each test went. Each turn is
a process of its own which finds no trace of the turns before, so tests cannot compare one program with another.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import gc
import inspect
import json
import os
import socket
import sys
import types
import unittest
from collections.abc import Callable, Iterator
from typing import Any

from spiritsafe.tasks.code.duet.inside import some_pytest
from spiritsafe.tasks.code.duet.inside.channel import ChannelLost, hear, say
from spiritsafe.tasks.code.duet.inside.fenced import fork_fenced, read_messages, wait_for
from spiritsafe.tasks.code.duet.inside.values import decoded, encoded, update

_MODULE = "solution"
_MOST_TESTS = 200
_MOST_REPORT_BYTES = 1 << 20
_MOST_CALLS = 400
_WORDS = 200


class CodeLost(Exception):
    """The code under test ended in the middle of a call: it exited, crashed, or took too long."""


class _Broken(Exception):
    """The module of tests does not compile."""


class _Code:
    """The functions of the other side."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.calls: list[list[Any]] = []
        self.is_lost = False
        self._errors: dict[str, type[BaseException]] = {}

    def names(self) -> dict[str, Any]:
        """What the other side's module holds, as functions, kinds of errors and values of this side.

        Raises:
            CodeLost: It has none: the program does not even load.
        """
        first = self._ask(None)
        if "broken" in first:
            raise CodeLost(first["broken"])
        found: dict[str, Any] = {}
        for name, what in first["names"].items():
            if "call" in what:
                found[name] = self._function(name)
            elif "error" in what:
                base = getattr(builtins, what["error"])
                found[name] = self._errors[name] = type(name, (base,), {"__module__": _MODULE})
            else:
                found[name] = decoded(what["value"])
        return found

    def _ask(self, message: dict[str, Any] | None) -> dict[str, Any]:
        try:
            if message is not None:
                say(self._channel, message)
            reply: dict[str, Any] = hear(self._channel)
        except ChannelLost as error:
            self.is_lost = True
            raise CodeLost(str(error)) from None
        return reply

    def _function(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            sent = [encoded(each, strict=True) for each in arguments]
            sent_named = {key: encoded(each, strict=True) for key, each in named.items()}
            if len(self.calls) < _MOST_CALLS and not named:
                self.calls.append([name, sent])
            reply = self._ask({"call": name, "arguments": sent, "named": sent_named})
            for old, new in zip(arguments, reply.get("arguments", ()), strict=False):
                update(old, decoded(new))
            for key, new in reply.get("named", {}).items():
                update(named[key], decoded(new))
            if "raised" in reply:
                raise self._error(reply)
            return decoded(reply["value"])

        call.__name__ = call.__qualname__ = name
        return call

    def _error(self, reply: dict[str, Any]) -> BaseException:
        base = getattr(builtins, str(reply["builtin"]), Exception)
        kind = self._errors.get(reply["raised"], base)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            return CodeLost("the code raised nonsense")
        try:
            return kind(*(decoded(word) for word in reply["words"]))
        except Exception:  # noqa: BLE001  some kinds want other arguments than they keep
            return CodeLost(f"the code raised {kind.__name__}")


class _Report:
    """Tells how each test went, one by one, so that what is known survives a crash."""

    def __init__(self, descriptor: int) -> None:
        self._write, self._descriptor = os.write, descriptor
        self.num_tests = 0

    def say(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode("ascii") + b"\n"
        while line:
            line = line[self._write(self._descriptor, line) :]


def _run(name: str, test: Callable[[], Any], code: _Code, report: _Report) -> None:
    """One test: only one that returns has passed."""
    report.num_tests += 1
    if report.num_tests > _MOST_TESTS:
        return
    if code.is_lost:
        report.say({"test": name, "outcome": "unknown", "why": ""})
        return
    outcome, why = "passed", ""
    try:
        test()
    except (some_pytest.Skipped, unittest.SkipTest):
        outcome = "skipped"
    except CodeLost as error:
        outcome, why = "failed", f"the code ended: {error}"
    except AssertionError as error:
        outcome, why = "failed", f"assertion: {_words(error)}"
    except Exception as error:  # noqa: BLE001  whatever a test raises is how it went
        outcome, why = "failed", f"{type(error).__name__}: {_words(error)}"
    except BaseException as error:  # noqa: BLE001  as above
        outcome, why = "exited", type(error).__name__
    report.say({"test": name, "outcome": outcome, "why": why})


def _words(error: BaseException) -> str:
    try:
        return str(error)[:_WORDS]
    except Exception:  # noqa: BLE001  it may be of a test's own kind
        return ""


_PRELUDE, _CHECK = "prelude", "check "
TestsPiece = tuple[str, types.CodeType]
"""A piece of a module, and the name of the test that it is; "" where it is none, "prelude" where it comes before."""


def _parts(job: dict[str, Any]) -> list[TestsPiece]:
    """The module of tests: whole, with the checks behind it; or in pieces, where asserts that stand alone are tests.

    Compiled once, before any turn.
    """
    parts = [(_PRELUDE, _compiled(job["prelude"], "prelude.py"))] if job["prelude"] else []
    if job["checks"]:
        parts.append(("", _compiled(job["tests"], "tests.py")))
        return [*parts, *((f"{_CHECK}{n}", _compiled(check, f"{_CHECK}{n}")) for n, check in enumerate(job["checks"]))]
    promised = _compiled(job["tests"], "tests.py").co_flags & __future__.annotations.compiler_flag
    line = 0
    for statement in ast.parse(job["tests"], "tests.py").body:
        code = _compiled(ast.Module(body=[statement], type_ignores=[]), "tests.py", promised)
        name = ""
        if isinstance(statement, ast.Assert):
            name = f"line {statement.lineno}" + (
                f", column {statement.col_offset + 1}" if statement.lineno == line else ""
            )
            line = statement.lineno
        parts.append((name, code))
    return parts


def _compiled(source: str | ast.Module, path: str, flags: int = 0) -> types.CodeType:
    """Code as its own text has it: what this module imports from ``__future__`` is not for others."""
    code: types.CodeType = compile(source, path, "exec", flags, dont_inherit=True)
    return code


def _tests(parts: list[TestsPiece], namespace: dict[str, Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What stands alone, in its place; then, unless there are checks, functions, methods and unittest's."""
    for name, code in parts:
        if name:
            yield name, lambda code=code: exec(code, namespace)  # type: ignore[misc]  # mypy cannot type a lambda's default
        else:
            exec(code, namespace)
    if any(name.startswith(_CHECK) for name, _ in parts):
        return
    for name, value in list(namespace.items()):
        if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == "tests":
            for method in unittest.defaultTestLoader.getTestCaseNames(value):
                yield f"{name}.{method}", lambda value=value, method=method: _run_case(value(method))  # type: ignore[misc]  # as above
        elif isinstance(value, type) and name.startswith("Test") and value.__module__ == "tests":
            for method in [each for each in dir(value) if each.startswith("test") and callable(getattr(value, each))]:
                for mark, case in some_pytest.cases_of(getattr(value, method), namespace, value):
                    yield f"{name}.{method}{mark}", case
        elif inspect.isfunction(value) and name.startswith("test") and value.__module__ == "tests":
            for mark, case in some_pytest.cases_of(value, namespace):
                yield f"{name}{mark}", case


def _run_case(case: unittest.TestCase) -> None:
    result = unittest.TestResult()
    unittest.TestSuite([case]).run(result)  # which sets its class up, too
    if result.skipped:
        raise some_pytest.Skipped
    if not result.wasSuccessful():
        said = [text for _, text in (*result.failures, *result.errors)] or ["unexpected success"]
        raise AssertionError(said[0].strip().splitlines()[-1])


def _turn(
    parts: list[TestsPiece] | str, channel: socket.socket, descriptor: int, *, wanted: list[str] | None, record: bool
) -> None:
    """In a process of its own: all tests against one program."""
    report, code = _Report(descriptor), _Code(channel)
    module, pytest = types.ModuleType(_MODULE), some_pytest.as_pytest()
    tests = types.ModuleType("tests")
    sys.modules.update({_MODULE: module, "pytest": pytest, "tests": tests})
    namespace = tests.__dict__
    try:
        try:
            if isinstance(parts, str):
                raise _Broken(parts)
            if parts and parts[0][0] == _PRELUDE:
                exec(parts[0][1], namespace)
                parts = parts[1:]
            names = code.names()
            if wanted is not None:
                names = {name: names[name] for name in wanted if name in names}
            vars(module).update(names)
            namespace.update(names)
            for name, test in _tests(parts, namespace):
                _run(name, test, code, report)
        except CodeLost as error:
            report.say({"lost": str(error)[:_WORDS]})
        except _Broken as error:
            report.say({"broken": str(error)})
        except BaseException as error:  # noqa: BLE001  the module of tests itself may raise anything
            report.say({"broken": f"{type(error).__name__}: {_words(error)}"})
        if record:
            report.say({"calls": code.calls})
        report.say({"end": min(report.num_tests, _MOST_TESTS)})
    except BaseException:  # noqa: BLE001  the report then lacks its end, which says enough
        os._exit(1)


def main() -> None:
    """Run the tests against each program that has its turn."""
    job = json.loads(sys.stdin.buffer.read())
    nonce = job.pop("nonce")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # else the turns share its place in the file
    channel = socket.socket(fileno=3)
    try:
        parts: list[TestsPiece] | str = _parts(job)
    except Exception as error:  # noqa: BLE001  the text may be anything
        parts = f"{type(error).__name__}: {_words(error)}"
    gc.collect()
    gc.freeze()  # collecting in a turn would copy the pages that it shares with this process
    while True:
        said, descriptors, _, _ = socket.recv_fds(channel, 4, 1)
        if not said or not descriptors:
            break
        code = socket.socket(fileno=descriptors[0])
        reading, writing = os.pipe()

        def work(code: socket.socket = code, writing: int = writing) -> None:
            _turn(parts, code, writing, wanted=job["names"], record=job["record"])

        pid = fork_fenced(work, keep=(code.fileno(), writing), cpu_s=job["cpu_s"], wall_s=job["wall_s"])
        code.close()
        os.close(writing)
        messages = read_messages(reading, _MOST_REPORT_BYTES)
        _, cpu_s = wait_for(pid)
        channel.sendall(b"done")
        sys.stdout.write(f"{nonce} {json.dumps({'cpu_s': round(cpu_s, 6), 'said': messages})}\n")
