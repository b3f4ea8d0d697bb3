"""Mutants that can be told from the right program: what tests are measured by.

In: a right program, its signature, inputs. Out: some of its mutants, spread over its lines and kinds of fault, each of
which gives another result than the right program for one of the inputs at least. Those that do not are suspected to be
equivalent: they are counted and left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

from spiritsafe.core.canonical import canonical_json, digest
from spiritsafe.core.files.reading import parse_json
from spiritsafe.tasks.code.duet.behaviour import Call, behaviours, first_difference
from spiritsafe.tasks.code.duet.inside.values import encode
from spiritsafe.tasks.code.languages.language import language_named, trial_outcomes
from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue
from spiritsafe.tasks.code.languages.trial import Failure, TrialOutcome
from spiritsafe.tasks.code.mutants.mutant import Mutant, sample
from spiritsafe.tasks.code.mutants.registry import mutants_of
from spiritsafe.tasks.sandbox.job import Limits
from spiritsafe.tasks.sandbox.sandbox import Sandbox

_SPARE = 2
"""So many times the mutants that are wanted are looked at: some are equivalent."""
_KEPT = 256
"""Programs whose mutants are kept in memory: all answers to one problem need the same."""
_LIMITS = Limits(cpu_s=2.0, wall_s=60.0)


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
        SandboxFailure: The sandbox failed.
    """
    told = canonical_json([list(one) for one in inputs]).decode("utf-8")
    return _lively(sandbox, language, gold, signature, told, count)


@lru_cache(maxsize=_KEPT)
def _lively(
    sandbox: Sandbox, language: str, gold: str, signature: CodeSignature, inputs: str, count: int
) -> LivelyMutants:
    seed = int(digest([language, gold]).partition(":")[2][:8], 16)
    candidates = sample(mutants_of(gold, language), _SPARE * count, seed)
    given: list[list[CodeValue]] = parse_json(inputs, "inputs")
    sources = [one.source for one in candidates]
    found = _by_replay if language == "python" else _by_trials
    differs = found(sandbox, language, gold, sources, signature, given)
    lively = [one for one, is_other in zip(candidates, differs, strict=True) if is_other]
    equivalent = sum(is_other is False for is_other in differs)
    return LivelyMutants(tuple(sample(lively, count, seed)), equivalent, len(differs) - len(lively) - equivalent)


def _by_replay(
    sandbox: Sandbox,
    language: str,
    gold: str,
    sources: Sequence[str],
    signature: CodeSignature,
    inputs: Sequence[Sequence[CodeValue]],
) -> list[bool | None]:
    calls: list[Call] = [(signature.name, [encode(value) for value in one]) for one in inputs]
    first, *others = behaviours(sandbox, [gold, *sources], calls)
    return [first_difference(first, other) is not None for other in others]


def _by_trials(
    sandbox: Sandbox,
    language: str,
    gold: str,
    sources: Sequence[str],
    signature: CodeSignature,
    inputs: Sequence[Sequence[CodeValue]],
) -> list[bool | None]:
    """Whether each differs; None: it does not compile."""

    def results(source: str) -> list[TrialOutcome]:
        return trial_outcomes(sandbox, language_named(language), source, signature, inputs, _LIMITS)

    right = results(gold)
    differs: list[bool | None] = []
    for source in sources:
        found = results(source)
        is_broken = isinstance(found[0], Failure) and found[0].kind == "compile"
        differs.append(None if is_broken else any(one != other for one, other in zip(right, found, strict=True)))
    return differs
