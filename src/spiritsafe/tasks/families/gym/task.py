"""The ``gym`` family: any generator of reasoning-gym, with its parameters (extra ``gym``).

In: ``gym:chain_sum?min_terms=2&max_terms=4``. Out: a Task. The library runs in a child process only: this module does
not import it, a slow or crashing generator cannot take the caller down, and items are the same in every process.

Item seeds are ``derive_seed(seed, name, index)``: the library's own ``seed + index`` makes neighbouring seeds share
nearly all items. Our verifier wraps its ``score_answer``: the answer is found as
:mod:`spiritsafe.tasks.answers.extract` says, spacing and Unicode variants of it are tried, and only the full score is
"correct"; partial credit stays in the score.
"""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections.abc import Iterator
from typing import Any, final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.process.children.pool import ChildFailure, ChildPool, Handler, shared_pool
from spiritsafe.core.records import Message, Problem, Verdict
from spiritsafe.core.seeds import derive_seed
from spiritsafe.tasks.answers.claims import claimed_value
from spiritsafe.tasks.answers.extract import (
    extract_answer,
    final_part,
    marked_spans,
    normalise,
    parse_number,
    plain_number,
    rival_mark,
    without_invisible,
)
from spiritsafe.tasks.families.gym.catalogue import GYM_FAMILIES, REFUSED, REVISION, REVISIONS
from spiritsafe.tasks.family import Family
from spiritsafe.tasks.spec import TaskSpec, canonical_name, check_keys, nearest
from spiritsafe.tasks.task import Draft, Task, Verifier

_FULL = 1.0
"""Not a hair less: some scorers add shares of a right beginning up to 0.9999999999999999 and let anything follow."""
_MAX_FAILURES = 50
_LIST_SEPARATOR = ","
_HEDGES = re.compile(r"\b(?:or|either|neither|not|wrong|incorrect|maybe|perhaps)\b|n't\b", re.IGNORECASE)
"""What an answer may only say where the gold says it, too: some scorers read past the words around an answer."""
_FENCE = re.compile(r"```[a-z]*\n(.*?)\n?```", re.DOTALL)


def answer_candidates(text: str, gold: str) -> list[str]:
    """Spellings of the one answer that a completion commits to, given what the gold looks like.

    A gold that is a number asks for the number; any other for the last code block, else for what is marked, else for
    the last line (for everything, when the gold has several lines). Spellings differ in spacing, Unicode form and
    quotes only. A text that offers two answers, or takes one back, has none.
    """
    raw = final_part(text[-20_000:].replace("\r\n", "\n"))
    if not raw.strip():
        return []
    if parse_number(gold) is not None:
        claim, number = claimed_value(text), extract_answer(text, "number")
        if claim.value is None:
            return []
        if number is None or number.value != claim.value:
            return [plain_number(claim.value)]
        # as it is written, not as a value: "simplify 16/2" is not solved by 16/2
        return _unique([number.written, number.written.replace(",", "")])
    rule, marked = next(((rule, span) for rule, span in marked_spans(raw) if span.strip()), ("", None))
    if rival_mark(raw, rule):
        return []
    fenced = _FENCE.findall(raw if marked is None else marked)
    num_lines = len(gold.strip().split("\n"))
    if fenced:
        base = [fenced[-1]]
    elif marked is not None:
        base = [marked if num_lines > 1 else marked.strip().partition("\n")[0]]
    elif num_lines > 1:
        lines = raw.strip("\n").rstrip().split("\n")
        base = [raw, "\n".join(lines[-num_lines:])] if len(lines) > num_lines else [raw]
    else:
        base = [raw.strip().rpartition("\n")[2]]
    beginning = "\n".join(base[0].strip().split("\n")[: num_lines + 1])
    if (num_lines == 1 or marked) and not _HEDGES.search(gold) and _HEDGES.search(beginning):
        return []
    return _unique([variant for one in base for variant in _variants(one)])


def _variants(text: str) -> list[str]:
    lines = "\n".join(line.rstrip() for line in text.strip("\n").rstrip().split("\n"))
    folded = "\n".join(" ".join(line.split()) for line in normalise(text).strip().split("\n"))
    bare = folded.strip("*`$\"' ").rstrip(".").strip("*`$\"' ")
    return [text, lines, without_invisible(text).strip(), normalise(text).strip(), folded, bare]


def _unique(texts: list[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]


@final
class GymVerifier(Verifier):
    """Wraps the family's ``score_answer``, in a child process."""

    isolated = True

    def __init__(self, handler: Handler, library: str, pool: ChildPool) -> None:
        family = handler.arguments["name"]
        self.name = f"gym.{family}"
        revision = REVISIONS.get(family, REVISION)
        self.version, self.earlier = f"{revision}+{library}", f"{revision - 1}+{library}"
        self._handler = handler
        self._pool = pool

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Score the answer's spellings; the best counts."""
        gold = str(problem.facts["answer"])
        candidates = answer_candidates(text, gold)
        if not candidates:
            return self.verdict("unparsed", reason="no answer in the text")
        payload = {
            "op": "score",
            "seed": problem.facts["seed"],
            "gold": gold,
            "question": problem.messages[-1].content,
            "candidates": candidates,
        }
        try:
            scores: list[float] = self._pool.call(self._handler, payload)
        except ChildFailure as failure:
            return self.verdict("unscored", answer=candidates[0], reason=f"score_answer: {failure}")
        best = max(scores)
        answer = candidates[scores.index(best)]
        if best >= _FULL:
            return self.verdict("correct", answer=answer)
        return self.verdict("wrong", answer=answer, score=max(0.0, best))


def _parse(spec: TaskSpec, key: str, text: str, default: Any) -> Any:
    """A parameter's text as the type of its default; lists are separated by commas."""
    where = f'gym:{spec.name}, knob "{key}={text}"'
    if isinstance(default, list):
        first = default[0] if default else ""
        return [_parse(spec, key, part.strip(), first) for part in text.split(_LIST_SEPARATOR)]
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise TaskError(f"{where}: not a truth value.", hint="Write true or false.")
        return text.lower() == "true"
    try:
        if isinstance(default, int):
            return int(text)
        return float(text) if isinstance(default, float) else text
    except ValueError as error:
        raise TaskError(f"{where}: not a number.", hint=f"Its default is {default}.") from error


@final
class GymTask(Task):
    """One generator of reasoning-gym, its parameters resolved."""

    patience = 2_000

    def __init__(self, spec: TaskSpec, *, pool: ChildPool | None = None) -> None:
        self._pool = pool or shared_pool()
        facts = self._describe(spec.name)
        if spec.name not in facts["families"]:
            raise TaskError(
                f'reasoning-gym has no family "{spec.name}".',
                hint=f"{nearest(spec.name, facts['families'])}`spiritsafe tasks list` shows all.",
            )
        defaults: dict[str, Any] = facts["parameters"]
        check_keys(spec, [key for key, value in defaults.items() if value is not None])
        given = {key: _parse(spec, key, text, defaults[key]) for key, text in spec.knobs.items()}
        # long default lists (names of people) would drown the name; the library's version stands for them
        scalars = {key: value for key, value in defaults.items() if value is not None and not isinstance(value, list)}
        self._handler = Handler(
            "spiritsafe.tasks.families.gym.child", "GymHandler", {"name": spec.name, "parameters": given}
        )
        library = f"reasoning-gym-{facts['version']}"
        super().__init__(
            name=canonical_name("gym", spec.name, {**scalars, **given}),
            version=f"1+{library}",
            verifier=GymVerifier(self._handler, library, self._pool),
        )
        self._library = library

    def _describe(self, name: str) -> dict[str, Any]:
        try:
            handler = Handler("spiritsafe.tasks.families.gym.child", "GymHandler", {"name": name, "parameters": {}})
            facts: dict[str, Any] = self._pool.call(handler, {"op": "describe"})
        except ChildFailure as failure:
            raise TaskError(
                f"reasoning-gym cannot be used: {failure}.", hint="Reinstall it: pip install 'spiritsafe[gym]'."
            ) from failure
        return facts

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        failures = 0
        for index in itertools.count():
            item_seed = derive_seed(seed, self.name, index) % 2**32
            try:
                item = self._pool.call(self._handler, {"op": "item", "seed": item_seed})
            except ChildFailure as failure:
                failures += 1
                # what the generator raises is a function of the seed, so it may be skipped; time is not, so it may not
                if failure.kind != "raised" or failures >= _MAX_FAILURES:
                    raise TaskError(
                        f"{self.name} failed to make a problem: {failure}.",
                        hint="Check its parameters or choose another family; `spiritsafe tasks audit` tries them.",
                    ) from failure
                continue
            failures = 0
            yield Draft(
                " ".join(normalise(item["question"]).split()),
                lambda item=item, item_seed=item_seed: self._problem(item, item_seed),  # type: ignore[misc]  # mypy cannot type a lambda's defaults
            )

    def _problem(self, item: dict[str, Any], item_seed: int) -> Problem:
        return Problem(
            task=self.name,
            canonical_text=" ".join(normalise(item["question"]).split()),
            messages=(Message(role="user", content=item["question"]),),
            facts={"answer": item["answer"], "seed": item_seed, "library": self._library},
            solution=item["solution"],
        )


def build(spec: TaskSpec) -> Task:
    """The task of a spec.

    Raises:
        TaskError: The family is refused, unknown, or has no such parameter; or reasoning-gym is not installed.
    """
    if spec.name in REFUSED:
        raise TaskError(
            f"gym:{spec.name} is refused: {REFUSED[spec.name]}.",
            hint="Choose another; `spiritsafe tasks list` shows all.",
        )
    if importlib.util.find_spec("reasoning_gym") is None:
        raise TaskError(
            f"gym:{spec.name} needs the package reasoning-gym.",
            hint="Run `pip install 'spiritsafe[gym]'`; it builds one C extension, so a compiler is needed.",
        )
    return GymTask(spec)


FAMILY = Family(
    place=6,
    source="reasoning-gym",
    describe=lambda: [(name, text, REFUSED.get(name)) for name, text in sorted(GYM_FAMILIES.items())],
)
