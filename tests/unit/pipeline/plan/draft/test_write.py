from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import templates_parts
from schema_check import schema_faults

from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline import draft_recipe, plan_recipe, recipe_of, recipe_schema
from spiritsafe.pipeline.plan.draft import write as draft

SERVED = "http://127.0.0.1:8000/v1"


def rows(path: Path, kind: str, count: int = 120) -> str:
    one: dict[str, Any] = {
        "chats": lambda n: {"messages": [
            {"role": "user", "content": f"Hello {n}?"}, {"role": "assistant", "content": f"Hi, {n} times."}]},
        "prompts": lambda n: {"prompt": f"Say {n}."},
        "maths": lambda n: {"question": f"What is {n} + 1?", "answer": str(n + 1)},
        "worked": lambda n: {"question": f"What is {n} + 1?", "answer": f"One more.\n#### {n + 1}"},
    }  # fmt: skip
    file = path / f"{kind}.jsonl"
    file.write_text("".join(json.dumps(one[kind](n)) + "\n" for n in range(count)), "utf-8")
    return str(file)


def drafted(tmp_path: Path, data: str, teacher: str, student: str = "tiny:1", **options: Any) -> dict[str, Any]:
    """The values of a draft that loads, fits the schema and plans without a fault."""
    if teacher == SERVED:
        options = {"teacher_model": "big", **options}
    text = draft_recipe(data, teacher=teacher, student=student, cache=tmp_path / "cache", **options)
    values = tomllib.loads(text)
    schema = recipe_schema()
    assert schema_faults(values, schema, schema) == []
    _, _, faults = plan_recipe(recipe_of(values), cache=tmp_path / "cache")
    assert faults == []
    assert all(len(line) <= 200 for line in text.splitlines())
    return values


def kinds(values: dict[str, Any]) -> list[str]:
    return [step["kind"] for step in values["steps"]]


def test_a_served_teacher_answers_chats(tmp_path: Path) -> None:
    values = drafted(tmp_path, rows(tmp_path, "chats"), SERVED)
    assert kinds(values) == ["sample", "tune", "measure"]
    sample, tune, measure = values["steps"]
    assert (sample["keep"], sample["on"], sample["from"]) == ("all", ["chats"], "teacher")
    assert (tune["from"], tune["learns"]) == ("base", ["answers"])
    assert (measure["from"], measure["what"]) == (["base", "student"], ["nll"])
    assert values["models"]["teacher"]["model"] == "big"
    assert "exams" not in values


def test_a_teacher_says_no_more_than_its_student_can_read(tmp_path: Path) -> None:
    sampling = drafted(tmp_path, rows(tmp_path, "chats"), SERVED)["steps"][0]["sampling"]
    assert 64 <= sampling["max_tokens"] <= 1024 / 5, "tiny:1 reads bytes, and 1,024 of them"
    sampling = drafted(tmp_path, rows(tmp_path, "chats"), SERVED, "tiny:1?context=8192")["steps"][0]["sampling"]
    assert sampling["max_tokens"] == 1024


def test_where_answers_can_be_graded_the_right_ones_are_kept_and_an_exam_is_held(tmp_path: Path) -> None:
    values = drafted(tmp_path, rows(tmp_path, "maths", 400), SERVED)
    assert kinds(values) == ["sample", "tune"], "no worked solutions: there is nothing to read"
    assert values["steps"][0]["keep"] == "verified"
    (exam,) = values["exams"]
    assert exam["sits"] == ["base", "student"]
    assert exam["problems"] % 2 == 0
    values = drafted(tmp_path, rows(tmp_path, "worked", 400), SERVED)
    assert kinds(values) == ["sample", "tune", "measure"]


def test_few_rows_are_no_exam(tmp_path: Path) -> None:
    values = drafted(tmp_path, rows(tmp_path, "maths", 60), SERVED)
    assert "exams" not in values
    assert kinds(drafted(tmp_path, rows(tmp_path, "chats", 12), SERVED)) == ["sample", "tune"]


def test_a_teacher_that_is_here_reads_along_on_the_answers_that_there_are(tmp_path: Path) -> None:
    values = drafted(tmp_path, rows(tmp_path, "chats"), "tiny:0")
    assert kinds(values) == ["distil", "measure"]
    assert values["steps"][0]["learns"] == ["chats"]
    assert "objective" not in values["steps"][0]
    assert values["steps"][1]["what"] == ["nll", "kl:teacher"]


def test_where_there_are_no_answers_it_writes_them_first(tmp_path: Path) -> None:
    values = drafted(tmp_path, rows(tmp_path, "prompts"), "tiny:0")
    assert kinds(values) == ["sample", "distil"]
    assert values["steps"][1]["learns"] == ["answers"]
    assert values["engine"]["max_context"] >= values["steps"][0]["sampling"]["max_tokens"]


def test_other_tokens_are_followed_across(tmp_path: Path) -> None:
    other = str(templates_parts.harmony(tmp_path / "other"))
    values = drafted(tmp_path, rows(tmp_path, "chats"), other)
    assert values["steps"][0]["objective"] == "across"
    assert values["steps"][1]["what"] == ["nll"]


def test_a_task_has_an_exam_of_its_own(tmp_path: Path) -> None:
    values = drafted(tmp_path, "arith:sums?terms=2", "tiny:0")
    assert kinds(values) == ["distil", "measure"]
    assert values["exams"][0]["task"] == "arith:sums?terms=2"


def test_what_does_not_fit_in_memory_trains_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows(tmp_path, "chats")
    plain = drafted(tmp_path, data, SERVED)
    assert "lora" not in plain["steps"][1]
    peaks = iter([(5_000, 4_000), (3_000, 4_000)])
    monkeypatch.setattr(draft, "_peak", lambda text, cache: next(peaks))
    assert drafted(tmp_path, data, SERVED)["steps"][1]["lora"] == {"rank": 16}
    peaks = iter([(5_000_000_000, 4_000_000_000), (4_500_000_000, 4_000_000_000)])
    text = draft_recipe(data, teacher=SERVED, student="tiny:1", cache=tmp_path / "cache", teacher_model="big")
    assert "5.0 GB to train all weights, 4.0 GB here, 4.5 GB with adapters: a smaller student" in text


def test_a_student_that_is_out_of_reach_is_written_down_all_the_same(tmp_path: Path) -> None:
    nosuch = str(tmp_path / "nosuch")
    text = draft_recipe(rows(tmp_path, "chats"), teacher=SERVED, student=nosuch, cache=tmp_path, teacher_model="big")
    assert tomllib.loads(text)["models"]["base"]["source"] == nosuch
    assert "# not looked at: " in text
    _, _, faults = plan_recipe(recipe_of(tomllib.loads(text)), cache=tmp_path)
    assert len(faults) == 1, "and the plan says so"


def test_odd_names_are_quoted(tmp_path: Path) -> None:
    folder = tmp_path / 'a "quoted" \\ name ü\x7f'
    folder.mkdir()
    values = drafted(tmp_path, rows(folder, "chats"), SERVED, teacher_model='x"y')
    assert values["data"]["chats"]["files"] == [str(folder / "chats.jsonl")]
    assert values["models"]["teacher"]["model"] == 'x"y'


def test_a_key_is_named_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret")
    data = rows(tmp_path, "chats")
    text = draft_recipe(
        data, teacher=SERVED, student="tiny:1", cache=tmp_path, teacher_model="big", api_key_env="MY_KEY"
    )
    assert 'api_key_env = "MY_KEY"' in text
    assert "s3cret" not in text
    with pytest.raises(RecipeError, match="base URL"):
        draft_recipe(data, teacher="http://", student="tiny:1", cache=tmp_path)
