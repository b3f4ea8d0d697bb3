"""One row in each published layout, with the types that Parquet and CSV give it: what is asked, and what is right."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from spiritsafe.tasks.registry import load_task

TEXT, TEXTS, NUMBER = pa.string(), pa.list_(pa.string()), pa.int64()
HASHES, LETTER = "\nEnd with #### and the final answer.", "\nEnd with #### and the letter."

LAYOUTS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str, str]] = {
    "gsm8k": (
        "train.parquet",
        {"question": TEXT, "answer": TEXT},
        {
            "question": "A shelf holds 12 jars. Half of them are full. How many are empty?",
            "answer": "12/2=<<12/2=6>>6 are full.\n12-6=<<12-6=6>>6 are empty.\n#### 6",
        },
        f"A shelf holds 12 jars. Half of them are full. How many are empty?{HASHES}",
        "6",
    ),
    "math500": (
        "test.jsonl",
        {"problem": TEXT, "solution": TEXT, "answer": TEXT, "subject": TEXT, "level": NUMBER, "unique_id": TEXT},
        {
            "problem": "What is $\\frac{1}{2}+\\frac{1}{4}$?",
            "solution": "The sum is $\\boxed{\\frac{3}{4}}$.",
            "answer": "\\frac{3}{4}",
            "subject": "Prealgebra",
            "level": 1,
            "unique_id": "test/prealgebra/1.json",
        },
        f"What is $\\frac{{1}}{{2}}+\\frac{{1}}{{4}}$?{HASHES}",
        "\\frac{3}{4}",
    ),
    "aime24": (
        "train.parquet",
        {"id": NUMBER, "problem": TEXT, "solution": TEXT, "answer": TEXT, "url": TEXT, "year": TEXT},
        {
            "id": 60,
            "problem": "Find the number of minutes of a walk.",
            "solution": "It is $\\boxed{204}$.",
            "answer": "204",
            "url": "https://example.org/1",
            "year": "2024",
        },
        f"Find the number of minutes of a walk.{HASHES}",
        "204",
    ),
    "aime25": (
        "test.jsonl",
        {"problem": TEXT, "answer": TEXT, "id": TEXT},
        {"problem": "Find the sum of all integer bases.", "answer": "70", "id": "0"},
        f"Find the sum of all integer bases.{HASHES}",
        "70",
    ),
    "mmlu": (
        "validation.parquet",
        {"question": TEXT, "subject": TEXT, "choices": TEXTS, "answer": NUMBER},  # a ClassLabel of A, B, C, D
        {"question": "Which is prime?", "subject": "number_theory", "choices": ["4", "6", "7", "9"], "answer": 2},
        f"Which is prime?\nA) 4\nB) 6\nC) 7\nD) 9{LETTER}",
        "C",
    ),
    "mmlu-pro": (
        "validation.parquet",
        {
            "question_id": NUMBER, "question": TEXT, "options": TEXTS, "answer": TEXT, "answer_index": NUMBER,
            "cot_content": TEXT, "category": TEXT, "src": TEXT,
        },
        {
            "question_id": 70,
            "question": "Which weighs most?",
            "options": ["1 g", "2 g", "3 g", "4 g", "5 g", "6 g", "7 g", "8 g", "10 g", "9 g"],
            "answer": "I",
            "answer_index": 8,
            "cot_content": "A: Let's think step by step. The answer is (I).",
            "category": "physics",
            "src": "ori_mmlu-physics",
        },
        "Which weighs most?\nA) 1 g\nB) 2 g\nC) 3 g\nD) 4 g\nE) 5 g\nF) 6 g\nG) 7 g\nH) 8 g\nI) 10 g\nJ) 9 g" + LETTER,
        "I",
    ),
    "arc": (
        "train.parquet",
        {
            "id": TEXT, "question": TEXT, "choices": pa.struct({"text": TEXTS, "label": TEXTS}), "answerKey": TEXT,
        },
        {
            "id": "NYSEDREGENTS_2000_1",
            "question": "Which melts?",
            "choices": {"text": ["ice", "rock", "wood", "glass wool"], "label": ["1", "2", "3", "4"]},
            "answerKey": "1",
        },
        f"Which melts?\nA) ice\nB) rock\nC) wood\nD) glass wool{LETTER}",
        "A",
    ),
}  # fmt: skip


def write(path: Path, types: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows, schema=pa.schema(types)), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_asked_and_what_is_right(tmp_path: Path, name: str) -> None:
    file, types, row, prompt, gold = LAYOUTS[name]
    field = "problem" if "problem" in row else "question"
    rows = [{**row, field: f"{n}. {row[field]}"} for n in range(40)]
    write(tmp_path / file, types, rows)
    problems = list(load_task(f"{name}?file={tmp_path / file}").problems("train", seed=0, count=20))
    for problem in problems:
        (message,) = problem.messages
        assert message.content.partition(". ")[2] == prompt
        assert problem.facts["answer"] == gold
        assert "<<" not in (problem.solution or "")


def test_gpqa_as_its_csv_has_it(tmp_path: Path) -> None:
    """Lines inside of cells, columns that nobody reads, and the right answer in one of its own."""
    columns = {
        "Pre-Revision Question": ["x"] * 40,
        "Question": [f"{n}. Two states live for\n1 ns and 10 ns. Which gap tells them apart?" for n in range(40)],
        "Correct Answer": ["10^-4\n"] * 40,
        "Incorrect Answer 1": ["10^-11"] * 40,
        "Incorrect Answer 2": ["10^-8\n"] * 40,
        "Incorrect Answer 3": ["10^-9"] * 40,
        "Explanation": ["By the uncertainty principle, \"it\" must be larger."] * 40,
        "Record ID": [f"rec{n}" for n in range(40)],
    }  # fmt: skip
    sink = io.BytesIO()
    pa.csv.write_csv(pa.table(columns), sink)
    (tmp_path / "gpqa_diamond.csv").write_bytes(sink.getvalue())
    for problem in load_task(f"gpqa?file={tmp_path / 'gpqa_diamond.csv'}").problems("train", seed=0, count=20):
        text = problem.messages[0].content
        assert f"\n{problem.facts['answer']}) 10^-4\n" in text
        assert all(text.count(f") {wrong}\n") == 1 for wrong in ("10^-11", "10^-8", "10^-9"))
        assert "uncertainty" not in text
