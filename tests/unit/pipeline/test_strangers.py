"""The tiny recipe, every stage of it, over models off the usual path: as strangers bring them, without lineage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import templates_parts
from finished_run import SMALLER, SilentWatcher
from stranger_models import write_mixtral, write_stray_llama
from transformers import AutoModelForCausalLM

from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.records import Message
from spiritsafe.models import ChatFormat, default_cache
from spiritsafe.pipeline import RunOutcome, load_recipe, run_recipe
from spiritsafe.pipeline.context import read_traces

# Nothing is cut out of a mixture of experts: its students are small dense models that read the same tokens.
_DENSE_STUDENTS = """
extends = "tiny"

[[students]]
name = "student"
source = "tiny:1"
problems = 32
objective = "forward_kl"
ce_share = 0.5
signal = "cached"
train = { learning_rate = 3e-3, tokens_per_step = 2048, micro_batch_tokens = 2048, max_epochs = 1 }

[[students]]
name = "on-policy"
source = "tiny:1"
problems = 32
objective = "jsd"
hidden = { pairs = 1 }
on_policy = { prompts_per_round = 4, steps_per_round = 1, num_rounds = 2, sampling = { max_tokens = 24 } }
train = { learning_rate = 3e-3, tokens_per_step = 2048, micro_batch_tokens = 2048, max_steps = 2 }
"""


def run_over(root: Path, source: Path, *, students: str = "") -> RunOutcome:
    """The whole recipe over a model; with these students, if the recipe's own cannot be."""
    if students:
        (recipe_file := root / "recipe.toml").write_text(students, "utf-8")
        changes = tuple(change for change in SMALLER if not change.startswith("students."))
    else:
        recipe_file, changes = Path("tiny"), SMALLER
    recipe, text = load_recipe(str(recipe_file), (*changes, f"source.model={json.dumps(str(source))}"))
    return run_recipe(recipe, text, root=root / "runs", cache=default_cache(), watcher=SilentWatcher())


def stage_of(run: Path, name: str) -> Path:
    return next(run.glob(f"stages/[0-9][0-9]-{name}"))


def model_of(run: Path, name: str) -> Path:
    return stage_of(run, name) / "model"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "students"),
    [
        (write_mixtral, _DENSE_STUDENTS),
        (write_stray_llama, ""),
        (templates_parts.dated, ""),
        (templates_parts.r1, ""),
        (templates_parts.harmony, ""),
        (templates_parts.base_eos, ""),
    ],
    ids=["mixture of experts", "stray key", "dated", "thought opened by the prompt", "channels", "base model's end"],
)
def test_the_whole_recipe_runs_over_a_stranger(tmp_path: Path, write: Callable[..., Path], students: str) -> None:
    source = write(tmp_path / "source")
    outcome = run_over(tmp_path, source, students=students)
    run = outcome.directory
    assert (run / "report.html").is_file()
    made = ["teach", "rl", "tuned", "student", "on-policy"]
    assert len(list(stage_of(run, "exam").glob("*.certificate.json"))) >= len(made)
    chat = ChatFormat(source)
    for name in made:
        model = model_of(run, name)
        reloaded = ChatFormat(model)
        AutoModelForCausalLM.from_pretrained(model)  # other tools read it
        stops = read_json(model / "generation_config.json")["eos_token_id"]
        assert set(reloaded.eos_ids) == set(stops if isinstance(stops, list) else [stops])
        if not students:
            assert (reloaded.template_fingerprint, reloaded.eos_ids) == (chat.template_fingerprint, chat.eos_ids)
    for trace in list(read_traces(stage_of(run, "traces") / "students.jsonl"))[:4]:
        answer = Message(role="assistant", content=trace.text)
        learnt = chat.spell(chat.document(trace.problem.messages, trace.text).token_ids)
        assert chat.render((*trace.problem.messages, answer), generation=False).startswith(learnt)
