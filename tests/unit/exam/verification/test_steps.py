"""Every step of a verification can fail, and is the one that is named: attacks by whoever holds the keys too."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from exam_parts import SAMPLING, Forger, ToyModel, ToyTask, make_stage

from spiritsafe.core.canonical import digest
from spiritsafe.core.records import Message
from spiritsafe.exam import VERIFY_STEPS, PaperTerms, load_private, rerun, sign_off, verify
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.exam.records.certificate import RegistrationState
from spiritsafe.exam.records.paper import PaperProtocol
from spiritsafe.exam.records.registration import Budget, Claim
from spiritsafe.exam.results.correction import correction_of
from spiritsafe.exam.results.statements import statements_of
from spiritsafe.exam.sitting.identity_probes import check_identity
from spiritsafe.ledger import KeyPair, Ledger, encrypt
from spiritsafe.stats.sequential.design import StopRule

Value = dict[str, Any]


@pytest.fixture
def forger(tmp_path) -> Forger:
    stage = make_stage(tmp_path, count=4)
    return Forger(stage, stage.certificate(ToyModel()))


def test_the_good_one_passes(forger):
    assert all(step.ok for step in forger.verify())
    assert [step.name for step in forger.verify()] == [step.name for step in VERIFY_STEPS]


def test_step_certificate_file(forger):
    path = forger.stage.root / "sitting" / "certificate.json"
    path.write_bytes(path.read_bytes() + b"\n")
    assert forger.failed() == "certificate file"


def test_step_certificate_signatures(forger):
    forger.write({**forger.value, "separation": "self-examined"}, sign=False)
    assert forger.failed() == "certificate signatures"
    forger.stage.examiner = KeyPair.generate("Mallory")
    forger.write(forger.value)
    assert forger.failed() == "certificate signatures"


def test_step_paper_file(forger, tmp_path):
    other = make_stage(tmp_path / "other", count=4)
    assert forger.failed(paper=other.papers) == "paper file"


def test_step_paper_bank(forger):
    paper = forger.stage.paper
    first = paper.problems[0]
    easier = first.problem.model_copy(update={"facts": {"answer": 0}})
    changed = paper.model_copy(update={"problems": (first.model_copy(update={"problem": easier}), *paper.problems[1:])})
    (forger.stage.papers / "paper.json").write_bytes(changed.canonical())
    assert forger.failed() == "paper bank"


def test_step_paper_split(forger):
    paper = forger.stage.paper
    sealed = open_sealed(forger.stage.papers, paper, forger.stage.examiner)
    picked = tuple(sorted((*paper.problems[1:], sealed.problems[0]), key=lambda problem: problem.index))
    (forger.stage.papers / "paper.json").write_bytes(paper.model_copy(update={"problems": picked}).canonical())
    assert forger.failed() == "paper split"


def test_step_sealed_file(forger, tmp_path):
    fake = tmp_path / "fake.age"
    fake.write_bytes(b"another half")
    assert forger.failed(sealed=fake) == "sealed file"


def test_step_sealed_file_counts_the_keys(tmp_path, monkeypatch):
    """An examiner encrypts to a friend whom the header does not name; to a named one it is fine."""
    office, friend = KeyPair.generate("Office").public, KeyPair.generate("Friend").public
    stage = make_stage(tmp_path / "good", count=4, terms=PaperTerms(recipients=[office]))
    stage.certificate(ToyModel())
    named = next(step for step in stage.verify() if step.name == "sealed file")
    assert named.ok
    assert "for 2 keys, as named" in named.detail
    monkeypatch.setattr("spiritsafe.exam.paper.seal.encrypt", lambda data, keys: encrypt(data, [*keys, friend]))
    stage = make_stage(tmp_path / "bad", count=4)
    stage.certificate(ToyModel())
    bad = next(step for step in stage.verify() if not step.ok)
    assert bad.name == "sealed file"
    assert "by others than the 1 named" in bad.detail


@pytest.mark.parametrize(
    "change",
    [
        {"model_digest": digest("better model")},
        {"model_name": "better model"},
        {"sampling": {**SAMPLING.to_json(), "temperature": 0.0}},
        {"seed": 5},
        {"num_tries": 2},
        {"hypothesis": "what came out"},
    ],
)
def test_step_registration(forger, change):
    forger.write({**forger.value, "registration": {**forger.value["registration"], **change}})
    assert forger.failed() == "registration"


def test_a_registration_changed_together_with_the_result_is_not_the_ledgers(forger):
    value = forger.value
    value["registration"]["hypothesis"] = "what came out"
    value["result"]["registration"] = digest(value["registration"])
    forger.write(value)
    assert forger.failed() == "procedure"


def test_step_ledger_proofs(forger):
    value = forger.value
    value["evidence"][2]["entry"]["time"] = "2020-01-01T00:00:00.000Z"
    forger.write(value)
    assert forger.failed() == "ledger proofs"
    value = forger.value
    value["head"]["size"] += 1
    forger.write(value)
    assert forger.failed() == "ledger proofs"
    other = KeyPair.generate("Mallory")
    head = forger.stage.ledger.head(other)  # a head signed by somebody else
    forger.write({**forger.value, "head": head.to_json()})
    assert forger.failed() == "ledger proofs"


def _drop(kind: str) -> Callable[[Value], None]:
    def change(value: Value) -> None:
        value["evidence"] = [item for item in value["evidence"] if item["entry"]["kind"] != kind]

    return change


@pytest.mark.parametrize("kind", ["paper", "registration", "access", "result"])
def test_step_procedure_needs_every_entry(forger, kind):
    value = forger.value
    _drop(kind)(value)
    forger.write(value)
    assert forger.failed() == "procedure"


def test_registration_after_the_sitting_is_found(forger):
    """The examiner rewrites the ledger so that the registration comes last, everything freshly signed."""
    stage = forger.stage
    old = {entry.kind: entry for entry in stage.ledger.entries()}
    ledger = Ledger(stage.root / "rewritten.jsonl")
    keys = {"registration": stage.maker}
    for kind in ("paper", "access", "registration", "result"):
        ledger.append(kind, old[kind].body, keys.get(kind, stage.examiner))
    value = forger.value
    head = ledger.head(stage.examiner)
    value["head"] = head.to_json()
    value["evidence"] = [ledger.evidence(index, head).to_json() for index in range(4)]
    forger.write(value)
    assert forger.failed(ledger=None) == "procedure"


def test_step_every_problem_counted(forger):
    value = forger.value
    value["result"]["outcomes"] = value["result"]["outcomes"][1:]  # a bad answer dropped
    forger.write(value)
    assert forger.failed() == "every problem counted"


def test_step_numbers(forger):
    for change in (
        lambda result: result["sealed"]["accuracy"].update(value=0.99),
        lambda result: result["sealed"]["accuracy"].update(low=0.9),
        lambda result: result["gap"].update(p_value=0.5),
        lambda result: result.update(gap_statement="No sign of studying."),
        lambda result: result.update(num_tokens=1),
        lambda result: result["outcomes"][0].update(
            status="correct" if result["outcomes"][0]["status"] == "wrong" else "wrong"
        ),
    ):
        value = forger.value
        change(value["result"])
        forger.write(value)
        assert forger.failed() == "numbers"


def test_step_numbers_of_the_share_studied(tmp_path):
    stage = make_stage(tmp_path, count=20)
    forger = Forger(stage, stage.certificate(ToyModel()))
    for change in (
        lambda result: result["studied"].update(value=0.123),
        lambda result: result["studied"].update(high=0.999),
        lambda result: result.update(studied_statement="Share studied: nothing."),
        lambda result: result.pop("studied_statement"),
        lambda result: result.pop("studied"),
    ):
        value = forger.value
        change(value["result"])
        forger.write(value)
        assert forger.failed() == "numbers"


def test_results_of_older_versions_state_no_share_studied(tmp_path):
    """They have neither field, and no sentence; what fails is their digest in this ledger, not their numbers."""
    stage = make_stage(tmp_path, count=20)
    forger = Forger(stage, stage.certificate(ToyModel()))
    value = forger.value
    statement = value["result"].pop("studied_statement")
    del value["result"]["studied"]
    value["statements"].remove(statement)
    forger.write(value)
    assert forger.failed() == "result in ledger"


def test_step_result_in_ledger(forger, tmp_path):
    value = forger.value
    value["result"]["software"]["python"] = "9.9"
    forger.write(value)
    assert forger.failed() == "result in ledger"
    forger.write(forger.value)
    fake = tmp_path / "fake.json"
    fake.write_bytes(forger.certificate.result.model_copy(update={"num_tokens": 1}).canonical())
    assert forger.failed(result=fake) == "result in ledger"


def test_step_access_history(forger):
    value = forger.value
    value["access"] = value["access"][:1]
    forger.write(value)
    assert forger.failed() == "access history"
    value = forger.value
    value["access"][1]["exposed"] = True
    forger.write(value)
    assert forger.failed() == "access history"


def test_step_statements(forger):
    for change in ({"separation": "self-examined"}, {"statements": ["Perfectly safe."]}):
        forger.write({**forger.value, **change})
        assert forger.failed() == "statements"


def test_step_ledger_file_finds_what_was_left_out(forger):
    stage = forger.stage
    stage.register(ToyModel(name="a failure"))
    head = stage.ledger.head(stage.examiner)
    value = forger.value
    value["head"] = head.to_json()
    value["evidence"] = [stage.ledger.evidence(index, head).to_json() for index in range(4)]
    forger.write(value)  # a later head, without the registration that came in between
    assert forger.failed() == "ledger file"
    assert all(step.ok for step in forger.verify(ledger=None))  # which only the ledger can tell


def test_step_ledger_file_finds_a_hidden_exposure(forger):
    stage = forger.stage
    stage.certificate(ToyModel(name="endpoint", kind="remote"), name="endpoint")
    stage_certificate = stage.certificate(ToyModel(name="after"), name="after")
    value = stage_certificate.to_json()
    hidden = [item for item in value["evidence"] if "endpoint" not in str(item["entry"]["body"].get("reader"))]
    assert len(hidden) == len(value["evidence"]) - 1
    value["evidence"] = hidden
    value["access"] = [record for record in value["access"] if "endpoint" not in record["who"]]
    value["statements"] = [text for text in value["statements"] if "endpoint" not in text]
    forger.certificate = stage_certificate
    forger.write(value)
    assert forger.failed() == "ledger file"


def test_step_ledger_file_finds_a_forked_history(forger):
    stage = forger.stage
    fork = Ledger(stage.root / "fork.jsonl")
    for entry in stage.ledger.entries():
        fork.append(entry.kind, entry.body, stage.maker if entry.kind == "registration" else stage.examiner)
    assert fork.verify().ok
    assert forger.failed(ledger=fork.path) == "ledger file"
    lines = stage.ledger.path.read_bytes().splitlines(keepends=True)
    stage.ledger.path.write_bytes(b"".join(lines[:-1]))
    assert forger.failed() == "ledger file"


def test_step_trusted_keys(forger):
    key_id = forger.stage.examiner.public.key_id
    assert all(step.ok and step.checked for step in forger.verify(trusted_keys=[key_id]) if step.name == "trusted keys")
    assert forger.failed(trusted_keys=["0" * 16]) == "trusted keys"
    step = next(step for step in forger.verify() if step.name == "trusted keys")
    assert step.ok
    assert not step.checked
    assert key_id in step.detail


def test_step_reruns(forger, tmp_path):
    stage, sam = forger.stage, KeyPair.generate("Sam")
    path, own = tmp_path / "rerun.json", stage.root / "sitting" / "certificate.json"
    rerun(own, paper=stage.papers, generator=ToyModel(), task=stage.task, runner=sam, output=path)
    step = next(step for step in forger.verify(reruns=[path]) if step.name == "re-runs")
    assert step.ok
    assert step.checked
    assert step.detail.startswith(f"counter-signed by {sam.public.label} (public). Agrees within error")
    stage.certificate(ToyModel(name="other"), name="other")
    steps = verify(stage.root / "other" / "certificate.json", paper=stage.papers, reruns=[path])
    assert next(step for step in steps if not step.ok).name == "re-runs"
    path.write_bytes(path.read_bytes() + b"\n")
    assert forger.failed(reruns=[path]) == "re-runs"


def test_a_replayed_certificate_of_another_sitting(forger):
    stage = forger.stage
    other = stage.certificate(ToyModel(name="strong", skill=1.0), name="strong")
    value = forger.value
    value["result"] = other.to_json()["result"]  # the strong model's result under the weak one's registration
    forger.write(value)
    assert forger.failed() == "registration"


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key in value:
            yield from _leaves(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from _leaves(value[index], (*path, index))
    else:
        yield path


def _changed(old: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        return old + 1
    if old is None:
        return 0.5
    return ("0" if old[:1] != "0" else "1") + old[1:]


def test_not_even_the_examiner_can_change_a_field_afterwards(forger):
    """Each leaf of the certificate, changed and re-signed with the examiner's key, is found by some later step."""
    found = set()
    for path in _leaves({key: item for key, item in forger.value.items() if key != "signatures"}):
        value = forger.value
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = _changed(holder[path[-1]])
        forger.write(value)
        bad = [step for step in forger.verify() if not step.ok]
        assert bad, path
        found.add(bad[0].name)
    assert {"certificate file", "paper file", "registration", "ledger proofs", "numbers"} <= found
    assert {"result in ledger", "access history", "statements", "ledger file"} <= found


# What papers, registrations and results carry since: one attack for each step, by whoever holds the keys.


class TwinTask(ToyTask):
    has_twins = True


class Probed(ToyModel):
    """Answers probes always alike."""

    def generate(self, prompts, sampling):
        if prompts[0].problem_id.startswith("probe-"):
            for prompt in prompts:
                yield from super().generate([prompt], sampling)
        else:
            yield from super().generate(prompts, sampling)


PROTOCOL = PaperProtocol(sampling=SAMPLING)
CLAIM = Claim(kind="score at least", score=0.3)


@pytest.fixture
def rich(tmp_path) -> Forger:
    """Twins, protocol, another recipient, a claim against a reference, a budget, looks, probes."""
    terms = PaperTerms(twins=True, protocol=PROTOCOL, recipients=[KeyPair.generate("Office").public])
    stage = make_stage(tmp_path, count=40, task=TwinTask(), terms=terms)
    base = stage.certificate(ToyModel(name="base", skill=0.1), name="base")
    certificate = stage.certificate(
        Probed(skill=1.0),
        reference=base,
        claim=Claim(kind="better than", reference=base.content_digest),
        stop=StopRule(num_problems=20, num_looks=2, spending="pocock"),
        budget=Budget(max_cost=10.0, prompt_price=1.0, completion_price=2.0, currency="EUR"),
        num_probes=3,
        deviate=True,
        preamble=(Message(role="system", content="Think."),),
    )
    return Forger(stage, certificate)


def test_the_rich_one_passes(rich):
    reference = rich.stage.root / "base" / "certificate.json"
    steps = rich.verify(reference=reference)
    assert all(step.ok for step in steps), [step for step in steps if not step.ok]
    assert {step.name for step in steps if not step.checked} == {
        "sealed file", "revealed answers", "training overlap", "signs of memory", "opened paper", "published answers",
        "re-runs", "witnessed heads",
        "trusted keys",
    }  # fmt: skip
    record = rich.certificate.result.to_json()
    assert {
        "ending",
        "twins",
        "memory",
        "decision",
        "identity",
        "cost",
        "reference",
        "not_asked",
    } <= record.keys()


def test_step_sign_offs(tmp_path):
    ann, bob = KeyPair.generate("Ann"), KeyPair.generate("Bob")
    path = tmp_path / "bank.jsonl"
    path.write_text(
        "\n".join(json.dumps({"family": "number", "question": f"{k}?", "answer": str(k)}) for k in range(4))
    )
    sign_off(path, name="b", reviewer=ann, output=path)
    terms = PaperTerms(reviewers=[ann.public, bob.public], num_signoffs=1)
    stage = make_stage(tmp_path / "stage", count=4, task=load_private(path, name="b"), terms=terms)
    forger = Forger(stage, stage.certificate(ToyModel(reply=lambda *_: ("1", "stop"))))
    assert all(step.ok for step in forger.verify())

    def swap(**changes: Any) -> None:
        """Another header all over: paper, certificate, ledger. Only the sign-offs do not fit."""
        header = stage.paper.header.model_copy(update=changes)
        paper = stage.paper.model_copy(update={"header": header})
        (stage.papers / "paper.json").write_bytes(paper.canonical())
        value = forger.value
        value["paper"] = header.to_json()
        value["result"]["paper_id"] = value["registration"]["paper_id"] = header.paper_id
        value["result"]["registration"] = digest(value["registration"])
        forger.write(value)

    for changes in (
        {"num_signoffs": 2},  # fewer signed than the header now promises
        {"reviewers": (bob.public,)},  # somebody else's name on them
        {"reviewers": (ann.public, stage.examiner.public)},  # the examiner reviews their own
        {"reviewers": (), "num_signoffs": 1},
    ):
        swap(**changes)
        assert forger.failed() == "sign-offs"


def test_step_protocol(rich):
    for change in (
        lambda r: r.pop("deviations"),
        lambda r: r.update(deviations=["num_tries"]),
        lambda r: r["sampling"].update(temperature=0.1),
    ):
        value = rich.value
        change(value["registration"])
        value["result"]["sampling"] = value["registration"]["sampling"]
        value["result"]["registration"] = digest(value["registration"])
        rich.write(value)
        assert rich.failed() == "protocol"


def test_step_reference(rich, tmp_path):
    value = rich.value
    right = value["result"]["reference"]["right"]
    value["result"]["reference"]["right"] = [1 - r for r in right]  # a weaker base than it was
    rich.write(value)
    base = rich.stage.root / "base" / "certificate.json"
    assert rich.failed(reference=base) == "reference"
    value = rich.value
    del value["result"]["reference"]
    rich.write(value)
    assert rich.failed() == "reference"
    value = rich.value
    value["result"]["reference"]["certificate"] = "sha256:" + "0" * 64
    value["result"]["reference"]["registration"] = "sha256:" + "0" * 64
    rich.write(value)
    assert rich.failed() == "reference"
    other = rich.stage.certificate(ToyModel(name="other"), name="other")
    rich.write(rich.value)
    assert other.paper == rich.certificate.paper
    assert rich.failed(reference=rich.stage.root / "other" / "certificate.json") == "reference"


def test_step_ending_cherry_picked_subset(rich):
    """The host leaves out what went wrong and calls the budget exhausted."""
    value = rich.value
    result = value["result"]
    wrong = next(o["index"] for o in result["outcomes"] if o["half"] == "public")
    dropped = {wrong, wrong + 40}
    result["outcomes"] = [o for o in result["outcomes"] if o["index"] not in dropped]
    result["not_asked"] = sorted({*result["not_asked"], *dropped})
    rich.write(value)
    assert rich.failed() == "ending"


def test_step_ending_budget(rich):
    value = rich.value
    value["result"]["cost"] = 0.0001
    rich.write(value)
    assert rich.failed() == "ending"


def test_step_numbers_of_decision_and_twins(rich):
    for change in (
        lambda result: result["decision"].update(finding="not supported"),
        lambda result: result["decision"].update(p_value=0.5),
        lambda result: result["decision"]["estimate"].update(low=0.9),
        lambda result: result["decision"].update(statement="Proven."),
        lambda result: result["twins"]["accuracy"].update(value=0.99),
        lambda result: result["memory"].update(p_value=0.5),
        lambda result: result.update(memory_statement="No sign of memory."),
        lambda result: result["sealed"].update(num_not_asked=1),
        lambda result: result.pop("decision"),
        lambda result: result.pop("twins"),
    ):
        value = rich.value
        change(value["result"])
        rich.write(value)
        assert rich.failed() == "numbers"


def test_step_result_in_ledger_p_value(forger, tmp_path):
    stage = make_stage(tmp_path / "claimed", count=8)
    good = Forger(stage, stage.certificate(ToyModel(skill=1.0), claim=CLAIM))
    ledger = Ledger(stage.root / "rewritten.jsonl")
    keys = {"registration": stage.maker}
    for entry in stage.ledger.entries():
        body = {**entry.body, "p_value": 1e-9} if entry.kind == "result" else entry.body
        ledger.append(entry.kind, body, keys.get(entry.kind, stage.examiner))
    value = good.value
    head = ledger.head(stage.examiner)
    value["head"] = head.to_json()
    value["evidence"] = [ledger.evidence(index, head).to_json() for index in range(4)]
    good.write(value)
    assert good.failed(ledger=None) == "result in ledger"


def test_step_one_model(rich):
    value = rich.value
    value["result"]["identity"]["agreement"] = 0.75
    rich.write(value)
    assert rich.failed() in ("result in ledger", "one model")
    value = rich.value
    del value["result"]["identity"]
    rich.write(value)
    assert rich.failed() in ("result in ledger", "one model")


@pytest.mark.parametrize("rounds", [slice(0, 1), slice(1, None), slice(0, 0)])
def test_probes_that_do_not_frame_the_sitting_are_found(tmp_path, monkeypatch, rounds):
    """The host asks them before it swaps the model and not after, or keeps the fitting rounds only."""
    stage = make_stage(tmp_path, count=8)
    monkeypatch.setattr("spiritsafe.exam.sitting.sit.check_identity", lambda all_: check_identity(all_[rounds]))
    forger = Forger(stage, stage.certificate(Probed(), num_probes=2))
    assert forger.failed() == "one model"


def test_a_swapped_model_fails_the_step_though_everything_is_signed(tmp_path):
    stage = make_stage(tmp_path, count=8)
    voices = iter(["one"] * 8 + ["two"] * 8)
    model = ToyModel(
        kind="remote", reply=lambda p, _: (next(voices), "stop") if p.problem_id.startswith("probe-") else None
    )
    forger = Forger(stage, stage.certificate(model, num_probes=2))
    assert forger.failed() == "one model"


def test_step_correction(rich):
    for change in (
        lambda c: c.update(finding="undecided"),
        lambda c: c.update(adjusted_p=c["adjusted_p"] / 2),
        lambda c: c.update(num_claims=5),
        lambda c: c.update(statement="Proven beyond doubt."),
    ):
        value = rich.value
        change(value["correction"])
        rich.write(value)
        assert rich.failed() == "correction"
    value = rich.value
    del value["correction"]
    rich.write(value)
    assert rich.failed() == "correction"


def test_an_unreported_bad_result_is_found(rich):
    """Another claim of the maker failed; the certificate is issued as if it had never been registered."""
    stage = rich.stage
    stage.certificate(ToyModel(name="failed", skill=0.0), name="failed", claim=CLAIM)
    good = stage.certificate(ToyModel(name="late", skill=1.0), name="late", claim=CLAIM)
    assert good.correction.num_claims == 3
    forger = Forger(stage, good)
    value = forger.value
    value["registrations"] = [s for s in value["registrations"] if s["model_name"] != "failed"]
    states = [RegistrationState.from_json(s) for s in value["registrations"]]
    better = correction_of(good.registration, good.result.decision, states, known_before=False)
    assert better is not None
    value["correction"] = better.to_json()
    value["statements"] = list(
        statements_of(
            header=good.paper, registration=good.registration, result=good.result, access=good.access,
            registrations=states, correction=better,
        )
    )  # fmt: skip
    forger.write(value)
    assert forger.failed() == "ledger file"
    assert all(step.ok for step in forger.verify(ledger=None))  # which only the ledger can tell


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_not_even_the_examiner_can_change_a_leaf_of_the_rich_one(rich):
    """One leaf of each kind; the plain certificate has all of its own changed above."""
    kinds: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for path in _leaves({key: item for key, item in rich.value.items() if key != "signatures"}):
        kinds.setdefault(tuple(str(key) for key in path if not isinstance(key, int)), []).append(path)
    rng, missed = random.Random(5), []
    for path in (rng.choice(paths) for paths in kinds.values()):
        value = rich.value
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = _changed(holder[path[-1]])
        rich.write(value)
        if all(step.ok for step in rich.verify()):
            missed.append(path)
    assert missed == []


def test_step_difficulties(forger):
    """Of a whole sitting: nothing to check, and a record of difficulties does not belong to it."""
    step = next(step for step in forger.verify() if step.name == "difficulties")
    assert (step.ok, step.checked, step.detail) == (True, True, "the whole paper was registered")
    path = forger.stage.root / "items.json"
    path.write_bytes(b"{}")
    assert forger.failed(items=path) == "difficulties"  # shorter sittings: test_shortening.py


def test_without_a_paper_file_its_steps_are_skipped(forger):
    steps = forger.verify(paper=None)
    assert all(step.ok for step in steps)
    skipped = {step.name for step in steps if not step.checked}
    assert {"paper file", "paper bank", "paper split", "ending"} <= skipped
    assert not skipped & {"certificate signatures", "registration", "ledger proofs", "numbers", "ledger file"}


def test_a_certificate_that_keeps_quiet_about_earlier_sittings_verifies_and_is_told_of(rich):
    """Older ones do not have the number; a newer one that has it has the right one."""
    stage = rich.stage
    good = stage.certificate(ToyModel(name="late", skill=1.0), name="later still", claim=CLAIM)
    assert good.correction.num_before > 0
    forger = Forger(stage, good, name="later still")

    def say(correction):
        said = correction.to_json()
        statements = [said["statement"] if text == good.correction.statement else text for text in good.statements]
        forger.write({**forger.value, "correction": said, "statements": statements})

    quiet = correction_of(good.registration, good.result.decision, good.registrations, known_before=False)
    say(quiet)
    assert all(step.ok for step in forger.verify())
    say(good.correction.model_copy(update={"num_before": good.correction.num_before + 1}))
    assert forger.failed() == "correction"
