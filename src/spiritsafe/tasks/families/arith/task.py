"""The ``arith`` family: sums, products, countdown, linear equations, short word problems. Ours, no dependency.

In: a spec such as ``arith:sums?terms=2-3&digits=1-2``. Out: a Task whose problems come with worked solutions and whose
verifier is quick enough to run inline.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from random import Random
from typing import Any, final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Message, Problem, Verdict
from spiritsafe.core.seeds import derive_seed
from spiritsafe.tasks.answers.extract import extract_answer
from spiritsafe.tasks.families.arith.expression import evaluate
from spiritsafe.tasks.families.arith.items import (
    CountdownKnobs,
    Item,
    LinearKnobs,
    ProductsKnobs,
    SumsKnobs,
    countdown,
    linear,
    products,
    sums,
)
from spiritsafe.tasks.families.arith.word_problems import WordsKnobs, words
from spiritsafe.tasks.family import Family
from spiritsafe.tasks.spec import Knobs, TaskSpec, canonical_name, nearest, resolve_knobs
from spiritsafe.tasks.task import Draft, Task, Verifier


@final
class NumberVerifier(Verifier):
    """Compares the number that the text commits to with the gold, as values (8 = 8.0 = 16/2)."""

    name = "arith.number"
    version = "2"
    earlier = "1"
    isolated = False

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Inline: bounded by the length of the text, of which 20,000 characters are read."""
        found = extract_answer(text, "number")
        if found is None:
            return self.verdict("unparsed", reason="no number that the text commits to")
        if found.value == Fraction(str(problem.facts["answer"])):
            return self.verdict("correct", answer=found.text, reason=f"found by rule: {found.rule}")
        return self.verdict("wrong", answer=found.text, reason=f"found by rule: {found.rule}")


@final
class CountdownVerifier(Verifier):
    """Evaluates the expression: it must reach the target and use each given number at most once."""

    name = "arith.countdown"
    version = "2"
    earlier = "1"
    isolated = False

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Inline: the expression has at most 200 characters and is evaluated by our own parser."""
        found = extract_answer(text, "expression")
        if found is None:
            return self.verdict("unparsed", reason="no expression in the text")
        result = evaluate(found.text)
        if result is None:
            return self.verdict("unparsed", answer=found.text, reason="not a valid expression")
        value, used = result
        given: Any = problem.facts["numbers"]
        spare = Counter(used) - Counter(int(number) for number in given)
        if spare:
            return self.verdict("wrong", answer=found.text, reason=f"{min(spare)} is used more often than it is given")
        if value != Fraction(int(str(problem.facts["target"]))):
            return self.verdict("wrong", answer=found.text, reason=f"it makes {value}")
        return self.verdict("correct", answer=found.text)


@final
@dataclass(frozen=True, slots=True)
class _Kind:
    description: str
    knobs: type[Knobs]
    generate: Callable[[Random, Any], Item | None]
    verifier: type[NumberVerifier] | type[CountdownVerifier] = NumberVerifier
    answer_word: str = "number"


_KINDS = {
    "sums": _Kind("sums and differences, with running totals", SumsKnobs, sums),
    "products": _Kind("products, with partial products", ProductsKnobs, products),
    "linear": _Kind("linear equations ax + b = c", LinearKnobs, linear),
    "words": _Kind("short word problems of one or two steps", WordsKnobs, words),
    "countdown": _Kind(
        "reach a target from given numbers, each at most once",
        CountdownKnobs,
        countdown,
        CountdownVerifier,
        "expression",
    ),
}


_TWIN_BATCH = 2_000
_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"\b[A-Z][a-z]+\b")
_THING = re.compile(r"(#|How many) [a-z]+")


def _template(question: str) -> tuple[str, list[int]]:
    """A question without its numbers, names and things, and how many digits each number has."""
    text = _NUMBER.sub("#", _NAME.sub("@", question))
    return _THING.sub(r"\1 *", text.replace("@ many", "How many")), [len(n) for n in _NUMBER.findall(question)]


def _distance(left: list[int], right: list[int]) -> int:
    return sum(abs(a - b) for a, b in zip(left, right, strict=True))


@final
class ArithTask(Task):
    """One kind of arithmetic with its knobs resolved."""

    def __init__(self, kind: str, knobs: Knobs) -> None:
        self._kind = _KINDS[kind]
        self._knobs = knobs
        values = knobs.model_dump()
        # The same for every problem of the task, so it stands in front: training and sampling compute it once for all.
        hint = f"End with #### and the {self._kind.answer_word}."
        self._system = (Message(role="system", content=hint),) if values["hint"] else ()
        super().__init__(name=canonical_name("arith", kind, values), version="1", verifier=self._kind.verifier())

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        return map(self._draft, self._items(seed))

    def _draft(self, item: Item) -> Draft:
        return Draft(item.canonical_text, lambda: self._problem(item))

    def _items(self, seed: int) -> Iterator[Item]:
        rng = Random(derive_seed(seed, self.name))
        fruitless = 0
        while True:
            item = self._kind.generate(rng, self._knobs)
            if item is None:
                fruitless += 1
                if fruitless >= self.patience:
                    return  # these knobs admit no problem at all
                continue
            fruitless = 0
            yield item

    def _twins(self, problem: Problem, seed: int) -> Iterator[Draft]:
        """Items of the same template: those whose numbers are as long as the original's as they come, then the rest."""
        template, digits = _template(problem.messages[-1].content)
        items = self._items(derive_seed(seed, "twin", problem.id))
        fruitless = 0
        while fruitless < self.patience // _TWIN_BATCH:
            others: list[tuple[int, Item]] = []
            fruitless += 1
            for item in islice(items, _TWIN_BATCH):
                own, lengths = _template(item.question)
                if own != template:
                    continue
                fruitless = 0
                if lengths == digits:
                    yield self._draft(item)
                else:
                    others.append((_distance(digits, lengths), item))
            for _, item in sorted(others, key=lambda pair: pair[0]):
                yield self._draft(item)

    def self_check(self, problem: Problem, text: str) -> bool | None:
        """Countdown's numbers and target stand in the question, so its verifier needs no gold; other kinds: None."""
        if not isinstance(self.verifier, CountdownVerifier):
            return None
        return self.grade(problem, text).status == "correct"

    def _problem(self, item: Item) -> Problem:
        return Problem(
            task=self.name,
            canonical_text=item.canonical_text,
            messages=(*self._system, Message(role="user", content=item.question)),
            facts={"answer": item.answer, **item.facts},
            solution=item.solution(),
        )


def build(spec: TaskSpec) -> Task:
    """The task of a spec.

    Raises:
        TaskError: An unknown kind or knob, or a value that does not fit.
    """
    if spec.name not in _KINDS:
        raise TaskError(
            f'arith has no kind "{spec.name}".', hint=f"{nearest(spec.name, _KINDS)}Kinds: {', '.join(sorted(_KINDS))}."
        )
    return ArithTask(spec.name, resolve_knobs(spec, _KINDS[spec.name].knobs))


FAMILY = Family(
    place=1, source="spiritsafe", describe=lambda: [(name, kind.description, None) for name, kind in _KINDS.items()]
)
