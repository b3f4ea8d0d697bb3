"""Which family somebody's data are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_hub import fake_hub
from table_parts import packed_rows, write_rows

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.tasks import data_spec, load_named, load_task

NUM_ROWS = 40
FORMULAS = ["\\frac{1}{2}", "x^2+1", "(3, \\frac{\\pi}{2})", "2.5", "1,024", "-7", "50\\%", "\\sqrt{2}"]


def rows(**fields: Any) -> list[dict[str, Any]]:
    """Rows whose texts have a number in place of {n}."""

    def filled(value: Any, n: int) -> Any:
        if isinstance(value, list):
            return [filled(part, n) for part in value]
        if isinstance(value, dict):
            return {name: filled(part, n) for name, part in value.items()}
        return value.replace("{n}", str(n)) if isinstance(value, str) else value

    return [{name: filled(value, n) for name, value in fields.items()} for n in range(NUM_ROWS)]


def spec_of(path: Path, given: list[dict[str, Any]], **more: Any) -> str:
    write_rows(path, given)
    spec = data_spec([path], **more)
    task = load_task(spec)
    assert sum(task.sizes().values()) == NUM_ROWS
    assert len(list(task.problems("train", seed=0, count=None))) == task.sizes()["train"]
    return spec.replace(str(path), "FILE")


GSM8K = rows(question="How many are {n}?", answer="There are {n}.\n#### {n}")
MATH = [
    {"problem": f"Find {n}.", "solution": f"So \\boxed{{{n}}}.", "answer": FORMULAS[n % 8]} for n in range(NUM_ROWS)
]
TURNS = [{"role": "user", "content": "Hi {n}"}, {"role": "assistant", "content": "{n}"}]


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        (GSM8K, "math:FILE"),
        (rows(Problem="Find {n}.", Answer="{n}"), "math:FILE?answer=Answer&question=Problem"),
        (rows(problem="Find {n}.", answer=3), "math:FILE?question=problem"),
        (rows(problem="Find {n}.", solution="It is \\boxed{{n}}."), "math:FILE?answer=solution&question=problem"),
        (MATH, "math:FILE?question=problem&solution=solution"),
        (rows(question="Which? {n}", choices=["a", "b"], answer=1), "choice:FILE"),
        (rows(question="Which? {n}", options=["a", "b"], answer="B"), "choice:FILE?choices=options"),
        (rows(messages=TURNS), "chat:FILE"),
        (rows(question="Why {n}?", answer="Restart it {n} times, then call us."), "chat:FILE"),
        (rows(question="Capital {n}?", answer="Paris"), "chat:FILE"),
        (rows(prompt="Why {n}?"), "chat:FILE"),
    ],
)
def test_the_family_is_found_by_the_rows(given: list[dict[str, Any]], spec: str, tmp_path: Path) -> None:
    assert spec_of(tmp_path / "a.jsonl", given) == spec


@pytest.mark.parametrize(
    "given",
    [
        rows(instruction="What is {n}?", input="", output="{n}"),
        rows(instruction="What is {n}?", input="", output="It is {n}.\n#### {n}"),
        rows(prompt="What is {n}?", completion="\\boxed{{n}}"),
        rows(messages=TURNS, question="{n}", answer="{n}"),
        rows(conversations=[{"from": "human", "value": "{n}"}, {"from": "gpt", "value": "{n}"}]),
    ],
)
def test_a_chat_is_never_graded_as_mathematics(given: list[dict[str, Any]], tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "a.jsonl", given)
    assert spec == "chat:FILE"
    task = load_task(data_spec([tmp_path / "a.jsonl"]))
    problem = next(iter(task.problems("train", seed=0, count=1)))
    assert "####" not in problem.messages[-1].content
    assert task.grade(problem, problem.solution or "").status == "unscored"


def test_a_few_answers_in_words_do_not_change_the_family_and_many_do(tmp_path: Path) -> None:
    few = [{**row, "answer": "none of them"} if n < 3 else row for n, row in enumerate(GSM8K)]
    assert spec_of(tmp_path / "a.jsonl", few) == "math:FILE"
    many = [{**row, "answer": "none of them"} if n < 8 else row for n, row in enumerate(GSM8K)]
    assert spec_of(tmp_path / "a.jsonl", many) == "chat:FILE"


def test_what_the_user_says_is_what_counts(tmp_path: Path) -> None:
    named = rows(frage="Was ist {n}?", antwort="{n}")
    path = tmp_path / "a b|c&d=e?f#g%20ü.jsonl"
    fields = {"question": "frage", "answer": "antwort"}
    assert spec_of(path, named, fields=fields).startswith("math:")
    assert load_task(data_spec([path], fields=fields)).about() == {}
    forced = data_spec([path], format="prompt-completion", fields=fields, dedupe=False)
    assert forced.endswith("?answer=antwort&dedupe=false&format=prompt-completion&question=frage")
    assert load_task(forced).about()["fields"] == "question = frage, answer = antwort"
    write_rows(tmp_path / "q.jsonl", GSM8K)
    assert data_spec([tmp_path / "q.jsonl"], format="prompts") == f"chat:{tmp_path}/q.jsonl?format=prompts"
    write_rows(tmp_path / "m.jsonl", [{**row, "messages": TURNS} for row in GSM8K])
    assert data_spec([tmp_path / "m.jsonl"], format="question-answer") == f"math:{tmp_path}/m.jsonl"


def test_a_folder_and_several_files(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", GSM8K[:20])
    write_rows(tmp_path / "b.parquet", GSM8K[20:])
    for files in ([tmp_path], [tmp_path / "a.jsonl", tmp_path / "b.parquet"], [f"{tmp_path}/*"]):
        spec = data_spec(files)
        assert spec.startswith("math:")
        assert sum(load_task(spec).sizes().values()) == NUM_ROWS


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"files": ["a.jsonl"], "hub": "org/name"}, "either files or"),
        ({}, "either files or"),
        ({"files": ["a.jsonl"], "split": "train", "revision": "main"}, "Files have no split and no revision"),
        ({"files": ["a.jsonl"], "format": "alpacca"}, "no format"),
        ({"files": ["a.jsonl"], "fields": {"qestion": "x"}}, "No format has a field"),
        ({"hub": "not a name"}, "no name of a Hugging Face data set"),
        ({"files": ["a.jsonl"], "fields": {"answer": "gone"}}, "No row of .* has a field"),
        ({"files": ["a.jsonl"], "fields": {"solution": "messages"}}, "no solution"),
        ({"files": ["a.jsonl"], "format": "choice"}, "for multiple choice"),
        ({"files": ["text.jsonl"]}, "plain texts"),
        ({"files": ["empty.jsonl"]}, "holds no rows"),
        ({"files": ["three.jsonl"]}, r"three\.jsonl, row 1: not an object"),
        ({"hub": ".", "revision": "main"}, "is a folder, so revision= cannot take effect"),
    ],
)
def test_what_does_not_fit_is_refused(
    given: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "a.jsonl", rows(messages=TURNS))
    write_rows(tmp_path / "text.jsonl", rows(text="{n}"))
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "three.jsonl").write_text("3\n")
    with pytest.raises(TaskError, match=words):
        data_spec(**given)


@pytest.mark.parametrize("served", [True, False])
def test_a_set_of_the_hub_or_a_folder_like_one(served: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chats = rows(messages=TURNS)
    card = "---\nconfigs:\n- {config_name: sums, data_files: sums/*}\n- {config_name: chats, data_dir: chats}\n---"
    files = {
        "README.md": card.encode(),
        "sums/train.jsonl": packed_rows("a.jsonl", GSM8K),
        "chats/train-00000-of-00002.parquet": packed_rows("a.parquet", chats[:30]),
        "chats/train-00001-of-00002.parquet": packed_rows("a.parquet", chats[30:]),
        "chats/test-00000-of-00001.parquet": packed_rows("a.parquet", chats[:1]),
    }
    with fake_hub(tmp_path / "caches", monkeypatch) as hub:
        commit = hub.put("org/set", files, revision="v1")
        for name, data in files.items():
            (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / name).write_bytes(data)
        place = "org/set" if served else str(tmp_path / "set")
        of = {"revision": "v1"} if served else {}
        at = "revision=v1" if served else ""
        assert data_spec(hub=place, config="sums", **of) == f"math:{place}?config=sums{at and '&' + at}"
        spec = data_spec(hub=place, config="chats", **of)
        assert spec == f"chat:{place}?config=chats{at and '&' + at}"
        task = load_task(spec)
        assert "split=train" in task.name
        assert (f"revision={commit}" in task.name) == served
        assert sum(task.sizes().values()) == NUM_ROWS
        assert task.about()["rows"] == f"{NUM_ROWS} in 2 files"
        assert load_task(data_spec(hub=place, config="chats", split="test", **of)).about()["rows"] == "1 in 1 file"
        with pytest.raises(TaskError, match="several configurations"):
            data_spec(hub=place, **of)
        assert load_named(task.name).name == task.name
        hub.fault = "drop"
        assert list(load_task(task.name).problems("train", seed=0, count=None)) == list(
            task.problems("train", seed=0, count=None)
        )


def test_a_file_that_is_not_there_is_not_looked_for_elsewhere() -> None:
    for name in ("gone.jsonl", "org/name"):
        with pytest.raises(SourceError):
            data_spec([name])
