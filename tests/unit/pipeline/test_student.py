from __future__ import annotations

import json
from pathlib import Path

from transformers import AutoModelForCausalLM


def test_the_student_is_within_its_budget_and_loads_in_transformers(tiny_run: Path) -> None:
    student = json.loads((tiny_run / "stages" / "06-student" / "model" / "lineage.json").read_text("utf-8"))
    teacher = json.loads((tiny_run / "stages" / "04-teach" / "model" / "lineage.json").read_text("utf-8"))
    assert student["weight_bytes"] <= 0.85 * teacher["weight_bytes"]
    model = AutoModelForCausalLM.from_pretrained(tiny_run / "stages" / "06-student" / "model")
    assert model.num_parameters() == student["num_parameters"]


def test_its_lineage_says_how_the_teacher_was_used(tiny_run: Path) -> None:
    student = json.loads((tiny_run / "stages" / "06-student" / "model" / "lineage.json").read_text("utf-8"))
    assert [p["used_as"] for p in student["parents"]] == [["weights", "logits", "outputs"]]


def test_the_cut_is_on_record(tiny_run: Path) -> None:
    cut = json.loads((tiny_run / "stages" / "06-student" / "cut.json").read_text("utf-8"))
    assert sorted([*cut["keep"], *cut["removed"]]) == [0, 1]
