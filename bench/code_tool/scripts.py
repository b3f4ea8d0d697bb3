"""The three scripted models: what each answers to a question about one of the modules, whoever asks.

A good one knows tests written by hand (``answers/``). Asked about a whole file it gives some of them at first, with two
that repeat others, a wrong one and a flaky one; then those that are about the functions named in the question. Asked
about an excerpt it gives the tests of what the excerpt shows; asked for a complete file it repeats what is to stay.
It does not give again what the question says has failed. A lazy one calls everything and asserts nothing. A hostile
one gives one trick after another.

A script holds for one run of one tool on one module, so it knows what it is asked about.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modules import Module
from tricks import TRICKS, Canary

ANSWERS = Path(__file__).parent / "answers"
FIRST_SHARE = 0.4
MOST_AT_ONCE = 15
MOST_FOR_AN_EXCERPT = 8


class Script(Protocol):
    """A model of one module's tests, for one run of one tool."""

    def answer(self, messages: Sequence[tuple[str, str]]) -> str:
        """To a conversation, as roles and texts."""
        ...


@dataclass(frozen=True, kw_only=True)
class WrittenTest:
    """One test of the answers: its source, and the names that it uses."""

    name: str
    source: str
    names: frozenset[str]
    beside: bool


@dataclass(frozen=True, kw_only=True)
class WrittenTests:
    """A file of answers: what stands before the tests, and the tests."""

    head: str
    tests: tuple[WrittenTest, ...]

    def text(self, chosen: Collection[str]) -> str:
        """As a file of tests, in the answers' own order."""
        sources = [test.source for test in self.tests if test.name in chosen]
        return "\n\n\n".join([self.head, *sources]) + "\n"


def read_answers(module: Module) -> WrittenTests:
    """The tests that were written by hand for a module."""
    source = (ANSWERS / f"{module.key}.py").read_text("utf-8")
    lines, tests, head, begin = source.splitlines(), [], [], 0
    for node in ast.parse(source).body:
        first = min([node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", []))]) - 1
        text = "\n".join(lines[first : node.end_lineno])
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            said = "\n".join(lines[begin:first])
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            names |= {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
            tests.append(WrittenTest(name=node.name, source=text, names=frozenset(names), beside="# beside:" in said))
        elif begin:  # the docstring of the answers is no part of them
            head.append("\n".join(lines[begin : node.end_lineno]).strip())
        begin = node.end_lineno or begin
    return WrittenTests(head="\n\n".join(head), tests=tuple(tests))


def fenced(code: str) -> str:
    """As the field's models give code."""
    return f"```python\n{code.rstrip()}\n```\n"


def failed_names(text: str) -> set[str]:
    """Tests that a text says have failed."""
    lines = [line for line in text.splitlines() if re.search(r"^- test_|\bFAIL(ED|ING|URE)\b", line)]
    return {name for line in lines for name in re.findall(r"\btest_\w+", line)}


class GoodModel:
    """Knows the tests of ``answers/``."""

    def __init__(self, module: Module) -> None:
        self._answers = read_answers(module)
        self._given: set[str] = set()
        self._first_words: Counter[str] = Counter()

    def answer(self, messages: Sequence[tuple[str, str]]) -> str:
        questions = [text for role, text in messages if role not in ("assistant", "system")]
        if "extracted from" in questions[0]:
            chosen = self._for_an_excerpt(questions, [text for role, text in messages if role == "assistant"])
        else:
            chosen = self._next(questions[-1])
            if "complete test file" in questions[-1]:
                stays = set(re.findall(r"^def (test_\w+)", questions[-1], re.MULTILINE))
                chosen |= stays - failed_names(questions[-1])
        return fenced(self._answers.text(chosen)) if chosen else "There is nothing left to test.\n"

    def _for_an_excerpt(self, questions: Sequence[str], answers: Sequence[str]) -> set[str]:
        before = set(re.findall(r"def (test_\w+)", "\n".join(answers)))
        failed = set(re.findall(r"\btest_\w+", "\n".join(questions[1:])))
        about: list[str] = []
        for pattern in (r"\bdef (\w+)", r"\bclass (\w+)", r"(\w+)"):
            shown = set(re.findall(pattern, questions[0]))
            about = about or [test.name for test in self._answers.tests if test.names & shown]
        new = [name for name in about if name not in before]
        return before - failed | set(new[: MOST_FOR_AN_EXCERPT if not before - failed else 0])

    def _next(self, question: str) -> set[str]:
        tests = [test for test in self._answers.tests if test.name not in self._given]
        words = Counter(re.findall(r"\w+", question))
        if self._given:
            new = set(words - self._first_words)
            tests.sort(key=lambda test: -len(test.names & new))
            chosen = {test.name for test in tests[:MOST_AT_ONCE]}
        else:
            self._first_words = words
            good = [test.name for test in tests if not test.beside]
            chosen = {*good[: round(len(good) * FIRST_SHARE)], *(test.name for test in tests if test.beside)}
        self._given |= chosen
        return chosen


LAZY = """
import {package}.{name} as module


def test_import():
    assert module is not None


def test_everything_runs():
    values = ["1.0", "abc", [3, 1, 2], 2, b"ab", len, None]
    for name in sorted(vars(module)):
        function = getattr(module, name)
        if name.startswith("__") or not callable(function):
            continue
        for args in [()] + [(a,) for a in values] + [(a, b) for a in values for b in values]:
            try:
                result = function(*args)
                str(result), len(result)
            except Exception:
                pass
"""


class LazyModel:
    """Calls everything, asserts nothing."""

    def __init__(self, module: Module) -> None:
        self._module = module

    def answer(self, messages: Sequence[tuple[str, str]]) -> str:
        return fenced(LAZY.format(package=self._module.package, name=self._module.name).strip())


class HostileModel:
    """Gives one trick after another, and then again from the first one on."""

    def __init__(self, module: Module, canary: Canary, packages: Path) -> None:
        self._module, self._canary, self._packages = module, canary, packages
        self.num_given = 0

    @property
    def is_through(self) -> bool:
        """Whether it has given each trick."""
        return self.num_given >= len(TRICKS)

    def answer(self, messages: Sequence[tuple[str, str]]) -> str:
        kind = list(TRICKS)[self.num_given % len(TRICKS)]
        self.num_given += 1
        return TRICKS[kind](self._module, self._canary, self._packages)
