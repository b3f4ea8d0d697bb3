"""A solution that is tried on inputs: the run that does it, and what the run says of each input.

In: what a sandbox gave back. Out: of each input a value, or a :class:`Failure`. Expected values are no part of this:
whoever grades compares outside. A random word, the mark, stands before each of our own lines, so that what a solution
prints itself is not taken for a result; a solution that prints forged ones gains nothing, as it knows no right ones.

Standard output has ``<mark> <number of the input> <result>``, where a text is ``<length> <text>``, a list
``<length> <items>``, truth 1 or 0, and ``!<kind> <reason>`` a failure. Standard error has ``<mark> <number>`` before an
input is tried and ``<mark> ended <status of waitpid>`` after, where each input has a process of its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue, ValueType
from spiritsafe.tasks.sandbox.job import Run, RunResult, RunStepResult

FailureKind = Literal["compile", "crash", "time", "missing", "nonsense"]
"""It was refused by the compiler or lacks the function; it raised or crashed; it took too long; it ended without a
result; its result is of another type."""
_MOST_REASON = 1000
_CPU_SIGNAL = 24
_MOST_DIGITS = 40


@final
@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no value for an input.

    Attributes:
        kind: See :data:`FailureKind`.
        reason: For a reader: a compiler's message, an error's text.
    """

    kind: FailureKind
    reason: str


TrialOutcome = CodeValue | Failure


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A solution and inputs, ready for a sandbox.

    Attributes:
        run: What does it: the last step tries, those before compile.
        mark: Stands before our own lines.
        result: The type of results.
        num_inputs: How many outcomes there will be.
    """

    run: Run
    mark: str
    result: ValueType
    num_inputs: int

    def outcomes(self, result: RunResult) -> list[TrialOutcome]:
        """One for each input, in their order."""
        for step in result.steps[:-1]:
            if step.code != 0:
                reason = f"the compiler was ended: {result.stop}" if result.stop else step.errors or step.text
                return [Failure("compile", _shortened(reason))] * self.num_inputs
        last = result.steps[-1]
        values, said = self._values(last), self._ends(last)
        found: list[TrialOutcome] = []
        for number in range(self.num_inputs):
            if number in values:
                found.append(values[number])
            elif number in said:
                found.append(said[number])
            else:
                found.append(_ending(result, last))
        return found

    def _values(self, step: RunStepResult) -> dict[int, TrialOutcome]:
        found: dict[int, TrialOutcome] = {}
        for part in step.out.split(self.mark.encode("ascii"))[1:]:
            number, _, rest = part.removeprefix(b" ").partition(b" ")
            if number.strip().isdigit() and len(number) <= _MOST_DIGITS:
                found.setdefault(int(number), _value(rest.decode("latin-1"), self.result))
        return found

    def _ends(self, step: RunStepResult) -> dict[int, Failure]:
        """How the processes of the inputs ended, by what the driver says on standard error."""
        found = {}
        parts = [part.removeprefix(" ") for part in step.errors.split(self.mark)[1:]]
        for part, following in itertools.pairwise(parts):
            number, _, errors = part.partition("\n")
            status = re.match(r"ended ([-+]?\d{1,10})\b", following)
            if number.strip().isdecimal() and len(number) <= _MOST_DIGITS and status is not None:
                found[int(number)] = _failure(int(status.group(1)), errors)
        return found


def _value(text: str, kind: ValueType) -> TrialOutcome:
    line = text.partition("\n")[0]
    if line.startswith("!"):
        failure, _, reason = line[1:].partition(" ")
        for known in get_args(FailureKind):
            if failure == known:
                return Failure(known, _shortened(reason))
    if kind == "str":
        length, _, rest = text.removeprefix("+").partition(" ")
        if not length.isdecimal() or len(length) > _MOST_DIGITS or int(length) > len(rest):
            return Failure("nonsense", _shortened(line))
        content = rest[: int(length)]
        is_plain = content.isascii() and content.isprintable()
        return content if is_plain else Failure("nonsense", f"not printable ASCII: {_shortened(ascii(content))}")
    words = line.split()
    if not all(re.fullmatch(r"[-+]?\d+", word) and len(word) <= _MOST_DIGITS for word in words):
        return Failure("nonsense", _shortened(line))
    numbers = [int(word) for word in words]
    if kind == "ints" and numbers and numbers[0] == len(numbers) - 1:
        return numbers[1:]
    if kind == "int" and len(numbers) == 1:
        return numbers[0]
    if kind == "bool" and numbers in ([0], [1]):
        return numbers == [1]
    return Failure("nonsense", _shortened(line))


def _failure(status: int, errors: str) -> Failure:
    """Of a process by what waitpid says of it."""
    signal, code = status & 127, status >> 8
    if signal == _CPU_SIGNAL:
        return Failure("time", "it took too long")
    said = _shortened(errors)
    if signal or code:
        return Failure("crash", said or (f"ended by signal {signal}" if signal else f"ended with exit code {code}"))
    return Failure("missing", "it ended without a result")


def _ending(result: RunResult, step: RunStepResult) -> Failure:
    """Of an input of which nothing is known, by how everything ended."""
    if result.stop == "time" or step.code == -_CPU_SIGNAL:
        return Failure("time", "it took too long, or one before it did")
    if result.stop is not None:
        return Failure("crash", f"it used too much: {result.stop}")
    if step.code == 0 and f"ended {_CPU_SIGNAL}" in re.sub(r"ended [+]?0*", "ended ", step.errors):
        return Failure("time", "one before it took too long")
    if step.code:
        return Failure("crash", _shortened(step.errors) or f"ended with {step.code}")
    return Failure("missing", "it ended without a result")


def _shortened(text: str) -> str:
    """The beginning, where compilers and runtimes say what is wrong."""
    text = text.strip()
    return text if len(text) <= _MOST_REASON else text[:_MOST_REASON] + " …"


def input_lines(signature: CodeSignature, inputs: Sequence[Sequence[CodeValue]]) -> Iterator[str]:
    """Inputs as drivers in Fortran and COBOL read them: one number or text a line, lengths before texts and lists."""
    for values in inputs:
        for value, (_, kind) in zip(values, signature.parameters, strict=True):
            if kind == "str":
                yield from (f"{len(str(value)):+019d}", str(value))
            elif isinstance(value, list):
                yield from (f"{item:+019d}" for item in (len(value), *value))
            else:
                yield f"{int(value):+019d}"
