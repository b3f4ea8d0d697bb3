"""What is made of what: every student and step of a recipe, in an order in which each finds what it needs.

In: a recipe's ``[[students]]`` and ``[[steps]]``. Out: one :class:`Node` for each thing that a run makes beyond the
taught teacher, repetitions and controls apart. Unknown names, names used twice and circles are refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from spiritsafe.pipeline.recipe.made import WORKED, Entry, Made
from spiritsafe.reinforce import Control

GIVEN_MODELS: Mapping[str, str] = {"base": "source", "teacher": "teach"}
"""Models that every run has, and the stages that make them."""

GIVEN_TRACES: Mapping[str, str] = {WORKED: "traces", "sampled": "sample"}
"""Sets of answers that a run has when its recipe asks for them, and the stages that make them."""

_TAKEN = frozenset((*GIVEN_MODELS, *GIVEN_TRACES, *GIVEN_MODELS.values(), *GIVEN_TRACES.values(),
                    "seal", "capture", "exam", "report"))  # fmt: skip
_PREFIXES = ("cut-", "before-", "after-")
"""Stages that are named after a student or step begin so."""


@final
@dataclass(frozen=True, kw_only=True)
class Node:
    """One thing that is made.

    Attributes:
        name: Of it, and of the stage that makes it.
        entry: Name of the recipe's table that asks for it; repetitions and controls share one.
        recipe: How it is made; names in it are those of single models.
        made_of: Names of the models and sets of answers that it is made of.
        waits_for: Names of models that must be there, without being a part of it: whose cost is its budget, whose chat
            format it is held against.
        control: What it is a control with; None for the real thing.
        twin: The real thing that it is a control of.
    """

    name: str
    entry: str
    recipe: Made
    made_of: tuple[str, ...]
    waits_for: tuple[str, ...] = ()
    control: Control | None = None
    twin: str | None = None

    @property
    def makes_model(self) -> bool:
        """Whether a model comes out (or a set of answers, or a signal)."""
        return self.recipe.makes == "model"

    @property
    def stage(self) -> str:
        """The stage that makes it."""
        return stage_of(self.name)

    @property
    def stages_before(self) -> tuple[str, ...]:
        """The stages that make what must be there."""
        return tuple(dict.fromkeys(stage_of(name) for name in self.needs))

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of all that must be there before it."""
        return tuple(dict.fromkeys((*self.made_of, *self.waits_for)))


def stage_of(name: str) -> str:
    """The stage that makes a model or a set of answers."""
    return GIVEN_MODELS.get(name) or GIVEN_TRACES.get(name) or name


def nodes_of(students: Sequence[Entry], steps: Sequence[Entry]) -> list[Node]:
    """Everything that is made, each after what it needs; else in the recipe's order, steps before students.

    Raises:
        ValueError: A name is unknown, of the wrong kind or used twice, a step names a later one, or there is a circle.
    """
    entries = [*steps, *students]
    repeats = {entry.name: entry.times for entry in entries}
    if len(repeats) < len(entries):
        raise ValueError("students and steps need names of their own: one is used twice")
    nodes = [node for entry in entries for node in _expanded(entry, repeats)]
    _check_names([node.name for node in nodes])
    models = {*GIVEN_MODELS, *(node.name for node in nodes if node.makes_model)}
    nodes = [_with_source(node, models) for node in nodes]
    _check_references(nodes, models)
    _check_order(nodes, [step.name for step in steps])
    return _sorted(nodes)


def history_of(nodes: Iterable[Node], name: str) -> list[str]:
    """Names of everything that went into a model or a set of answers, itself last."""
    materials = {"teacher": ("base",), "sampled": ("teacher",)} | {node.name: node.made_of for node in nodes}
    found: dict[str, None] = {}

    def visit(at: str) -> None:
        if at not in found:
            for material in materials.get(at, ()):
                visit(material)
            found[at] = None

    visit(name)
    return list(found)


def start_of(node: Node) -> str | None:
    """The model whose weights it goes on from; None for a student with a source of its own, or a set of answers."""
    return node.recipe.needs.weights if node.recipe.needs.weights in node.made_of else None


def models_of(nodes: Iterable[Node], entry: str) -> list[str]:
    """The models that a table of the recipe makes, controls left out; "base" and "teacher" are themselves."""
    if entry in GIVEN_MODELS:
        return [entry]
    return [node.name for node in nodes if node.entry == entry and node.makes_model and node.control is None]


def check_comparison(nodes: Sequence[Node], first: str, second: str) -> None:
    """Refuse a comparison of what is not there, or of another number of models.

    Raises:
        ValueError: A name is unknown, or the two are repeated differently.
    """
    known = {*GIVEN_MODELS, *(node.entry for node in nodes if node.makes_model)}
    answers = {node.entry for node in nodes if not node.makes_model}
    for name in (first, second):
        if name not in known:
            raise ValueError(f"compare names {name!r}, {_unknown(name, known, answers, 'model')}")
    counts = [len(models_of(nodes, name)) for name in (first, second)]
    if counts[0] != counts[1] and 1 not in counts:
        raise ValueError(f"compare: {first!r} stands for {counts[0]} models, {second!r} for {counts[1]}")


def _expanded(entry: Entry, repeats: Mapping[str, int]) -> Iterator[Node]:
    """One node a repetition, each followed by its controls."""
    for number in range(1, entry.times + 1):
        name = entry.name if entry.times == 1 else f"{entry.name}-{number}"
        recipe = _resolved(entry, name, number, repeats)
        needs = recipe.needs
        node = Node(
            name=name,
            entry=entry.name,
            recipe=recipe,
            made_of=tuple(dict.fromkeys((*needs.models, *needs.answers))),
            waits_for=needs.waits_for,
        )
        yield node
        for control, sibling in recipe.siblings():
            yield replace(node, name=f"{name}-{control}", recipe=sibling, waits_for=(), control=control, twin=name)


def _resolved(entry: Entry, name: str, number: int, repeats: Mapping[str, int]) -> Entry:
    """The entry's recipe for one repetition: a name that stands for as many models means the one of this number."""

    def one(reference: str) -> str:
        times = repeats.get(reference, 1)
        if times == 1:
            return reference
        if times != entry.times:
            raise ValueError(
                f"{entry.name!r} names {reference!r}, which stands for {times} models: "
                f"name one of them ({reference}-1), or set repeat = {times}"
            )
        return f"{reference}-{number}"

    return entry.one_of(name, one)


def _with_source(node: Node, models: set[str]) -> Node:
    """A source is a model of the run when it has a model's name."""
    source, _ = node.recipe.needs.source or (None, {})
    return replace(node, made_of=(*node.made_of, source)) if source in models else node


def _check_names(names: Sequence[str]) -> None:
    if len(set(names)) != len(names) or _TAKEN & set(names):
        raise ValueError(f"students and steps need names of their own, other than {', '.join(sorted(_TAKEN))}")
    if any(name.startswith(_PREFIXES) for name in names):
        raise ValueError(f"names that begin with {', '.join(_PREFIXES)} belong to stages")


def _check_references(nodes: Sequence[Node], models: set[str]) -> None:
    traces = {*GIVEN_TRACES, *(node.name for node in nodes if not node.makes_model)}
    for node in nodes:
        for name in (*node.recipe.needs.models, *node.waits_for):
            if name not in models:
                raise ValueError(f"{node.entry!r} names {name!r}, {_unknown(name, models, traces, 'model')}")
        for name in node.recipe.needs.answers:
            if name not in traces:
                raise ValueError(f"{node.entry!r} names {name!r}, {_unknown(name, traces, models, 'set of answers')}")


def _unknown(name: str, known: set[str], others: set[str], what: str) -> str:
    if name in others:
        return f"which is no {what}"
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
    return f"a {what} that nothing makes: did you mean {near[0]!r}? Known: {', '.join(sorted(known))}"


def _check_order(nodes: Sequence[Node], steps: Sequence[str]) -> None:
    """A step is listed after the steps that it names."""
    places = {node.name: steps.index(node.entry) for node in nodes if node.entry in steps}
    for node in nodes:
        for name in node.needs:
            if node.name in places and places.get(name, -1) > places[node.name]:
                raise ValueError(f"step {node.entry!r} names {name!r}, which is listed after it: change their order")


def _sorted(nodes: Sequence[Node]) -> list[Node]:
    made = [node.name for node in nodes]
    left, done, order = list(nodes), set[str](), list[Node]()
    while left:
        ready = next((node for node in left if all(need in done or need not in made for need in node.needs)), None)
        if ready is None:
            raise ValueError(f"{', '.join(node.name for node in left)}: each is made of another one of these")
        left.remove(ready)
        done.add(ready.name)
        order.append(ready)
    return order
