"""Benchmarks by name: rows in the shape of each published set, served by a hub on this machine, load and are graded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from fake_hub import FakeHub, fake_hub
from ifeval_rows import ROWS
from table_parts import packed_rows, write_rows

from spiritsafe.core.errors import IntegrityError, TaskError
from spiritsafe.tasks.data import published
from spiritsafe.tasks.data.benchmarks import BENCHMARKS, Benchmark
from spiritsafe.tasks.data.published import PublishedFile
from spiritsafe.tasks.exam_bucket import exam_problems
from spiritsafe.tasks.registry import load_task

COUNT = 60


def gsm8k(n: int) -> dict[str, Any]:
    return {
        "question": f"Ann has {n} jars and buys 2. How many?",
        "answer": f"{n} + 2 = <<{n}+2={n + 2}>>{n + 2}\n#### {n + 2}",
    }


def mathematics(n: int) -> dict[str, Any]:
    solution = f"Two halves of ${n}$ make $\\boxed{{{n}}}$."
    row = {"problem": f"What is $2 \\cdot \\frac{{{n}}}{{2}}$?", "solution": solution, "answer": str(n)}
    return {**row, "subject": "Algebra", "level": 1, "unique_id": f"test/{n}.json"}


def mmlu(n: int) -> dict[str, Any]:
    return {
        "question": f"Which is {n}?",
        "subject": "maths",
        "choices": [str(n + k) for k in (1, 2, 0, 3)],
        "answer": 2,
    }


def mmlu_pro(n: int) -> dict[str, Any]:
    options = [f"{n + k} m" for k in range(10)]
    row = {"question_id": n, "question": f"Which is {n} m + 8 m?", "options": options, "answer": "I"}
    return {**row, "answer_index": 8, "cot_content": "", "category": "physics", "src": "x"}


def arc(n: int) -> dict[str, Any]:
    labels = ["1", "2", "3", "4"] if n % 2 else ["A", "B", "C", "D"]
    texts = [f"rock {n}", f"moss {n}", f"frog {n}", f"salt {n}"]
    row = {"id": f"Mercury_{n}", "question": f"Which of {n} is an animal?"}
    return {**row, "choices": {"text": texts, "label": labels}, "answerKey": labels[2]}


def gpqa(n: int) -> dict[str, Any]:
    wrong = {f"Incorrect Answer {k}": f"{n + k} eV\n" for k in (1, 2, 3)}
    return {"Record ID": f"rec{n}", "Question": f"What energy, in eV, is {n}?", "Correct Answer": f"{n} eV", **wrong}


def ifeval(n: int) -> dict[str, Any]:
    row = ROWS[n % len(ROWS)]
    return {**row, "key": n, "prompt": f"{row['prompt']} {n}"}


def hellaswag(n: int) -> dict[str, Any]:
    return {
        "ind": n,
        "ctx": f"Number {n} opens the door. She",
        "endings": [f"ends {n} {k}" for k in "abcd"],
        "label": "3",
    }


def openbookqa(n: int) -> dict[str, Any]:
    return {**arc(2 * n), "question_stem": f"Which of {n} lives?"}


SHAPES: dict[str, tuple[Any, str, Sequence[str]]] = {
    "gsm8k": (gsm8k, "main/{}-00000-of-00001.parquet", ["train", "test"]),
    "math500": (mathematics, "{}.jsonl", ["test"]),
    "aime24": (mathematics, "data/{}-00000-of-00001.parquet", ["train"]),
    "aime25": (lambda n: {"id": n, "problem": f"What is {n}?", "answer": str(n)}, "{}.jsonl", ["test"]),
    "gpqa": (gpqa, "gpqa_diamond.csv", ["train"]),
    "gpqa-main": (gpqa, "gpqa_main.csv", ["train"]),
    "mmlu": (mmlu, "all/{}-00000-of-00001.parquet", ["validation", "test"]),
    "mmlu-pro": (mmlu_pro, "data/{}-00000-of-00001.parquet", ["validation", "test"]),
    "arc": (arc, "ARC-Challenge/{}-00000-of-00001.parquet", ["train", "test"]),
    "arc-easy": (arc, "ARC-Easy/{}-00000-of-00001.parquet", ["train", "test"]),
    "hellaswag": (hellaswag, "data/{}-00000-of-00001.parquet", ["train", "validation"]),
    "commonsenseqa": (lambda n: arc(2 * n), "data/{}-00000-of-00001.parquet", ["train", "validation"]),
    "ifeval": (ifeval, "ifeval_input_data.jsonl", ["train"]),
    "openbookqa": (openbookqa, "main/{}-00000-of-00001.parquet", ["train", "test"]),
}


def files_of(name: str, benchmark: Benchmark) -> dict[str, bytes]:
    row, pattern, splits = SHAPES[name]
    files = {}
    entries = []
    for number, split in enumerate(splits):
        file = pattern.format(split)
        files[file] = packed_rows(file, [row(1000 * number + n) for n in range(COUNT)])
        entries.append(f"  - {{split: {split}, path: {file}}}")
    config = benchmark.knobs.get("config", "default")
    card = "\n".join(["---", "configs:", f"- config_name: {config}", "  data_files:", *entries, "---", ""])
    return {**files, "README.md": card.encode()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub(tmp_path / "caches", monkeypatch) as served:
        yield served


def test_every_benchmark_has_a_shape_here() -> None:
    assert SHAPES.keys() == BENCHMARKS.keys()
    for benchmark in BENCHMARKS.values():
        assert re.fullmatch(r"[0-9a-f]{40}", benchmark.revision)


def put(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, name: str, files: Mapping[str, bytes], rows: int = COUNT
) -> None:
    """Serve files at the pinned commit, beside others that are newer, and have them on record."""
    benchmark = BENCHMARKS[name]
    hub.put(benchmark.hub, {"junk.jsonl": b""})
    hub.sets[benchmark.hub, benchmark.revision] = files
    known = {file: PublishedFile(rows, hashlib.sha256(data).hexdigest()) for file, data in files.items()}
    record(monkeypatch, name, known)


def record(monkeypatch: pytest.MonkeyPatch, name: str, known: Mapping[str, PublishedFile]) -> None:
    hub = BENCHMARKS[name].hub
    known = {file: one for file, one in known.items() if file != "README.md"}
    monkeypatch.setattr(
        published, "PUBLISHED", {**published.PUBLISHED, hub: replace(published.PUBLISHED[hub], files=known)}
    )


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_by_its_name(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    benchmark = BENCHMARKS[name]
    put(hub, monkeypatch, name, files_of(name, benchmark))
    if name == "ifeval":
        pytest.importorskip("punkt", reason="the extra ifeval is not installed")
        pytest.importorskip("langdetect", reason="the extra ifeval is not installed")
    task = load_task(name)
    assert f"revision={benchmark.revision}" in task.name
    problems = list(task.problems("train", seed=0, count=30))
    for problem in problems[:8]:
        assert task.grade(problem, task.gold(problem)).status == "correct"
        if problem.solution is not None:
            assert task.grade(problem, problem.solution).status == "correct"
    again = load_task(task.name)
    assert again.name == task.name
    assert list(again.problems("train", seed=0, count=30)) == problems
    examined = {problem.canonical_text for problem in exam_problems(task, seed=1, count=2)}
    assert not examined & {problem.canonical_text for problem in problems}
    if "exam" in benchmark.knobs:
        assert all(re.search(r"\b[12]\d\d\d\b", text) for text in examined)  # of the official test split


def test_each_file_that_is_read_is_on_record() -> None:
    for name, benchmark in BENCHMARKS.items():
        _, pattern, splits = SHAPES[name]
        for split in splits:
            assert benchmark.published.files[pattern.format(split)].rows > 0, name
    assert {name for name, one in BENCHMARKS.items() if one.published.gated} == {"gpqa", "gpqa-main"}


@pytest.mark.parametrize("name", ["gsm8k", "math500", "gpqa"])  # digests by the hub, of two kinds of small files
def test_other_files_than_those_on_record(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    hub.sets[BENCHMARKS[name].hub, BENCHMARKS[name].revision] = files_of(name, BENCHMARKS[name])
    with pytest.raises(IntegrityError, match="on record") as caught:
        list(load_task(name).problems("train", seed=0, count=5))
    assert "try again" in caught.value.hint or "Delete" in caught.value.hint


def test_fewer_rows_than_those_on_record(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of("mmlu-pro", BENCHMARKS["mmlu-pro"])
    put(hub, monkeypatch, "mmlu-pro", files)
    record(monkeypatch, "mmlu-pro", {file: PublishedFile(COUNT + 1) for file in files})
    with pytest.raises(IntegrityError, match=r"has 60 rows; on record are 61"):
        list(load_task("mmlu-pro").problems("train", seed=0, count=5))


def test_what_was_seen_first_is_held_to(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody says the digest of a small file, so the first that is seen counts, in this run and in later ones."""
    files = files_of("gpqa-main", BENCHMARKS["gpqa-main"])
    put(hub, monkeypatch, "gpqa-main", files)
    record(monkeypatch, "gpqa-main", {"gpqa_main.csv": PublishedFile(COUNT)})
    task = load_task("gpqa-main")
    assert len(list(task.problems("train", seed=0, count=20))) == 20
    kept = next(iter(Path(huggingface_hub.constants.HF_HUB_CACHE).rglob("gpqa_main.csv")))
    kept.resolve().write_bytes(files["gpqa_main.csv"].replace(b" eV", b" keV"))
    with pytest.raises(IntegrityError, match="an earlier run saw") as caught:
        list(load_task(task.name).problems("train", seed=0, count=20))
    assert str(kept) in caught.value.hint


def test_a_local_copy_says_whether_it_is_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path / "train.jsonl", [gsm8k(n) for n in range(COUNT)])
    write_rows(tmp_path / "test.jsonl", [gsm8k(1000 + n) for n in range(COUNT)])
    assert load_task(f"gsm8k?file={tmp_path}").about() == {}
    known = {
        f"main/{split}.parquet": PublishedFile(
            COUNT, hashlib.sha256((tmp_path / f"{split}.jsonl").read_bytes()).hexdigest()
        )
        for split in ("train", "test")
    }
    record(monkeypatch, "gsm8k", known)
    assert load_task(f"gsm8k?file={tmp_path}").about() == {
        "data": "openai/gsm8k, as published: main/train.parquet",
        "licence": "MIT",
        "exam data": "openai/gsm8k, as published: main/test.parquet",
    }


@pytest.mark.parametrize("name", ["gsm8k", "mmlu", "arc", "gpqa", "math500"])
def test_a_local_copy_of_the_repository(tmp_path: Path, name: str) -> None:
    for file, data in files_of(name, BENCHMARKS[name]).items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(data)
    task = load_task(f"{name}?file={tmp_path}")
    assert len(list(task.problems("train", seed=0, count=30))) == 30
    assert "revision" not in task.name
    assert load_task(task.name).name == task.name


def test_local_files_as_people_keep_them(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [gsm8k(n) for n in range(COUNT)])
    write_rows(tmp_path / "test.jsonl", [gsm8k(1000 + n) for n in range(COUNT)])
    task = load_task(f"gsm8k?file={tmp_path}")
    assert all("has 1" in p.canonical_text for p in exam_problems(task, seed=0, count=2))
    single = load_task(f"gsm8k?file={tmp_path / 'train.jsonl'}&hint=false")
    assert "exam" not in single.name
    assert next(single.problems("train", seed=0, count=1)).messages[0].content.endswith("How many?")


def test_rows_of_published_sets_that_cannot_be_asked_are_left_out(tmp_path: Path) -> None:
    bad = [{**mmlu(5000), "choices": ["a", "A", "b", "c"], "answer": 0}, {**mmlu(5001), "answer": -1}]
    write_rows(tmp_path / "validation.parquet", [mmlu(n) for n in range(COUNT)] + bad)
    write_rows(tmp_path / "test.parquet", [mmlu(n) for n in range(1000, 1010)])
    task = load_task(f"mmlu?file={tmp_path}")
    with pytest.raises(TaskError, match="has only"):
        assert all("500" not in p.canonical_text for p in task.problems("train", seed=0, count=1000))
    with pytest.raises(TaskError, match=r"validation\.parquet, row 6[12]"):
        list(load_task(f"mmlu?file={tmp_path}&faulty=").problems("train", seed=0, count=1000))


def test_gpqa_deals_its_answers_by_the_row(tmp_path: Path) -> None:
    """The right answer stands first in no order of ours, and a row has one order wherever it is read."""
    rows = [gpqa(n) for n in range(200)]
    write_rows(tmp_path / "a.csv", rows)
    write_rows(tmp_path / "b.jsonl", rows[::-1])
    letters: list[Mapping[str, Any]] = []
    for file in ("a.csv", "b.jsonl"):
        task = load_task(f"gpqa?file={tmp_path / file}")
        problems = list(task.problems("train", seed=0, count=120))
        letters.append({problem.canonical_text: problem.facts["answer"] for problem in problems})
        for problem in problems[:5]:
            right = re.search(r"is (\d+)\?", problem.messages[0].content)[1]  # type: ignore[index]  # it is asked so
            assert f"{problem.facts['answer']}) {right} eV\n" in problem.messages[0].content
    both = letters[0].keys() & letters[1].keys()
    assert len(both) > 50
    assert all(letters[0][text] == letters[1][text] for text in both)
    counts = [list(letters[0].values()).count(letter) for letter in "ABCD"]
    assert min(counts) > 12  # of 120; a fair deal has fewer than that in one of 10,000 sets


def test_names_that_are_no_benchmark() -> None:
    with pytest.raises(TaskError, match="no benchmark is called that") as caught:
        load_task("gsm9k")
    assert 'Did you mean "gsm8k"?' in caught.value.hint
    with pytest.raises(TaskError, match='has no knob "filee"'):
        load_task("gsm8k?filee=x")
