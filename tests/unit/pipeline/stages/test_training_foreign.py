"""Adapters in every step that trains a model which transformers runs, from a recipe; what comes out, in peft."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from finished_run import SilentWatcher
from quantised_peers import in_peft, logits_of, nf4_in_transformers
from stranger_models import write_stranger
from transformers import AutoModelForCausalLM

from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import resolve_source, verify_checkpoint
from spiritsafe.pipeline import load_recipe, run_recipe

IDS = tuple(range(4, 70))
RECIPE = """
name = "strange"
seed = 3
engine = { max_batch = 16, max_context = 200, device = "cpu" }
models.base = { source = "SOURCE" }
data.lessons = { task = "arith:sums?terms=2&digits=1", problems = 12 }
[defaults.tune]
train = { learning_rate = 1e-2, tokens_per_step = 512, micro_batch_tokens = 512 }
[defaults.distil]
train = { learning_rate = 1e-2, tokens_per_step = 512, micro_batch_tokens = 512 }
[[steps]]
kind = "tune"
name = "tuned"
from = "base"
learns = ["lessons"]
lora = { rank = 4 }
train = { max_steps = 3 }
[[steps]]
kind = "distil"
name = "live"
from = "base"
teacher = "tuned"
learns = ["lessons"]
lora = { rank = 4 }
base = "4bit"
train = { max_steps = 3 }
[[steps]]
kind = "distil"
name = "policy"
from = "base"
teacher = "tuned"
learns = ["lessons"]
lora = { rank = 4 }
objective = "jsd"
on_policy = { prompts_per_round = 4, steps_per_round = 1, num_rounds = 2, sampling = { max_tokens = 8 } }
[[steps]]
kind = "reinforce"
name = "rl"
from = "tuned"
on = ["lessons"]
lora = { rank = 4 }
probe = { problems = 0 }
train = { learning_rate = 1e-2, micro_batch_tokens = 1024 }
[steps.config]
prompts_per_round = 4
group_size = 4
num_rounds = 2
sampling = { max_tokens = 8 }
loss = { method = "dapo", kl_weight = 0.01 }
reward = { kind = "random" }
"""
BASES = {"tuned": "base", "live": "base", "policy": "base", "rl": "tuned"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("strange")
    source = write_stranger(root / "source", "phi3")
    (root / "recipe.toml").write_text(RECIPE.replace("SOURCE", str(source)), "utf-8")
    recipe, text = load_recipe(str(root / "recipe.toml"))
    return run_recipe(recipe, text, root=root / "runs", cache=root / "cache", watcher=SilentWatcher()).directory


def stage_of(run: Path, name: str) -> Path:
    return next(run.glob(f"stages/[0-9][0-9]-{name}"))


@pytest.mark.parametrize("name", list(BASES))
def test_each_step_makes_the_model_that_peft_makes_of_base_and_adapter(finished: Path, name: str) -> None:
    stage, start = stage_of(finished, name), stage_of(finished, BASES[name])
    verify_checkpoint(stage / "model")
    verify_checkpoint(stage / "adapter")
    assert read_json(stage / "adapter" / "adapter_config.json")["target_modules"] == [
        "down_proj", "gate_up_proj", "o_proj", "qkv_proj",
    ]  # fmt: skip
    directory = Path(read_json(start / "done.json")["result"]["directory"]) if name != "rl" else start / "model"
    is_quantised = name == "live"
    base = (
        nf4_in_transformers(directory)
        if is_quantised
        else AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    )
    before = logits_of(base.eval(), IDS)
    unmerged = logits_of(in_peft(base, stage / "adapter").eval(), IDS)
    assert (unmerged - before).abs().max() > 1e-3  # it learnt
    made = AutoModelForCausalLM.from_pretrained(stage / "model").eval()
    assert made.dtype == torch.float32
    torch.testing.assert_close(logits_of(made, IDS), unmerged, rtol=0, atol=1e-4)


def test_a_stages_adapter_over_its_source_is_the_model_that_was_made(finished: Path, tmp_path: Path) -> None:
    stage, start = stage_of(finished, "tuned"), stage_of(finished, "base")
    source = read_json(start / "done.json")["result"]["directory"]
    merged = resolve_source(source, cache=tmp_path, adapter=stage / "adapter")
    ours, theirs = (AutoModelForCausalLM.from_pretrained(place).eval() for place in (merged, stage / "model"))
    torch.testing.assert_close(logits_of(ours, IDS), logits_of(theirs, IDS), rtol=0, atol=1e-5)
