"""QLoRA in every step that trains, from a recipe; what comes out, in peft and transformers. And teachers held small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finished_run import SilentWatcher, make_context
from quantised_peers import in_peft, logits_of, nf4_in_transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import MergedLora, load_lora, load_model, verify_checkpoint
from spiritsafe.pipeline import load_recipe, run_recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages import training
from spiritsafe.pipeline.stages.capture import open_signal
from spiritsafe.pipeline.stages.distil import parts

IDS = tuple(range(4, 70))
HEAD = """
name = "small-memory"
seed = 3
engine = { max_batch = 16, max_context = 200, device = "cpu" }
models.base = { source = "tiny:0?hidden=40", dtype = "4bit" }
models.big = { source = "tiny:1?hidden=48", dtype = "8bit" }
data.lessons = { task = "arith:sums?terms=2&digits=1", problems = 12 }
[defaults.tune]
train = { learning_rate = 1e-2, tokens_per_step = 512, micro_batch_tokens = 512 }
[defaults.distil]
train = { learning_rate = 1e-2, tokens_per_step = 512, micro_batch_tokens = 512 }
"""
STEPS = {
    "tuned": 'kind = "tune", from = "base", learns = ["lessons"], train = { max_steps = 3 }',
    "signal": 'kind = "capture", from = "big", learns = ["lessons"], config = { num_head = 16, num_draws = 4 }',
    "cached": 'kind = "distil", from = "base", signal = "signal", learns = ["lessons"], train = { max_steps = 3 }',
    "live": 'kind = "distil", from = "tuned", teacher = "big", learns = ["lessons"], hidden = { pairs = 1 }, '
    "train = { max_steps = 3 }",
    "across": 'kind = "distil", from = "tuned", teacher = "big", learns = ["lessons"], objective = "across", '
    "train = { max_steps = 3 }",
    "policy": 'kind = "distil", from = "tuned", teacher = "base", learns = ["lessons"], objective = "jsd", '
    "on_policy = { prompts_per_round = 4, steps_per_round = 1, num_rounds = 2, sampling = { max_tokens = 8 } }",
    "rl": 'kind = "reinforce", from = "tuned", on = ["lessons"], probe = { problems = 0 }, '
    "train = { learning_rate = 1e-2, micro_batch_tokens = 1024 }, config = { prompts_per_round = 4, group_size = 4, "
    "num_rounds = 2, sampling = { max_tokens = 8 }, "
    'loss = { method = "dapo", kl_weight = 0.01 }, reward = { kind = "random" } }',
}
BASES = {"tuned": "base", "cached": "base", "live": "tuned", "across": "tuned", "policy": "tuned", "rl": "tuned"}


def recipe_text(*names: str, base: str | None = "4bit", **instead: str) -> str:
    below = "" if base is None else f', lora = {{ rank = 4 }}, base = "{base}"'
    rows = [
        f'{{ name = "{name}", {instead.get(name, STEPS[name])}{"" if name == "signal" else below} }}' for name in names
    ]
    return HEAD.replace("[defaults.tune]", f"steps = [{', '.join(rows)}]\n[defaults.tune]")


def run(root: Path, text: str, watcher: SilentWatcher | None = None) -> Path:
    path = root / "recipe.toml"
    path.write_text(text, "utf-8")
    recipe, text = load_recipe(str(path))
    return run_recipe(
        recipe, text, root=root / "runs", cache=root / "cache", watcher=watcher or SilentWatcher()
    ).directory


def stage_of(run: Path, name: str) -> Path:
    return next(run.glob(f"stages/[0-9][0-9]-{name}"))


def base_of(run: Path, name: str) -> Path:
    """The directory of the model that a step went on from."""
    start = stage_of(run, BASES[name])
    result = read_json(start / "done.json")["result"]
    return Path(result["directory"]) if "directory" in result else start / "model"


@pytest.fixture(scope="module")
def qlora_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("qlora"), recipe_text(*STEPS))


@pytest.mark.parametrize("name", list(BASES))
def test_each_step_makes_the_model_that_peft_and_transformers_make_of_base_and_adapter(
    qlora_run: Path, name: str
) -> None:
    stage, base = stage_of(qlora_run, name), base_of(qlora_run, name)
    verify_checkpoint(stage / "model")
    verify_checkpoint(stage / "adapter")
    made = AutoModelForCausalLM.from_pretrained(stage / "model")
    assert made.dtype == torch.float32
    quantised = nf4_in_transformers(base)
    before = logits_of(quantised, IDS)
    unmerged = logits_of(in_peft(quantised, stage / "adapter"), IDS)
    assert (unmerged - before).abs().max() > 1e-2  # it learnt
    torch.testing.assert_close(logits_of(made, IDS), unmerged, rtol=0, atol=1e-4)
    weights = load_file(stage / "model" / "model.safetensors")["model.layers.0.mlp.down_proj.weight"]
    assert not torch.equal(weights, load_file(base / "model.safetensors")["model.layers.0.mlp.down_proj.weight"])


def test_merged_is_unmerged_here_too(qlora_run: Path, tmp_path: Path) -> None:
    stage = stage_of(qlora_run, "rl")
    again = load_model(base_of(qlora_run, "rl"), dtype=torch.float32, weights="4bit")
    load_lora(again.model, stage / "adapter", base=again.checkpoint)
    MergedLora(again.model).save_weights(tmp_path)
    ours, theirs = (load_file(path / "model.safetensors") for path in (tmp_path, stage / "model"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_signal_says_how_its_teacher_was_held(qlora_run: Path) -> None:
    manifest = next((stage_of(qlora_run, "signal") / "cache").glob("*.json"))
    assert '"8bit+' in manifest.read_text("utf-8")


class _Taker(SilentWatcher):
    """Takes a model's weights away as soon as a step begins."""

    def __init__(self, step: str, cache: Path, size: str) -> None:
        super().__init__()
        self._step, self._cache, self._size, self.taken = step, cache, size, 0

    def begin(self, label: str) -> None:
        super().begin(label)
        if label == self._step:
            for config in self._cache.rglob("config.json"):
                if f'"hidden_size": {self._size}' in config.read_text("utf-8"):
                    (config.parent / "model.safetensors").unlink()
                    self.taken += 1


def test_a_teacher_that_no_step_reads_live_is_not_loaded(tmp_path: Path) -> None:
    text = recipe_text("signal", "cached", "tuned", base=None)
    watcher = _Taker("cached", tmp_path / "cache", "48")
    finished = run(tmp_path, text, watcher)
    assert watcher.taken == 1
    assert (stage_of(finished, "tuned") / "model" / "model.safetensors").is_file()
    live = _Taker("live", tmp_path / "other" / "cache", "48")
    (tmp_path / "other").mkdir()
    with pytest.raises(Exception, match="safetensors"):  # where it is read it is missed
        run(tmp_path / "other", recipe_text("live", base=None, live=STEPS["live"].replace("tuned", "base")), live)


def test_a_stopped_step_goes_on_to_the_unbroken_ones_model(
    qlora_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's power cut: in the middle of learning, then after adapters were written and before the model was."""
    calls: list[str] = []
    real_train, real_save = training.train, training.save_lora

    def broken_train(*args: Any, **kwargs: Any) -> Any:
        calls.append("train")
        evaluate = kwargs.pop("evaluate")
        config = args[3].model_copy(update={"eval_every": 2, "checkpoint_every_steps": 1})
        if len(calls) == 1:

            def evaluate(model: Any, step: int) -> dict[str, float]:
                if step == 2:
                    raise KeyboardInterrupt
                return {}

        return real_train(*args[:3], config, evaluate=evaluate, **kwargs)

    def broken_save(*args: Any, **kwargs: Any) -> Any:
        found = real_save(*args, **kwargs)
        calls.append("save")
        if calls.count("save") == 1:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(training, "train", broken_train)
    monkeypatch.setattr(training, "save_lora", broken_save)
    text = recipe_text("tuned")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, text)
    resumed = run(tmp_path, text)
    assert calls == ["train", "train", "save", "train", "save"]
    ours, theirs = (load_file(stage_of(one, "tuned") / "model" / "model.safetensors") for one in (resumed, qlora_run))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_signal_of_a_teacher_held_otherwise_is_refused(qlora_run: Path) -> None:
    context = make_context(qlora_run.parent)
    recipe, _ = load_recipe(str(qlora_run / "recipe.toml"), ('models.big.dtype="4bit"',))
    stages = {path.name.partition("-")[2]: path for path in (qlora_run / "stages").iterdir()}
    done = {name: StageDirectory(path, {}) for name, path in stages.items()}
    held = replace(context, recipe=recipe, done=done)
    teacher = parts._teachers(recipe.node("cached").recipe, held)[0]  # type: ignore[arg-type]  # a step that distils
    with pytest.raises(CompatibilityError, match="compute_dtype"):
        open_signal(held, "signal", teacher.checkpoint, teacher.chat)
