"""What is made of what: every model, data set and step of a recipe, in an order in which each finds what it needs.

In: the tables of a recipe. Out: one :class:`Node` for each thing that a run has, repetitions and controls apart.
Unknown names, names of the wrong kind, names used twice and circles are refused, all of them at once.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from spiritsafe.core.records import ModelUse
from spiritsafe.pipeline.recipe.made import MAKES_WORDS, MODELS, Made, Makes, Needs, StepEntry
from spiritsafe.reinforce import Control

TAKEN = frozenset({"check", "seal", "exam", "report"})
PREFIXES = ("before-", "after-", "seal-", "exam-")
"""Stages that are named after something else begin so."""


class RecipeFaults(ValueError):
    """Everything that is wrong with a recipe whose keys are right.

    Attributes:
        faults: One sentence each.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


@final
@dataclass(frozen=True, kw_only=True)
class Node:
    """One thing that a run has.

    Attributes:
        name: Of it, and of the stage that makes it.
        entry: Name of the recipe's table that asks for it; repetitions and controls share one.
        recipe: How it is made; names in it are those of single things.
        control: What it is a control with; None for the real thing.
        twin: The real thing that it is a control of.
    """

    name: str
    entry: str
    recipe: Made
    control: Control | None = None
    twin: str | None = None

    @property
    def makes_model(self) -> bool:
        """Whether a model comes out."""
        return self.recipe.outcome in MODELS

    @property
    def is_file(self) -> bool:
        """Whether it is a file model, whose weights nothing goes on from."""
        return self.recipe.outcome == "file"

    @property
    def made_of(self) -> tuple[str, ...]:
        """Names of all that goes in."""
        return self.recipe.needs.made_of

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of all that must be there before it."""
        return tuple(dict.fromkeys((*self.made_of, *self.recipe.needs.waits_for)))


def nodes_of(models: Mapping[str, Made], data: Mapping[str, Made], steps: Sequence[StepEntry]) -> list[Node]:
    """All that a run has, each after what it needs; else models, data and steps in the recipe's order.

    Raises:
        RecipeFaults: A name is unknown, of the wrong kind or used twice, or there is a circle.
    """
    entries: list[tuple[str, Made]] = [*models.items(), *data.items(), *((step.name, step) for step in steps)]
    faults = _name_faults([name for name, _ in entries])
    if faults:
        raise RecipeFaults(faults)
    nodes, faults = _expanded(entries)
    faults = faults or _name_faults([node.name for node in nodes])
    faults += _reference_faults(nodes)
    if faults:
        raise RecipeFaults(list(dict.fromkeys(faults)))
    return _sorted(nodes)


def history_of(nodes: Iterable[Node], name: str) -> list[str]:
    """Names of everything that went into a thing, itself last."""
    materials = {node.name: node.made_of for node in nodes}
    found: dict[str, None] = {}

    def visit(at: str) -> None:
        if at not in found:
            for material in materials.get(at, ()):
                visit(material)
            found[at] = None

    visit(name)
    return list(found)


def weights_of(nodes: Iterable[Node], name: str) -> list[str]:
    """A model and those whose weights it went on from, the newest first; the last is one that was given."""
    starts = {node.name: node.recipe.needs.weights for node in nodes}
    chain: list[str] = []
    link: str | None = name
    while link is not None:
        chain.append(link)
        link = starts.get(link)
    return chain


class Used(NamedTuple):
    """How a model is used in one that is made.

    Attributes:
        speaks: Whether what it said was learnt from, so that its endpoint counts where it has one.
    """

    model: str
    used_as: tuple[ModelUse, ...]
    speaks: bool = False


def uses_of(nodes: Iterable[Node], name: str) -> list[Used]:
    """The models that one is made from, and how; what is planned and what lineages say is both this.

    Weights that were drawn and learnt nothing are nobody's: they are left out.
    """
    by_name = {node.name: node.recipe for node in nodes}

    def found(at: str) -> list[Used]:
        needs = by_name[at].needs
        uses = [Used(model, used) for model, used in needs.used_as]
        uses += [Used(model, ("logits",), speaks=True) for one in needs.signals for model in by_name[one].needs.models]
        uses += [Used(model, ("outputs",), speaks=True) for one in needs.learnt for model in by_name[one].needs.models]
        return [use for use in uses if by_name[use.model].needs.weights is None or found(use.model)]

    return list(dict.fromkeys(found(name)))


def models_of(nodes: Iterable[Node], entry: str) -> list[str]:
    """The models that a table of the recipe stands for, controls left out."""
    return [node.name for node in nodes if node.entry == entry and node.makes_model and node.control is None]


def comparison_faults(nodes: Sequence[Node], pairs: Iterable[tuple[str, str]]) -> list[str]:
    """What is wrong with comparisons: what is not there, or another number of models."""
    found = []
    entries = {node.entry: node.recipe.outcome for node in nodes}
    for first, second in pairs:
        wrong = [said for name in (first, second) if (said := misfit(name, entries, MODELS))]
        found += [f"compare names {said}" for said in wrong]
        counts = [len(models_of(nodes, name)) for name in (first, second)]
        if not wrong and counts[0] != counts[1] and 1 not in counts:
            found.append(f"compare: {first!r} stands for {counts[0]} models, {second!r} for {counts[1]}")
    return found


def unknown(name: str, known: Iterable[str]) -> str:
    """What to say of a name that nothing has."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f": did you mean {near[0]!r}?" if near else "."
    return f"{name!r}, which nothing is called{guess} Known: {', '.join(names) or 'nothing'}"


def _name_faults(names: Sequence[str]) -> list[str]:
    found = [
        f"{name!r} is the name of {count} things: each needs its own"
        for name, count in Counter(names).items()
        if count > 1
    ]
    found += [f"{name!r} is the name of a stage: choose another" for name in names if name in TAKEN]
    found += [f"{name!r}: names that begin with {', '.join(PREFIXES)} belong to stages" for name in names
              if name.startswith(PREFIXES)]  # fmt: skip
    return found


def _expanded(entries: Sequence[tuple[str, Made]]) -> tuple[list[Node], list[str]]:
    """One node a repetition, each followed by its controls."""
    repeats = {name: made.times for name, made in entries}
    can_repeat = {name for name, made in entries if "repeat" in type(made).model_fields}
    nodes: list[Node] = []
    faults: list[str] = []
    for entry, made in entries:
        for number in range(1, made.times + 1):
            name = entry if made.times == 1 else f"{entry}-{number}"
            one = _choice(entry, number, repeats, faults, can_repeat=entry in can_repeat)
            recipe = made.one_of(name, one)
            nodes.append(Node(name=name, entry=entry, recipe=recipe))
            nodes += [
                Node(name=f"{name}-{control}", entry=entry, recipe=sibling, control=control, twin=name)
                for control, sibling in recipe.siblings()
            ]
    return nodes, faults


def _choice(
    entry: str, number: int, repeats: Mapping[str, int], faults: list[str], *, can_repeat: bool
) -> Callable[[str], str]:
    """For one repetition: a name that stands for as many things means the one of this number."""

    def one(reference: str) -> str:
        times = repeats.get(reference, 1)
        if times == 1:
            return reference
        if times != repeats[entry]:
            faults.append(
                f"{entry!r} names {reference!r}, which stands for {times} models: "
                f"name one of them ({reference}-1)" + (f", or set repeat = {times}" if can_repeat else "")
            )
            return f"{reference}-1"  # so that nothing else is told of it
        return f"{reference}-{number}"

    return one


def _reference_faults(nodes: Sequence[Node]) -> list[str]:
    makes: dict[str, Makes] = {node.name: node.recipe.outcome for node in nodes}
    found = []
    for node in nodes:
        needs = node.recipe.needs
        wanted: list[tuple[tuple[str, ...], tuple[Makes, ...]]] = [
            *(((name,), _wanted_as(name, needs)) for name in needs.models),
            (needs.waits_for, MODELS),
            (needs.sets, ("problems", "answers")),
            (needs.problems, ("problems",)),
            (needs.signals, ("signal",)),
        ]
        found += [
            f"{node.entry!r} names {said}"
            for names, kinds in wanted
            for name in dict.fromkeys(names)
            if (said := misfit(name, makes, kinds))
        ]
    return found


def _wanted_as(name: str, needs: Needs) -> tuple[Makes, ...]:
    """What a model may be that something is made of."""
    file: tuple[Makes, ...] = ("file",) if name in needs.takes_files else ()
    routed: tuple[Makes, ...] = ("routed",) if name in needs.asks else ()
    return ("model", *file, *routed)


def misfit(name: str, makes: Mapping[str, Makes], kinds: tuple[Makes, ...]) -> str:
    """What is wrong with a name where these kinds of things are wanted; "" where nothing is."""
    if name not in makes:
        return unknown(name, (known for known, kind in makes.items() if kind in kinds))
    if makes[name] not in kinds and makes[name] == "file" and "model" in kinds:
        return (
            f"{name!r}, which is a file: nothing goes on from its weights; name the model that it was made of "
            "(or give it as gguf:FILE, which makes float32 weights of it)"
        )
    if makes[name] not in kinds and makes[name] == "routed" and "model" in kinds:
        return f"{name!r}, which is a routed system and has no weights of its own; name one of the models that it asks"
    if makes[name] not in kinds:
        named = [kind for kind in kinds if kind not in MODELS or kind == "model"]  # a file is a model too
        wanted = " or ".join(MAKES_WORDS[kind] for kind in named)
        return f"{name!r}, which is a {MAKES_WORDS[makes[name]]}: a {wanted} is wanted there"
    return ""


def _sorted(nodes: Sequence[Node]) -> list[Node]:
    left, done, order = list(nodes), set[str](), list[Node]()
    while left:
        ready = next((node for node in left if done.issuperset(node.needs)), None)
        if ready is None:
            raise RecipeFaults([f"{' needs '.join(_circle(left))}: that is a circle"])
        left.remove(ready)
        done.add(ready.name)
        order.append(ready)
    return order


def _circle(left: Sequence[Node]) -> list[str]:
    """Names along one, its first again at the end; every node needs another one of these."""
    needs = {node.name: node.needs for node in left}
    path = [left[0].name]
    while True:
        following = next(name for name in needs[path[-1]] if name in needs)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def siblings_of(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    """The nodes of each table of the recipe, repetitions and controls together."""
    tables: dict[str, list[Node]] = {}
    for node in nodes:
        tables.setdefault(node.entry, []).append(node)
    yield from tables.values()
