"""The maker: sits first and registers later, tries twice, hides what went badly, swaps what was registered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from attack_parts import MALLORY, about, caught, exam, passes, tell_anew
from exam_parts import SAMPLING, Forger, ToyModel, make_stage
from fake_endpoint import Answer, FakeEndpoint
from item_parts import able, past_sittings

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import EndpointError, IntegrityError, ProcedureError
from spiritsafe.core.files.record_files import read_record, write_record
from spiritsafe.core.records import Sampling
from spiritsafe.exam import (
    OverlapTerms,
    PaperLog,
    ShorterTerms,
    checked_certificates,
    count_overlaps,
    learn_items,
    overlap,
    seal,
    trust_page,
)
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.exam.records.certificate import RegistrationState
from spiritsafe.exam.records.items import PaperItems
from spiritsafe.exam.records.registration import Claim
from spiritsafe.exam.results.statements import statements_of
from spiritsafe.ledger import Ledger
from spiritsafe.rollouts import RemoteGenerator
from spiritsafe.stats.irt.short_form import choose_problems

CLAIM = Claim(kind="score at least", score=0.3)


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return exam(tmp_path)


def test_sitting_without_a_registration(forger: Forger) -> None:
    stage, model = forger.stage, ToyModel(name="eager")
    invented = forger.certificate.registration.model_copy(
        update={"model_name": "eager", "model_digest": model.describe().digest}
    )
    with pytest.raises(ProcedureError, match="This sitting is not registered in the ledger"):
        stage.sit(model, invented, "eager")
    assert model.asked == []


def test_registering_after_the_sitting(forger: Forger) -> None:
    """Examiner and maker tell the ledger anew, so that the registration follows the sitting, and certify that."""
    stage = forger.stage
    tell_anew(
        stage,
        lambda entries: [
            entries[0],
            entries[2],
            entries[1].model_copy(update={"time": entries[2].time}),
            *entries[3:],
        ],
    )
    value = forger.value
    head = stage.ledger.head(stage.examiner)
    value["head"] = head.to_json()
    value["evidence"] = [stage.ledger.evidence(index, head).to_json() for index in range(4)]
    forger.write(value)
    caught(forger.verify(ledger=None), "procedure", "out of order: paper, registration, opening, result")


def test_a_second_try_of_the_same_registration(forger: Forger) -> None:
    stage, model = forger.stage, ToyModel()
    with pytest.raises(ProcedureError, match="has ended already"):
        stage.sit(model, forger.certificate.registration, "again")
    assert model.asked == []


def test_a_second_try_by_another_registration_draws_no_new_luck_and_decides_nothing(forger: Forger) -> None:
    stage = forger.stage
    again = stage.certificate(ToyModel(), name="again", claim=CLAIM)

    def graded(certificate: object) -> list[tuple[int, str]]:
        return [(o.index, o.status) for o in certificate.result.outcomes]  # type: ignore[attr-defined]

    assert graded(again) == graded(forger.certificate)
    assert again.correction is not None
    assert again.correction.finding == "undecided"
    assert "it was no prediction" in again.correction.statement
    assert [state.model_name for state in again.registrations].count("toy-model") == 2


def test_a_secret_try_in_a_ledger_of_the_makers_own(forger: Forger, tmp_path: Path) -> None:
    """The maker alone cannot: the paper is not in that ledger, and the sealed half does not open."""
    stage = forger.stage
    shown, stage.ledger = stage.ledger, Ledger(tmp_path / "secret.jsonl")
    with pytest.raises(ProcedureError, match="This paper is not in the ledger"):
        stage.register(ToyModel(name="secret"))
    stage.ledger = shown
    with pytest.raises(IntegrityError, match=r"Mary Maker .* cannot open this"):
        stage.maker.decrypt((stage.papers / "sealed.age").read_bytes())


def test_a_secret_try_in_a_ledger_that_the_examiner_lends(forger: Forger, tmp_path: Path) -> None:
    """With the examiner's help the try succeeds; its certificate does not verify against the ledger that is shown."""
    stage = forger.stage
    shown = stage.ledger.path
    stage.ledger = Ledger(tmp_path / "secret.jsonl")
    stage.ledger.append("paper", dict(forger.certificate.evidence[0].entry.body), stage.examiner)
    stage.certificate(ToyModel(name="secret", skill=1.0), name="secret")
    passes(stage.verify("secret"))
    caught(stage.verify("secret", ledger=shown), "ledger file", "it was rewritten")


def test_an_open_registration_is_owed_and_said_to_be(forger: Forger) -> None:
    stage = forger.stage
    stage.register(ToyModel(name="the silent one"))
    page = trust_page(forger.certificate, stage.verify(), entries=stage.ledger.entries())
    assert page.of("nothing left out").state == "does not hold"
    assert page.of("nothing left out").finding.endswith('1 still open and owed a result: "the silent one"')
    later = stage.certificate(ToyModel(name="later"), name="later")
    assert [state.state for state in later.registrations if state.model_name == "the silent one"] == ["open"]
    assert any("1 open" in statement for statement in later.statements)


@pytest.mark.parametrize("hidden", ["a failure", "the silent one"])
def test_a_bad_result_or_an_open_registration_left_out_of_the_certificate(forger: Forger, hidden: str) -> None:
    stage = forger.stage
    stage.register(ToyModel(name="the silent one"))
    good = stage.certificate(ToyModel(name="late", skill=1.0), name="late")
    forger.certificate = good
    value = forger.value
    value["registrations"] = [state for state in value["registrations"] if state["model_name"] != hidden]
    value["statements"] = list(
        statements_of(
            header=good.paper,
            registration=good.registration,
            result=good.result,
            access=good.access,
            registrations=[RegistrationState.from_json(state) for state in value["registrations"]],
            correction=good.correction,
        )
    )
    forger.write(value)
    caught(forger.verify(), "ledger file", "The certificate leaves out registrations of this maker")
    passes(forger.verify(ledger=None))  # only the ledger can tell
    left_out = trust_page(good, forger.verify(ledger=None)).of("nothing left out")
    assert left_out.state in ("not checked here", "does not hold")


def test_a_result_that_the_maker_wrote_instead_of_the_examiner(forger: Forger) -> None:
    stage = forger.stage

    def usurp(entries: list) -> list:
        return [
            entry.model_copy(
                update={"signature": entry.signature.model_copy(update={"key": stage.maker.public.signing})}
            )
            if entry.kind == "result" and about(entry, "toy-model", stage)
            else entry
            for entry in entries
        ]

    tell_anew(stage, usurp)
    value = forger.value
    head = stage.ledger.head(stage.examiner)
    value["head"] = head.to_json()
    value["evidence"] = [stage.ledger.evidence(index, head).to_json() for index in range(4)]
    forger.write(value)
    caught(forger.verify(ledger=None), "procedure", "result entry is not signed by the examiner")


SWAPS = {
    "model": ({"model_digest": digest("better model")}, "answers another registration"),
    "sampler": ({"sampling": {**SAMPLING.to_json(), "temperature": 0.0}}, "answers another registration"),
    "seed": ({"seed": 5}, "answers another registration"),
    "tries": ({"num_tries": 2}, "answers another registration"),
    "hypothesis": ({"hypothesis": "what came out"}, "answers another registration"),
}


@pytest.mark.parametrize("what", SWAPS)
def test_what_was_registered_swapped_in_the_certificate(forger: Forger, what: str) -> None:
    change, words = SWAPS[what]
    forger.write({**forger.value, "registration": {**forger.value["registration"], **change}})
    caught(forger.verify(), "registration", words)


@pytest.mark.parametrize(
    ("what", "words"), [("seed", "The seed is not the one that paper and model fix"), ("hypothesis", "another registr")]
)
def test_what_was_registered_swapped_all_over(forger: Forger, what: str, words: str) -> None:
    """Registration, result and signature fit each other; a chosen seed shows by itself, the rest in the ledger."""
    value = forger.value
    value["registration"][what] = SWAPS[what][0][what]
    value["result"]["registration"] = digest(value["registration"])
    forger.write(value)
    caught(forger.verify(), "registration" if what == "seed" else "procedure", words)


def test_another_model_at_the_sitting(forger: Forger) -> None:
    stage = forger.stage
    registration = stage.register(ToyModel(name="weak"))
    strong = ToyModel(name="strong", skill=1.0)
    with pytest.raises(ProcedureError, match=r"strong has digest .*; registered is "):
        stage.sit(strong, registration, "weak")
    assert strong.asked == []


def test_another_sampler_at_the_sitting(forger: Forger) -> None:
    class Sneaky(ToyModel):
        def generate(self, prompts, sampling):
            return super().generate(prompts, Sampling(temperature=0.0, max_tokens=sampling.max_tokens))

    with pytest.raises(EndpointError, match="did not sample as registered"):
        forger.stage.certificate(Sneaky(name="sneaky"), name="sneaky")


def test_a_paper_that_the_maker_studied(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=60)
    certificate = stage.certificate(ToyModel(skill=0.1, studied=stage.public_ids()))
    assert certificate.result.gap_statement.startswith("A sign of studying")
    found = trust_page(certificate, stage.verify()).of("not studying")
    assert found.state == "does not hold"


def test_the_same_bank_sealed_again_until_the_cut_pleases_is_on_record(tmp_path: Path) -> None:
    """Each published paper stands in the ledger; that none was drawn and thrown away before is the examiner's word."""
    stage = make_stage(tmp_path, count=8)
    seal(
        stage.task,
        count=8,
        ledger=stage.ledger,
        directory=tmp_path / "second",
        examiner=stage.examiner,
        secret=bytes(32),
    )
    assert [entry.kind for entry in stage.ledger.entries()] == ["paper", "paper"]
    certificate = stage.certificate(ToyModel())
    assert "draw many banks in private" in trust_page(certificate, stage.verify()).of("random cut").cheat


def test_comparing_without_end_tells_sealed_problems_one_by_one(tmp_path: Path) -> None:
    """Each report is a guess at the sealed half, right or wrong; after so many no more is made."""
    stage = make_stage(tmp_path, count=8)
    guesses = [problem.problem for problem in open_sealed(stage.papers, stage.paper, stage.examiner).problems]

    def guess(number: int, **terms: int) -> int:
        file = tmp_path / "guess.jsonl"
        file.write_text(json.dumps({"messages": [m.to_json() for m in guesses[number].messages]}) + "\n")
        signed = overlap(
            paper=stage.papers, files=[file], task=stage.task, examiner=stage.examiner, ledger=stage.ledger,
            output=tmp_path / "overlap.json", terms=OverlapTerms(**terms),
        )  # fmt: skip
        found = [hit for hit in signed.report.hits if (hit.form, hit.kind) == ("words", "verbatim")]
        return sum(hit.half == "sealed" for hit in found)

    header = stage.paper.header
    assert [guess(number, most=3) for number in range(3)] == [1, 1, 1]
    with pytest.raises(ProcedureError, match="compared with training files 3 times; the limit is 3"):
        guess(3, most=3)
    assert count_overlaps(PaperLog(stage.ledger.entries(), header)) == len(stage.ledger.find("access")) == 3
    about = {"paper_id": header.paper_id, "registration": header.paper_id, "purpose": "overlap with training files"}
    stage.ledger.append("access", about, MALLORY)  # a stranger uses none of them up
    assert count_overlaps(PaperLog(stage.ledger.entries(), header)) == 3
    assert guess(3) == 1  # the usual limit is 20
    assert [entry.body["most"] for entry in stage.ledger.find("access")[:3]] == [3, 3, 3]
    assert stage.ledger.find("access")[-1].body["most"] == 20


@pytest.fixture
def shorter(tmp_path: Path) -> Forger:
    """A shorter sitting, by the rules, on a paper that twenty models sat."""
    stage, certificates = past_sittings(tmp_path, count=40)
    items = learn_items(certificates)
    write_record(stage.root / "items.json", items)
    terms = ShorterTerms(items=items, num_fixed=12)
    return Forger(stage, stage.certificate(able(0.0, "short"), shorter=terms))


def _easier(forger: Forger) -> list[int]:
    """As many places of the sealed half, the easiest ones."""
    chosen = forger.certificate.registration.chosen
    assert chosen is not None
    order = sorted(chosen.by_name, key=lambda place: chosen.bank.difficulties[chosen.by_name[place]])
    return order[: len(chosen.places)]


def test_chosen_problems_swapped_after_the_registration(shorter: Forger) -> None:
    """Easier ones than those registered: at the sitting, and in certificate and result afterwards."""
    stage, certificate = shorter.stage, shorter.certificate
    chosen, easy = certificate.registration.chosen, _easier(shorter)
    assert chosen is not None
    swapped = certificate.registration.model_copy(update={"chosen": chosen.model_copy(update={"places": tuple(easy)})})
    with pytest.raises(ProcedureError, match="This sitting is not registered in the ledger"):
        stage.sit(able(0.0, "short"), swapped, "swapped")
    value = shorter.value
    value["registration"] = swapped.to_json()
    shorter.write(value)
    caught(shorter.verify(), "registration", "answers another registration")
    value["result"]["registration"] = swapped.content_digest
    shorter.write(value)
    caught(shorter.verify(), "registration", "not those that the rule picks")
    # even by the rule, for another precision: the ledger knows what was registered
    other = choose_problems(chosen.bank, 8, lowest=chosen.lowest, highest=chosen.highest, items=chosen.items)
    swapped = certificate.registration.model_copy(update={"chosen": other})
    value["registration"], value["result"]["registration"] = swapped.to_json(), swapped.content_digest
    shorter.write(value)
    caught(shorter.verify(), "procedure", "not the maker's, or another registration")
    # and the registered ones with another problem asked in place of one of them
    value = shorter.value
    spare = next(place for place in easy if place not in chosen.places)
    gone = value["result"]["outcomes"].pop()["index"]
    value["result"]["outcomes"].append({**value["result"]["outcomes"][-1], "index": spare, "half": "sealed"})
    value["result"]["outcomes"].sort(key=lambda outcome: outcome["index"])
    value["result"]["not_asked"] = sorted({*value["result"]["not_asked"], gone} - {spare})
    shorter.write(value)
    caught(shorter.verify(), "ending", "they were picked")


def test_chosen_problems_by_difficulties_that_were_made_up(shorter: Forger) -> None:
    """Registered from the start, by the rule, but the numbers are no past sittings': the record of them shows it."""
    stage = shorter.stage
    items = read_record(stage.root / "items.json", PaperItems)
    flattering = items.bank.model_copy(update={"difficulties": tuple(d + 1.5 for d in items.bank.difficulties)})
    made_up = items.model_copy(update={"bank": flattering})
    terms = ShorterTerms(items=made_up, num_fixed=12)
    certificate = stage.certificate(able(0.0, "liar"), name="liar", shorter=terms)
    passes(stage.verify("liar"))
    assert trust_page(certificate, stage.verify("liar")).of("fixed").state == "not checked here"
    caught(stage.verify("liar", items=stage.root / "items.json"), "difficulties", "another record of difficulties")
    write_record(stage.root / "made-up.json", made_up)
    passes(stage.verify("liar", items=stage.root / "made-up.json"))  # who learns them again finds other numbers
    honest = [stage.root / f"past-{k}" / "certificate.json" for k in range(20)]
    assert learn_items(checked_certificates(honest)) == items != made_up


def test_a_claim_made_of_what_the_same_weights_with_a_changed_bit_answered_is_told(tmp_path: Path) -> None:
    """Another digest is another model: nothing is undecided by itself, and the page does not say "holds"."""
    stage = make_stage(tmp_path, count=40)
    peek = stage.certificate(ToyModel(name="weights", skill=0.8), name="peek")
    seen = peek.result.sealed.accuracy.value
    claim = Claim(kind="score at least", score=seen / 2)
    flipped = stage.certificate(ToyModel(name="weights, a bit changed", skill=0.8), name="flipped", claim=claim)
    passes(stage.verify("flipped"))
    assert flipped.correction is not None
    assert "its maker had begun 1 other sitting on this paper (1 without a claim" in flipped.correction.statement
    for ledger in (stage.ledger.entries(), None):
        found = trust_page(flipped, stage.verify("flipped"), entries=ledger).of("decision")
        assert found.state == "cannot be told"
        assert "is the maker's word" in found.finding


def test_a_claim_made_under_another_spelling_of_an_address_decides_nothing(
    tmp_path: Path, fake_endpoint: Callable[[Answer], FakeEndpoint]
) -> None:
    stage = make_stage(tmp_path, count=8)
    url = fake_endpoint(lambda request: "The answer is 1.").url
    with RemoteGenerator(url, "m") as generator:
        stage.sit(generator, stage.register(generator), "peek")
    for spelling in (url.replace("127.0.0.1", "LocalHost"), url.replace("127.0.0.1", "0.0.0.0") + "/"):
        with RemoteGenerator(spelling, "m") as generator:
            certificate = stage.sit(
                generator, stage.register(generator, claim=CLAIM, hypothesis=spelling), spelling[7:12]
            )
        passes(stage.verify(spelling[7:12]))
        assert certificate.correction is not None
        assert certificate.correction.known_before
        assert certificate.correction.finding == "undecided"


def test_a_claim_at_a_level_that_anything_passes(forger: Forger) -> None:
    claim = CLAIM.model_copy(update={"level": 0.49})
    with pytest.raises(ProcedureError, match="decides next to nothing"):
        forger.stage.register(ToyModel(name="lucky"), claim=claim)


def test_a_reference_whose_server_was_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly all of the base's tries failed, so that anybody beats it."""
    stage = make_stage(tmp_path, count=40)
    count = iter(range(1000))
    base = ToyModel(name="base", kind="remote", reply=lambda *_: ("", "error") if next(count) % 8 else None)
    reference = stage.certificate(base, name="base")
    claim = Claim(kind="better than", reference=reference.registration.content_digest)
    registration = stage.register(ToyModel(name="mine", skill=1.0), claim=claim)
    with pytest.raises(ProcedureError, match=r"\"base\" was not reached: \d+ of 40 tries failed"):
        stage.sit(ToyModel(name="mine", skill=1.0), registration, "mine", reference=reference)
    # a host whose program does not refuse it
    monkeypatch.setattr("spiritsafe.exam.sitting.sit.check_reached", lambda _: None)
    certificate = stage.sit(ToyModel(name="mine", skill=1.0), registration, "mine", reference=reference)
    assert certificate.result.decision is not None
    assert certificate.result.decision.finding == "supported"
    assert any(text.startswith('Of the reference "base", ') for text in certificate.statements)
    steps = stage.verify("mine", reference=stage.root / "base" / "certificate.json")
    assert next(step for step in steps if step.name == "reference").detail.endswith("the comparison says nothing")
    found = trust_page(certificate, steps, entries=stage.ledger.entries()).of("decision")
    assert (found.state, found.finding.split(":")[0]) == ("does not hold", "the reference was not reached")
