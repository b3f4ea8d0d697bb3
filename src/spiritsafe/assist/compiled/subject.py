"""A file in a compiled language under test: each mutant is compiled once and kept, for all tests that come.

In: how the language compiles code and tests. Out: a :class:`~spiritsafe.assist.subject.Subject`. Tests and code are one
process here, since the code is its owner's; each test has a process of its own, finds no source, and what it says of
itself is not heard.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from spiritsafe.assist.code_report import FileTrouble
from spiritsafe.assist.compiled.coverage import LineTracing, TracedCode, compiled_coverage, traced_code
from spiritsafe.assist.opening import UnusableFile
from spiritsafe.assist.subject import Subject
from spiritsafe.core.canonical import digest, digest_bytes
from spiritsafe.core.errors import TaskError
from spiritsafe.tasks import Limits, Run, RunStep, Sandbox
from spiritsafe.tasks.code import (
    MOST_TESTS,
    BuildPart,
    Kills,
    Mutant,
    TestsPart,
    TurnTests,
    compiler_words,
    compiling_run,
    kills_in_turns,
    mutants_of,
    sample_mutants,
)

_CODE = "code.so"
_MOST_PROGRAMS = 60
"""Compiled in one run."""
_COMPILER = Limits(cpu_s=20.0, wall_s=180.0)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Compiling:
    """How a language compiles one file and tests of it.

    Attributes:
        title: For readers.
        name: Of the file, as the compiler is given it.
        files: What there is beside it.
        before: Commands that compile what it needs.
        command: Makes ``code.so`` of the file.
        tracing: How the file is compiled to count its lines; None: gcov is missing.
        tests: How tests are compiled with it; the file itself is there as ``name``. None: there are no tests.
        only: See :meth:`~spiritsafe.assist.subject.Subject.only`.
        joined: See :meth:`~spiritsafe.assist.subject.Subject.joined`.
        rules: See :meth:`~spiritsafe.assist.subject.Subject.rules`.
    """

    title: str
    name: str
    files: Mapping[str, str | bytes]
    before: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]
    tracing: LineTracing | None
    tests: Callable[[str], TestsPart | None]
    only: Callable[[str, Collection[str]], str]
    joined: Callable[[Sequence[str]], str]
    rules: str


@final
@dataclass(slots=True, kw_only=True)
class CompiledSubject:
    """See :class:`~spiritsafe.assist.subject.Subject`."""

    path: Path
    language: str
    source: str
    test_name: str
    mutants: Sequence[Mutant]
    num_same: int
    compiling: Compiling
    sandbox: Sandbox
    objects: dict[str, bytes | None] = field(default_factory=dict)
    """What was compiled, by its text; None: it does not compile."""
    traced: list[TracedCode | None] = field(default_factory=list)
    """The file as it counts its lines, once it was asked for; None: the compiler cannot."""

    def rules(self) -> str:
        """How tests are written."""
        return self.compiling.rules

    def needs(self) -> str:
        """A digest of the files beside it, and of how it is compiled."""
        compiling = self.compiling
        files = {
            name: digest_bytes(_encoded(content) if isinstance(content, str) else content)
            for name, content in compiling.files.items()
        }
        return digest({"files": files, "commands": [*compiling.before, compiling.command]})

    def trouble(self) -> FileTrouble | None:
        """None: it was compiled before there was a subject."""
        return None

    def examine(self, tests: str) -> Kills:
        """What tests are worth."""
        kills, turns = self._judged(tests, [mutant.source for mutant in self.mutants])
        if turns is None or not kills.valid:
            return kills
        return replace(kills, coverage=self._coverage(turns, kills.valid))

    def judge(self, tests: str, programs: Sequence[str]) -> Kills:
        """What tests say of other versions of the file; one that does not compile is killed by every test that holds.

        Raises:
            SandboxFailure: The sandbox failed.
        """
        return self._judged(tests, programs)[0]

    def _judged(self, tests: str, programs: Sequence[str]) -> tuple[Kills, TurnTests | None]:
        """What tests say of other versions, and the tests; None: they do not compile."""
        found = self.compiling.tests(tests)
        if found is None:
            return Kills(broken="there are no tests", layer=self.sandbox.layer), None
        if len(found.names) > MOST_TESTS:
            return Kills(broken=f"there are more than {MOST_TESTS} tests", layer=self.sandbox.layer), None
        result = self.sandbox.run(compiling_run([self._gold(), found.part]))
        binary = result.files.get(found.part.made)
        if binary is None:
            said = f"the tests do not compile: {compiler_words(result.steps)}"
            return Kills(broken=said, layer=result.layer), None
        objects = self._compiled([self.source, *programs])
        turns = TurnTests(binary=binary, names=found.names, is_program=False, host=None)
        kills = kills_in_turns(self.sandbox, turns, objects, result.layer)
        broken = {place for place, made in enumerate(objects[1:]) if made is None}
        if kills.broken or not kills.valid:
            return kills, turns
        killed_by = {**kills.killed_by, **dict.fromkeys(sorted(broken), tuple(kills.valid))}
        return replace(kills, killed_by=killed_by, not_run=kills.not_run - broken), turns

    def _coverage(self, tests: TurnTests, valid: Collection[str]) -> float | None:
        """The share of the file's lines that the tests run which hold."""
        compiling = self.compiling
        if compiling.tracing is None:
            return None
        if not self.traced:
            part = BuildPart(files=compiling.files, commands=compiling.before, made=_CODE)
            self.traced.append(traced_code(self.sandbox, compiling.tracing, compiling.name, part))
        traced = self.traced[0]
        numbers = [number for number, name in enumerate(tests.names) if name in valid]
        return compiled_coverage(self.sandbox, traced, tests, numbers) if traced is not None else None

    def only(self, tests: str, names: Collection[str]) -> str:
        """Tests without the others."""
        return self.compiling.only(tests, names)

    def joined(self, suites: Sequence[str]) -> str:
        """Several texts as one."""
        return self.compiling.joined(suites)

    def _gold(self) -> BuildPart:
        compiling = self.compiling
        return BuildPart(
            files={**compiling.files, compiling.name: _encoded(self.source)},
            commands=(*compiling.before, compiling.command),
            made=_CODE,
        )

    def _compiled(self, programs: Sequence[str]) -> list[bytes | None]:
        missing = [text for text in dict.fromkeys(programs) if text not in self.objects]
        for first in range(0, len(missing), _MOST_PROGRAMS):
            some = missing[first : first + _MOST_PROGRAMS]
            self.objects |= dict(zip(some, _objects(self.sandbox, self.compiling, some), strict=True))
        return [self.objects[text] for text in programs]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _objects(sandbox: Sandbox, compiling: Compiling, programs: Sequence[str]) -> list[bytes | None]:
    """Compile programs, each under the same name, so that those that do the same become the same."""
    lines = [shlex.join(command) for command in compiling.before]
    for place in range(len(programs)):
        lines.append(f"rm -f {_CODE}; cp p{place} {compiling.name}; {shlex.join(compiling.command)} 2>&-")
        lines.append(f"if [ -f {_CODE} ]; then mv {_CODE} p{place}.so; fi")
    made = [f"p{place}.so" for place in range(len(programs))]
    run = Run(
        files={**compiling.files, **{f"p{place}": _encoded(text) for place, text in enumerate(programs)}},
        steps=(RunStep(argv=("sh", "-c", "\n".join(lines)), must=False),),
        collect=tuple(made),
        limits=_COMPILER,
    )
    result = sandbox.run(run)
    return [result.files.get(name) for name in made]


def compiled_subject(
    path: Path,
    language: str,
    source: str,
    compiling: Compiling,
    *,
    test_name: str,
    most_mutants: int,
    seed: int,
    sandbox: Sandbox,
    places: Sequence[tuple[int, int]],
) -> CompiledSubject:
    """A file with those of its mutants that compile, and to something else than the file itself.

    Args:
        path: The file.
        language: Its language.
        source: Its text.
        compiling: How it compiles.
        test_name: Of the file for its tests.
        most_mutants: So many are tried.
        seed: Of their choice.
        sandbox: Where.
        places: The parts of the text that tests can call; others have no mutants.

    Raises:
        TaskError: It does not compile.
        SandboxFailure: The sandbox failed.
    """
    known = [one for one in mutants_of(source, language) if any(a <= one.edit.start < b for a, b in places)]
    chosen = sample_mutants(known, most_mutants, seed)
    subject = CompiledSubject(
        path=path,
        language=language,
        source=source,
        test_name=test_name,
        mutants=(),
        num_same=0,
        compiling=compiling,
        sandbox=sandbox,
    )
    result = sandbox.run(compiling_run([subject._gold()]))
    if _CODE not in result.files:
        raise TaskError(
            f"{path} does not compile as {compiling.title}: {compiler_words(result.steps)}",
            hint="What it needs has to lie in the folder that you name, or beside the file.",
        )
    gold, *objects = subject._compiled([source, *(mutant.source for mutant in chosen)])
    pairs = [(mutant, made) for mutant, made in zip(chosen, objects, strict=True) if made is not None]
    subject.mutants = tuple(mutant for mutant, made in pairs if made != gold)
    subject.num_same = len(pairs) - len(subject.mutants)
    return subject


def with_faults(
    path: Path, subjects: Sequence[CompiledSubject], unusable: Sequence[UnusableFile]
) -> list[Subject | UnusableFile]:
    """Those into which a fault can be put, and those that cannot be opened; in a folder there may be others.

    Raises:
        TaskError: There is none.
    """
    found: list[Subject | UnusableFile] = [*(one for one in subjects if one.mutants), *unusable]
    if not found:
        raise TaskError(f"No fault can be put into {path}.", hint="Name a file that does something.")
    return found
