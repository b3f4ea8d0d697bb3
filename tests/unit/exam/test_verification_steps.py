"""Every step of a verification can fail, and is the one that is named: attacks by whoever holds the keys too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from exam_parts import SAMPLING, Stage, ToyModel, make_stage

from spiritsafe.core.canonical import canonical_json, digest
from spiritsafe.core.certificates import Certificate
from spiritsafe.exam import VERIFY_STEPS, StepResult, verify
from spiritsafe.exam.paper import open_sealed
from spiritsafe.ledger import KeyPair, Ledger

Value = dict[str, Any]


@dataclass
class Forger:
    """Holds the examiner's key and re-signs whatever was changed."""

    stage: Stage
    certificate: Certificate

    @property
    def value(self) -> Value:
        return self.certificate.to_json()

    def write(self, value: Value, *, sign: bool = True) -> None:
        value = {**value, "signatures": self.certificate.to_json()["signatures"]}
        if sign:
            unsigned = canonical_json({key: item for key, item in value.items() if key != "signatures"})
            value["signatures"] = [self.stage.examiner.sign("certificate", unsigned).to_json()]
        (self.stage.root / "sitting" / "certificate.json").write_bytes(canonical_json(value))

    def verify(self, **options: Any) -> list[StepResult]:
        return verify(
            self.stage.root / "sitting" / "certificate.json",
            **{"paper": self.stage.papers, "ledger": self.stage.ledger.path, **options},
        )

    def failed(self, **options: Any) -> str:
        steps = self.verify(**options)
        bad = [step for step in steps if not step.ok]
        assert bad, "the forgery went through"
        assert bad[0].checked
        assert all(step.detail == f"not reached: step {bad[0].number} failed" for step in bad[1:])
        return bad[0].name


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
    assert all(step.ok and step.checked for step in forger.verify(trusted_keys=[key_id])[-1:])
    assert forger.failed(trusted_keys=["0" * 16]) == "trusted keys"
    last = forger.verify()[-1]
    assert last.ok
    assert not last.checked
    assert key_id in last.detail


def test_a_replayed_certificate_of_another_sitting(forger):
    stage = forger.stage
    other = stage.certificate(ToyModel(name="strong", skill=1.0), name="strong")
    value = forger.value
    value["result"] = other.to_json()["result"]  # the strong model's result under the weak one's registration
    forger.write(value)
    assert forger.failed() == "registration"


def test_not_even_the_examiner_can_change_a_field_afterwards(forger):
    """Each leaf of the certificate, changed and re-signed with the examiner's key, is found by some later step."""

    def leaves(value: Any, path: tuple[Any, ...] = ()) -> Any:
        if isinstance(value, dict):
            for key in value:
                yield from leaves(value[key], (*path, key))
        elif isinstance(value, list):
            for index in range(len(value)):
                yield from leaves(value[index], (*path, index))
        else:
            yield path

    found = set()
    for path in leaves({key: item for key, item in forger.value.items() if key != "signatures"}):
        value = forger.value
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        old = holder[path[-1]]
        if isinstance(old, bool):
            holder[path[-1]] = not old
        elif isinstance(old, int | float):
            holder[path[-1]] = old + 1
        elif old is None:
            holder[path[-1]] = 0.5
        else:
            holder[path[-1]] = ("0" if old[:1] != "0" else "1") + old[1:]
        forger.write(value)
        steps = forger.verify(ledger=forger.stage.ledger.path)
        bad = [step for step in steps if not step.ok]
        assert bad, path
        found.add(bad[0].name)
    assert {"certificate file", "paper file", "registration", "ledger proofs", "numbers"} <= found
    assert {"result in ledger", "access history", "statements", "ledger file"} <= found
