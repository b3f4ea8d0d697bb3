"""The ``code`` family: one set of problems in several tasks and languages, dealt to splits once."""

from __future__ import annotations

from pathlib import Path

import pytest
from called import call
from code_parts import usable
from code_problems import in_fence

from spiritsafe.cli import tasks
from spiritsafe.cli.answers import sample
from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem, Sampling
from spiritsafe.rollouts import FakeGenerator, collect, read_attempts
from spiritsafe.rollouts.attempts.read import verified
from spiritsafe.tasks.code.templates.catalogue import templates
from spiritsafe.tasks.code.templates.template import Template
from spiritsafe.tasks.exam_bucket import exam_problems
from spiritsafe.tasks.families.code import task as module
from spiritsafe.tasks.grading.pool import GraderPool
from spiritsafe.tasks.registry import load_named, load_task
from spiritsafe.tasks.splits import bucket_of, bucket_of_text, split_of

SPECS = (
    "code:solve",
    "code:solve?language=cobol",
    "code:solve?language=fortran&level=1-2&examples=0",
    "code:tests",
    "code:tests?inputs=40",
)


def test_a_function_is_in_one_bucket_in_every_task_and_language() -> None:
    """The oracle is the text alone: the same canonical text under each name."""
    texts = [problem.canonical_text for problem in load_task(SPECS[0]).problems("train", seed=0, count=12)]
    names = [load_task(spec).name for spec in SPECS]
    for text in texts:
        assert len({bucket_of_text(name, text) for name in names}) == 1
        assert bucket_of_text(names[0], text) < 80
    assert len({bucket_of_text(names[0], text) for text in texts}) > 1


def test_what_an_exam_of_one_asks_is_studied_in_none() -> None:
    spec = "templates=in_band&level=1-5"
    exam = list(exam_problems(load_task(f"code:solve?{spec}"), seed=5, count=15))
    assert {split_of(problem) for problem in exam} == {"exam"}
    asked = {problem.canonical_text for problem in exam}
    for name in (f"code:tests?{spec}", f"code:solve?language=fortran&{spec}", f"code:solve?examples=0&{spec}"):
        for split in ("train", "dev"):
            drawn = list(load_task(name).problems(split, seed=5, count=40 if split == "train" else 8))  # type: ignore[arg-type]  # both are splits
            assert not asked & {problem.canonical_text for problem in drawn}
            assert {split_of(problem) for problem in drawn} == {split}
            assert all(bucket_of(problem) < 90 for problem in drawn)


def test_the_seed_alone_decides() -> None:
    for spec in SPECS[:4]:
        first = list(load_task(spec).problems("train", seed=4, count=6))
        assert list(load_task(spec).problems("train", seed=4, count=4)) == first[:4]
        other = list(load_task(spec).problems("train", seed=5, count=6))
        assert {one.id for one in other} != {one.id for one in first}
        assert len({one.id for one in first}) == 6


def test_levels_and_templates_are_kept_to() -> None:
    levels = {name: one.level for name, one in templates().items()}
    found = [
        p.canonical_text.partition("(")[0] for p in load_task("code:solve?level=4").problems("train", seed=0, count=9)
    ]
    assert {levels[name] for name in found} == {4}
    assert len(set(found)) > 4
    chosen = load_task("code:solve?templates=in_band, orbit").problems("train", seed=0, count=8)
    assert {one.canonical_text.partition("(")[0] for one in chosen} == {"in_band", "orbit"}


def test_knobs_change_the_question_as_they_say() -> None:
    (plain,) = load_task("code:solve?examples=0&templates=in_band").problems("train", seed=1, count=1)
    (many,) = load_task("code:solve?examples=7&templates=in_band&inputs=9").problems("train", seed=1, count=1)
    assert "Examples:" not in plain.messages[0].content
    assert many.messages[0].content.count(" gives ") == 7
    assert plain.canonical_text == many.canonical_text
    assert len(many.facts["tests"]) == 9  # type: ignore[arg-type]  # a list


@pytest.mark.parametrize(("language", "title"), [("python", "Python"), ("fortran", "Fortran"), ("cobol", "COBOL")])
def test_a_brief_question_is_a_line_and_the_statement(language: str, title: str) -> None:
    spec = f"code:solve?language={language}&templates=in_band&examples=0"
    (brief,) = load_task(f"{spec}&question=brief").problems("train", seed=1, count=1)
    (whole,) = load_task(spec).problems("train", seed=1, count=1)
    first, statement = brief.messages[0].content.split("\n")
    assert first == f"{title}: is_chosen(x: int) -> bool"
    assert statement in whole.messages[0].content
    assert (brief.canonical_text, brief.solution) == (whole.canonical_text, whole.solution)
    assert "question" not in whole.task  # names of tasks that do not set it stay as they were
    (shown,) = load_task(f"{spec.replace('examples=0', 'examples=2')}&question=brief").problems(
        "train", seed=1, count=1
    )
    assert shown.messages[0].content.count(" gives ") == 2


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("code:solv", 'There is no task "code:solv"'),
        ("code:solve?language=fortan", 'There is no language "fortan"'),
        ("code:solve?templates=in_bnd", 'There is no template "in_bnd"'),
        ("code:solve?templates=in_band&level=5", "No template has a level from 5 to 5"),
        ("code:solve?level=0", "No template has a level from 0 to 0"),
        ("code:solve?inputs=3", "inputs"),
        ("code:solve?inputs=201", "inputs"),
        ("code:solve?examples=11", "examples"),
        ("code:solve?examples=-1", "examples"),
        ("code:solve?question=short", "question"),
        ("code:solve?mutants=5", "mutants"),
        ("code:tests?examples=3", "examples"),
        ("code:tests?inputs=10", "inputs"),
        ("code:tests?mutants=0", "mutants"),
        ("code:tests?share=0", "share"),
        ("code:tests?share=1.5", "share"),
        ("code:tests?valid=0", "valid"),
        ("code:tests?goal=2", "goal"),
    ],
)
def test_what_cannot_be_is_refused(spec: str, words: str) -> None:
    with pytest.raises(TaskError) as caught:
        load_task(spec)
    assert words in caught.value.message
    assert caught.value.hint


def test_near_names_are_told() -> None:
    for spec, near in (
        ("code:solv", "solve"),
        ("code:solve?language=fortan", "fortran"),
        ("code:solve?templates=in_bnd", "in_band"),
    ):
        with pytest.raises(TaskError) as caught:
            load_task(spec)
        assert f'"{near}"' in caught.value.hint or near in caught.value.hint


@pytest.mark.parametrize("kind", ["solve", "tests"])
def test_a_paper_is_graded_from_its_facts_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates that were changed since, or are broken, move no verdict of what was asked."""
    task = load_task(f"code:{kind}?level=1")
    problems = [Problem.from_json(one.to_json()) for one in exam_problems(task, seed=1, count=2)]
    golds = [task.gold(one) for one in problems]

    def broken(*given: object, **named: object) -> None:
        raise AssertionError("a template was asked")

    monkeypatch.setattr(module, "facts_of", broken)
    monkeypatch.setattr(Template, "exercise", broken)
    named = load_named(task.name)
    assert named.name == task.name
    assert [named.grade(one, gold).status for one, gold in zip(problems, golds, strict=True)] == ["correct"] * 2
    assert [named.grade(one, in_fence("x = 1\n")).status for one in problems] == ["wrong"] * 2


def test_thoughts_are_no_answer() -> None:
    task = load_task("code:solve?level=1")
    (problem,) = task.problems("train", seed=0, count=1)
    gold = task.gold(problem)
    assert task.grade(problem, f"<think>Hm.\n{in_fence('x = 1' + chr(10))}\n</think>\n{gold}").status == "correct"
    assert task.grade(problem, f"<think>{gold}").status == "unparsed"


def test_labelled_answers_are_of_the_problem() -> None:
    for kind in ("solve", "tests"):
        task = load_task(f"code:{kind}?level=1")
        (problem,) = task.problems("train", seed=2, count=1)
        found = task.labelled_answers(problem)
        assert {one.is_right for one in found} == {True, False}
        assert any(task.gold(problem).strip("`").partition("\n")[2].strip() in text for text in found[0].texts)


def test_twenty_answers_are_graded_side_by_side() -> None:
    task = load_task("code:solve?level=1-2")
    problems = list(task.problems("train", seed=3, count=10))
    pairs = [(one, task.gold(one)) for one in problems]
    pairs += [(one, in_fence("def f():\n    return 1\n")) for one in problems]
    with GraderPool(task, num_workers=4) as pool:
        verdicts = pool.grade_many(pairs)
    assert [one.status for one in verdicts] == ["correct"] * 10 + ["wrong"] * 10


def test_a_model_that_writes_nonsense_is_never_right(tmp_path: Path) -> None:
    text = call(
        sample.command, "code:solve?level=1", "--model", "tiny:0?context=1024", "--out", str(tmp_path / "attempts"),
        "--problems", "3", "--max-tokens", "8", "--temperature", "1", "--samples", "2",
    )  # fmt: skip
    assert "6 attempts at 3 problems" in text
    assert {verdict.status for _, verdict in read_attempts(tmp_path / "attempts")} <= {"wrong", "unparsed"}
    assert verified(tmp_path / "attempts")[0] == []


def test_as_a_filter_of_rollouts_it_keeps_what_is_right(tmp_path: Path) -> None:
    task = load_task("code:solve?level=1-2")
    problems = list(task.problems("train", seed=6, count=4))
    golds = {one.id: task.gold(one) for one in problems}
    wrong = in_fence("def f():\n    return 1\n")
    generator = FakeGenerator(lambda problem, sample: (golds[problem], wrong, "I cannot.")[sample])
    sampling = Sampling(temperature=0.0, max_tokens=900)
    with GraderPool(task, num_workers=2) as pool:
        report = collect(
            pool, problems, generator, sampling, num_samples=3, seed=0, directory=tmp_path / "kept", shard_size=2
        )
    assert report.num_attempts == 12
    kept, _ = verified(tmp_path / "kept")
    assert [(problem, attempt.text) for problem, attempt in kept] == [(one.id, golds[one.id]) for one in problems]
    assert all(
        str(verdict.sandbox) != "None"
        for _, verdict in read_attempts(tmp_path / "kept")
        if verdict.status != "unparsed"
    )


@pytest.mark.parametrize("language", ["python", "fortran", "cobol"])
def test_tasks_show(language: str) -> None:
    usable(language)
    text = call(tasks.command, "show", f"code:solve?language={language}&level=1", "--count", "2", "--seed", "1")
    assert text.count("user: Write a function in ") == 2
    assert text.count("gold: ```") == 2
    assert text.count("Answer with the whole code in one block.") == 2


def test_the_family_is_listed_with_its_languages() -> None:
    listed = {name: about for name, about, refused in module.FAMILY.describe() if refused is None}
    assert set(listed) == {"explain", "solve", "tests"}
    assert "cobol, fortran, python" in listed["solve"]
