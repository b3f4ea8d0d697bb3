"""Mutants that can be told from the right program: what tests are measured by.

In: a right program, its signature, inputs. Out: some of its mutants, spread over its lines and kinds of fault, each of
which gives another result than the right program for one of the inputs at least. Those that do not are suspected to be
equivalent: they are counted and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

from spiritsafe.core.canonical import canonical_json, digest
from spiritsafe.core.files.reading import parse_json
from spiritsafe.tasks.code.duet.behaviour import BehaviourError, ProgramCall, behaviours, first_difference
from spiritsafe.tasks.code.duet.inside.values import encoded
from spiritsafe.tasks.code.languages.language import language_named, trial_outcomes
from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue
from spiritsafe.tasks.code.languages.trial import Failure, TrialOutcome
from spiritsafe.tasks.code.mutants.mutant import Mutant, sample_mutants
from spiritsafe.tasks.code.mutants.registry import mutants_of
from spiritsafe.tasks.sandbox.job import Limits
from spiritsafe.tasks.sandbox.sandbox import Sandbox

_MOST_TRIED = 40
"""Inputs of a program that is compiled: each is a process there."""
_KEPT = 256
"""Programs whose mutants are kept in memory: all answers to one problem need the same."""
_LIMITS = Limits(cpu_s=1.0, wall_s=60.0)


@final
@dataclass(frozen=True, slots=True)
class LivelyMutants:
    """Mutants of one program.

    Attributes:
        mutants: Those that can be told from it.
        num_equivalent: Suspected to be equivalent.
        num_broken: That do not compile.
    """

    mutants: tuple[Mutant, ...]
    num_equivalent: int
    num_broken: int


def lively_mutants(
    sandbox: Sandbox,
    language: str,
    gold: str,
    signature: CodeSignature,
    inputs: Sequence[Sequence[CodeValue]],
    count: int,
) -> LivelyMutants:
    """So many of them, or as many as there are; the same for the same program.

    Raises:
        TaskError: The language has no mutants here.
        BehaviourError: The right program gives nothing, as where its machine has no time for it.
        SandboxFailure: The sandbox failed.
    """
    told = canonical_json([list(one) for one in inputs]).decode("utf-8")
    return _lively(sandbox, language, gold, signature, told, count)


@lru_cache(maxsize=_KEPT)
def _lively(
    sandbox: Sandbox, language: str, gold: str, signature: CodeSignature, inputs: str, count: int
) -> LivelyMutants:
    seed = int(digest([language, gold]).partition(":")[2][:8], 16)
    given: list[list[CodeValue]] = parse_json(inputs, "inputs")
    if language == "python":
        told = _by_replay(sandbox, gold, signature, given)
    else:
        told = _by_trials(sandbox, language, gold, signature, given[:_MOST_TRIED])
    left, lively, equivalent, broken = mutants_of(gold, language), list[Mutant](), 0, 0
    while left and len(lively) < count:
        tried = sample_mutants(left, count - len(lively), seed)
        left = [one for one in left if one not in tried]
        found = told([one.source for one in tried])
        lively += [one for one, is_other in zip(tried, found, strict=True) if is_other]
        equivalent += sum(is_other is False for is_other in found)
        broken += sum(is_other is None for is_other in found)
    return LivelyMutants(tuple(sorted(lively, key=lambda one: one.edit.start)), equivalent, broken)


Told = Callable[[Sequence[str]], list[bool | None]]
"""Whether each program gives another result than the right one; None: it does not compile."""


def _by_replay(sandbox: Sandbox, gold: str, signature: CodeSignature, inputs: Sequence[Sequence[CodeValue]]) -> Told:
    calls: list[ProgramCall] = [(signature.name, [encoded(value) for value in one]) for one in inputs]

    def told(sources: Sequence[str]) -> list[bool | None]:
        first, *others = behaviours(sandbox, [gold, *sources], calls)
        return [first_difference(first, other) is not None for other in others]

    return told


def _by_trials(
    sandbox: Sandbox, language: str, gold: str, signature: CodeSignature, inputs: Sequence[Sequence[CodeValue]]
) -> Told:
    def results(source: str) -> list[TrialOutcome]:
        return trial_outcomes(sandbox, language_named(language), source, signature, inputs, _LIMITS)

    right = results(gold)
    for place, one in enumerate(right):
        if isinstance(one, Failure):
            raise BehaviourError(
                f"The right program gives nothing for input {place}: {one.reason}.", hint="Run the same command again."
            )

    def is_other(source: str) -> bool | None:
        found = results(source)
        is_broken = isinstance(found[0], Failure) and found[0].kind == "compile"
        return None if is_broken else any(one != other for one, other in zip(right, found, strict=True))

    def told(sources: Sequence[str]) -> list[bool | None]:
        return sandbox.map(is_other, sources)

    return told
