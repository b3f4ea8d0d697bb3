"""The host of the sitting: drops failures, picks problems, edits grades and words, replays certificates."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from attack_parts import caught, exam, passes, reissue
from exam_parts import Forger, Remote, Stage, ToyModel, make_stage
from item_parts import able, past_sittings

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.records import Prompt
from spiritsafe.core.seeds import derive_seed
from spiritsafe.exam import ShorterTerms, learn_items, reveal, trust_page
from spiritsafe.exam.designs import adaptive
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.registration import Budget
from spiritsafe.exam.records.review import Revealed
from spiritsafe.exam.sitting import session as holding
from spiritsafe.exam.sitting.journal import Journal
from spiritsafe.ledger import Ledger
from spiritsafe.stats.irt.short_form import ChosenProblems


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return exam(tmp_path)


def wrong_ones(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [outcome for outcome in result["outcomes"] if outcome["status"] != "correct"]


def test_failures_dropped_from_the_outcomes(forger: Forger) -> None:
    value = forger.value
    value["result"]["outcomes"].remove(wrong_ones(value["result"])[0])
    forger.write(value)
    caught(forger.verify(), "every problem counted", "7 outcomes for 8 committed tries")


def test_a_success_counted_twice_for_a_failure(forger: Forger) -> None:
    value = forger.value
    outcomes = value["result"]["outcomes"]
    bad = outcomes.index(wrong_ones(value["result"])[0])
    good = next(outcome for outcome in outcomes if outcome["status"] == "correct")
    outcomes[bad] = {**good}
    forger.write(value)
    caught(forger.verify(), "every problem counted", "is missing or out of order")


def test_a_picked_subset_called_not_asked(forger: Forger) -> None:
    value = forger.value
    bad = wrong_ones(value["result"])[0]
    value["result"]["outcomes"].remove(bad)
    value["result"].update(not_asked=[bad["index"]], ending="budget exhausted")
    forger.write(value)
    step = caught(forger.verify(), "ending", "")
    assert "they were picked" in step.detail or "never registered" in step.detail


def test_problems_of_an_adaptive_sitting_picked_by_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Easier ones than the answers call for; and an end after three right ones."""
    stage, certificates = past_sittings(tmp_path, count=40)
    terms = ShorterTerms(items=learn_items(certificates), num_fixed=12, adaptive=True)
    by_the_rule = adaptive.next_place

    def easiest(chosen: ChosenProblems, right: dict[int, int], *, trials: int) -> int | None:
        left = sorted(chosen.by_name.keys() - right.keys(), key=lambda p: chosen.bank.difficulties[chosen.by_name[p]])
        return left[0] if by_the_rule(chosen, right, trials=trials) is not None else None

    def while_it_goes_well(chosen: ChosenProblems, right: dict[int, int], *, trials: int) -> int | None:
        return by_the_rule(chosen, right, trials=trials) if sum(right.values()) < 3 else None

    for rule in (easiest, while_it_goes_well):
        monkeypatch.setattr(adaptive, "next_place", rule)
        stage.certificate(able(0.0, rule.__name__), name=rule.__name__, shorter=terms)
        caught(stage.verify(rule.__name__), "ending", "not those that the answers call for")
    monkeypatch.setattr(adaptive, "next_place", by_the_rule)
    stage.certificate(able(0.0, "honest"), name="honest", shorter=terms)
    stage.check("honest")


class NotThisTimeError(Exception):
    """The host saw the score, and ends the process before the ledger hears of it."""


def roll_again(stage: Stage, monkeypatch: pytest.MonkeyPatch, *, rolls: int = 3, **terms: Any) -> Certificate:
    """Sit, look at result.json, throw all of it away, and sit again; the last one is shown."""
    append, left = Ledger.append, rolls - 1

    def unless_disliked(ledger: Ledger, kind: str, *args: Any, **options: Any) -> Any:
        if kind == "result" and left:
            raise NotThisTimeError
        return append(ledger, kind, *args, **options)

    monkeypatch.setattr(Ledger, "append", unless_disliked)
    registration = stage.register(Remote(skill=0.5), **terms)
    while left:
        with pytest.raises(NotThisTimeError):
            stage.sit(Remote(skill=0.5), registration)
        shutil.rmtree(stage.root / "sitting")
        left -= 1
    return stage.sit(Remote(skill=0.5), registration)


def test_a_sitting_held_again_until_the_score_pleases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As our own program is, it does not go on; whoever makes it go on contradicts the ledger."""
    stage = make_stage(tmp_path, count=12)
    with pytest.raises(IntegrityError, match=r"not the journal of this sitting: by ledger entry \d+, \d+ answers"):
        roll_again(stage, monkeypatch, num_probes=4)
    monkeypatch.undo()
    monkeypatch.setattr(Journal, "check_holds", lambda *_: None)
    other = make_stage(tmp_path / "other", count=12)
    roll_again(other, monkeypatch, num_probes=4)
    caught(other.verify(), "asked once", "answers were thrown away")


def test_a_sitting_held_again_with_a_program_that_commits_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As older versions are: what they wrote still verifies, and the page says what the ledger shows."""
    monkeypatch.setattr(holding, "journal_mark", lambda _: None)
    monkeypatch.setattr(Journal, "mark", lambda _: None)
    stage = make_stage(tmp_path, count=12)
    certificate = roll_again(stage, monkeypatch, num_probes=4)
    passes(stage.verify())
    found = trust_page(certificate, stage.verify()).of("asked once")
    assert found.state == "does not hold"
    assert "was asked AGAIN" in found.finding


def test_a_sitting_of_one_part_held_again_cannot_be_told_from_an_early_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "check_holds", lambda *_: None)
    stage = make_stage(tmp_path, count=12)
    certificate = roll_again(stage, monkeypatch)
    passes(stage.verify())
    found = trust_page(certificate, stage.verify()).of("asked once")
    assert (found.state, found.finding) == (
        "cannot be told",
        "the paper was opened 3 times, each time with the journal of before; 2 times with nothing new in it",
    )


def test_an_answer_that_the_host_drops_before_its_first_byte_is_asked_for_again_and_counted(tmp_path: Path) -> None:
    """A program between sitting and endpoint reads the answer, and breaks the connection where it is wrong."""
    stage = make_stage(tmp_path, count=40)

    def number_sent(prompt: Prompt) -> int:
        return sum(problem_id == prompt.problem_id for problem_id, _ in model.sent)

    def is_wrong(prompt: Prompt) -> bool:  # each time another answer, though the seed is the same
        return derive_seed(prompt.problem_id, number_sent(prompt)) % 2 == 0

    model = Remote(skill=1.0, reply=lambda prompt, _: ("The answer is -1.", "stop") if is_wrong(prompt) else None)
    model.refuses = lambda prompt, _: number_sent(prompt) == 1 and is_wrong(prompt)
    certificate = stage.certificate(model)
    passes(stage.verify())
    num_dropped = len(model.sent) - 40  # all that were wrong at first
    num_right = sum(outcome.status == "correct" for outcome in certificate.result.outcomes)
    assert num_right > 40 - num_dropped + num_dropped // 4
    found = trust_page(certificate, stage.verify()).of("asked once")
    assert found.state == "holds"
    assert f"; {num_dropped} times a question brought no answer and stayed open" in found.finding


def test_an_end_where_the_score_looked_good(tmp_path: Path) -> None:
    """The last problems of the order are left out, as a budget would: but there was room for more."""
    stage = make_stage(tmp_path, count=8)
    forger = Forger(stage, stage.certificate(ToyModel(), budget=Budget(max_tokens=100_000)))
    from spiritsafe.exam.paper.split import asking_order

    last = asking_order(forger.certificate.paper, None)[-1]
    value = forger.value
    result = value["result"]
    gone = next(outcome for outcome in result["outcomes"] if outcome["index"] == last)
    result["outcomes"].remove(gone)
    result.update(
        not_asked=[last],
        ending="budget exhausted",
        num_tokens=result["num_tokens"] - gone["num_tokens"],
        num_prompt_tokens=result["num_prompt_tokens"] - gone["num_prompt_tokens"],
    )
    forger.write(value)
    caught(forger.verify(), "ending", "there was room for another question")


EDITS: dict[str, Any] = {
    "a grade": lambda r: wrong_ones(r)[0].update(status="correct", score=1.0),
    "the score": lambda r: r["sealed"]["accuracy"].update(value=0.99),
    "the interval": lambda r: r["sealed"]["accuracy"].update(low=0.9),
    "the test of the gap": lambda r: r["gap"].update(p_value=0.9),
    "what the gap means": lambda r: r.update(gap_statement="No sign of studying."),
    "tokens": lambda r: r.update(num_tokens=1),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_result_edited_and_signed_again(forger: Forger, what: str) -> None:
    value = forger.value
    EDITS[what](value["result"])
    forger.write(value)
    caught(forger.verify(), "numbers", "do")


def test_a_result_edited_where_no_number_follows(forger: Forger) -> None:
    value = forger.value
    value["result"]["finished"] = "2030-01-01T00:00:00.000Z"
    forger.write(value)
    caught(forger.verify(), "result in ledger", "digest of another result")


def test_statements_and_separation_edited(forger: Forger) -> None:
    for change, words in (
        ({"statements": ["Perfectly safe."]}, "do not follow from the evidence"),
        ({"separation": "self-examined"}, "does not follow from the keys"),
    ):
        forger.write({**forger.value, **change})
        caught(forger.verify(), "statements", words)


def test_an_access_left_out(forger: Forger) -> None:
    value = forger.value
    value["access"] = value["access"][:1]
    forger.write(value)
    caught(forger.verify(), "access history", "not the ledger's")


def test_a_certificate_replayed_for_another_paper(forger: Forger, tmp_path: Path) -> None:
    other = make_stage(tmp_path / "other", count=8, secret=bytes(32))
    caught(forger.verify(paper=other.papers, ledger=other.ledger.path), "paper file", "another paper")


def test_a_certificate_replayed_for_another_model(forger: Forger) -> None:
    value = forger.value
    value["registration"] = read_rival(forger)["registration"]
    forger.write(value)
    caught(forger.verify(), "registration", "answers another registration")
    value = forger.value
    value["result"] = read_rival(forger)["result"]
    forger.write(value)
    caught(forger.verify(), "registration", "answers another registration")
    value["registration"] = read_rival(forger)["registration"]
    forger.write(value)
    caught(forger.verify(), "procedure", "another registration")


def read_rival(forger: Forger) -> dict[str, Any]:
    value: dict[str, Any] = read_json(forger.stage.root / "rival" / "certificate.json")
    return value


def test_a_certificate_replayed_under_another_ledger(forger: Forger) -> None:
    stage = forger.stage
    fork = Ledger(stage.root / "fork.jsonl")
    for entry in stage.ledger.entries():
        fork.append(entry.kind, entry.body, stage.maker if entry.kind == "registration" else stage.examiner)
    assert fork.verify().ok
    caught(forger.verify(ledger=fork.path), "ledger file", "it was rewritten")


def test_wrong_grades_from_the_start_show_when_an_answer_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the answers can show it: the verdicts were committed so. One of the reader's choice is opened."""
    stage = make_stage(tmp_path, count=8)
    with monkeypatch.context() as bribed:
        honest = stage.task.grade
        bribed.setattr(
            stage.task,
            "grade",
            lambda problem, text: honest(problem, text).model_copy(update={"status": "correct", "score": 1.0}),
        )
        certificate = stage.certificate(ToyModel(skill=0.0))
    assert certificate.result.sealed.accuracy.value == 1.0
    passes(stage.verify())
    assert trust_page(certificate, stage.verify()).of("grades").state == "not checked here"
    output = tmp_path / "opened.json"
    reveal(
        paper=stage.papers,
        registration=certificate.registration,
        journal=tmp_path / "sitting" / "answers.jsonl",
        examiner=stage.examiner,
        ledger=stage.ledger,
        index=3,
        sample_index=0,
        reason="of my own choice",
        output=output,
    )
    passes(stage.verify(revealed=[output]))
    opened = Revealed.from_json(read_json(output))
    assert opened.verdict is not None
    assert opened.verdict["status"] == "correct"
    assert stage.task.grade(opened.problem.problem, str(opened.attempt["text"])).status == "wrong"


def test_an_opened_answer_that_was_exchanged(forger: Forger) -> None:
    stage, output = forger.stage, forger.stage.root / "opened.json"
    opened = reveal(
        paper=stage.papers,
        registration=forger.certificate.registration,
        journal=stage.root / "sitting" / "answers.jsonl",
        examiner=stage.examiner,
        ledger=stage.ledger,
        index=3,
        sample_index=0,
        reason="doubt",
        output=output,
    )
    better = opened.model_copy(update={"attempt": {**opened.attempt, "text": "The right answer."}})
    output.write_bytes(better.canonical())
    caught(forger.verify(revealed=[output]), "revealed answers", "does not hold the answer and verdict")


def test_a_certificate_issued_twice_stays_the_same_result(forger: Forger) -> None:
    """Certifying again over a longer ledger changes nothing but what was registered since."""
    again = reissue(forger)
    passes(forger.verify())
    assert again.result == forger.certificate.result
    assert len(again.registrations) == 3
