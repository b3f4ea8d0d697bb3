"""Signs of memory: simulated weights that know nothing, or a planted part of the public half."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from exam_parts import SECRET, Stage, ToyModel, make_stage

from spiritsafe.core.errors import CompatibilityError, IntegrityError, ProcedureError
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Message
from spiritsafe.core.seeds import derive_seed
from spiritsafe.exam import PaperLog, exposures, memory
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.exam.records.contamination import MemoryReport
from spiritsafe.ledger import KeyPair, Ledger
from spiritsafe.tasks import load_task


class ToyScorer(ToyModel):
    """Log-probabilities by lot; texts for which ``knows`` is true are a little likelier."""

    knows: Callable[[tuple[Message, ...], str], float] = staticmethod(lambda messages, text: 0.0)
    longest = 10_000
    seed = 0

    def describe(self) -> GeneratorInfo:
        return super().describe().model_copy(update={"has_logprobs": True})

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        rows = []
        for messages, text in zip(conversations, completions, strict=True):
            if len(text) > self.longest:
                raise CompatibilityError("It is too long.", hint="Shorten it.")
            question = messages[-1].content if messages else ""
            rng = random.Random(derive_seed(self.seed, question, text))
            rows.append(
                tuple(-rng.expovariate(0.5) + self.knows(messages, text) for _ in range(max(4, len(text) // 8)))
            )
        return rows


class SpreadScorer(ToyScorer):
    def score_spread(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[tuple[float, float, float], ...]]:
        return [tuple((own, -2.0, 2.0) for own in row) for row in self.score(conversations, completions)]


def run(stage: Stage, model: ToyScorer, name: str = "memory.json") -> MemoryReport:
    signed = memory(
        paper=stage.papers,
        generator=model,
        task=stage.task,
        examiner=stage.examiner,
        ledger=stage.ledger,
        output=stage.root / name,
    )
    return signed.report


@pytest.fixture
def large(tmp_path: Path) -> Stage:
    return make_stage(tmp_path, count=80)


def knowing(stage: Stage) -> Callable[[tuple[Message, ...], str], float]:
    public = {place.problem.messages[-1].content for place in stage.paper.problems}
    return lambda messages, text: 4.0 if messages and messages[-1].content in public else 0.0


def test_weights_that_know_nothing(large: Stage) -> None:
    report = run(large, SpreadScorer())
    assert report.statements[0].startswith("No sign of memory")
    assert report.statements[-1].startswith("Supporting evidence only")
    assert report.has_spread
    assert [(test.text, test.method) for test in report.scores] == [
        (text, method) for text in ("final answer", "question") for method in ("mean", "Min-K%", "Min-K%++")
    ]
    assert report.order is not None
    assert (report.order.num_shards, report.order.shard_size) == (5, 8)


def test_answers_known_by_heart_are_a_sign(large: Stage) -> None:
    model = SpreadScorer()
    model.knows = knowing(large)
    report = run(large, model)
    assert report.statements[0].startswith("A sign of memory")
    by_name = {(test.text, test.method): test for test in report.scores}
    assert by_name["final answer", "Min-K%++"].p_value < 0.001
    assert by_name["final answer", "mean"].auc.value > 0.7
    assert by_name["question", "mean"].p_value > 0.01


def test_a_known_order_is_a_sign(large: Stage) -> None:
    """The weights saw the public file as it is published: its problems one behind the other are likelier."""
    order = [place.problem.messages[-1].content for place in large.paper.problems]
    pairs = set(itertools.pairwise(order))

    def knows(messages: tuple[Message, ...], text: str) -> float:
        lines = [line for line in text.split("\n") if line in order]
        return 0.3 * sum(pair in pairs for pair in itertools.pairwise(lines))

    model = SpreadScorer()
    model.knows = knows
    report = run(large, model)
    assert report.order is not None
    assert report.order.p_value < 0.005
    assert report.order.mean_excess > 0
    assert "the published order" in report.statements[0]


def test_without_spreads_min_k_stands_in_and_says_so(large: Stage) -> None:
    report = run(large, ToyScorer())
    assert not report.has_spread
    assert {test.method for test in report.scores} == {"mean", "Min-K%"}
    assert any("Min-K% stands in for Min-K%++" in text for text in report.statements)


def test_a_short_context_takes_smaller_shards_or_says_that_it_cannot(large: Stage) -> None:
    model = SpreadScorer()
    model.longest = 200
    report = run(large, model)
    assert report.order is not None
    assert report.order.shard_size == 4
    model.longest = 60
    report = run(large, model)
    assert report.order is None
    assert any("order was not tested" in text for text in report.statements)
    model.longest = 0
    assert run(large, model).statements[0].startswith("Nothing could be tested")


def test_strata_are_compared_within(tmp_path: Path) -> None:
    """One part of a mix is likelier throughout: no sign of memory."""
    task = load_task("mix:arith:sums|arith:products")
    stage = make_stage(tmp_path, count=60, task=task, secret=SECRET)
    model = SpreadScorer()
    model.knows = lambda messages, text: 5.0 if messages and "*" in messages[-1].content else 0.0
    report = run(stage, model)
    assert report.statements[0].startswith("No sign")
    assert report.order is not None


def test_the_access_is_on_record_and_no_number_of_a_problem_leaves(large: Stage) -> None:
    report = run(large, SpreadScorer())
    *_, access, entry = large.ledger.entries()
    assert (access.kind, entry.kind) == ("access", "memory")
    assert entry.body["report"] == report.content_digest
    assert len(access.body["sealed"]) == 40
    parties = {record.party for record in exposures(PaperLog(large.ledger.entries(), large.paper.header))}
    assert "toy-model (local)" in parties
    data = (large.root / "memory.json").read_bytes() + large.ledger.path.read_bytes()
    sealed = open_sealed(large.papers, large.paper, large.examiner)
    assert sealed.secret.encode() not in data
    assert not any(place.problem.canonical_text.encode() in data for place in sealed.problems)
    model = SpreadScorer()
    (row,) = model.score([sealed.problems[0].problem.messages], ["x"])
    assert str(row[0]).encode() not in data


def test_what_cannot_score_is_refused_before_anything_opens(large: Stage) -> None:
    before = len(large.ledger.entries())
    for model in (SpreadScorer(kind="remote"), ToyModel()):
        with pytest.raises(CompatibilityError, match="no log-probabilities"):
            run(large, model)
    assert len(large.ledger.entries()) == before
    with pytest.raises(ProcedureError):
        memory(
            paper=large.papers,
            generator=SpreadScorer(),
            task=large.task,
            examiner=large.examiner,
            ledger=Ledger(large.root / "other.jsonl"),
            output=large.root / "no.json",
        )
    with pytest.raises(IntegrityError):
        memory(
            paper=large.papers,
            generator=SpreadScorer(),
            task=large.task,
            examiner=KeyPair.generate("Mallory"),
            ledger=large.ledger,
            output=large.root / "no.json",
        )


def test_false_alarms_in_clean_repeats(large: Stage) -> None:
    """Forty weights that know nothing: at the 5 % level two are expected to be flagged, eight are out of reach."""
    alarms = 0
    for repeat in range(40):
        model = SpreadScorer()
        model.seed = repeat
        alarms += run(large, model).statements[0].startswith("A sign")
    assert alarms < 8
