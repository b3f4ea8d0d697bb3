"""The chat family as a task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from table_parts import write_rows

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.tasks.exam_bucket import exam_problems
from spiritsafe.tasks.grading.audit import audit_task
from spiritsafe.tasks.registry import load_named, load_task
from spiritsafe.tasks.splits import bucket_of, split_of
from spiritsafe.tasks.task import Task


def turns(question: str, *texts: str) -> dict[str, Any]:
    roles = ["assistant", "user"] * len(texts)
    said = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    return {"messages": [{"role": "user", "content": question}, *said]}


ROWS = [turns(f"What is {n}?", f"It is {n}.", "Sure?", "Yes.") for n in range(60)]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    write_rows(path, rows)
    return f"chat:{path}"


def everything(task: Task) -> list[Any]:
    return [*task.problems("train", seed=3, count=None), *task.problems("dev", seed=3, count=None)]


def test_a_conversation_becomes_a_problem(tmp_path: Path) -> None:
    task = load_task(write(tmp_path / "a.jsonl", ROWS))
    sizes = task.sizes()
    assert sum(sizes.values()) == 60
    drawn = everything(task)
    assert len(drawn) == sizes["train"] + sizes["dev"]
    assert {split_of(problem) for problem in drawn} == {"train", "dev"}
    problem = next(p for p in drawn if p.messages[0].content == "What is 7?")
    assert [message.role for message in problem.messages] == ["user", "assistant", "user"]
    assert (problem.solution, problem.facts) == ("Yes.", {"turns": [1]})
    assert load_task(task.name).name == task.name
    assert next(iter(load_task(task.name).problems("train", seed=3, count=1))) == drawn[0]


def test_nobody_can_grade_it(tmp_path: Path) -> None:
    task = load_task(write(tmp_path / "a.jsonl", ROWS))
    assert not task.verifies
    problem = next(iter(task.problems("train", seed=0, count=1)))
    for text in (task.gold(problem), "", "<think>"):
        verdict = task.grade(problem, text)
        assert (verdict.status, verdict.reason) == ("unscored", "conversations have no verifier")
    with pytest.raises(TaskError, match="nothing to audit"):
        audit_task(task)
    mixed = load_task(f"mix:{task.name}|arith:sums")
    assert not mixed.verifies
    assert load_task("mix:arith:sums|arith:products").verifies


@pytest.mark.parametrize("name", ["a.json", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_every_layout_of_files_is_the_same_data(name: str, tmp_path: Path) -> None:
    task, plain = (load_task(write(tmp_path / file, ROWS)) for file in (name, "plain.jsonl"))
    left, right = everything(task), everything(plain)
    assert {p.canonical_text: (bucket_of(p), p.messages, p.solution) for p in left} == {
        p.canonical_text: (bucket_of(p), p.messages, p.solution) for p in right
    }


def test_csv_holds_prompts_or_turns_as_json(tmp_path: Path) -> None:
    rows = [{"Prompt": f"q {n}", "Completion": f"a, {n}"} for n in range(20)]
    drawn = everything(load_task(write(tmp_path / "a.csv", rows)))
    assert all(p.solution == p.messages[0].content.replace("q ", "a, ") for p in drawn)
    listed = [{"messages": json.dumps(row["messages"])} for row in ROWS]
    task, plain = (load_task(write(tmp_path / "b.csv", listed)), load_task(write(tmp_path / "b.jsonl", ROWS)))
    assert {(p.messages, p.solution) for p in everything(task)} == {(p.messages, p.solution) for p in everything(plain)}


def test_several_files_folders_and_patterns_are_one_set(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "b.jsonl", ROWS[30:])
    write(
        tmp_path / "a.jsonl", [{"conversations": [{"from": "human", "value": "Hm?"}, {"from": "gpt", "value": "Hm."}]}]
    )
    write(tmp_path / "deep" / "a.jsonl.gz", ROWS[:30])
    (tmp_path / "README.md").write_text("No data.")
    (tmp_path / ".hidden.jsonl").write_text("{")
    task = load_task(f"chat:{tmp_path}")
    assert sum(task.sizes().values()) == 61
    assert task.about()["format"] == "sharegpt, messages"
    assert task.about()["rows"] == "61 in 3 files"
    for spec in (f"chat:{tmp_path}/**/*.jsonl*", f"chat:{tmp_path}/a.jsonl|{tmp_path}/deep"):
        other = load_task(spec)
        assert {p.canonical_text for p in everything(other)} == {p.canonical_text for p in everything(task)}
    buckets = {p.canonical_text: bucket_of(p) for p in everything(task)}
    alone = {p.canonical_text: bucket_of(p) for p in everything(load_task(f"chat:{tmp_path}/deep/b.jsonl"))}
    assert alone.items() <= buckets.items()


def test_the_same_prompt_is_one_problem_and_the_first_reply_stays(tmp_path: Path) -> None:
    rows = [turns("Hi", "one"), turns(" hi", "other"), turns("Hi ", "two"), turns("Hi", "three", "More?", "four")]
    task = load_task(write(tmp_path / "a.jsonl", rows * 2))
    assert sum(task.sizes().values()) == 3
    assert task.about()["left out"] == "5 with a prompt that was there before, 0 broken"
    replies = [p.solution for p in [*everything(task), *exam_problems(task, seed=0, count=task.sizes()["exam"])]]
    assert sorted(replies) == ["four", "one", "other"]


def test_all_replies_can_be_kept_in_one_split(tmp_path: Path) -> None:
    rows = [turns(f"What is {n}?", f"It is {n}, says {who}.") for n in range(30) for who in ("a", "b", "c")]
    task = load_task(write(tmp_path / "a.jsonl", rows) + "?dedupe=false")
    assert sum(task.sizes().values()) == 90
    drawn = everything(task)
    assert len({p.id for p in drawn}) == len(drawn)
    train = {p.messages for p in drawn if split_of(p) == "train"}
    assert train
    assert not train & {p.messages for p in drawn if split_of(p) == "dev"}
    assert len([p for p in drawn if p.messages in train]) == 3 * len(train)
    kept = {bucket_of(p) for p in drawn if p.messages[0].content == drawn[0].messages[0].content}
    assert len(kept) == 1


def test_rows_of_one_conversation_with_tools_are_problems_of_their_own(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    start, result = {"role": "user", "content": "w?"}, {"role": "tool", "content": "wet"}
    tools = [{"type": "function", "function": {"name": "f"}}]
    rows = [
        {"messages": [start, call], "tools": tools},
        {"messages": [start, call, result, {"role": "assistant", "content": "Wet."}], "tools": tools},
    ]
    task = load_task(write(tmp_path / "a.jsonl", rows))
    assert sum(task.sizes().values()) == 2
    found = [*everything(task), *exam_problems(task, seed=0, count=task.sizes()["exam"])]
    assert len({bucket_of(problem) for problem in found}) == 1


def test_broken_rows_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    rows = [*ROWS[:3], turns("x", ""), *ROWS[3:40], {"messages": []}]
    spec = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(TaskError, match=r"a\.jsonl, row 4: turn 2 is empty \(2 of 42 rows cannot be used\)") as caught:
        everything(load_task(spec))
    assert "broken=skip" in caught.value.hint
    task = load_task(f"{spec}?broken=skip")
    assert sum(task.sizes().values()) == 40
    assert task.about()["left out"] == "0 with a prompt that was there before, 2 broken"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"[]", b"nonsense", b'{"a": 1}', b"3\n", b'{"messages": 3}\n'])
def test_a_file_without_conversations_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises((TaskError, SourceError)):
        list(load_task(f"chat:{tmp_path}/a.json").problems("train", seed=0, count=1))


def test_what_cannot_take_effect_is_refused(tmp_path: Path) -> None:
    spec = write(tmp_path / "a.jsonl", ROWS)
    for knob, words in (
        ("split=train", "cannot take effect"),
        ("exam=other.jsonl", 'no knob "exam"'),
        ("format=parrot", "knob"),
        ("answer=nothing", "no row|No row"),
    ):
        with pytest.raises(TaskError, match=words):
            everything(load_task(f"{spec}?{knob}"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(TaskError, match="has no data files"):
        load_task(f"chat:{tmp_path}/empty")
    with pytest.raises(SourceError, match="no data files in the folder"):
        load_task(f"chat:{tmp_path}/empty/**")


def test_a_name_needs_no_file_until_problems_are_drawn(tmp_path: Path) -> None:
    name = load_task(write(tmp_path / "a.jsonl", ROWS)).name
    (tmp_path / "a.jsonl").unlink()
    task = load_named(name)
    assert task.name == name
    with pytest.raises(SourceError):
        everything(task)
    with pytest.raises(TaskError, match="sha256= is missing"):
        load_named(f"chat:{tmp_path}/a.jsonl")


def test_data_that_changed_is_not_the_data_that_was_named(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ROWS)
    name = load_task(write(tmp_path / "b.jsonl", ROWS) + f"%7C{tmp_path}/a.jsonl").name
    write(tmp_path / "a.jsonl", ROWS[1:])
    with pytest.raises(TaskError, match="is not the data that the task names"):
        everything(load_task(name))
