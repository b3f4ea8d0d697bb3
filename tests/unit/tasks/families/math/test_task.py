"""The math family on a small GSM8K-like file and on LaTeX answers."""

import json
import threading
from pathlib import Path

import pytest

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.core.process.children.pool import ChildPool
from spiritsafe.core.records import Problem
from spiritsafe.tasks.exam_bucket import exam_problems
from spiritsafe.tasks.families.math.task import MathKnobs, MathTask, ValueVerifier, gold_and_solution
from spiritsafe.tasks.registry import load_task


def rows(count: int = 60) -> list[dict[str, str]]:
    return [
        {
            "question": f"Ann has {n} pens and buys {n + 1}.  How many?",
            "answer": f"She has {n}+{n + 1}=<<{n}+{n + 1}={2 * n + 1}>>{2 * n + 1}.\n#### {2 * n + 1:,}",
        }
        for n in range(480, 480 + count)
    ]


def write(path: Path, values: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), "utf-8")
    return str(path)


@pytest.fixture
def gsm(tmp_path: Path) -> str:
    return write(tmp_path / "gsm.jsonl", rows())


def test_gold_is_right_shuffled_gold_is_wrong(gsm: str) -> None:
    task = load_task(f"math:{gsm}")
    problems = list(task.problems("train", seed=0, count=40))
    for problem, other in zip(problems, problems[1:] + problems[:1], strict=True):
        assert problem.solution is not None
        assert other.solution is not None
        assert "<<" not in problem.solution
        assert task.grade(problem, problem.solution).status == "correct"
        assert task.grade(problem, task.gold(problem)).status == "correct"
        assert task.grade(problem, other.solution).status == "wrong"
        assert task.grade(problem, problem.messages[0].content).status != "correct"


def test_name_carries_the_digest_and_grades_without_the_file(gsm: str) -> None:
    task = load_task(f"math:{gsm}")
    problem = next(task.problems("train", seed=0, count=1))
    assert "sha256=" in task.name
    Path(gsm).unlink()
    again = load_task(task.name)
    assert again.name == task.name
    assert again.grade(problem, task.gold(problem)).status == "correct"
    with pytest.raises(SourceError):
        next(again.problems("train", seed=0, count=1))


def test_exam_problems_come_from_the_exam_file(gsm: str, tmp_path: Path) -> None:
    official = write(tmp_path / "test.jsonl", [{**row, "question": "Exam: " + row["question"]} for row in rows()])
    task = load_task(f"math:{gsm}?exam={official}")
    assert all(p.canonical_text.startswith("Exam:") for p in exam_problems(task, seed=0, count=3))
    assert not any(p.canonical_text.startswith("Exam:") for p in task.problems("train", seed=0, count=20))


@pytest.mark.parametrize(
    ("answer", "gold", "solution"),
    [
        ("4 + 4 = <<4+4=8>>8\n#### 8", "8", "4 + 4 = 8\n#### 8"),
        (r"So $x=\boxed{\frac{1}{2}}$.", r"\frac{1}{2}", "So $x=\\boxed{\\frac{1}{2}}$.\n#### \\frac{1}{2}"),
        ("8", "8", None),
    ],
)
def test_gold_and_solution(answer: str, gold: str, solution: str | None) -> None:
    assert gold_and_solution(answer) == (gold, solution)


def grades(pool: ChildPool, gold: str, texts: dict[str, str]) -> dict[str, str]:
    task = MathTask("gone.jsonl", MathKnobs(sha256="ab"), pool=pool)
    problem = Problem(task=task.name, canonical_text="x", messages=(), facts={"answer": gold})
    return {text: task.grade(problem, text).status for text in texts}


@pytest.fixture(scope="module")
def pool():  # type: ignore[no-untyped-def]  # a fixture
    pool = ChildPool(max_children=1)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("gold", "texts"),
    [
        (
            r"\frac{1}{2}",
            {
                r"\boxed{\frac{1}{2}}": "correct",
                "#### 0.5": "correct",
                "The answer is 1/2.": "correct",
                "So it must be $\\frac{2}{4}$.": "correct",
                "#### 2": "wrong",
                "#### \\frac{1}{3}": "wrong",
                "": "unparsed",
                "I do not know": "unparsed",
            },
        ),
        (r"x^2+2x+1", {r"\boxed{(x+1)^2}": "correct", r"\boxed{(x+2)^2}": "wrong"}),
        (
            "4",
            {r"\boxed{2\sqrt{4}}": "correct", "#### 4 km": "correct", "#### 5 km": "wrong", "#### 4 or 5": "unparsed"},
        ),
        ("2", {r"\boxed{2\sqrt{4}}": "wrong"}),
        ("no solution", {"#### No solution.": "correct"}),
    ],
)
def test_values_are_compared_as_values(pool: ChildPool, gold: str, texts: dict[str, str]) -> None:
    assert grades(pool, gold, texts) == texts


def test_works_off_the_main_thread(pool: ChildPool) -> None:
    results: list[dict[str, str]] = []
    thread = threading.Thread(target=lambda: results.append(grades(pool, r"\sqrt{2}", {r"\boxed{\sqrt{2}}": ""})))
    thread.start()
    thread.join()
    assert results == [{r"\boxed{\sqrt{2}}": "correct"}]


@pytest.mark.parametrize("gold", [r"\sqrt{2}", "8"])
def test_what_could_explode_never_reaches_math_verify(gold: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [r"9^{9^{9^9}}", "999999999!", "(x+1)^{100000}", r"\binom{10^8}{10^7}"]
    pool = ChildPool(max_children=1)
    monkeypatch.setattr(pool, "call", lambda *_, **__: pytest.fail("it was evaluated"))
    found = grades(pool, gold, {rf"\boxed{{{text}}}": "" for text in texts * 3})
    assert set(found.values()) == {"unparsed"}


def test_a_verdict_does_not_hang_on_what_was_graded_before(pool: ChildPool) -> None:
    texts = {r"\boxed{\tan((e-12-(\pi)^{3})^{3})}": "", r"\boxed{\sqrt{2}}": "", "#### 8 or 9": ""}
    first = grades(pool, r"\sqrt{2}", texts)
    again = grades(pool, r"\sqrt{2}", dict(reversed([*texts.items()])))
    assert first == again
    assert [*first.values()] == ["wrong", "correct", "unparsed"]


def test_one_text_is_right_for_one_number_only(pool: ChildPool) -> None:
    for text in ("#### 8 | 9", "#### $7$ $8$ $9$", "#### 7 boxes $9$", "#### 8", r"\boxed{\sqrt{16}}"):
        right = [gold for gold in "0123456789" if grades(pool, gold, {text: ""})[text] == "correct"]
        assert right == ({"#### 8": ["8"], r"\boxed{\sqrt{16}}": ["4"]}.get(text, []))


def test_the_decimal_knob(tmp_path: Path) -> None:
    location = write(tmp_path / "a.jsonl", [{"question": f"{n}?", "answer": f"{n}.000,5"} for n in range(1, 30)])
    plain, point, comma = (load_task(f"math:{location}{knob}") for knob in ("", "?decimal=point", "?decimal=comma"))
    assert plain.name == point.name  # the default has no place in a name: names of old papers stay
    assert "decimal=" not in plain.name
    assert "decimal=comma" in comma.name
    assert load_task(comma.name).verifier.version == "3+comma"
    problem = next(comma.problems("train", seed=0, count=1))
    gold = comma.gold(problem)
    assert comma.grade(problem, f"#### {gold}").status == "correct"
    assert comma.grade(problem, f"#### {gold.replace('.', '')}").status == "correct"
    assert comma.grade(problem, f"#### {gold.partition(',')[0]}").status == "wrong"
    with pytest.raises(TaskError, match="decimal"):
        load_task(f"math:{location}?decimal=dot")


def test_number_verifier_needs_a_number_as_gold() -> None:
    problem = Problem(task="t:t", canonical_text="x", messages=(), facts={"answer": "red"})
    with pytest.raises(ValueError, match="no number"):
        ValueVerifier().judge(problem, "8")


def test_a_gold_that_is_no_mathematics_is_the_datas_fault(pool: ChildPool) -> None:
    assert grades(pool, "the red one", {"#### 7": ""}) == {"#### 7": "unscored"}


def test_bad_data_and_knobs(tmp_path: Path) -> None:
    location = write(tmp_path / "a.jsonl", [{"problem": "1+1", "result": "2"}])
    with pytest.raises(TaskError, match='no text in the field "question"') as caught:
        next(load_task(f"math:{location}").problems("train", seed=0, count=1))
    assert "problem, result" in caught.value.hint
    with pytest.raises(TaskError, match="split= cannot take effect"):
        load_task(f"math:{location}?split=test")
    with pytest.raises(SourceError):
        load_task("math:/no/such/file.jsonl")
    with pytest.raises(TaskError, match='no knob "anwser"'):
        load_task(f"math:{location}?anwser=x")


def test_other_fields_solution_and_hint(tmp_path: Path) -> None:
    location = write(tmp_path / "a.jsonl", [{"p": f"1+{n}", "r": str(n + 1), "s": "Count."} for n in range(20)])
    task = load_task(f"math:{location}?question=p&answer=r&solution=s&hint=false")
    problem = next(task.problems("train", seed=0, count=1))
    assert problem.messages[0].content == problem.canonical_text
    assert problem.solution == f"Count.\n#### {problem.facts['answer']}"
