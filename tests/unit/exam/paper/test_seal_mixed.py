"""A paper of a mix: sealed, sat and verified like any other, each problem graded by its own part."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from exam_parts import Stage, ToyModel, make_stage

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import Prompt
from spiritsafe.exam import load_certificate, load_paper, verify
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.tasks import Task, load_task, split_of

SPEC = "mix:arith:countdown*2|arith:sums?terms=2"


@pytest.fixture
def mixed(tmp_path: Path) -> Stage:
    task: Task = load_task(SPEC)
    return make_stage(tmp_path, count=30, task=task)  # type: ignore[arg-type]  # a stage takes any task


def test_the_bank_holds_each_part_by_its_share_and_only_exam_problems(mixed: Stage) -> None:
    sealed = open_sealed(mixed.papers, mixed.paper, mixed.examiner)
    problems = [place.problem for place in (*mixed.paper.problems, *sealed.problems)]
    assert Counter(problem.task.partition("?")[0] for problem in problems) == {"arith:countdown": 20, "arith:sums": 10}
    assert {split_of(problem) for problem in problems} == {"exam"}
    assert mixed.paper.header.task == mixed.task.name
    assert mixed.paper.header.verifier == "mix/1:arith.countdown/2,arith.number/2"


def test_it_is_sat_and_verified_and_a_strange_problem_is_found(mixed: Stage) -> None:
    sealed = open_sealed(mixed.papers, mixed.paper, mixed.examiner)
    golds = {p.problem.id: mixed.task.gold(p.problem) for p in (*mixed.paper.problems, *sealed.problems)}
    sums = {p.problem.id for p in (*mixed.paper.problems, *sealed.problems) if "sums" in p.problem.task}

    def reply(prompt: Prompt, _index: int) -> tuple[str, str]:
        return (golds[prompt.problem_id] if prompt.problem_id in sums else "1 + 1", "stop")

    certificate = mixed.certificate(ToyModel(reply=reply))  # type: ignore[arg-type]  # "stop" is a finish reason
    result = certificate.result
    right = sum(outcome.status == "correct" for outcome in result.outcomes)
    assert (right, len(result.outcomes)) == (10, 30)
    found = verify(
        mixed.root / "sitting/certificate.json",
        paper=mixed.papers,
        ledger=mixed.root / "ledger.jsonl",
        result=mixed.root / "sitting/result.json",
        sealed=mixed.papers / "sealed.age",
    )
    assert [step.name for step in found if not step.ok] == []
    assert load_certificate(mixed.root / "sitting/certificate.json") == certificate

    path = mixed.papers / "paper.json"
    path.write_bytes(path.read_bytes().replace(b'"task":"arith:sums', b'"task":"arith:sumz'))
    with pytest.raises(IntegrityError):
        load_paper(mixed.papers)
