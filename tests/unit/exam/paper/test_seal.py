from __future__ import annotations

import json

import pytest
from exam_parts import SAMPLING, ToyModel, ToyTask, make_stage

from spiritsafe.core.errors import IntegrityError, ProcedureError, TaskError
from spiritsafe.core.files.record_files import write_record
from spiritsafe.core.records import Message
from spiritsafe.exam import PaperTerms, load_paper, load_private, seal, sign_off, task_of_paper
from spiritsafe.exam.paper.files import check_bank, check_split, open_sealed
from spiritsafe.exam.paper.split import public_places
from spiritsafe.exam.records.paper import PaperProtocol
from spiritsafe.ledger import KeyPair
from spiritsafe.tasks import load_task, split_of


class TwinTask(ToyTask):
    has_twins = True


def test_a_plain_paper_is_what_it_was(stage):
    """Later fields do not show in a paper that does not use them, so old readers and old digests hold."""
    header = stage.paper.header.to_json()
    assert not {"num_twins", "strata", "protocol", "recipients", "reviewers", "num_signoffs"} & header.keys()
    assert not {"stratum", "signoffs"} & stage.paper.problems[0].to_json().keys()


def test_twins_are_a_third_group_sealed_whole(tmp_path):
    stage = make_stage(tmp_path, count=12, task=TwinTask(), terms=PaperTerms(twins=True))
    header = stage.paper.header
    assert (header.num_problems, header.num_twins, header.num_public, header.num_sealed) == (12, 12, 6, 6)
    assert len(stage.paper.commitments) == 24
    assert all(problem.index < 12 for problem in stage.paper.problems)  # no twin is ever public
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    twins = [problem for problem in sealed.problems if problem.index >= 12]
    assert [problem.index for problem in twins] == list(range(12, 24))
    assert all(split_of(problem.problem) == "exam" for problem in twins)
    ids = {problem.problem.id for problem in (*stage.paper.problems, *sealed.problems)}
    assert len(ids) == 24
    data = (stage.papers / "paper.json").read_bytes()
    assert not any(problem.problem.canonical_text.encode() in data for problem in twins)


def test_tasks_that_make_no_twins_are_refused(tmp_path):
    with pytest.raises(TaskError, match="twins"):
        make_stage(tmp_path, count=4, terms=PaperTerms(twins=True))


def test_what_nobody_can_grade_is_refused(tmp_path):
    rows = [{"prompt": f"What is {n}?", "completion": "Nothing."} for n in range(100)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for spec in (f"chat:{tmp_path}/a.jsonl", f"mix:arith:sums|chat:{tmp_path}/a.jsonl"):
        with pytest.raises(TaskError, match="has no verifier"):
            make_stage(tmp_path / "stage", count=4, task=load_task(spec))


def test_a_mix_is_cut_within_its_parts(tmp_path):
    stage = make_stage(tmp_path, count=21, task=load_task("mix:arith:sums*2|arith:products"))
    header = stage.paper.header
    assert [(s.name.partition("?")[0], s.num_problems, s.num_public) for s in header.strata] == [
        ("arith:products", 7, 3),
        ("arith:sums", 14, 7),
    ]
    for problem in stage.paper.problems:
        assert problem.problem.task == problem.stratum
    assert load_paper(stage.papers) == stage.paper
    assert task_of_paper(stage.paper).name == header.task


def test_a_stratum_cannot_be_cut_otherwise(tmp_path):
    stage = make_stage(tmp_path, count=20, task=load_task("mix:arith:sums|arith:products"))
    paper, header = stage.paper, stage.paper.header
    first, second = header.strata
    shifted = (
        first.model_copy(update={"num_public": first.num_public + 1}),
        second.model_copy(update={"num_public": second.num_public - 1}),
    )
    moved = header.model_copy(update={"strata": shifted})
    sealed = open_sealed(stage.papers, paper, stage.examiner)
    bank = {problem.index: problem for problem in (*paper.problems, *sealed.problems)}
    cheat = paper.model_copy(update={"header": moved, "problems": tuple(bank[place] for place in public_places(moved))})
    check_bank(cheat)
    with pytest.raises(IntegrityError, match="strata's counts"):
        check_split(cheat)
    other = paper.problems[0].model_copy(update={"stratum": second.name})
    with pytest.raises(IntegrityError, match="not the one committed to"):
        check_bank(paper.model_copy(update={"problems": (other, *paper.problems[1:])}))


def test_any_recipient_opens_alone_and_nobody_else(tmp_path):
    office, third = KeyPair.generate("Office"), KeyPair.generate("Third")
    stage = make_stage(tmp_path, terms=PaperTerms(recipients=[office.public, third.public]))
    for key in (stage.examiner, office, third):
        assert len(open_sealed(stage.papers, stage.paper, key).problems) == 10
    with pytest.raises(IntegrityError, match="cannot open"):
        open_sealed(stage.papers, stage.paper, KeyPair.generate("Mallory"))
    certificate = stage.certificate(ToyModel())
    assert any("can also be opened" in text and "Third" in text for text in certificate.statements)
    stage.check()


PROTOCOL = PaperProtocol(sampling=SAMPLING, num_tries=2, preamble=(Message(role="system", content="Be brief."),))


def test_the_protocol_is_part_of_the_paper(tmp_path):
    stage = make_stage(tmp_path, terms=PaperTerms(protocol=PROTOCOL))
    assert load_paper(stage.papers).header.protocol == PROTOCOL
    for changed in (None, PROTOCOL.model_copy(update={"num_tries": 1})):
        with pytest.raises(ProcedureError, match="another paper"):
            seal(
                stage.task, count=20, ledger=stage.ledger, directory=stage.papers, examiner=stage.examiner,
                terms=PaperTerms(protocol=changed),
            )  # fmt: skip


@pytest.fixture
def reviewed(tmp_path):
    """A private file of twelve problems, signed off by Ann and Bob but for the last by Bob."""
    ann, bob = KeyPair.generate("Ann"), KeyPair.generate("Bob")
    path = tmp_path / "bank.jsonl"
    rows = [
        {"family": "number", "question": f"Unguessable {k} plus {k}?", "answer": str(2 * k), "stratum": "abc"[k % 3]}
        for k in range(12)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    sign_off(path, name="office", reviewer=ann, output=path)
    sign_off(path, name="office", reviewer=bob, output=path)
    return path, ann, bob


def private_stage(tmp_path, path, **terms):
    return make_stage(tmp_path / "stage", count=12, task=load_private(path, name="office"), terms=PaperTerms(**terms))


def test_a_private_bank_with_sign_offs_from_end_to_end(tmp_path, reviewed):
    path, ann, bob = reviewed
    stage = private_stage(tmp_path, path, reviewers=[ann.public, bob.public], num_signoffs=2)
    header = stage.paper.header
    assert header.task == "private:office"
    assert [(s.name, s.num_problems, s.num_public) for s in header.strata] == [
        ("a/number", 4, 2), ("b/number", 4, 2), ("c/number", 4, 2),
    ]  # fmt: skip
    assert all(len(problem.signoffs) == 2 for problem in stage.paper.problems)
    stage.task = task_of_paper(stage.paper)  # grading needs no private file
    certificate = stage.certificate(ToyModel(reply=lambda prompt, _: ("#### 0", "stop")))
    assert certificate.result.sealed.counts["wrong"] >= 5
    assert any("signed off by at least 2 of: Ann" in text for text in certificate.statements)
    stage.check()
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    on_disk = [p.read_bytes() for p in (tmp_path / "stage").rglob("*") if p.is_file()]
    assert not any(p.problem.canonical_text.encode() in data for p in sealed.problems for data in on_disk)


def test_missing_sign_offs_keep_a_paper_from_being_sealed(tmp_path, reviewed):
    path, ann, bob = reviewed
    lines = path.read_text().splitlines()
    row = json.loads(lines[5])
    row["signoffs"] = row["signoffs"][:1]
    path.write_text("\n".join([*lines[:5], json.dumps(row), *lines[6:]]))
    with pytest.raises(TaskError, match="1 of the 12 drawn problems carry fewer than 2"):
        private_stage(tmp_path, path, reviewers=[ann.public, bob.public], num_signoffs=2)
    stage = private_stage(tmp_path, path, reviewers=[ann.public, bob.public], num_signoffs=1)
    write_record(stage.papers / "paper.json", stage.paper)


@pytest.mark.parametrize(
    ("reviewers", "count", "message"),
    [(1, 2, "need as many reviewers"), (1, 0, "at least one a problem"), ("examiner", 1, "cannot be a reviewer")],
)
def test_impossible_sign_offs(tmp_path, reviewed, reviewers, count, message):
    path, ann, _ = reviewed
    task, examiner = load_private(path, name="office"), KeyPair.generate("Eve")
    keys = [examiner.public] if reviewers == "examiner" else [ann.public]
    from spiritsafe.ledger import Ledger

    with pytest.raises(TaskError, match=message):
        seal(
            task, count=12, ledger=Ledger(tmp_path / "l.jsonl"), directory=tmp_path / "p", examiner=examiner,
            terms=PaperTerms(reviewers=keys, num_signoffs=count),
        )  # fmt: skip


def test_generated_problems_have_no_reviewers(tmp_path):
    with pytest.raises(TaskError, match="private file"):
        make_stage(tmp_path, terms=PaperTerms(reviewers=[KeyPair.generate("Ann").public], num_signoffs=1))


def test_an_opened_half_without_sign_offs_is_refused(tmp_path, reviewed, monkeypatch):
    """An examiner who slips unsigned problems into the sealed half is found when it is opened."""
    path, ann, bob = reviewed
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for row in lines:
        row["signoffs"] = []
    path.write_text("\n".join(map(json.dumps, lines)))
    monkeypatch.setattr("spiritsafe.exam.paper.seal.unsigned", lambda *_: [])
    stage = private_stage(tmp_path, path, reviewers=[ann.public, bob.public], num_signoffs=1)
    with pytest.raises(IntegrityError, match="sign-offs"):
        open_sealed(stage.papers, stage.paper, stage.examiner)


def test_what_a_killed_seal_left_is_gone_after_the_next(tmp_path):
    (tmp_path / "paper").mkdir()
    left = [tmp_path / "paper" / name for name in (".paper.json.abc.tmp", ".sealed.age.def.tmp")]
    for path in left:
        path.write_text("half")
    make_stage(tmp_path)
    assert not any(path.exists() for path in left)
    assert load_paper(tmp_path / "paper")


def test_a_paper_without_end_is_refused_before_a_problem_is_drawn(tmp_path):
    with pytest.raises(TaskError, match="at most 100,000 problems"):
        make_stage(tmp_path, count=999_999_999_999)
