"""Merge steps: what a recipe may say, what is known beforehand, and the packaged recipe run to its end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from bpe_parts import write_bpe_model
from finished_run import SilentWatcher
from lineages import given

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import ChatFormat, MergeSettings, default_cache, read_checkpoint, resolve_source
from spiritsafe.pipeline import RunOutcome, load_recipe, run_recipe
from spiritsafe.pipeline.plan.duties import planned_duties
from spiritsafe.pipeline.plan.known import faults_of
from spiritsafe.pipeline.plan.lineage import planned_lineage
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.step import Forecast, step_of
from spiritsafe.pipeline.steps.combining.merge import MergeStep
from spiritsafe.report import ReportData

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 260,
    "tie_word_embeddings": True,
}


def recipe(*steps: dict[str, Any], models: dict[str, Any] | None = None, **merge: Any) -> Recipe:
    """Two specialists of one base and what is made of them; a key that is None is left out."""
    tune = {"kind": "tune", "from": "base", "learns": ["sums"]}
    step = {"kind": "merge", "name": "both", "from": ["py", "f90"], "method": "ties", **merge}
    return recipe_of(
        {
            "name": "merging",
            "models": {"base": {"source": "tiny:0"}, **(models or {})},
            "data": {"sums": {"task": "arith:sums", "problems": 8}},
            "steps": [
                *(steps or ({**tune, "name": "py"}, {**tune, "name": "f90"})),
                {key: value for key, value in step.items() if value is not None},
            ],
        }
    )


def merge_of(wanted: Recipe, name: str = "both") -> MergeStep:
    step = wanted.node(name).recipe
    assert isinstance(step, MergeStep)
    return step


def tune(name: str, start: str, **keys: Any) -> dict[str, Any]:
    return {"kind": "tune", "name": name, "from": start, "learns": ["sums"], **keys}


# ---- what a recipe says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"method": "linear"}, {"densities": (1.0, 1.0), "normalize": True}),
        ({"method": "task-arithmetic"}, {"densities": (1.0, 1.0), "normalize": False}),
        ({"method": "ties"}, {"densities": (0.2, 0.2), "normalize": True}),
        ({"method": "ties", "density": 0.5, "lambda": 1.5}, {"densities": (0.5, 0.5), "normalize": True, "scale": 1.5}),
        ({"method": "dare", "density": 0.3}, {"densities": (0.3, 0.3), "normalize": False}),
        ({"method": "dare-ties", "density": 0.3}, {"densities": (0.3, 0.3), "normalize": True}),
        ({"method": "dare", "density": 0.3, "normalize": True}, {"densities": (0.3, 0.3), "normalize": True}),
        (
            {"method": "ties", "weight": {"f90": 0.5, "py": 2}, "density": {"f90": 0.1, "py": 0.9}},
            {"weights": (2.0, 0.5), "densities": (0.9, 0.1), "normalize": True},
        ),
    ],
)
def test_every_default_has_its_place(keys: dict[str, Any], expected: dict[str, Any]) -> None:
    step = merge_of(recipe(**keys))
    values = {"method": keys["method"], "weights": (1.0, 1.0), "seed": 5, **expected}
    assert step.settings(seed=5) == MergeSettings(**values)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "slerp"}, "method"),
        ({"method": "linear", "from": ["py"]}, "two models at least"),
        ({"method": "linear", "base_model": "base"}, "base_model: no effect"),
        ({"method": "linear", "lambda": 0.5}, "lambda: no effect"),
        ({"method": "linear", "density": 0.5}, "density: no effect on linear"),
        ({"method": "task-arithmetic", "density": 0.5}, "density: no effect on task-arithmetic"),
        ({"method": "dare"}, "density: say which share"),
        ({"method": "dare-ties"}, "density: say which share"),
        ({"density": 0.0}, "more than 0 and at most 1"),
        ({"density": {"py": 0.5}}, "density names py: name each of from"),
        ({"weight": {"py": 1.0, "f90": 1.0, "base": 1.0}}, "weight names base, f90, py"),
        ({"weight": {"py": 0.0, "f90": 1.0}}, "weight 0 has no effect"),
        ({"weight": -1.0}, "vote on a sign"),
        ({"method": "linear", "weight": {"py": 1.0, "f90": -1.0}}, "add up to 0"),
        ({"lambda": 0.0}, "leaves the base as it is"),
        ({"from": ["py", "py"]}, "named twice"),
        ({"from": ["py", "base"], "base_model": "base"}, "differs from itself by nothing"),
        ({"from": ["py", "base"]}, "base_model: name the model that all of from went on from"),
        ({"from": ["py", "nobody"]}, "base_model: name the model"),
        ({"from": ["py", "nobody"], "base_model": "base"}, "'nobody', which nothing is called"),
        ({"from": ["py", "sums"], "base_model": "base"}, "'sums', which is a data set"),
        ({"repeat": 2}, "the same model 2 times"),
        ({"seed": 3}, "seed"),
        ({"lamda": 3}, "lambda"),
    ],
)
def test_what_could_not_take_effect_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(**keys)
    assert message in str(caught.value.diagnostics())


def test_a_file_cannot_be_merged() -> None:
    file = {"kind": "quantise", "name": "f90", "from": "base", "to": "q8_0"}
    with pytest.raises(RecipeError, match="'f90', which is a file"):
        recipe(tune("py", "base"), file, base_model="base")


def test_a_resolved_recipe_is_a_recipe_with_the_keys_of_its_author() -> None:
    wanted = recipe(weight={"py": 0.5, "f90": 0.25}, **{"lambda": 0.5})
    written = wanted.to_json()["steps"][-1]
    assert recipe_of(wanted.to_json()).to_json() == wanted.to_json()
    assert written["from"] == ["py", "f90"]
    assert (written["lambda"], written["base_model"]) == (0.5, "base")
    assert not {"origins", "scale"} & written.keys()


@pytest.mark.parametrize(
    ("steps", "base"),
    [
        ((tune("py", "base"), tune("f90", "base")), "base"),
        ((tune("f90", "py"), tune("py", "base")), "base"),  # one went on from the other
        ((tune("sft", "base"), tune("py", "sft"), tune("f90", "sft")), "sft"),  # the nearest
        ((tune("sft", "base"), tune("x", "sft"), tune("py", "x"), tune("f90", "sft")), "sft"),
    ],
)
def test_the_base_is_the_nearest_model_that_all_went_on_from(steps: tuple[dict[str, Any], ...], base: str) -> None:
    wanted = recipe(*steps)
    assert merge_of(wanted).base_model == base
    assert merge_of(recipe(*steps, base_model="base")).base_model == "base"  # who names one is taken at his word


def test_a_merge_of_merges_has_the_base_of_these() -> None:
    inner = {"kind": "merge", "name": "inner", "from": ["py", "f90"], "method": "ties", "base_model": "base"}
    wanted = recipe(tune("py", "base"), tune("f90", "base"), tune("c", "base"), inner, **{"from": ["inner", "c"]})
    assert merge_of(wanted).base_model == "base"


def test_random_weights_are_nobodys() -> None:
    cut = {"kind": "cut", "from": "base", "share": 0.9, "start": "random", "calibrate": ["sums"]}
    with pytest.raises(RecipeError, match="base_model: name the model"):
        recipe({**cut, "name": "x"}, {**cut, "name": "y"}, tune("py", "x"), tune("f90", "y"))


def test_repetitions_are_merged_one_by_one() -> None:
    twice = (tune("py", "base", repeat=2), tune("f90", "base"))
    wanted = recipe(*twice, repeat=2, weight={"py": 0.5, "f90": 1.0})
    assert [merge_of(wanted, name).origins for name in ("both-1", "both-2")] == [("py-1", "f90"), ("py-2", "f90")]
    assert merge_of(wanted, "both-2").settings(seed=0).weights == (0.5, 1.0)
    with pytest.raises(RecipeError, match="name one of them"):
        recipe(*twice)
    soup = recipe(*twice, method="linear", **{"from": ["py-1", "py-2"]})
    assert merge_of(soup).needs.models == ("py-1", "py-2")
    dropped = recipe(repeat=3, method="dare", density=0.5)
    assert [node.name for node in dropped.made if node.entry == "both"] == ["both-1", "both-2", "both-3"]
    assert merge_of(recipe(*twice, **{"from": ["py-1", "f90"]})).base_model == "base"


# ---- what is known beforehand ----------------------------------------------------------------------------------------


def test_lineage_and_duties_are_those_of_every_parent() -> None:
    models = {"llama": {"source": "tiny:1"}, "other": {"source": "tiny:2"}}
    known = {
        "base": given("one", "Apache-2.0"),
        "llama": given("two", "LicenseRef-llama3.1"),
        "other": given("three", "MIT"),
    }
    for method, start, licence in (("ties", "base", "Apache-2.0"), ("linear", "llama", "LicenseRef-llama3.1")):
        base = "base" if method == "ties" else None
        wanted = recipe(models=models, method=method, base_model=base, **{"from": ["llama", "other"]})
        names = ("base", "llama", "other") if method == "ties" else ("llama", "other")
        step = merge_of(wanted)
        assert step.needs.used_as == tuple((name, ("weights",)) for name in names)
        assert step.needs.weights == start
        lineage = planned_lineage(wanted, known)["both"]
        assert [parent.name for parent in lineage.parents] == [known[name].name for name in names]
        assert lineage.license == licence
        forecast = Forecast(recipe=wanted, configs={}, device=torch.device("cpu"), given=known)
        duties = planned_duties(forecast)["both"]
        assert {"name_prefix", "attribution"} <= {duty.kind for duty in duties.duties}  # of Llama, whoever comes first
        assert {"mit", "llama-3.1"} <= {duty.licence for duty in duties.duties}
        assert ("apache-2.0" in {duty.licence for duty in duties.duties}) == (method == "ties")


def faults(wanted: Recipe, **known: Any) -> list[str]:
    return faults_of(Forecast(recipe=wanted, device=torch.device("cpu"), **{"configs": {}, **known}))


@pytest.mark.parametrize(
    ("key", "value"), [("hidden_size", 128), ("num_hidden_layers", 3), ("vocab_size", 300), ("model_type", "qwen2")]
)
def test_other_sizes_are_a_fault_of_the_plan(key: str, value: Any) -> None:
    wanted = recipe(models={"big": {"source": "tiny:1"}}, base_model="base", **{"from": ["py", "big"]})
    assert faults(wanted, configs={"base": LLAMA, "py": LLAMA, "big": LLAMA}) == []
    (fault,) = faults(wanted, configs={"base": LLAMA, "py": LLAMA, "big": {**LLAMA, key: value}})
    assert fault.startswith(f"both: base and big cannot be merged, whose {key} are {LLAMA[key]} and {value}")


def test_other_tokens_are_a_fault_of_the_plan(tmp_path: Path) -> None:
    wanted = recipe(models={"big": {"source": "tiny:1"}}, base_model="base", **{"from": ["py", "big"]})
    write_bpe_model(tmp_path / "bpe")
    same, other = (ChatFormat(place) for place in (resolve_source("tiny:0"), tmp_path / "bpe"))
    assert faults(wanted, chats={"base": same, "big": same}) == []
    assert faults(wanted, chats={"base": same}) == []  # of the other nothing is known yet
    (fault,) = faults(wanted, chats={"base": same, "big": other})
    assert "base and big cannot be merged, whose vocabularies differ" in fault


def test_weights_must_be_here() -> None:
    served = {"far": {"endpoint": "http://x/v1", "model": "m", "licence": "MIT"}}
    wanted = recipe(models=served, base_model="base", **{"from": ["py", "far"]})
    (fault,) = faults(wanted)
    assert "both needs far itself, which is behind an endpoint alone" in fault


def test_it_says_what_it_does_and_is_as_large_as_its_models() -> None:
    wanted = recipe(density={"py": 0.1, "f90": 0.3}, save_dtype="bfloat16")
    node = wanted.node("both")
    step = step_of(node)
    assert step.words(node).line == "both: py, f90 by ties, changes from base, 10% to 30% of each"
    assert step.config_of({"base": LLAMA}) == {**LLAMA, "dtype": "bfloat16"}
    assert step.config_of({}) is None
    plain = recipe(method="linear").node("both")
    assert step_of(plain).words(plain).line == "both: py, f90 by linear"
    assert step_of(plain).config_of({"py": LLAMA}) == LLAMA
    (stage,) = step.stages(node, wanted)
    assert (stage.is_exact, stage.after) == (True, ("base", "py", "f90"))
    assert step.costs(node, Forecast(recipe=wanted, configs={}, device=torch.device("cpu"))) == []


# ---- the packaged recipe ---------------------------------------------------------------------------------------------

SMALLER = (
    *(f"data.{name}.problems=12" for name in ("school", "sums", "products", "equations")),
    "exams.exam.problems=6",
    'exams.exam.sits=["mean", "elected"]',
    "exams.exam.sampling.max_tokens=8",
)


class Heard(SilentWatcher):
    """Remembers warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        if kind == "warning":
            self.warnings.append(str(values["message"]))


def run(root: Path, watcher: SilentWatcher | None = None) -> RunOutcome:
    wanted, text = load_recipe("specialists", SMALLER)
    return run_recipe(wanted, text, root=root, cache=default_cache(), watcher=watcher or SilentWatcher())


def stage_of(outcome: RunOutcome, name: str) -> Path:
    (found,) = outcome.directory.glob(f"stages/*-{name}")
    return found


@pytest.mark.slow
def test_three_specialists_are_merged_three_ways_and_sit_one_exam(tmp_path: Path) -> None:
    outcome = run(tmp_path)
    digests = {
        name: read_checkpoint(stage_of(outcome, name) / "model").digest for name in ("mean", "elected", "thinned")
    }
    assert len(set(digests.values())) == 3
    parents = read_checkpoint(stage_of(outcome, "thinned") / "model").parents
    assert [(parent.name, parent.used_as) for parent in parents] == [
        (f"specialists-{name}", ("weights",)) for name in ("common", "adder", "multiplier", "solver")
    ]
    report = ReportData.from_json(read_json(stage_of(outcome, "report") / "report.json"))
    assert {score.model for score in report.exams[0].scores} == {"mean", "elected"}
    assert {rung.name: rung.role for rung in report.ladder}["elected"] == "merged"
    # it is done once, and comes to the same after a kill that left half a directory
    watcher = SilentWatcher()
    assert run(tmp_path, watcher).num_run == 0
    folder = stage_of(outcome, "thinned")
    (folder / "done.json").unlink()
    shutil.move(folder / "model", folder / ".model.x.partial")
    (folder / ".model.x.partial" / "model.safetensors").write_bytes(b"half")
    assert run(tmp_path, watcher).num_run >= 1
    assert watcher.began[0] == "thinned"
    assert read_checkpoint(folder / "model").digest == digests["thinned"]
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_models_of_two_templates_are_merged_with_a_word(tmp_path: Path) -> None:
    """Given models, from directories: the first's template is the merged one's, and the run says so."""
    places = {}
    for number, name in enumerate(("one", "two")):
        places[name] = tmp_path / name
        shutil.copytree(resolve_source(f"tiny:{number}"), places[name])
        (places[name] / "lineage.json").unlink()
    config = (places["two"] / "tokenizer_config.json").read_text("utf-8")
    (places["two"] / "tokenizer_config.json").write_text(
        config.replace("<|im_start|>' +", "<|im_start|>  ' +"), "utf-8"
    )
    models = {name: {"source": str(place), "licence": licence} for (name, place), licence in
              zip(places.items(), ("MIT", "Apache-2.0"), strict=True)}  # fmt: skip
    step = {"kind": "merge", "name": "both", "from": ["one", "two"], "method": "linear", "save_dtype": "bfloat16"}
    watcher = Heard()
    outcome = run_recipe(
        recipe_of({"name": "given", "models": models, "steps": [step]}),
        "",
        root=tmp_path / "runs",
        cache=tmp_path / "cache",
        watcher=watcher,
    )
    (said,) = [one for one in watcher.warnings if "template" in one]
    assert said == "two was asked by another chat template than one, whose template both has."
    made = stage_of(outcome, "both") / "model"
    assert read_json(made / "config.json")["dtype"] == "bfloat16"
    assert [(p.name, p.license) for p in read_checkpoint(made).parents] == [("one", "MIT"), ("two", "Apache-2.0")]
    assert ChatFormat(made).template_fingerprint == ChatFormat(places["one"]).template_fingerprint
