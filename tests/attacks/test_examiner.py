"""The examiner and author: swaps problems, picks the cut, lets a friend in, changes the grader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attack_parts import MALLORY, caught, exam, passes
from exam_parts import Forger, Stage, ToyModel, ToyTask, make_stage

from spiritsafe.core.errors import ProcedureError, SpiritsafeError
from spiritsafe.exam import PaperTerms, load_private, seal, sign_off, task_of_paper, trust_page
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.ledger import KeyPair, Ledger, encrypt


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return exam(tmp_path)


def test_a_problem_swapped_after_the_commitment(forger: Forger) -> None:
    paper = forger.stage.paper
    first = paper.problems[0]
    easier = first.model_copy(update={"problem": first.problem.model_copy(update={"facts": {"answer": 0}})})
    swapped = paper.model_copy(update={"problems": (easier, *paper.problems[1:])})
    (forger.stage.papers / "paper.json").write_bytes(swapped.canonical())
    caught(forger.verify(), "paper bank", f"Problem {first.index} is not the one committed to")


def test_a_commitment_swapped_with_its_problem(forger: Forger) -> None:
    paper = forger.stage.paper
    first = paper.problems[0]
    easier = first.model_copy(update={"problem": first.problem.model_copy(update={"facts": {"answer": 0}})})
    commitments = list(paper.commitments)
    commitments[first.index] = easier.commitment
    swapped = paper.model_copy(update={"problems": (easier, *paper.problems[1:]), "commitments": tuple(commitments)})
    (forger.stage.papers / "paper.json").write_bytes(swapped.canonical())
    caught(forger.verify(), "paper bank", "The commitments do not hash to the bank's root")


def test_a_cut_that_was_picked(forger: Forger) -> None:
    paper = forger.stage.paper
    sealed = open_sealed(forger.stage.papers, paper, forger.stage.examiner)
    picked = tuple(sorted((*paper.problems[1:], sealed.problems[0]), key=lambda problem: problem.index))
    (forger.stage.papers / "paper.json").write_bytes(paper.model_copy(update={"problems": picked}).canonical())
    caught(forger.verify(), "paper split", "public")


def test_another_paper_in_its_place(forger: Forger, tmp_path: Path) -> None:
    other = make_stage(tmp_path / "other", count=8, secret=bytes(32))
    caught(forger.verify(paper=other.papers), "paper file", "another paper than the certificate's")


def test_another_sealed_half_in_its_place(forger: Forger, tmp_path: Path) -> None:
    fake = tmp_path / "fake.age"
    fake.write_bytes(encrypt(b"easier problems", [forger.stage.examiner.public]))
    caught(forger.verify(sealed=fake), "sealed file", "not the one committed to")


def test_a_sealed_half_that_a_secret_friend_can_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.exam.paper.seal.encrypt", lambda data, keys: encrypt(data, [*keys, MALLORY.public]))
    stage = make_stage(tmp_path, count=8)
    assert MALLORY.decrypt((stage.papers / "sealed.age").read_bytes())
    stage.certificate(ToyModel())
    steps = stage.verify()
    caught(steps, "sealed file", "can be opened by others than the 1 named")
    passes(stage.verify(sealed=None))  # who does not have the file cannot tell


def test_an_examiner_who_hands_the_problems_to_the_maker_is_not_caught_by_the_gap(tmp_path: Path) -> None:
    """Whoever learns both halves alike leaves no gap: that is the examiner's word, and the page says so."""
    stage = make_stage(tmp_path, count=40)
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    everything = stage.public_ids() | {problem.problem.id for problem in sealed.problems}
    certificate = stage.certificate(ToyModel(skill=0.1, studied=everything))
    assert certificate.result.sealed.accuracy.value == 1.0
    passes(stage.verify())
    page = trust_page(certificate, stage.verify())
    assert page.of("not studying").state != "does not hold"
    assert "told by its holder" in page.of("sealed").cheat
    assert "Who saw the sealed half itself is not found by this" in page.of("not studying").cheat


def test_a_verifier_of_another_version(forger: Forger) -> None:
    stage = forger.stage
    registration = stage.register(ToyModel(name="next"))
    stage.task = ToyTask()
    stage.task.verifier.version = "2"
    try:
        with pytest.raises(ProcedureError, match=r"was sealed with toy:sums.* toy/1, this is .* toy/2"):
            stage.sit(ToyModel(name="next"), registration, "next")
    finally:
        del stage.task.verifier.version
    value = forger.value
    value["paper"]["verifier"] = "toy/2"
    forger.write(value)
    caught(forger.verify(), "paper file", "another paper than the certificate's")


def test_sign_offs_that_the_examiner_gives_to_the_own_problems(tmp_path: Path) -> None:
    eve, path = KeyPair.generate("Eve"), tmp_path / "bank.jsonl"
    lines = [json.dumps({"family": "number", "question": f"{k}?", "answer": str(k)}) for k in range(4)]
    path.write_text("\n".join(lines))
    sign_off(path, name="own", reviewer=eve, output=path)
    with pytest.raises(SpiritsafeError, match=r"examiner"):
        seal(
            load_private(path, name="own"),
            count=4,
            ledger=Ledger(tmp_path / "ledger.jsonl"),
            directory=tmp_path / "paper",
            examiner=eve,
            terms=PaperTerms(reviewers=[eve.public], num_signoffs=1),
        )
    assert not (tmp_path / "paper" / "paper.json").exists()


def test_one_holder_who_is_several_reviewers_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of older papers that hold, the verifier says how many holders their reviewers are."""
    path = tmp_path / "bank.jsonl"
    path.write_text(
        "\n".join(json.dumps({"family": "number", "question": f"{k}?", "answer": str(k)}) for k in range(4))
    )
    eve, ann, again = (KeyPair.generate(name) for name in ("\u0415ve\u00a0Examiner", "Ann", "A\ufe0fnn"))
    for key in (eve, ann, again):
        sign_off(path, name="own", reviewer=key, output=path)

    def sealed(name: str, *keys: KeyPair) -> Stage:
        terms = PaperTerms(reviewers=[key.public for key in keys], num_signoffs=2)
        return make_stage(tmp_path / name, count=4, task=load_private(path, name="own"), terms=terms)

    with pytest.raises(SpiritsafeError, match="2 sign-offs a problem need as many reviewers; 1 were named"):
        sealed("twice", ann, again)
    with pytest.raises(SpiritsafeError, match="The examiner cannot be a reviewer"):
        sealed("own", ann, eve)
    monkeypatch.setattr("spiritsafe.exam.paper.seal.same_holder", lambda a, b: a == b)
    monkeypatch.setattr("spiritsafe.exam.paper.seal.one_a_holder", list)
    stage = sealed("older", eve, ann, again)
    stage.task = task_of_paper(stage.paper)
    stage.certificate(ToyModel(reply=lambda *_: ("#### 0", "stop")))
    steps = stage.verify()
    passes(steps)
    found = next(step.detail for step in steps if step.name == "sign-offs")
    assert found.endswith("of 3 reviewers; The 3 reviewers have 1 different names, the examiner's not counted.")
