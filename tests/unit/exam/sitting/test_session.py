from __future__ import annotations

import errno
import os
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from exam_parts import SAMPLING, Remote, ToyModel, ToyTask, make_stage
from stranger_parts import IMPOSSIBLE, append_at

from spiritsafe.core.errors import EndpointError, IntegrityError, ProcedureError, StoppedError, StorageError
from spiritsafe.core.records import instant
from spiritsafe.exam import PaperTerms, load_certificate, withdraw
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.exam.paper.split import asking_order, halves, look_ends
from spiritsafe.exam.records.registration import Budget, Claim
from spiritsafe.exam.sitting.identity_probes import PROBES, check_identity
from spiritsafe.exam.sitting.journal import Journal
from spiritsafe.ledger import KeyPair
from spiritsafe.stats.sequential.design import BettingRule, StopRule

CLAIM = Claim(kind="score at least", score=0.5)


class TwinTask(ToyTask):
    has_twins = True


def place_of(stage):
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    return {p.problem.id: p.index for p in (*stage.paper.problems, *sealed.problems)}


def asked_places(stage, model):
    places = place_of(stage)
    return [places[problem_id] for problem_id, _ in model.asked]


def test_problems_are_asked_in_the_papers_own_order(stage):
    model = ToyModel()
    stage.certificate(model)
    assert asked_places(stage, model) == list(asking_order(stage.paper.header))


@pytest.mark.parametrize("rule", [StopRule, BettingRule])
def test_a_clear_case_stops_early_and_accounts_for_the_rest(tmp_path, rule):
    stage = make_stage(tmp_path, count=80)
    stop = rule(num_problems=40, num_looks=5)
    model = ToyModel(skill=1.0)
    certificate = stage.certificate(model, claim=CLAIM, stop=stop)
    result = certificate.result
    ends = look_ends(stage.paper.header, stop)
    assert result.ending == "stopped by rule"
    assert result.decision.finding == "supported"
    assert certificate.correction.finding == "supported"
    order = asking_order(stage.paper.header, stop)
    assert asked_places(stage, model) == list(order[: len(model.asked)])
    assert len(model.asked) == ends[result.decision.look - 1] < 80
    assert set(result.not_asked) == set(order[len(model.asked) :])
    assert result.sealed.num_not_asked + result.public.num_not_asked + len(model.asked) == 80
    assert result.sealed.accuracy == result.decision.estimate
    assert any("ended by its registered stop rule" in text for text in certificate.statements)
    accesses = stage.ledger.find("access")
    assert len(accesses) == result.decision.look  # each part is on record before it is asked, and no more
    assert result.openings == 1  # by one process
    assert sum(len(entry.body["sealed"]) + len(entry.body["public"]) for entry in accesses) == len(model.asked)
    stage.check()


def test_an_even_case_asks_the_whole_paper(tmp_path):
    stage = make_stage(tmp_path, count=40)
    certificate = stage.certificate(ToyModel(skill=0.5), claim=CLAIM, stop=StopRule(num_problems=20, num_looks=4))
    assert certificate.result.ending == "complete"
    assert certificate.result.decision.finding == "not supported"
    assert certificate.result.decision.look == 4
    assert "not_asked" not in certificate.result.to_json()
    stage.check()


def test_an_interrupted_sequential_sitting_goes_on_to_the_same_end(tmp_path):
    stage = make_stage(tmp_path, count=80)
    stop = StopRule(num_problems=40, num_looks=5)
    registration = stage.register(ToyModel(skill=1.0), claim=CLAIM, stop=stop)
    for died_at in (5, 12, 9):
        model = ToyModel(skill=1.0)

        def die(model=model, died_at=died_at):
            if len(model.asked) == died_at:
                raise EndpointError("The line went dead.", hint="Wait.")

        model.on_ask = die
        with pytest.raises(EndpointError):
            stage.sit(model, registration)
    certificate = stage.sit(ToyModel(skill=1.0), registration)
    assert certificate.result.ending == "stopped by rule"
    assert certificate.result.openings >= 2
    fresh = make_stage(tmp_path / "fresh", count=80)  # the same bank, never interrupted
    unbroken = fresh.certificate(ToyModel(skill=1.0), claim=CLAIM, stop=stop)
    statuses = [(o.index, o.status) for o in unbroken.result.outcomes]
    assert [(o.index, o.status) for o in certificate.result.outcomes] == statuses
    stage.check()


def test_a_budget_of_tokens_is_never_passed_and_the_rest_accounted_for(stage):
    """A question may use 16 tokens and its prompt's bytes and 64; it uses 12."""
    model = ToyModel()
    certificate = stage.certificate(model, budget=Budget(max_tokens=200), claim=CLAIM)
    result = certificate.result
    assert result.ending == "budget exhausted"
    assert result.num_prompt_tokens + result.num_tokens <= 200
    assert 1 <= len(model.asked) < 20
    assert set(result.not_asked) == set(asking_order(stage.paper.header)[len(model.asked) :])
    assert result.decision.finding == certificate.correction.finding == "undecided"
    assert any("ended by its exhausted budget" in text for text in certificate.statements)
    stage.check()


def test_money_is_counted_and_printed(stage):
    budget = Budget(max_cost=1.0, prompt_price=1000.0, completion_price=5000.0, currency="EUR")
    certificate = stage.certificate(ToyModel(), budget=budget)
    assert certificate.result.ending == "complete"
    assert certificate.result.cost == pytest.approx((20 * 7 * 1000 + 20 * 5 * 5000) / 1e6)
    assert "At the registered prices it cost 0.64 EUR." in certificate.statements
    stage.check()


def test_time_ends_a_sitting_between_parts(tmp_path, monkeypatch):
    """64 problems go together; then the clock is looked at, which runs a second a problem here."""
    stage = make_stage(tmp_path, count=100)
    now = [datetime.now(UTC)]
    model = ToyModel()

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return now[0]

    def tick():
        now[0] += timedelta(seconds=1)

    model.on_ask = tick
    monkeypatch.setattr("spiritsafe.exam.sitting.budget.datetime", Clock)
    monkeypatch.setattr("spiritsafe.exam.sitting.sit.utc_now", lambda: stamp(now[0]))
    certificate = stage.certificate(model, budget=Budget(max_seconds=30))
    assert certificate.result.ending == "budget exhausted"
    assert len(model.asked) == 64
    stage.check()


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_budget_too_small_for_one_question_is_said(stage):
    registration = stage.register(ToyModel(), budget=Budget(max_tokens=3))
    with pytest.raises(ProcedureError, match="no room for the first question"):
        stage.sit(ToyModel(), registration)
    assert stage.ledger.find("access") == []
    withdraw(ledger=stage.ledger, paper=stage.paper, registration=registration, maker=stage.maker, reason="too small")


def test_twins_are_asked_behind_their_originals_and_scored_apart(tmp_path):
    stage = make_stage(tmp_path, count=40, task=TwinTask(), terms=PaperTerms(twins=True))
    model = ToyModel(skill=0.2, studied=frozenset(p.problem.id for p in stage.paper.problems))
    certificate = stage.certificate(model, num_tries=2)
    result = certificate.result
    places = asked_places(stage, model)
    assert all(places[at : at + 4] == [places[at]] * 2 + [places[at] + 40] * 2 for at in range(0, len(places), 4))
    assert result.public.accuracy.value == 1.0
    assert result.twins.accuracy.value < 0.5
    assert sum(result.twins.counts.values()) == 80
    assert result.gap.p_value < 0.01
    assert result.memory.p_value < 0.01
    assert "A sign of memory" in result.memory_statement
    assert result.memory_statement in certificate.statements
    assert certificate.access[1].num_twins == 40
    assert [o.half for o in result.outcomes if o.index >= 40] == ["twin"] * 80
    stage.check()


def test_learning_the_kind_of_problem_is_no_memory_of_the_text(tmp_path):
    """Right on what was published and on its twins: the gap shows, the memory test does not."""
    stage = make_stage(tmp_path, count=60, task=TwinTask(), terms=PaperTerms(twins=True))
    public = {problem.index for problem in stage.paper.problems}
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    twins = {p.problem.id for p in sealed.problems if p.index >= 60 and p.index - 60 in public}
    known = frozenset(twins | {p.problem.id for p in stage.paper.problems})
    result = stage.certificate(ToyModel(skill=0.2, studied=known)).result
    assert result.gap.p_value < 0.01
    assert result.memory.p_value > 0.05
    assert "No sign of memory" in result.memory_statement


def test_twins_and_looks_together(tmp_path):
    stage = make_stage(tmp_path, count=40, task=TwinTask(), terms=PaperTerms(twins=True))
    stop = StopRule(num_problems=20, num_looks=4)
    certificate = stage.certificate(ToyModel(skill=1.0), claim=CLAIM, stop=stop)
    result = certificate.result
    assert result.ending == "stopped by rule"
    kinds = [halves(stage.paper.header)[place] for place in result.not_asked]
    assert kinds.count("twin") == len(kinds) / 2
    assert result.twins.num_not_asked == kinds.count("twin")
    stage.check()


def test_a_remote_model_is_never_asked_twice_whatever_dies(stage):
    registration = stage.register(Remote(), num_tries=2)
    sent = []
    for dies_at in (0, 3, 0, 7):
        model = Remote()
        model.dies_at = dies_at
        with pytest.raises(EndpointError, match="dead"):
            stage.sit(model, registration)
        sent += model.sent
    last = Remote()
    certificate = stage.sit(last, registration)
    sent += last.sent
    assert len(sent) == len(set(sent)) == 40
    lost = [outcome for outcome in certificate.result.outcomes if outcome.lost]
    assert len(lost) == 4  # each death took the question that was on its way
    assert {outcome.status for outcome in lost} == {"error"}
    assert certificate.result.sealed.counts["error"] + certificate.result.public.counts["error"] == 4
    assert any("4 answers were lost" in text for text in certificate.statements)
    assert certificate.result.openings == 5
    stage.check()


def test_an_endpoint_that_was_never_reached_loses_nothing(stage):
    class Down(Remote):
        def generate(self, prompts, sampling):
            raise EndpointError("No connection.", hint="Start it.")

    registration = stage.register(Remote())
    with pytest.raises(EndpointError):
        stage.sit(Down(), registration)
    assert stage.ledger.find("access") == []
    certificate = stage.sit(Remote(), registration)
    assert not any(outcome.lost for outcome in certificate.result.outcomes)
    assert certificate.result.openings == 1


def test_probes_at_start_at_random_moments_and_at_the_end(stage):
    model = Remote()
    certificate = stage.certificate(model, num_probes=4, num_tries=2)
    identity = certificate.result.identity
    assert model.probed[0] == 0
    assert model.probed[-1] == 40
    assert len(model.probed) == len(identity.rounds) == 4
    assert all(a < b for a, b in pairwise(model.probed))
    assert [round_.num_answers for round_ in identity.rounds] == model.probed
    assert identity.same is True
    assert all(len(round_.replies) == len(PROBES) for round_ in identity.rounds)
    assert any("One model, as far as 4 rounds" in text for text in certificate.statements)
    stage.check()


def test_rounds_of_probes_never_fall_together(stage):
    """Two tries of a problem are asked together: between 20 problems are 19 gaps, and each gets its round."""
    model = Remote()
    certificate = stage.certificate(model, num_probes=21, num_tries=2)
    assert model.probed == list(range(0, 41, 2))
    assert len(certificate.result.identity.rounds) == 21
    stage.check()


def test_an_endpoint_that_swaps_models_is_caught_in_words_and_by_verify(stage):
    model = Remote()

    def swap():
        model.voice = "one" if len(model.asked) < 25 else "another"

    model.on_ask = swap
    certificate = stage.certificate(model, num_probes=3, num_tries=2)
    assert certificate.result.identity.same is False
    assert any("changed during the sitting" in text for text in certificate.statements)
    bad = [step for step in stage.verify() if not step.ok and step.checked]
    assert [step.name for step in bad] == ["one model"]
    assert "no one model" in bad[0].detail


def test_a_resumed_sitting_asks_the_probes_again_first(stage):
    registration = stage.register(Remote(), num_probes=2)
    first = Remote()
    first.dies_at = 6
    with pytest.raises(EndpointError):
        stage.sit(first, registration)
    second = Remote()
    second.voice = "another"
    certificate = stage.sit(second, registration)
    rounds = certificate.result.identity.rounds
    assert [round_.num_answers for round_ in rounds] == [0, 7, 20]
    assert certificate.result.identity.same is False  # the pause was used to swap the model


def test_without_probes_the_endpoint_is_tried_with_one_harmless_question(stage):
    model = Remote()
    certificate = stage.certificate(model)
    assert model.probed == [0]
    assert certificate.result.identity is None
    assert "identity" not in certificate.result.to_json()


def test_the_journal_holds_what_the_certificate_says(stage):
    certificate = stage.certificate(Remote(), num_probes=2)
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    with Journal(
        stage.root / "sitting" / "answers.jsonl",
        key=stage.examiner,
        secret=sealed.secret,
        registration=certificate.result.registration,
    ) as journal:
        assert len(journal.answers) == len(journal.asked) == 20
        assert check_identity(journal.rounds) == certificate.result.identity
    assert load_certificate(stage.root / "sitting" / "certificate.json") == certificate
    assert re.search("sha256", certificate.result.registration)
    assert certificate.registration.sampling == SAMPLING


@pytest.mark.parametrize("time", ["2099-01-01T00:00:00.000Z", *IMPOSSIBLE])
def test_whatever_time_a_stranger_writes_a_sitting_goes_on_and_keeps_its_limit_of_time(stage, time):
    model = Remote(dies_at=7)
    registration = stage.register(model, budget=Budget(max_seconds=3600))
    append_at(stage.ledger, time, KeyPair.generate("Anybody"))
    with pytest.raises(EndpointError):
        stage.sit(model, registration)
    append_at(stage.ledger, time, KeyPair.generate("Anybody"))
    certificate = stage.sit(Remote(), registration)
    assert certificate.result.ending == "complete"
    assert instant(certificate.result.started) <= instant(certificate.result.finished)
    stage.check()


def test_a_sitting_that_began_under_an_older_version_with_a_time_that_is_none_goes_on(stage):
    """Older versions gave the opening the impossible time of the line before it."""
    model = Remote()
    registration = stage.register(model, budget=Budget(max_seconds=3600))
    body = {
        "paper_id": stage.paper.header.paper_id, "registration": registration.content_digest, "purpose": "sitting",
        "reader": model.describe().to_json(), "public": [], "sealed": [],
    }  # fmt: skip
    append_at(stage.ledger, IMPOSSIBLE[0], stage.examiner, "access", body)
    certificate = stage.sit(model, registration)
    assert certificate.result.started == IMPOSSIBLE[0]
    stage.check()


def test_who_answers_no_probe_is_not_asked_a_question(stage):
    """Reached, and answering 500 to everything: no access entry, no score."""
    for number, num_probes in enumerate((0, 3)):
        dead = Remote(name=f"dead-{number}")
        dead.silent = True
        registration = stage.register(dead, num_probes=num_probes)
        with pytest.raises(EndpointError, match="out of memory") as caught:
            stage.sit(dead, registration, name=f"dead-{number}")
        assert "same command" in caught.value.hint
        assert (dead.sent, stage.ledger.find("access"), stage.ledger.find("result")) == ([], [], [])
        alive = Remote(name=f"dead-{number}", skill=1.0)
        assert stage.sit(alive, registration, name=f"dead-{number}").result.sealed.accuracy.value == 1.0
        stage = make_stage(stage.root / "second")


def test_a_question_that_was_refused_is_asked_again(stage):
    """Each of the first twelve is turned away once: a perfect model stays at 100 %."""
    model = Remote(skill=1.0)
    model.refuses = lambda prompt, index: len(model.sent) <= 12
    certificate = stage.certificate(model, num_tries=2)
    assert len(model.sent) == 40 + 12
    assert {outcome.status for outcome in certificate.result.outcomes} == {"correct"}
    assert any("0 of 40 tries failed" in text for text in certificate.statements)
    assert len(stage.ledger.find("access")) == 1  # it was one part, and one process
    stage.check()


def test_an_endpoint_that_goes_away_leaves_open_what_it_refused(stage):
    registration = stage.register(Remote(), num_tries=2)
    going = Remote(skill=1.0)

    def gone(prompt, index):
        going.silent = len(going.sent) > 17
        return going.silent

    going.refuses = gone
    with pytest.raises(EndpointError, match="out of memory") as caught:
        stage.sit(going, registration)
    assert "17 answers are kept, and none was lost" in caught.value.message
    back = Remote(skill=1.0)
    certificate = stage.sit(back, registration)
    assert len(back.sent) == 40 - 17
    assert {outcome.status for outcome in certificate.result.outcomes} == {"correct"}
    assert certificate.result.openings == 2
    stage.check()


def test_one_question_that_no_endpoint_can_answer_does_not_hold_the_sitting_up(stage):
    poison = stage.paper.problems[3].problem.id
    model = Remote(skill=1.0)
    model.refuses = lambda prompt, index: prompt.problem_id == poison
    certificate = stage.certificate(model)
    failed = [outcome for outcome in certificate.result.outcomes if outcome.status == "error"]
    assert [outcome.index for outcome in failed] == [stage.paper.problems[3].index]
    assert not failed[0].lost
    assert [problem_id for problem_id, _ in model.sent].count(poison) == 2  # and no more
    assert any("1 of 20 tries failed" in text for text in certificate.statements)
    stage.check()


def test_who_answers_probes_and_none_of_the_questions_is_not_graded(stage):
    registration = stage.register(Remote())
    model = Remote()
    model.refuses = lambda prompt, index: True
    with pytest.raises(EndpointError, match="harmless questions, and not the paper's"):
        stage.sit(model, registration)
    assert stage.ledger.find("result") == []
    assert {outcome.status for outcome in stage.sit(Remote(skill=1.0), registration).result.outcomes} == {"correct"}


class Stopping(Remote):
    """Is stopped before its fifth question, or interrupted in the middle of it."""

    error: BaseException = StoppedError("Stopped as asked.", hint="Run the same command again to go on.")

    def generate_announced(self, prompts, sampling, before, not_asked):
        def last(problem_id, index):
            in_the_middle = isinstance(self.error, KeyboardInterrupt)
            if len(self.sent) == 4 and not in_the_middle:
                raise self.error
            before(problem_id, index)
            if len(self.sent) == 4:
                raise self.error

        yield from super().generate_announced(prompts, sampling, last, not_asked)


def test_a_stop_says_what_is_kept_and_what_was_lost(stage):
    registration = stage.register(Remote())
    with pytest.raises(StoppedError, match="4 answers are kept, and none was lost"):
        stage.sit(Stopping(skill=1.0), registration)
    second = Stopping(skill=1.0)
    second.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt, match="1 were under way: they are lost, and count as wrong"):
        stage.sit(second, registration)
    counts = stage.sit(Remote(skill=1.0), registration).result
    assert sorted(outcome.status for outcome in counts.outcomes) == ["correct"] * 19 + ["error"]
    assert sum(outcome.lost for outcome in counts.outcomes) == 1


def test_room_for_the_answers_is_taken_before_the_paper_is_opened(stage, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    registration = stage.register(Remote())
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    model = Remote(skill=1.0)
    with pytest.raises(StorageError, match="No space left"):
        stage.sit(model, registration)
    assert (model.sent, stage.ledger.find("access")) == ([], [])
    monkeypatch.undo()
    assert stage.sit(model, registration).result.sealed.accuracy.value == 1.0
    assert sorted(path.name for path in (stage.root / "sitting").iterdir()) == [
        "answers.jsonl",
        "certificate.json",
        "result.json",
        "sitting.lock",
    ]


def refuses_first(model):
    """The first problem that is asked is never answered."""
    first = []

    def refuses(prompt, index):
        first.append(prompt.problem_id)
        return prompt.problem_id == first[0]

    model.refuses = refuses
    return model


@pytest.mark.parametrize(
    "terms",
    [
        {"num_probes": 21},
        {"num_probes": 21, "num_tries": 3},
        {"claim": CLAIM, "stop": BettingRule(num_problems=10, num_looks=10)},
        {"budget": Budget(max_tokens=300)},
    ],
)
def test_one_question_that_cannot_be_answered_holds_up_no_sitting_of_small_parts(stage, terms):
    result = stage.certificate(refuses_first(Remote(skill=1.0)), **terms).result
    assert sum(outcome.status == "error" for outcome in result.outcomes) == terms.get("num_tries", 1)
    assert sum(outcome.status == "correct" for outcome in result.outcomes) > 1
    stage.check()


def test_small_parts_do_not_wear_down_who_answers_no_question(stage):
    """One problem may be at fault itself; with the second it is the endpoint."""
    registration = stage.register(Remote(), num_probes=21)
    model = Remote()
    model.refuses = lambda prompt, index: True
    for _ in range(3):
        with pytest.raises(EndpointError, match=r"0 answers are kept|harmless questions, and not the paper's"):
            stage.sit(model, registration)
    result = stage.sit(Remote(skill=1.0), registration).result
    assert [outcome.status for outcome in result.outcomes].count("error") == 1


def test_a_sitting_whose_registration_ends_asks_nothing_more(stage):
    registration = stage.register(Remote(), num_probes=4)
    model = Remote()

    def give_up():
        if len(model.sent) == 1:
            withdraw(
                ledger=stage.ledger, paper=stage.paper, registration=registration, maker=stage.maker, reason="enough"
            )

    model.on_ask = give_up
    with pytest.raises(ProcedureError, match="withdrawal"):
        stage.sit(model, registration)
    assert len(model.sent) < 20


def test_two_processes_in_two_folders_do_not_go_on_side_by_side(stage):
    """The first to open the next part goes on; the other is told, and its questions stop."""
    registration = stage.register(Remote(), claim=CLAIM, stop=StopRule(num_problems=10, num_looks=4))
    first, second = Remote(), Remote(dies_at=7)

    def meanwhile():
        if len(first.sent) == 1:
            with pytest.raises(EndpointError, match="dead"):
                stage.sit(second, registration, "second")

    first.on_ask = meanwhile
    with pytest.raises(IntegrityError, match="not the journal of this sitting"):
        stage.sit(first, registration, "first")
    assert len(first.sent) < 20
    back = Remote()
    stage.sit(back, registration, "second")
    stage.check("second")


def test_tries_that_failed_are_not_called_answers_that_are_kept(stage):
    registration = stage.register(Remote())
    with pytest.raises(
        EndpointError, match=r"15 answers are kept\. 1 were under way: they are lost, and count as wrong"
    ):
        stage.sit(Remote(skill=1.0, dies_at=15), registration)
    third = Stopping(skill=1.0)
    third.sent = [("", 0)] * 3  # it stops before the second question from here
    with pytest.raises(StoppedError) as caught:
        stage.sit(third, registration)
    assert "16 answers are kept, and none was lost now. 1 try failed before, and counts as wrong." in str(caught.value)
