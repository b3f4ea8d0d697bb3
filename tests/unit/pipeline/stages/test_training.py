from __future__ import annotations

from pathlib import Path

import torch
from finished_run import make_context
from heard import Heard
from pipeline_parts import stage_at

from spiritsafe.core.records import Message, Problem
from spiritsafe.models import (
    ChatFormat,
    LoraConfig,
    load_lora,
    load_model,
    lora_config,
    lora_state,
    merge_lora,
    num_trainable,
    resolve_source,
)
from spiritsafe.pipeline.context import Trace, read_traces, write_traces
from spiritsafe.pipeline.stages.training import begin_lora, end_lora, within_context


def test_adapters_come_and_go_and_leave_what_they_learnt(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    loaded = load_model(resolve_source("tiny:0"), dtype=torch.float32)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    begin_lora(LoraConfig(rank=4), context, loaded, name="rl")
    assert lora_config(loaded.model) is not None
    assert num_trainable(loaded.model) < sum(value.numel() for value in before.values()) / 4
    for name, value in lora_state(loaded.model).items():
        if "lora_B" in name:
            value += 0.1
    stage = stage_at(tmp_path / "01-rl")
    end_lora(LoraConfig(rank=4), context, stage, loaded, name="rl")
    after = loaded.model.state_dict()
    assert after.keys() == before.keys()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    assert all("blocks" in name for name in changed)
    again = load_model(resolve_source("tiny:0"), dtype=torch.float32)
    load_lora(again.model, stage.path / "adapter", base=again.checkpoint)
    merge_lora(again.model)
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, after[name])


def test_adapters_begin_by_name_and_none_are_none(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    states = []
    for name in ("rl", "rl", "other"):
        loaded = load_model(resolve_source("tiny:0"), dtype=torch.float32)
        begin_lora(LoraConfig(rank=4), context, loaded, name=name)
        states.append(torch.cat([value.flatten() for value in lora_state(loaded.model).values()]).clone())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    loaded = load_model(resolve_source("tiny:0"), dtype=torch.float32)
    begin_lora(None, context, loaded, name="rl")
    end_lora(None, context, stage_at(tmp_path / "01-rl"), loaded, name="rl")
    assert not (tmp_path / "01-rl" / "adapter").exists()
    assert lora_config(loaded.model) is None


def test_answers_longer_than_the_context_are_left_out_and_told(tmp_path: Path) -> None:
    chat = ChatFormat(resolve_source("tiny:0", cache=tmp_path / "cache"))
    problem = Problem(task="chat", canonical_text="x", messages=(Message(role="user", content="x"),))
    texts = ("short", "long " * 60, "fits")
    path = tmp_path / "traces.jsonl"
    write_traces(path, [Trace(problem=problem, text=text) for text in texts])
    heard = Heard()
    kept = within_context(chat, 100, {"answers": read_traces(path)}, heard, name="student")
    assert [trace.text for trace in kept["answers"]] == ["short", "fits"]
    assert heard.warnings == [
        "1 of 3 answers of answers are longer than the 100 tokens that student reads: they are left out."
    ]
