"""The tiny recipe, every stage of it, over models off the usual path: as strangers bring them, without lineage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from spiritsafe.pipeline.recipe.load import recipe_of

# Nothing is cut out of a mixture of experts: its student is a small dense model that reads the same tokens.
_DENSE: dict[str, Any] = {
    "kind": "tune",
    "name": "small",
    "from": "own",
    "learns": ["review"],
    "train": {"max_steps": 1},
}
_SIT = ["teacher", "student"]
"""The first that is made of the stranger, and what was cut from it: all have its tokens and template, as is checked."""


def run_over(root: Path, source: Path, *, dense: bool = False) -> RunOutcome:
    """Every stage over a model; with a dense student, if nothing can be cut from the model itself.

    What is computed as often as there are models is computed for few: each sitting starts three processes.
    """
    stranger = (f"models.base.source={json.dumps(str(source))}", "steps.rl.controls=[]")
    sits = json.dumps(_SIT)
    recipe, _ = load_recipe("tiny", (*SMALLER, *stranger, f"exams.exam.sits={sits}"))
    value: dict[str, Any] = recipe.to_json()
    if dense:
        value["models"]["own"] = {"source": "tiny:1"}
        value["steps"] = [_DENSE if step["name"] == "small" else step for step in value["steps"]]
    return run_recipe(recipe_of(value), "", root=root / "runs", cache=default_cache(), watcher=SilentWatcher())


def stage_of(run: Path, name: str) -> Path:
    return next(run.glob(f"stages/[0-9][0-9]-{name}"))


def model_of(run: Path, name: str) -> Path:
    return stage_of(run, name) / "model"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "dense"),
    [
        (write_mixtral, True),
        (write_stray_llama, False),
        (templates_parts.dated, False),
        (templates_parts.r1, False),
        (templates_parts.harmony, False),
        (templates_parts.base_eos, False),
    ],
    ids=["mixture of experts", "stray key", "dated", "thought opened by the prompt", "channels", "base model's end"],
)
def test_the_whole_recipe_runs_over_a_stranger(tmp_path: Path, write: Callable[..., Path], dense: bool) -> None:
    source = write(tmp_path / "source")
    outcome = run_over(tmp_path, source, dense=dense)
    run = outcome.directory
    assert (run / "report.html").is_file()
    made = ["teacher", "rl", "tuned", "student", "on-policy"]
    assert sorted(path.name for path in stage_of(run, "exam").glob("*.certificate.json")) == [
        f"{name}.certificate.json" for name in sorted(_SIT)
    ]
    chat = ChatFormat(source)
    for name in made:
        model = model_of(run, name)
        reloaded = ChatFormat(model)
        AutoModelForCausalLM.from_pretrained(model)  # other tools read it
        stops = read_json(model / "generation_config.json")["eos_token_id"]
        assert set(reloaded.eos_ids) == set(stops if isinstance(stops, list) else [stops])
        if not dense:
            assert (reloaded.template_fingerprint, reloaded.eos_ids) == (chat.template_fingerprint, chat.eos_ids)
    for trace in list(read_traces(stage_of(run, "review") / "traces.jsonl"))[:4]:
        answer = Message(role="assistant", content=trace.text)
        learnt = chat.spell(chat.document(trace.problem.messages, trace.text).token_ids)
        assert chat.render((*trace.problem.messages, answer), generation=False).startswith(learnt)
