"""Signs of memory: what a local model's log-probabilities say of a paper. Supporting evidence, never a verdict.

In: a paper with its sealed half, local weights, the examiner's key. Out: ``memory.json``, signed, and a ledger entry of
kind ``memory``; the access stands in the ledger before the sealed half is opened. Nothing is asked: questions and gold
answers are scored. The sealed half is the control: were the public half as unknown, every score would fall on both
alike. The published order is a random one too, so it can be held against shuffles.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.record_files import write_record
from spiritsafe.core.generator import Generator, SpreadScoring, TokenSpread
from spiritsafe.core.records import Message, Problem
from spiritsafe.core.seeds import derive_seed
from spiritsafe.exam.contamination.logprob_tests import lowest_mean, order_test, score_test, standardised
from spiritsafe.exam.contamination.memorisation_report import statements_of_memory
from spiritsafe.exam.contamination.overlap import questions_of
from spiritsafe.exam.contamination.signed_report import MemoryEntry
from spiritsafe.exam.entries.accesses import enter_access
from spiritsafe.exam.paper.files import check_task, load_paper, open_sealed, paper_entry
from spiritsafe.exam.paper.split import halves, stratum_ranges
from spiritsafe.exam.records.contamination import MemoryReport, OrderTest, ScoreTest, SignedMemory
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.results.certificate import host_software
from spiritsafe.exam.results.scores import strata_of_halves
from spiritsafe.ledger import KeyPair, Ledger, utc_now
from spiritsafe.tasks import Task

_NUM_SHUFFLES = 9
_SHARD_SIZES = (8, 4, 2)  # the largest that fits the model's context
_LEAST_SHARDS = 3
_BATCH = 32
_MARK = "#### "  # how tasks ask for the final answer
_METHODS = ("mean", "Min-K%", "Min-K%++")
_ALONE = (Message(role="user", content=""),)
"""In front of a text that is scored by itself: chat templates refuse an empty conversation."""

_Text = tuple[tuple[Message, ...], str]


@final
@dataclass(frozen=True, slots=True)
class _Asked:
    """The texts of one kind that are scored: public problems, then sealed ones, each in bank order."""

    name: str
    texts: list[_Text]


def memory(
    *,
    paper: Path,
    generator: Generator,
    task: Task,
    examiner: KeyPair,
    ledger: Ledger,
    output: Path,
    events: EventSink | None = None,
) -> SignedMemory:
    """Score a paper's problems with a model's weights, test the halves and the order, and sign what comes out.

    Args:
        paper: Directory of ``paper.json`` and ``sealed.age``.
        examiner: A key that opens the sealed half; signs.
        ledger: Holds the paper; gets an access entry and the report's digest.

    Raises:
        CompatibilityError: The model gives no log-probabilities of a given text, or problems would leave the host.
        ProcedureError: The paper is not in the ledger, or the task is another.
        IntegrityError: The paper is damaged, or sealed to another key.
        StorageError: Ledger or report cannot be written.
    """
    events = events or NullSink()
    info = generator.describe()
    if info.kind != "local" or not info.has_logprobs:
        raise CompatibilityError(
            f"{info.name} gives no log-probabilities of a given text, or is not on this host.",
            hint="Name local weights (--model DIRECTORY). Of an endpoint, only a sitting can tell.",
        )
    public = load_paper(paper)
    header = public.header
    check_task(public, task)
    paper_entry(ledger, public)
    kinds = halves(header)
    places = [place for place in range(header.num_problems) if kinds[place] == "public"]
    order = places + [place for place in range(header.num_problems) if kinds[place] == "sealed"]
    what = "scored questions and gold answers (memory check)"
    enter_access(ledger, header, order, info, examiner, purpose="memory check", registration=header.paper_id, what=what)
    sealed = open_sealed(paper, public, examiner)
    placed = {place.index: place.problem for place in (*public.problems, *sealed.problems)}
    problems = [placed[place] for place in order]
    has_spread, scores = _score_tests(header, problems, len(places), generator, task, events)
    published = {place: placed[place] for place in places}
    tested = _order(header, published, generator, task, events)
    report = MemoryReport(
        paper_id=header.paper_id,
        generator=info,
        has_spread=has_spread,
        scores=scores,
        order=tested,
        statements=statements_of_memory(has_spread, scores, tested),
        finished=utc_now(),
        examiner=examiner.public,
        software=host_software(),
    )
    signed = SignedMemory(report=report, signature=examiner.sign("memory", report.canonical()))
    MemoryEntry.append(
        ledger, header, examiner, report=report.content_digest, model=info.digest, statement=report.statements[0]
    )
    write_record(output, signed)
    return signed


def _answer(task: Task, problem: Problem) -> str:
    return problem.solution if problem.solution is not None else task.gold(problem)


def _score_tests(
    header: PaperHeader,
    problems: Sequence[Problem],
    num_public: int,
    generator: Generator,
    task: Task,
    events: EventSink,
) -> tuple[bool, tuple[ScoreTest, ...]]:
    """Answers given their questions, and questions by themselves, by each score that can be had."""
    solutions = [(problem.messages, problem.solution or "") for problem in problems]
    kinds = [
        _Asked("final answer", [(problem.messages, f"{_MARK}{task.gold(problem)}") for problem in problems]),
        _Asked("question", [(_ALONE, question) for question in questions_of(problems)]),
    ]
    if all(solution for _, solution in solutions):
        kinds.insert(0, _Asked("solution", solutions))
    strata = strata_of_halves(header)
    tests: list[ScoreTest] = []
    has_spread = False
    for asked in kinds:
        spread = _spreads(generator, asked.texts, events)
        own = _own(generator, asked.texts) if spread is None else [[token[0] for token in row] for row in spread]
        if own is None or not all(own):  # a text without tokens has no score
            continue
        has_spread = has_spread or spread is not None
        values = {
            "mean": [math.fsum(row) / len(row) for row in own],
            "Min-K%": [lowest_mean(row) for row in own],
            "Min-K%++": [lowest_mean(standardised(row)) for row in spread] if spread is not None else None,
        }
        for method in _METHODS:
            if (scores := values[method]) is not None:
                seed = derive_seed("memory check", header.bank_root, asked.name, method)
                tests.append(
                    score_test(
                        scores[:num_public],
                        scores[num_public:],
                        method=method,
                        text=asked.name,
                        seed=seed,
                        strata=strata,
                    )
                )
    return has_spread, tuple(tests)


def _spreads(generator: Generator, texts: Sequence[_Text], events: EventSink) -> list[tuple[TokenSpread, ...]] | None:
    """None where the weights give no spreads, or the texts do not fit them."""
    if not isinstance(generator, SpreadScoring):
        return None
    found: list[tuple[TokenSpread, ...]] = []
    try:
        for start in range(0, len(texts), _BATCH):
            part = texts[start : start + _BATCH]
            found += generator.score_spread([messages for messages, _ in part], [text for _, text in part])
            events.progress(len(found), len(texts), "texts")
    except CompatibilityError:
        return None
    return found


def _own(generator: Generator, texts: Sequence[_Text]) -> list[list[float]] | None:
    """Log-probabilities alone; None where the texts do not fit the model."""
    found: list[list[float]] = []
    try:
        for start in range(0, len(texts), _BATCH):
            part = texts[start : start + _BATCH]
            rows = generator.score([messages for messages, _ in part], [text for _, text in part])
            found += [list(row) for row in rows]
    except CompatibilityError:
        return None
    return found


def _order(
    header: PaperHeader, published: dict[int, Problem], generator: Generator, task: Task, events: EventSink
) -> OrderTest | None:
    """The largest shards that fit the model's context; None where not even pairs do, or too few shards are left."""
    strata = [places for _, places in stratum_ranges(header)] or [range(header.num_problems)]
    texts = dict(
        zip(
            published,
            (
                f"{question}\n{_answer(task, problem)}"
                for question, problem in zip(questions_of(list(published.values())), published.values(), strict=True)
            ),
            strict=True,
        )
    )
    for size in _SHARD_SIZES:
        shards = []
        for places in strata:  # an order across strata is nobody's lot
            own = [texts[place] for place in places if place in texts]
            shards += [own[start : start + size] for start in range(0, len(own) - size + 1, size)]
        if len(shards) < _LEAST_SHARDS:
            continue
        rows = []
        try:
            for number, shard in enumerate(shards):
                rows.append(_likelihoods(generator, shard, derive_seed("memory order", header.bank_root, number)))
                events.progress(number + 1, len(shards), "shards")
        except CompatibilityError:
            continue
        return order_test(rows, shard_size=size, seed=derive_seed("memory order", header.bank_root))
    return None


def _likelihoods(generator: Generator, shard: Sequence[str], seed: int) -> list[float]:
    """Of the published order, then of shuffles."""
    rng = random.Random(seed)
    orders = [list(shard), *(rng.sample(shard, len(shard)) for _ in range(_NUM_SHUFFLES))]
    rows = generator.score([_ALONE] * len(orders), ["\n\n".join(order) for order in orders])
    return [math.fsum(row) for row in rows]
