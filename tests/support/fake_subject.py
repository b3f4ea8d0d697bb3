"""A subject whose tests say of themselves what they are worth: ``test NAME kills 0 2``, ``NAME fails``, ``flaky``.

A line ``stuck NAME kills 1`` is a test that nobody can take out; ``nonsense`` makes the whole text no tests.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spiritsafe.assist.code_report import FileTrouble
from spiritsafe.core.canonical import digest_bytes
from spiritsafe.tasks.code.duet.kills import Kills
from spiritsafe.tasks.code.mutants.mutant import Edit, Mutant

SOURCE = "".join(f"def part_{number}():\n    return {number}\n\n\n" for number in range(6))


def number_mutants(source: str = SOURCE) -> list[Mutant]:
    """One for each line that returns: another number."""
    places = [place for place in range(len(source)) if source.startswith("return ", place)]
    return [
        Mutant(source, Edit(operator="number", start=place + 7, end=source.index("\n", place), new="99"))
        for place in places
    ]


@dataclass
class FakeSubject:
    """Remembers what it examined."""

    mutants: Sequence[Mutant] = field(default_factory=number_mutants)
    source: str = SOURCE
    path: Path = Path("parts.py")
    language: str = "python"
    num_same: int = 3
    test_name: str = "test_parts.py"
    examined: list[str] = field(default_factory=list)
    why_not: FileTrouble | None = None
    beside: str = ""

    def needs(self) -> str:
        return digest_bytes(self.beside.encode())

    def trouble(self) -> FileTrouble | None:
        return self.why_not

    def rules(self) -> str:
        return "A test is a line."

    def examine(self, tests: str) -> Kills:
        self.examined.append(tests)
        lines = [line.split() for line in tests.splitlines() if line.split()[:1] in (["test"], ["stuck"])]
        if "nonsense" in tests or not lines:
            return Kills(broken="it is nonsense" if "nonsense" in tests else "there are no tests", layer="fake")
        names = [words[1] for words in lines]
        if len(set(names)) < len(names):
            return Kills(broken="two tests have one name", layer="fake")
        invalid = {words[1]: "it fails:\n no" for words in lines if "fails" in words}
        fickle = next((words[1] for words in lines if "flaky" in words), "")
        if fickle:
            invalid |= {words[1]: "1 != 2" for words in lines if "flaky" in words}
            invalid |= {name: f"{fickle} is fickle" for name in names if name not in invalid}
        killed: dict[int, tuple[str, ...]] = {}
        for words in lines:
            for mutant in map(int, words[words.index("kills") + 1 :]) if "kills" in words else ():
                if words[1] not in invalid:
                    killed[mutant] = (*killed.get(mutant, ()), words[1])
        return Kills(
            tests=tuple(names),
            invalid=invalid,
            killed_by=killed,
            fickle=fickle,
            layer="fake",
            coverage=len(killed) / 10,
        )

    def judge(self, tests: str, programs: Sequence[str]) -> Kills:
        """Here a line is ``test NAME wants WORDS``: it passes on programs that have the words."""
        wanted = dict(
            line.removeprefix("test ").split(" wants ", 1) for line in tests.splitlines() if " wants " in line
        )
        valid = [name for name, words in wanted.items() if words in self.source]
        killed = {
            place: tuple(name for name in valid if wanted[name] not in program)
            for place, program in enumerate(programs)
            if "UNRUNNABLE" not in program
        }
        return Kills(
            tests=tuple(wanted),
            invalid={name: "it fails" for name in wanted if name not in valid},
            killed_by={place: tests for place, tests in killed.items() if tests},
            not_run=frozenset(range(len(programs))) - killed.keys(),
            broken="" if wanted else "there are no tests",
            layer="fake",
        )

    def only(self, tests: str, names: Collection[str]) -> str:
        lines = tests.splitlines()
        return "\n".join(line for line in lines if line.split()[:1] != ["test"] or line.split()[1] in names)

    def joined(self, suites: Sequence[str]) -> str:
        lines: list[str] = []
        seen: set[str] = set()
        for number, suite in enumerate(suites):
            for line in suite.splitlines():
                words = line.split()
                if words[:1] == ["test"] and words[1] in seen:
                    words[1] += f"_{number}"
                seen |= {words[1]} if words[:1] == ["test"] else set()
                lines.append(" ".join(words))
        return "\n".join(lines)


def answer(*lines: str) -> str:
    """A model's answer with such tests."""
    return "Sure!\n\n```python\n" + "\n".join(lines) + "\n```\n"
