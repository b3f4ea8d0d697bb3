from __future__ import annotations

import random

import pytest
from exam_parts import SECRET, ToyTask, make_stage

from spiritsafe.core.errors import IntegrityError, ProcedureError, SourceError, TaskError
from spiritsafe.core.files.record_files import write_record
from spiritsafe.exam import load_paper, seal
from spiritsafe.exam.paper.files import check_bank, check_split, open_sealed
from spiritsafe.exam.paper.split import public_indices
from spiritsafe.exam.records.paper import PublicPaper
from spiritsafe.ledger import KeyPair, Ledger, root_of_leaves
from spiritsafe.tasks import split_of


def test_a_paper_is_two_random_halves_of_one_committed_bank(stage):
    header = stage.paper.header
    assert (header.num_problems, header.num_public, header.num_sealed) == (20, 10, 10)
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    bank = sorted((*stage.paper.problems, *sealed.problems), key=lambda problem: problem.index)
    assert [problem.index for problem in bank] == list(range(20))
    assert len({problem.problem.id for problem in bank}) == 20
    assert all(split_of(problem.problem) == "exam" for problem in bank)
    assert tuple(problem.commitment for problem in bank) == stage.paper.commitments
    assert len({problem.salt for problem in bank}) == 20
    assert header.bank_root == root_of_leaves([bytes.fromhex(c) for c in stage.paper.commitments]).hex()
    (entry,) = stage.ledger.find("paper")
    assert entry.body["paper_id"] == header.paper_id
    assert load_paper(stage.papers) == stage.paper


def test_nothing_secret_is_on_disk_in_the_clear(stage):
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    files = [path.read_bytes() for path in stage.root.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for needle in [
        sealed.secret,
        *(p.salt for p in sealed.problems),
        *(p.problem.canonical_text for p in sealed.problems),
    ]:
        assert not any(needle.encode() in data for data in files)
    public = stage.paper.problems[0].problem.canonical_text.encode()
    assert any(public in data for data in files)


def test_only_the_examiner_opens_it(stage):
    with pytest.raises(IntegrityError, match="cannot open"):
        open_sealed(stage.papers, stage.paper, KeyPair.generate("Mallory"))


def test_the_same_secret_draws_the_same_bank(tmp_path, stage):
    again = make_stage(tmp_path / "again")
    assert again.paper.commitments == stage.paper.commitments
    assert again.paper.problems == stage.paper.problems
    other = seal(stage.task, count=20, ledger=again.ledger, directory=tmp_path / "other", examiner=again.examiner)
    assert not set(other.commitments) & set(stage.paper.commitments)


def test_the_public_half_says_nothing_about_the_sealed(tmp_path, stage):
    # Each problem has its own seed: drawing more changes none of the earlier ones and shares no stream with them.
    longer = seal(
        stage.task, count=30, ledger=stage.ledger, directory=tmp_path / "l", examiner=stage.examiner, secret=SECRET
    )
    assert longer.commitments[:20] == stage.paper.commitments


def test_split_is_balanced_and_moves_with_the_root():
    sizes = [0] * 40
    for number in range(400):
        chosen = public_indices(f"{number:064x}", 40, 20)
        assert len(chosen) == 20
        assert chosen == tuple(sorted(chosen))
        for index in chosen:
            sizes[index] += 1
    assert all(140 < size < 260 for size in sizes)  # 200 expected, standard deviation 10


def test_sealing_again_changes_nothing(stage):
    before = {path: path.read_bytes() for path in stage.root.rglob("*") if path.is_file()}
    again = seal(stage.task, count=20, ledger=stage.ledger, directory=stage.papers, examiner=stage.examiner)
    assert again == stage.paper
    assert before == {path: path.read_bytes() for path in stage.root.rglob("*") if path.is_file()}


def test_a_kill_before_the_ledger_entry_is_made_good(stage, tmp_path):
    ledger = Ledger(tmp_path / "second.jsonl")
    seal(stage.task, count=20, ledger=ledger, directory=stage.papers, examiner=stage.examiner)
    assert ledger.find("paper")[0].body == stage.ledger.find("paper")[0].body


@pytest.mark.parametrize("change", ["count", "task", "version", "examiner"])
def test_another_paper_is_never_overwritten(stage, change):
    task = {"task": ToyTask(limit=500), "version": ToyTask(version="2")}.get(change, stage.task)
    examiner = stage.maker if change == "examiner" else stage.examiner
    with pytest.raises(ProcedureError, match="another paper"):
        seal(
            task, count=22 if change == "count" else 20, ledger=stage.ledger, directory=stage.papers, examiner=examiner
        )


def test_a_task_that_is_too_small(tmp_path):
    with pytest.raises(TaskError):
        make_stage(tmp_path, count=60, task=ToyTask(limit=12))


def test_a_small_family_can_be_used_up(tmp_path):
    task = ToyTask(limit=12)
    distinct = [f"{a}+{b}" for a in range(12) for b in range(12)]
    size = sum(split_of(task._problem(*map(int, text.split("+")), text)) == "exam" for text in distinct)
    paper = make_stage(tmp_path, count=size, task=task).paper
    assert paper.header.num_problems == size


@pytest.mark.parametrize(("count", "secret"), [(1, None), (4, b"short")])
def test_impossible_papers(tmp_path, count, secret):
    with pytest.raises(TaskError):
        seal(
            ToyTask(),
            count=count,
            ledger=Ledger(tmp_path / "l"),
            directory=tmp_path,
            examiner=KeyPair.generate("e"),
            secret=secret,
        )


def test_every_flipped_byte_of_the_paper_is_found(stage):
    path = stage.papers / "paper.json"
    data = path.read_bytes()
    rng = random.Random(1)
    for position in rng.sample(range(len(data)), 150):
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(damaged))
        try:
            paper = load_paper(path)
        except IntegrityError:
            continue
        # What only the header says is bound by the paper's id, which ledger and certificates name.
        assert paper.header.paper_id != stage.paper.header.paper_id


def test_every_flipped_byte_of_the_sealed_half_is_found(stage):
    path = stage.papers / "sealed.age"
    data = path.read_bytes()
    for position in random.Random(2).sample(range(len(data)), 40):
        damaged = bytearray(data)
        damaged[position] ^= 1
        path.write_bytes(bytes(damaged))
        with pytest.raises(IntegrityError):
            open_sealed(stage.papers, stage.paper, stage.examiner)


def test_swapped_problems_and_hand_picked_halves(stage):
    paper = stage.paper
    first, second, *rest = paper.problems
    swapped = paper.model_copy(
        update={"problems": (first.model_copy(update={"problem": second.problem}), second, *rest)}
    )
    with pytest.raises(IntegrityError, match=f"Problem {first.index}"):
        check_bank(swapped)
    sealed = open_sealed(stage.papers, paper, stage.examiner)
    picked = PublicPaper(
        header=paper.header, commitments=paper.commitments, problems=(*paper.problems[:-1], sealed.problems[0])
    )
    check_bank(picked)
    with pytest.raises(IntegrityError, match="root picks"):
        check_split(picked)
    write_record(stage.papers / "paper.json", picked)
    with pytest.raises(IntegrityError):
        load_paper(stage.papers)


def test_missing_files(tmp_path, stage):
    with pytest.raises(SourceError):
        load_paper(tmp_path / "none.json")
    (stage.papers / "sealed.age").unlink()
    with pytest.raises(SourceError):
        open_sealed(stage.papers, stage.paper, stage.examiner)
