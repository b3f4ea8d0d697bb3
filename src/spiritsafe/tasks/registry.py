"""The list of task families and the way from a spec to a Task.

In: a spec. Out: a Task. :mod:`spiritsafe.tasks.family` finds the families; a new one is a file of its own.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Record
from spiritsafe.tasks.family import families, family_module
from spiritsafe.tasks.spec import TaskSpec, nearest, parse_spec
from spiritsafe.tasks.task import Task, Verifier

QUICKSTART_SPECS = (
    "arith:sums?terms=2-3&digits=1-2",
    "arith:sums?terms=2-3&digits=1-2&negative=true",
    "arith:sums?terms=2&digits=1-2",
)
"""Tasks on which a very small model visibly learns within minutes; the first is the one to start with."""

R1_MIX_SPEC = (
    "mix:gym:chain_sum?min_terms=2&max_terms=4&min_digits=1&max_digits=2*2"
    "|gym:countdown?min_numbers=3&max_numbers=3&max_value=20&min_target=10&max_target=60*2"
    "|gym:gsm_symbolic"
    "|gym:mini_sudoku?min_empty=3&max_empty=5*2"
    "|gym:spell_backward?min_word_len=3&max_word_len=6*2"
)
"""What R1's recipe is taught on: all audited, all with worked solutions for the cold start, all short (24, 31, 95, 61
and 16 of SmolLM2's tokens on average), so that a small model on a CPU can climb. Word problems are the longest and get
half a share. The puzzle: a constant answer scores 1 %, filling cells at random 3 %, minding the rows alone 53 %."""


class FamilyInfo(Record):
    """One line of the list of families.

    Attributes:
        spec: How to ask for it: ``arith:sums``, ``gym:gcd``, ``math:<path or org/name>``.
        description: What its problems are.
        source: Where its problems come from.
        refused: Why it cannot be used; None when it can.
    """

    spec: str
    description: str
    source: str
    refused: str | None = None


_DATA_DIGEST = re.compile(r"[0-9a-f]{32}")
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def load_task(spec: str) -> Task:
    """The task of a spec such as ``arith:sums?terms=2-3&digits=1-2``; a task's own name is a spec too.

    Raises:
        TaskError: The spec is malformed, its family unknown or refused, a knob unknown or out of range, or an optional
            package missing.
        SourceError: A data file cannot be read.
    """
    parsed = parse_spec(spec)
    module = family_module(parsed.family)
    if module is None:
        raise TaskError(f'There is no task family "{parsed.family}".', hint=_known(parsed.family))
    task: Task = module.build(parsed)
    return task


def load_named(name: str) -> Task:
    """The task of a name that somebody else wrote down, in a paper for example: nothing that it names is opened.

    A task's own name carries the digests of its data, so that its problems can be graded without them. Whoever draws
    problems from the task opens the data after all.

    Raises:
        TaskError: As :func:`load_task`; or the name lacks a digest.
    """
    parsed = parse_spec(name)
    for part in _parts(parsed):
        module = family_module(part.family)
        if module is None or not module.FAMILY.has_data:
            continue
        wanted = ("sha256", "exam_sha256") if part.knobs.get("exam") else ("sha256",)
        if missing := [knob for knob in wanted if not _DATA_DIGEST.fullmatch(part.knobs.get(knob, ""))]:
            raise TaskError(
                f'"{name}" does not say which data it is of: {missing[0]}= is missing.',
                hint="Give the task's full name, as a paper has it; it ends with the digest of the data.",
            )
    return load_task(name)


def _parts(parsed: TaskSpec) -> list[TaskSpec]:
    """The specs that a spec is made of."""
    module = family_module(parsed.family)
    parts = module.FAMILY.parts if module is not None else None
    return [parsed] if parts is None else [parse_spec(spec) for spec in parts(parsed.name)]


def load_verifier(name: str) -> Verifier:
    """The verifier of a task by its name; see :func:`load_named`.

    Raises:
        TaskError: As :func:`load_named`.
    """
    return load_named(name).verifier


def build_task(source: str) -> Task:
    """The task of a spec, or of ``module:attribute``: a Task of one's own, or what makes one without arguments.

    Raises:
        TaskError: As :func:`load_task`; or there is no such attribute, or it is no Task.
        SourceError: A data file cannot be read.
    """
    module_name, _, attribute = source.strip().partition(":")
    if family_module(module_name) is not None or not _FACTORY.fullmatch(source.strip()):
        return load_task(source)
    if module_name == "__main__":
        raise TaskError(
            f'"{source}" cannot be found by other processes: its module is the program itself.',
            hint="Put the task into a module of its own that can be imported.",
        )
    try:
        made: Any = getattr(importlib.import_module(module_name), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise TaskError(
            f'"{source}" is neither the spec of a known family nor something to import: {error}.',
            hint=_known(module_name),
        ) from error
    task = made() if callable(made) and not isinstance(made, Task) else made
    if not isinstance(task, Task):
        raise TaskError(f'"{source}" made a {type(task).__name__}, not a Task.', hint="Return a spiritsafe.tasks.Task.")
    return task


def _known(name: str) -> str:
    """A hint to who named a family that does not exist."""
    known = families()
    return f"{nearest(name, known)}Families: {', '.join(known)}."


def list_families() -> list[FamilyInfo]:
    """Every family, usable or refused; imports no optional package."""
    return [
        FamilyInfo(spec=f"{name}:{task}", description=text, source=family.source, refused=refused)
        for name, family in families().items()
        for task, text, refused in family.describe()
    ]


def row_graders() -> dict[str, tuple[Callable[[], Verifier], str]]:
    """What a row of a private paper may name as its grader, with the hint that the model gets."""
    return {name: grader for family in families().values() for name, grader in family.graders.items()}
