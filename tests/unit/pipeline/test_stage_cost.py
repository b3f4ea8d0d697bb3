from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.models import ChatFormat, default_cache, find_source, resolve_source
from spiritsafe.pipeline.recipe import Recipe, load_recipe
from spiritsafe.pipeline.stage_cost import DocumentSize, stage_costs, student_config, typical_document
from spiritsafe.tasks import load_task

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 30,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}
SIZE = DocumentSize(prompt_tokens=40, answer_tokens=10, shared_tokens=30)


def quickstart(*overrides: str) -> Recipe:
    return load_recipe("quickstart", overrides)[0]


def costs(*overrides: str, size: DocumentSize = SIZE) -> dict[str, Any]:
    return {cost.name: cost for cost in stage_costs(quickstart(*overrides), CONFIG, size)}


def test_each_stage_counts_its_tokens() -> None:
    found = costs()
    assert list(found) == ["teach", "sample", "student", "exam"]
    assert found["teach"].trained_tokens == 800 * 50
    assert found["sample"].sampled_tokens == 128 * 10
    assert found["student"].trained_tokens == 400 * 50
    assert found["student"].read_tokens > 400 * 50  # the teacher reads them all, and the cut is calibrated
    assert found["exam"].sampled_tokens == 240 * (28 + 10 + 10)


def test_the_nearest_limit_of_a_run_holds() -> None:
    assert costs("teach.train.max_steps=2")["teach"].trained_tokens == 2 * 400
    assert costs("teach.train.max_tokens=777")["teach"].trained_tokens == 777


def test_work_follows_what_is_done() -> None:
    usual = costs()
    assert costs("teach.problems=400")["teach"].work.flops < usual["teach"].work.flops
    assert costs("students.0.share=0.5", "students.0.criterion=influence")["student"].work.flops < (
        usual["student"].work.flops
    )
    assert costs(size=SIZE.model_copy(update={"shared_tokens": 0}))["teach"].work.flops > usual["teach"].work.flops
    assert costs("sample.num_samples=2")["sample"].work.flops == pytest.approx(2 * usual["sample"].work.flops)


def test_only_a_live_teacher_reads_along() -> None:
    recipe = quickstart("students.0.criterion=influence")
    student = recipe.students[0]
    alone = recipe.model_copy(update={"students": (student.model_copy(update={"objective": "traces"}),)})
    with_teacher, without = (stage_costs(r, CONFIG, SIZE)[2] for r in (recipe, alone))
    assert with_teacher.read_tokens - without.read_tokens == with_teacher.trained_tokens
    assert with_teacher.work.flops > without.work.flops


def test_a_typical_document_is_measured_on_the_train_bucket() -> None:
    directory = find_source("tiny:0", cache=default_cache()) or resolve_source("tiny:0", cache=default_cache())
    task, chat = load_task("arith:sums?terms=2"), ChatFormat(directory)
    size = typical_document(task, chat, seed=0, max_tokens=64)
    problems = list(task.problems("train", seed=5, count=20))
    longest = max(len(chat.prompt_ids(p.messages)) for p in problems)
    assert longest * 0.7 < size.prompt_tokens < longest * 1.3
    assert 2 < size.answer_tokens < 64
    begin = chat.prompt_ids(problems[0].messages)[: size.shared_tokens]
    assert size.shared_tokens > 5
    assert all(chat.prompt_ids(p.messages)[: size.shared_tokens] == begin for p in problems)


def test_a_cut_keeps_to_its_budget() -> None:
    student = quickstart("students.0.share=0.5").rungs[0]
    assert int(student_config(CONFIG, student)["num_hidden_layers"]) < 15
    assert int(student_config(CONFIG, quickstart().rungs[0])["num_hidden_layers"]) == 24
