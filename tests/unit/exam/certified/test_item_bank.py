from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exam_parts import Forger, ToyModel, make_stage
from item_parts import able, difficulty, past_sittings
from places import ROOT

from spiritsafe.core.errors import CompatibilityError, IntegrityError, ProcedureError
from spiritsafe.core.files.record_files import read_record, write_record
from spiritsafe.exam.certified.item_bank import checked_certificates, items_lines, learn_items, one_a_model
from spiritsafe.exam.records.items import PaperItems

LADDER = ROOT / "experiments" / "ladder"


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return past_sittings(tmp_path_factory.mktemp("past"), 8, count=40)


def test_difficulties_and_abilities_are_those_of_the_planted_ones(past, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    stage, certificates = past
    items = learn_items(certificates)
    assert len(items.bank.names) == 40
    assert items.times_asked == (8,) * 40
    known = {p.index: difficulty(p.problem.id) for p in stage.paper.problems}  # of the public ones
    found = [items.bank.difficulties[place] for place in known]
    assert np.corrcoef(found, list(known.values()))[0, 1] > 0.6  # eight answers a problem
    by_name = {sitting.model_name: sitting.ability.value for sitting in items.sittings}
    order = [by_name[f"past {k}"] for k in range(8)]
    assert np.corrcoef(order, range(8))[0, 1] > 0.9
    write_record(tmp_path / "items.json", items)
    assert read_record(tmp_path / "items.json", PaperItems) == items
    assert learn_items(certificates[::-1]) == items  # their order does not matter
    assert "Plaintext" not in (tmp_path / "items.json").read_text()


def test_errors_count_as_wrong_and_several_tries_as_one(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=12)
    good = stage.certificate(ToyModel(skill=1.1, name="good"), num_tries=3, name="good")
    broken = stage.certificate(
        ToyModel(name="broken", reply=lambda prompt, index: ("", "error")), num_tries=3, name="broken"
    )
    items = learn_items([good, broken])
    assert items.saturation.solved_by_all == 0
    one = make_stage(tmp_path / "one", count=12)
    single = learn_items(
        [
            one.certificate(ToyModel(skill=1.1, name="good"), name="good"),
            one.certificate(ToyModel(name="broken", reply=lambda prompt, index: ("", "error")), name="broken"),
        ]
    )
    assert items.bank == single.bank


def test_a_model_counts_once_and_the_newest_certificate_of_a_sitting_does(past) -> None:  # type: ignore[no-untyped-def]
    _, certificates = past
    first, second = certificates[:2]
    # the same sitting, certified under a later head, with another result: as a re-issue is
    head = first.head.model_copy(update={"size": 10_000})
    newer = first.model_copy(update={"head": head, "statements": ("newer",)})
    for given in ([first, newer, second], [newer, second, first, first]):
        used, left_out = one_a_model(given)
        assert {c.content_digest for c in used} == {newer.content_digest, second.content_digest}
        assert len(left_out) == 1
        assert "a newer certificate of the same sitting" in left_out[0]
    # another registration of the same model: the same answers would count twice
    other = second.model_copy(
        update={"result": second.result.model_copy(update={"registration": "sha256:" + "0" * 64})}
    )
    used, left_out = one_a_model([second, other, first])
    assert len(used) == 2
    assert "another sitting of the same model" in left_out[0]
    assert learn_items([first, newer, second]).bank.num_sittings == 2


def test_a_registration_more_for_the_same_model(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=12)
    whole = stage.certificate(ToyModel(), name="a")
    again = stage.certificate(ToyModel(), name="b", hypothesis="once more")
    rival = stage.certificate(ToyModel(name="rival"), name="c")
    assert len(learn_items([whole, again, rival]).sittings) == 2
    with pytest.raises(ProcedureError, match="1 model cannot show"):
        learn_items([whole, again])


def test_papers_are_not_mixed_and_one_is_not_enough(past, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    _, certificates = past
    foreign = make_stage(tmp_path, count=12).certificate(ToyModel(name="stranger"))
    with pytest.raises(CompatibilityError, match="another paper") as error:
        learn_items([*certificates, foreign])
    assert "stranger" in str(error.value) or "past" in str(error.value)
    with pytest.raises(ProcedureError, match="cannot show") as one:
        learn_items(certificates[:1])
    assert "at least two" in one.value.hint


def test_a_forged_certificate_is_named(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=12)
    certificate = stage.certificate(ToyModel())
    path = tmp_path / "sitting" / "certificate.json"
    assert checked_certificates([path]) == [certificate]
    assert checked_certificates([path], paper=stage.papers, ledger=stage.ledger.path) == [certificate]
    forger = Forger(stage, certificate)
    value = forger.value
    wrong = next(o for o in value["result"]["outcomes"] if o["status"] != "correct")
    wrong["status"], wrong["score"] = "correct", 1.0
    forger.write(value)  # signed again by the examiner, so that only its numbers betray it
    with pytest.raises(IntegrityError, match=r"certificate\.json: Step .*numbers"):
        checked_certificates([path])
    forger.write(value, sign=False)
    with pytest.raises(IntegrityError, match="certificate signatures"):
        checked_certificates([path])


def test_what_is_printed(past) -> None:  # type: ignore[no-untyped-def]
    stage, certificates = past
    items = learn_items(certificates)
    text = "\n".join(items_lines(items, stage.paper.header))
    assert "8 sittings of 40 problems (20 public, 20 sealed)." in text
    assert "ledger were not given" in text
    assert "Warning: 8 sittings are few" in text
    assert "past 7" in text
    assert "students" in text
    hardest = max(range(40), key=lambda place: (items.bank.difficulties[place], place))
    assert f"Hardest: {hardest} (" in text
    assert "in no sitting" not in text
    unasked = items.model_copy(update={"times_asked": (0,) * 2 + (8,) * 38})
    assert "2 problems were asked in no sitting" in "\n".join(items_lines(unasked, stage.paper.header))


def test_a_worn_out_paper_is_said_to_be(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=12)
    certificates = [stage.certificate(able(9.0, f"strong {k}"), name=f"s{k}") for k in range(3)]
    items = learn_items(certificates)
    assert items.saturation.saturated
    assert "worn out" in "\n".join(items_lines(items, stage.paper.header))


def test_published_certificates_of_one_paper() -> None:
    """Real sittings: a ladder of students; each verifies by itself, and the teacher is the most able."""
    names = ("teacher", "base", "kl-85-1", "kl-70-1", "traces-70-1")
    certificates = checked_certificates([LADDER / f"{name}.certificate.json" for name in names])
    items = learn_items(certificates)
    abilities = {sitting.model_name: sitting.ability.value for sitting in items.sittings}
    assert max(abilities, key=lambda name: abilities[name]) == "teacher"
    assert min(abilities, key=lambda name: abilities[name]) == "base"
