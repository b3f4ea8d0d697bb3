"""What only the ledger and its witnesses can tell."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from exam_parts import Forger, ToyModel, make_stage

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import instant
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.records.registration import Claim
from spiritsafe.exam.verification import ledger_steps as verification_ledger
from spiritsafe.ledger import KeyPair, Ledger, NoteKey, head_of, sign_head, witness

WANDA = KeyPair.generate("Wanda Witness")
CLAIM = Claim(kind="score at least", score=0.3)


@pytest.fixture
def stage(tmp_path):
    stage = make_stage(tmp_path / "stage", count=8)
    stage.certificate(ToyModel())
    return stage


def look(stage, tmp_path):
    """Wanda witnesses the ledger; her own ledger, and the cosigned checkpoint."""
    own = Ledger(tmp_path / "wanda.jsonl")
    note = witness(Ledger(stage.ledger.path), own=own, key=WANDA, name="exams")
    path = tmp_path / "checkpoint.txt"
    path.write_text(str(note))
    return own.path, path, str(NoteKey.of_witness(WANDA.public.signing))


def step(stage, name, **options):
    return next(step for step in stage.verify(**options) if step.name == name)


def first_bad(stage, **options):
    return next((step.name for step in stage.verify(**options) if not step.ok), None)


def test_witnesses_are_named_with_what_they_saw(stage, tmp_path):
    ledger, note, key = look(stage, tmp_path)
    stage.check(witnesses=[ledger, note], witness_keys=[key])
    found = step(stage, "witnessed heads", witnesses=[ledger, note], witness_keys=[key])
    assert found.checked
    assert found.detail.count(f"witness {WANDA.public.key_id} saw its first 4 entries") == 2


def test_without_a_witness_it_is_said_what_that_means(stage, tmp_path):
    assert not step(stage, "witnessed heads").checked
    ledger, _, _ = look(stage, tmp_path)
    missing = step(stage, "witnessed heads", witnesses=[ledger], ledger=None)
    assert missing.ok
    assert not missing.checked


def test_a_rewritten_history_with_a_new_certificate_is_caught_by_the_witness_only(stage, tmp_path):
    """A registration that ended badly disappears; the keeper signs everything afresh, and so does the examiner."""
    stage.register(ToyModel(name="a failure"))
    ledger, _, _ = look(stage, tmp_path)
    kept = [entry for entry in stage.ledger.entries() if "a failure" not in str(entry.body)]
    keys = {stage.maker.public.signing: stage.maker, stage.examiner.public.signing: stage.examiner}
    (stage.root / "sitting" / "certificate.json").unlink()
    (stage.root / "sitting" / "result.json").unlink()
    stage.ledger.path.unlink()
    stage.ledger = Ledger(stage.ledger.path)
    for entry in kept[:2]:  # paper and registration; then the sitting is written up again from its journal
        stage.ledger.append(entry.kind, entry.body, keys[entry.signature.key])
    (stage.root / "sitting" / "answers.jsonl").unlink()
    stage.sit(ToyModel(), stage.register(ToyModel()))
    stage.check()
    bad = [s for s in stage.verify(witnesses=[ledger]) if not s.ok and s.checked]
    assert [s.name for s in bad] == ["witnessed heads"]


@pytest.mark.parametrize("given", ["ledger", "note"])
def test_a_ledger_cut_short_is_caught_by_the_witness(stage, tmp_path, given):
    stage.register(ToyModel(name="a failure"))
    ledger, note, key = look(stage, tmp_path)
    lines = stage.ledger.path.read_bytes().splitlines(keepends=True)
    stage.ledger.path.write_bytes(b"".join(lines[:-1]))
    stage.ledger = Ledger(stage.ledger.path)
    stage.check()  # by themselves certificate and ledger look good: it was issued before
    options = {"witnesses": [ledger]} if given == "ledger" else {"witnesses": [note], "witness_keys": [key]}
    assert first_bad(stage, **options) == "witnessed heads"


@pytest.mark.parametrize("given", ["ledger", "note"])
def test_a_forked_ledger_is_caught_by_the_witness(stage, tmp_path, given):
    stage.register(ToyModel(name="a failure"))
    ledger, note, key = look(stage, tmp_path)
    lines = stage.ledger.path.read_bytes().splitlines(keepends=True)
    stage.ledger.path.write_bytes(b"".join(lines[:-1]))
    stage.ledger = Ledger(stage.ledger.path)
    stage.register(ToyModel(name="a success"))
    stage.check()
    options = {"witnesses": [ledger]} if given == "ledger" else {"witnesses": [note], "witness_keys": [key]}
    bad = [s for s in stage.verify(**options) if not s.ok and s.checked]
    assert [s.name for s in bad] == ["witnessed heads"]
    assert "rewritten or forked" in bad[0].detail


def test_worthless_witnesses(stage, tmp_path):
    ledger, note, key = look(stage, tmp_path)
    mallory = str(NoteKey.of_witness(KeyPair.generate("Mallory").public.signing))
    assert first_bad(stage, witnesses=[note], witness_keys=[mallory]) == "witnessed heads"
    assert first_bad(stage, witnesses=[note]) == "witnessed heads"
    empty = Ledger(tmp_path / "other.jsonl")
    empty.append("note", {}, WANDA)
    assert first_bad(stage, witnesses=[empty.path]) == "witnessed heads"
    data = bytearray(ledger.read_bytes())
    data[len(data) // 2] ^= 1
    ledger.write_bytes(bytes(data))
    assert first_bad(stage, witnesses=[ledger]) == "witnessed heads"
    garbage = tmp_path / "garbage.txt"
    garbage.write_text("no checkpoint")
    assert first_bad(stage, witnesses=[garbage], witness_keys=[key]) == "witnessed heads"


def test_the_keepers_own_checkpoint_binds_the_keeper(stage, tmp_path):
    head = head_of(stage.ledger)
    path = tmp_path / "own.txt"
    path.write_text(str(sign_head(head, stage.examiner)))
    key = str(NoteKey.of_log(head.origin, stage.examiner.public.signing))
    stage.check(witnesses=[path], witness_keys=[key])


def test_a_claim_made_late_cannot_hide_it(tmp_path):
    """The certificate says the claim came first; the ledger knows that the result did."""
    stage = make_stage(tmp_path, count=20)
    stage.certificate(ToyModel(skill=0.9), name="look")
    registration = stage.register(ToyModel(), claim=CLAIM)
    forger = Forger(stage, stage.sit(ToyModel(skill=0.9), registration))
    value = forger.value
    honest = stage.certificate(ToyModel(name="honest", skill=0.9), name="honest", claim=CLAIM)
    assert honest.correction.finding == "supported"
    value["correction"] = {**value["correction"], "known_before": False, "finding": "supported"}
    statement = (
        "The decision that counts: supported. This maker registered 1 claim on this paper; corrected for all of them "
        f"(Holm), p = {value['correction']['adjusted_p']:.2g} against a level of 0.025."
    )
    old = value["correction"]["statement"]
    del value["correction"]["num_before"]  # as older versions write it
    value["correction"]["statement"] = statement
    value["statements"] = [statement if text == old else text for text in value["statements"]]
    forger.write(value)
    assert forger.failed() == "ledger file"


def test_times_of_one_key_that_run_back_are_found_without_the_ledger_and_clocks_far_off_are_named(stage):
    certificate = stage.certificate(ToyModel(name="again"), name="again")
    entries = [evidence.entry for evidence in certificate.evidence]
    opening, result = entries[-2:]
    assert (opening.kind, result.kind, result.index) == ("access", "result", opening.index + 1)

    def procedure(time):
        changed = [*entries[:-1], result.model_copy(update={"time": time})]
        return verification_ledger.procedure(
            SimpleNamespace(certificate=certificate, log=PaperLog(changed, certificate.paper))
        )

    assert "is wrong" not in procedure(result.time)
    for back in (timedelta(milliseconds=1), timedelta(hours=24)):
        time = (instant(opening.time) - back).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with pytest.raises(IntegrityError, match="times run backwards"):
            procedure(time)
    for time in ("2001-01-01T00:00:00.000Z", "9999-99-99T99:99:99.999Z"):
        assert procedure(time).endswith(f"the clock of entry {result.index} is wrong ({time})")
