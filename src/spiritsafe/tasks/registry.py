"""The list of task families and the way from a spec to a Task.

In: a spec, a benchmark's name, or ``module:attribute``. Out: a Task. :mod:`spiritsafe.tasks.family` finds the
families; a new one is a file of its own.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from spiritsafe.core.errors import TaskError
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.records import Record
from spiritsafe.tasks.data.benchmarks import BENCHMARKS, stands_for
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
        licence: Of a benchmark, as its publisher states it; None for families.
        gated: The hub gives it only to those who accepted its terms.
    """

    spec: str
    description: str
    source: str
    refused: str | None = None
    licence: str | None = None
    gated: bool = False


_DATA_DIGEST = re.compile(r"[0-9a-f]{32}")
_OWN = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<attribute>[A-Za-z_]\w*)(?:\?sha256=(?P<sha256>[0-9a-f]{32}))?")
OWN_TASKS_VARIABLE = "SPIRITSAFE_OWN_TASKS"
"""Environment variable: tasks of one's own, ``module:attribute``, commas between, that a paper may name."""


def load_task(spec: str) -> Task:
    """The task of a spec such as ``arith:sums?terms=2-3&digits=1-2``, or of a benchmark's name such as ``gsm8k``.

    A task's own name is a spec too. Behind a benchmark's name stand knobs of its family, or ``file=``: a local copy.

    Raises:
        TaskError: The spec is malformed, its family unknown or refused, a knob unknown or out of range, or an optional
            package missing.
        SourceError: A data file cannot be read.
    """
    parsed = _parse(spec)
    module = family_module(parsed.family)
    if module is None:
        raise TaskError(f'There is no task family "{parsed.family}".', hint=_known(parsed.family))
    task: Task = module.build(parsed)
    return task


def _parse(spec: str) -> TaskSpec:
    name, _, query = spec.strip().partition("?")
    if name in BENCHMARKS:
        given = parse_spec(f"{name}:{name}{'?' if query else ''}{query}").knobs
        return TaskSpec(*stands_for(BENCHMARKS[name], given))
    if name and ":" not in name:
        raise TaskError(
            f'"{name}" is not a task spec, and no benchmark is called that.',
            hint=f"{nearest(name, BENCHMARKS)}Write family:name?key=value, as in arith:sums?terms=2-3&digits=1-2, or "
            f"one of {', '.join(BENCHMARKS)}; see `spiritsafe tasks list`.",
        )
    return parse_spec(spec)


def load_named(name: str) -> Task:
    """The task of a name that somebody else wrote down, in a paper for example: nothing that it names is opened.

    A task's own name carries the digests of its data, so that its problems can be graded without them. Whoever draws
    problems from the task opens the data after all. A task of somebody's own is code: it is taken only if this process
    was told to build it, or ``SPIRITSAFE_OWN_TASKS`` names it.

    Raises:
        TaskError: As :func:`build_task`; or the name lacks a digest, or is that of code that nobody vouched for.
    """
    parsed = parse_spec(name)
    for part in _parts(parsed):
        module = family_module(part.family)
        if module is None:
            _require_vouched(part)
        if module is None or not module.FAMILY.has_data:
            continue
        wanted = ("sha256", "exam_sha256") if part.knobs.get("exam") else ("sha256",)
        if missing := [knob for knob in wanted if not _DATA_DIGEST.fullmatch(part.knobs.get(knob, ""))]:
            raise TaskError(
                f'"{name}" does not say which data it is of: {missing[0]}= is missing.',
                hint="Give the task's full name, as a paper has it; it ends with the digest of the data.",
            )
    return build_task(name)


def _require_vouched(part: TaskSpec) -> None:
    """Refuse a task of somebody's own whose code the user has not vouched for."""
    own = f"{part.family}:{part.name}"
    vouched = {name.strip() for name in os.environ.get(OWN_TASKS_VARIABLE, "").split(",")}
    if _OWN.fullmatch(own) and own not in vouched and f"{own}?sha256={part.knobs.get('sha256')}" not in _built:
        raise TaskError(
            f'There is no task family "{part.family}"; {own} may be somebody\'s own task, which is code.',
            hint=f"If you trust it, set {OWN_TASKS_VARIABLE}={own} and run the same command again; its module must be "
            "in this folder or installed.",
        )


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

    The name of a task of one's own is ``module:attribute?sha256=…``, with the digest of the module's source, so that a
    changed verifier is another task; it builds the same task again, or none. Its module may be in the working folder.

    Raises:
        TaskError: As :func:`load_task`; or there is no such attribute, it is no Task, its module fails, or is not the
            one whose digest the name has.
        SourceError: A data file cannot be read.
    """
    source = source.strip()
    own = _OWN.fullmatch(source)
    if own is None or family_module(own["module"]) is not None:
        return load_task(source)
    if own["module"] == "__main__":
        raise TaskError(
            f'"{source}" cannot be found by other processes: its module is the program itself.',
            hint="Put the task into a module of its own that can be imported.",
        )
    module, digest = _own_module(own["module"])
    if own["sha256"] not in (None, digest):
        raise TaskError(
            f"{module.__file__} is not what {source} was made of: digest {digest}.",
            hint="Restore the module as it was, or take sha256 out of the spec to name the new task.",
        )
    if own["attribute"] not in vars(module):
        raise TaskError(
            f"{module.__file__} has no {own['attribute']}.",
            hint=f"{nearest(own['attribute'], vars(module))}Name a Task, or a function that makes one.",
        )
    made: Any = vars(module)[own["attribute"]]
    if callable(made) and not isinstance(made, Task):
        with _faults_of(own["module"]):
            made = made()
    if not isinstance(made, Task):
        raise TaskError(f'"{source}" made a {type(made).__name__}, not a Task.', hint="Return a spiritsafe.tasks.Task.")
    task = copy(made)
    task.name = f"{own['module']}:{own['attribute']}?sha256={digest}"
    _built.add(task.name)
    return task


_built: set[str] = set()
"""Names of tasks of the user's own that this process was told to build."""


@cache
def _own_module(name: str) -> tuple[ModuleType, str]:
    """A module of the user's, and the digest of its source as it was when it was imported."""
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())  # last: what is there takes nobody's place
    try:
        with _faults_of(name):
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise TaskError(
            f'There is neither a task family nor a module "{name}" (looked in {os.getcwd()} too).', hint=_known(name)
        ) from error
    if module.__file__ is None:
        raise TaskError(f"The module {name} has no source file.", hint="Put the task into a file of its own.")
    return module, digest_file(Path(module.__file__)).removeprefix("sha256:")[:32]


@contextmanager
def _faults_of(name: str) -> Iterator[None]:
    """What a module of the user's raises, with the line; that it is not there at all passes."""
    try:
        yield
    except (Exception, SystemExit) as error:  # the boundary: the user's code may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise
        passed = (__file__, importlib.__file__)
        frames = [
            f for f in traceback.extract_tb(error.__traceback__) if f.filename[:1] != "<" and f.filename not in passed
        ]
        line = next((f.lineno for f in reversed(frames) if f.filename == frames[0].filename), None)
        where = f"{frames[0].filename}, line {line}" if frames else f"module {name}"
        said = " ".join(str(error).split())
        if isinstance(error, SyntaxError) and error.filename:
            where, said = f"{error.filename}, line {error.lineno}", error.msg
        raise TaskError(
            f"{where}: {type(error).__name__}: {said[:300].rstrip('.') or 'no message'}.",
            hint="Mend it, and run the command again.",
        ) from error


def _known(name: str) -> str:
    """A hint to who named a family that does not exist."""
    known = families()
    return f"{nearest(name, [*known, *BENCHMARKS])}Families: {', '.join(known)}."


def list_families() -> list[FamilyInfo]:
    """Every family, usable or refused, and every benchmark that goes by a name; imports no optional package."""
    named = [
        FamilyInfo(
            spec=name,
            description=f"benchmark: {benchmark.about}{' (gated)' if benchmark.published.gated else ''}",
            source=benchmark.hub,
            licence=benchmark.published.licence,
            gated=benchmark.published.gated,
        )
        for name, benchmark in BENCHMARKS.items()
    ]
    return named + [
        FamilyInfo(spec=f"{name}:{task}", description=text, source=family.source, refused=refused)
        for name, family in families().items()
        for task, text, refused in family.describe()
    ]


def row_graders() -> dict[str, tuple[Callable[[], Verifier], str]]:
    """What a row of a private paper may name as its grader, with the hint that the model gets."""
    return {name: grader for family in families().values() for name, grader in family.graders.items()}
