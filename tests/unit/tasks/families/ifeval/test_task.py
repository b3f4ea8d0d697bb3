"""The ifeval family: rows of the published layout, verdicts, figures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from ifeval_rows import ROWS, row
from table_parts import write_rows

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem
from spiritsafe.tasks.families.ifeval.task import instruction_rates
from spiritsafe.tasks.grading.audit import audit_task
from spiritsafe.tasks.registry import load_named, load_task

if importlib.util.find_spec("langdetect") is None or importlib.util.find_spec("punkt") is None:
    pytest.skip("the extra ifeval is not installed", allow_module_level=True)

MANY = [{**one, "prompt": f"{one['prompt']} ({n})"} for n in range(6) for one in ROWS if one["key"] != 15]


@pytest.fixture(params=["a.jsonl", "a.parquet"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / str(request.param)
    write_rows(path, MANY)
    return path


def test_prompts_stand_as_they_are_and_examples_pass(file: Path) -> None:
    task = load_task(f"ifeval?file={file}")
    problems = list(task.problems("train", seed=0, count=24))
    prompts = {one["prompt"]: one for one in MANY}
    for problem in problems:
        (message,) = problem.messages
        assert message.role == "user"
        given = prompts[message.content]
        assert [one["id"] for one in problem.facts["instructions"]] == given["instruction_id_list"]  # type: ignore[union-attr,index,call-overload]  # a list of objects
        verdict = task.grade(problem, task.gold(problem))
        assert (verdict.status, verdict.score) == ("correct", 1.0), verdict.reason
        assert task.grade(problem, " ").status == "unparsed"
    assert load_named(task.name).name == task.name


def test_layouts_give_the_same_problems(tmp_path: Path) -> None:
    texts = []
    for name in ("a.jsonl", "b.parquet"):
        write_rows(tmp_path / name, MANY)
        problems = load_task(f"ifeval:{tmp_path / name}").problems("train", seed=0, count=50)
        texts.append({one.canonical_text: one.facts["instructions"] for one in problems})
    shared = texts[0].keys() & texts[1].keys()
    assert len(shared) > 20
    assert all(
        json.dumps(texts[0][text], sort_keys=True) == json.dumps(texts[1][text], sort_keys=True) for text in shared
    )


def problem_of(tmp_path: Path, spec: str = "") -> tuple[object, Problem]:
    asked = row(
        1,
        "Say hi without commas, in two words or more, as JSON.",
        ("punctuation:no_comma", {}),
        ("length_constraints:number_words", {"num_words": 2, "relation": "at least"}),
        ("detectable_format:json_format", {}),
    )
    write_rows(tmp_path / "one.jsonl", [{**asked, "prompt": f"{asked['prompt']} {n}"} for n in range(30)])
    task = load_task(f"ifeval?file={tmp_path / 'one.jsonl'}{spec}")
    return task, next(task.problems("train", seed=0, count=1))


def test_the_verdict_says_what_was_not_followed(tmp_path: Path) -> None:
    task, problem = problem_of(tmp_path)
    verdict = task.grade(problem, "Hi, you!")  # type: ignore[attr-defined]  # a task
    assert verdict.status == "wrong"
    assert verdict.score == pytest.approx(1 / 3)
    assert verdict.reason == "follows 1 of 3; not punctuation:no_comma, detectable_format:json_format"
    assert task.grade(problem, '<think>Hm, hm.</think>{"hi": "you there"}').status == "correct"  # type: ignore[attr-defined]  # as above
    assert task.grade(problem, '<think>Hm, {"hi": "you there"}').status == "unparsed"  # type: ignore[attr-defined]  # as above
    assert task.grade(problem, "a" * 200_000).status == "unparsed"  # type: ignore[attr-defined]  # as above


def test_loose_is_another_task(tmp_path: Path) -> None:
    text = 'Sure, here:\n{"hi": "you there"}'
    strict, problem = problem_of(tmp_path)
    loose, same = problem_of(tmp_path, "&loose=true")
    graded = [task.grade(one, text) for task, one in ((strict, problem), (loose, same))]  # type: ignore[attr-defined]  # tasks
    assert [verdict.status for verdict in graded] == ["wrong", "correct"]
    assert [verdict.version for verdict in graded] == ["1", "1+loose"]
    rates = instruction_rates([(problem, graded[0]), (same, graded[1])])
    assert (rates.num_prompts, rates.num_prompts_followed) == (2, 1)
    assert (rates.num_instructions, rates.num_instructions_followed) == (6, 4)
    assert rates.prompt_level == 0.5
    assert rates.instruction_level == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"instruction_id_list": ["punctuation:no_coma"], "kwargs": [{}]}, 'no instruction "punctuation:no_coma"'),
        ({"instruction_id_list": ["startend:quotation"], "kwargs": []}, "as many instructions as arguments"),
        ({"kwargs": [{}, {}, {}]}, "needs num_highlights"),
        ({"prompt": None}, "needs a prompt"),
    ],
)
def test_rows_that_cannot_be_graded_are_told_before_anybody_is_asked(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    write_rows(tmp_path / "a.jsonl", [*MANY[1:], {**MANY[0], **change}])
    with pytest.raises(TaskError, match=rf"row {len(MANY)}.*{said}"):
        list(load_task(f"ifeval?file={tmp_path / 'a.jsonl'}").problems("train", seed=0, count=1000))


def test_without_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path / "a.jsonl", MANY)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TaskError, match="langdetect and punkt, not installed") as caught:
        load_task(f"ifeval?file={tmp_path / 'a.jsonl'}")
    assert "pip install 'spiritsafe[ifeval]'" in caught.value.hint


def test_it_passes_its_audit_and_junk_is_its_floor(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", MANY)
    report = audit_task(load_task(f"ifeval?file={tmp_path / 'a.jsonl'}"), count=30)
    assert report.passed, report.reasons
    assert report.marked_accepted is None
    assert 0 < report.floor_score < 0.9
