"""Attacks on edited grades by whoever holds the examiner's key: each is found, and the message names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from dispute_parts import DORA, MALLORY, Case, make_case
from exam_parts import ToyModel

from spiritsafe.core.canonical import digest
from spiritsafe.exam import PaperLog, Verification, load_certificate
from spiritsafe.exam.certified import reissue as reissuing
from spiritsafe.exam.entries.disputes import EditEntry
from spiritsafe.exam.entries.edits import amendment_entries, applied_edits
from spiritsafe.exam.entries.registrations import ReissueEntry, registration_entry
from spiritsafe.exam.paper.files import paper_entry
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.results import certificate as certifying
from spiritsafe.exam.results.amendment import amended_result, original_result
from spiritsafe.exam.results.scores import score_outcomes
from spiritsafe.ledger import Ledger


@pytest.fixture
def case(tmp_path) -> Case:
    return make_case(tmp_path, count=20)


@pytest.fixture
def edited(case) -> Case:
    """Two grades edited, a third one disputed."""
    first, second, third = case.places("wrong")[:3]
    case.edit(first)
    case.edit(second)
    case.dispute(third)
    return case


def failure(case: Case, value: dict[str, Any], **options: Any) -> tuple[str, str]:
    return case.failure(case.forge(value), **options)


def test_the_good_one_passes(edited):
    new = edited.reissue()
    path = edited.stage.root / "reissued.json"
    edited.detail("grade edits", path)
    edited.detail("grade edits", path, ledger=None)
    assert edited.detail("grade edits") == "no grade was edited"
    assert edited.forge(new.to_json()).read_bytes() == path.read_bytes()  # Ed25519 signs alike
    steps = edited.verify(path, ledger=None)
    assert not next(step for step in steps if step.name == "disputes").checked


# a re-issue that changes more than its edits


def test_a_re_issue_that_changes_more_than_its_edits(edited, monkeypatch):
    """One more grade becomes right on the way, every number and every entry made to fit."""
    extra = edited.places("wrong")[4]

    def generous(original, edits, header, registration):
        outcomes = tuple(
            o.model_copy(update={"status": "correct", "score": 1.0}) if o.index == extra else o
            for o in original.outcomes
        )
        return amended_result(original.model_copy(update={"outcomes": outcomes}), edits, header, registration)

    monkeypatch.setattr(reissuing, "amended_result", generous)
    edited.reissue()
    name, detail = edited.failure(edited.stage.root / "reissued.json")
    assert name == "result in ledger"
    assert "the re-issue changes more than them" in detail


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (lambda r: r.update(finished="2020-01-01T00:00:00.000Z"), "result in ledger"),
        (lambda r: r.update(num_tokens=1), "numbers"),
        (lambda r: r["sealed"]["accuracy"].update(value=0.99), "numbers"),
        (lambda r: r["outcomes"][0].update(num_tokens=6), "numbers"),
        (lambda r: r["outcomes"][0].update(commitment="0" * 64), "result in ledger"),
    ],
)
def test_any_other_field_of_the_result(edited, change, step):
    value = edited.reissue().to_json()
    change(value["result"])
    assert failure(edited, value)[0] == step


def test_better_numbers_from_before_are_not_the_ledgers(edited):
    value = edited.reissue().to_json()
    value["amendment"]["original"]["sealed"]["accuracy"]["value"] += 0.1
    assert failure(edited, value)[0] == "result in ledger"


def test_flattering_numbers_that_the_ledger_committed_to_before_the_edits(tmp_path, monkeypatch):
    """The first certificate could never be verified; its re-issue must not wash it clean."""

    def flattered(*rest, **options):
        scores = score_outcomes(*rest, **options)
        return scores.model_copy(update={"gap": scores.gap.model_copy(update={"p_value": 0.9})})

    with monkeypatch.context() as patch:
        patch.setattr("spiritsafe.exam.sitting.sit.score_outcomes", flattered)
        case = make_case(tmp_path)
    assert case.failure()[0] == "numbers"
    case.edit(case.places("wrong")[0])
    monkeypatch.setattr(Verification, "require", lambda verified: verified.certificate)
    case.reissue()
    assert case.failure(case.stage.root / "reissued.json") == (
        "grade edits", "The numbers before the edits do not follow from the grades before them.",
    )  # fmt: skip


# edits that are not in order


def test_an_edit_by_another_key_is_named(edited, monkeypatch):
    """Mallory signs an edit, and the examiner counts it in as if it were her own."""
    place = edited.places("wrong")[3]
    dispute = edited.dispute(place)
    edited.reveal(place)
    header, registration = edited.certificate.paper, edited.certificate.result.registration
    own = edited.stage.ledger.find("grade edit")[0].body["edit"]
    body = {
        "paper_id": header.paper_id, "registration": registration,
        "edit": {**own, "index": place, "dispute": dispute.content_digest},
    }  # fmt: skip
    edited.stage.ledger.append("grade edit", body, MALLORY)

    with monkeypatch.context() as patch:
        patch.setattr(EditEntry, "signer", "anybody")
        edited.reissue()
    name, detail = edited.failure(edited.stage.root / "reissued.json")
    assert name == "grade edits"
    assert detail == f"The edit of problem {place} is not signed by the examiner."


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.update(time="2020-01-01T00:00:00.000Z"),
        lambda e: e.update(editor="Somebody else"),
        lambda e: e.update(disputed_by="Nobody"),
        lambda e: e.update(dispute_reason="It was right."),
    ],
)
def test_who_when_and_why_are_the_ledgers(edited, change):
    new = edited.reissue()
    value = new.to_json()
    change(value["amendment"]["edits"][0])
    assert failure(edited, value)[0] == "grade edits"


@pytest.mark.parametrize("change", [{"reason": "other words"}, {"dispute": "sha256:" + "0" * 64}])
def test_the_edit_itself_is_the_ledgers(edited, change):
    value = edited.reissue().to_json()
    place = value["amendment"]["edits"][0]["edit"]["index"]
    value["amendment"]["edits"][0]["edit"].update(change)
    assert failure(edited, value) == ("grade edits", f"The edit of problem {place} has no ledger entry.")


def test_an_edit_of_another_grade_than_it_says(edited):
    value = edited.reissue().to_json()
    value["amendment"]["edits"][0]["edit"]["before"] = "unparsed"
    name, _ = failure(edited, value)
    assert name in ("ending", "numbers", "result in ledger")


@pytest.mark.parametrize("kind", ["dispute", "reveal", "grade edit", "reissue"])
def test_every_entry_behind_an_edit_must_be_shown(edited, kind):
    value = edited.reissue().to_json()
    dropped = next(item for item in value["evidence"] if item["entry"]["kind"] == kind)
    value["evidence"].remove(dropped)
    assert failure(edited, value, ledger=None)[0] == "grade edits"


def test_the_superseded_certificate_is_the_one_named_in_the_ledger(edited):
    value = edited.reissue().to_json()
    value["amendment"]["supersedes"] = "sha256:" + "0" * 64
    assert failure(edited, value) == ("grade edits", "The ledger committed to another re-issued result.")


def test_a_first_certificate_that_claims_to_be_a_re_issue_and_the_reverse(edited):
    new = edited.reissue()
    value = new.to_json()
    del value["amendment"]
    assert failure(edited, value)[0] == "result in ledger"  # edited grades passed off as the sitting's own
    value = {**edited.certificate.to_json(), "amendment": new.to_json()["amendment"]}
    assert not all(step.ok for step in edited.verify(edited.forge(value)))


# edits and disputes that disappear


def without(monkeypatch, dropped: set[int]) -> None:
    """The examiner's tool overlooks these ledger entries."""

    def hide(log):
        return PaperLog([entry for entry in log.entries if entry.index not in dropped], log.header)

    for module, name, function in (
        (reissuing, "applied_edits", applied_edits),
        (certifying, "amendment_entries", amendment_entries),
    ):
        monkeypatch.setattr(module, name, lambda log, *rest, f=function: f(hide(log), *rest))


def test_a_dropped_edit_is_found_in_the_ledger(edited, monkeypatch):
    second = edited.stage.ledger.find("grade edit")[1]
    place = second.body["edit"]["index"]
    with monkeypatch.context() as patch:
        without(patch, {second.index})
        new = edited.reissue()
    assert len(new.amendment.edits) == 1
    path = edited.stage.root / "reissued.json"
    assert all(step.ok for step in edited.verify(path, ledger=None))  # which only the ledger can tell
    assert edited.failure(path) == (
        "disputes",
        f"The re-issue leaves out the edit of problem {place} (ledger entry {second.index}).",
    )


def test_a_dispute_that_is_left_out_is_found_in_the_ledger(edited, monkeypatch):
    third = edited.stage.ledger.find("dispute")[2]
    with monkeypatch.context() as patch:
        without(patch, {third.index})
        new = edited.reissue()
    assert not any("Unanswered" in statement for statement in new.statements)
    assert edited.failure(edited.stage.root / "reissued.json") == (
        "disputes", f"The re-issue leaves out ledger entry {third.index} (dispute).",
    )  # fmt: skip


@pytest.mark.parametrize(("half", "step"), [("public", "disputes"), ("sealed", "ledger file")])
def test_a_certificate_issued_after_a_re_issue_without_its_edits_is_found(case, monkeypatch, half, step):
    """A fresh head over the ledger with the re-issue, and the old result under it."""
    case.edit(case.places("wrong", half)[0])
    case.reissue()
    case.path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(ReissueEntry, "kind", "none")
        case.certificate = case.stage.sit(ToyModel(skill=0.5), case.certificate.registration)
    name, detail = case.failure()
    assert name == step
    assert "leaves out" in detail


def rewritten(case: Case, order: list[str], change: Callable[[dict[str, Any]], None] = lambda body: None) -> Ledger:
    """The ledger written again in another order by whoever holds all keys, and a re-issue under it."""
    path = case.stage.root / "reissued.json"
    new = load_certificate(path) if path.exists() else case.reissue()
    keys = {key.public.signing: key for key in (case.stage.examiner, case.stage.maker, DORA)}
    ledger = Ledger(case.stage.root / "rewritten.jsonl")
    entries = case.stage.ledger.entries()
    for kind in order:
        for entry in entries:
            if entry.kind == kind:
                body = json.loads(json.dumps(entry.body))
                if kind == "reissue":
                    change(body)
                ledger.append(kind, body, keys[entry.signature.key])
    header, digest = new.paper, new.result.registration
    certificate = certifying.issue_certificate(
        ledger=ledger, header=header, registration=new.registration, result=new.result,
        paper_entry=paper_entry(ledger, case.stage.paper),
        registration_entry=registration_entry(ledger, new.registration), examiner=case.stage.examiner,
        host=case.stage.examiner, original=case.certificate.result,
        amendment=new.amendment.model_copy(update={"edits": applied_edits(PaperLog(ledger.entries(), header), digest)}),
    )  # fmt: skip
    (case.stage.root / "rewritten.json").write_bytes(certificate.canonical())
    return ledger


IN_ORDER = ["paper", "registration", "access", "result", "dispute", "reveal", "grade edit", "reissue"]


def test_the_order_of_the_steps_and_the_scores_in_the_ledger(case):
    case.edit(case.places("wrong")[0])
    path = case.stage.root / "rewritten.json"
    good = rewritten(case, IN_ORDER)
    # the step passes; the next one sees that the paper was opened at another time than the result says
    assert case.failure(path, ledger=good.path)[0] == "access history"
    good.path.unlink()
    early = rewritten(case, ["paper", "registration", "access", "result", "reissue", "dispute", "reveal", "grade edit"])
    assert case.failure(path, ledger=early.path) == (
        "grade edits", "The steps are out of order: result, edits, re-issue.",
    )  # fmt: skip
    early.path.unlink()
    before = rewritten(
        case, ["paper", "registration", "access", "dispute", "reveal", "grade edit", "result", "reissue"]
    )
    assert case.failure(path, ledger=before.path)[1] == "The steps are out of order: result, edits, re-issue."


@pytest.mark.parametrize("change", [{"num_edits": 2}, {"public_accuracy": 1.0}, {"p_value": 0.01}])
def test_other_scores_of_the_re_issue_in_the_ledger(case, change):
    case.edit(case.places("wrong")[0])
    ledger = rewritten(case, IN_ORDER, lambda body: body.update(change))
    assert case.failure(case.stage.root / "rewritten.json", ledger=ledger.path) == (
        "grade edits", "The ledger holds other scores of the re-issued result.",
    )  # fmt: skip


def test_a_statement_less_is_found(edited):
    new = edited.reissue()
    value = new.to_json()
    value["statements"] = [text for text in value["statements"] if "edited after the sitting" not in text]
    assert failure(edited, value)[0] == "statements"
    value["statements"] = [text for text in new.to_json()["statements"] if "Unanswered" not in text]
    assert failure(edited, value)[0] == "statements"


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key in value for leaf in _leaves(value[key], (*path, key))]
    if isinstance(value, list):
        return [leaf for index in range(len(value)) for leaf in _leaves(value[index], (*path, index))]
    return [path]


def _changed(old: Any) -> Any:
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        return old + 1
    return 0.5 if old is None else ("0" if old[:1] != "0" else "1") + old[1:]


def test_not_even_the_examiner_can_change_a_leaf_of_the_amendment(tmp_path):
    case = make_case(tmp_path, count=6)
    case.edit(case.places("wrong")[0])
    value = case.reissue().to_json()
    missed = []
    for path in _leaves(value["amendment"], ("amendment",)):
        changed = Certificate.from_json(value).to_json()
        holder = changed
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = _changed(holder[path[-1]])
        if all(step.ok for step in case.verify(case.forge(changed))):
            missed.append(path)
    assert missed == []
    assert digest(value) == Certificate.from_json(value).content_digest
    assert original_result(Certificate.from_json(value)) == case.certificate.result
