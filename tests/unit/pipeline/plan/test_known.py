from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import pytest
import templates_parts
from finished_run import SilentWatcher
from pipeline_parts import context_after, recipe_with
from stranger_models import write_mixtral, write_stray_llama

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import EndpointError, RecipeError
from spiritsafe.models import default_cache
from spiritsafe.pipeline import plan_recipe, run_recipe
from spiritsafe.pipeline.plan.known import forecast_of, forecast_of_run, refuse
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.tasks import build_task

SUMS = "arith:sums?terms=2&digits=1-2"
DENSE: dict[str, dict[str, Any]] = {
    "small": {"kind": "tune", "from": "own", "learns": ["review"], "train": {"max_steps": 1}}
}


class Hearing(SilentWatcher):
    """Remembers warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        if kind == "warning":
            self.warnings.append(str(values["message"]))


def faults(recipe: Recipe, cache: Path | None = None) -> list[str]:
    return forecast_of(recipe, cache=cache or default_cache())[2]


def over(tables: dict[str, Any]) -> Recipe:
    """A recipe of these tables, with a model and some sums."""
    base = {"name": "r", "models": {"base": {"source": "tiny:0"}}, "data": {"sums": {"task": SUMS, "problems": 8}}}
    return recipe_of(base | tables)


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixtral(tmp_path_factory.mktemp("mixtral"))


def mixture(mixtral: Path, *overrides: str, **changes: dict[str, Any]) -> Recipe:
    """The tiny recipe over a mixture of experts, whose students are small dense models that read the same tokens."""
    value: dict[str, Any] = recipe_with(
        f'models.base.source="{mixtral}"', 'models.own.source="tiny:1"', *overrides, **changes
    ).to_json()
    value["steps"] = [{"name": step["name"], **DENSE.get(step["name"], step)} for step in value["steps"]]
    return recipe_of(value)


def test_a_plan_and_a_run_know_the_same(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    before, _, found = forecast_of(context.recipe, cache=default_cache())
    during = forecast_of_run(context)
    assert found == []
    assert before.sets == during.sets
    assert before.configs == during.configs
    assert set(before.chats) == set(during.chats) == {"base"}


def test_sets_are_counted_as_they_will_be_drawn(tmp_path: Path) -> None:
    rows = [json.dumps({"question": f"{n} + 1?", "answer": f"{n + 1}"}) for n in range(80)]
    (tmp_path / "q.jsonl").write_text("\n".join(rows) + "\n")
    file = f"math:{tmp_path / 'q.jsonl'}"
    data = {
        "few": {"task": file, "problems": 20},
        "rest": {"task": file},
        "many": {"task": "arith:sums?terms=4", "problems": 10**6},
        "sums": {"task": SUMS, "problems": 30},
    }
    step = {"kind": "sample", "name": "s", "from": "base", "on": list(data), "num_samples": 2, "max_per_problem": 2}
    known, _, found = forecast_of(over({"data": data, "steps": [step]}), cache=default_cache())
    assert found == []
    counts = {name: (facts.num_problems, facts.num_documents) for name, facts in known.sets.items()}
    assert (counts["few"], counts["sums"], counts["many"]) == ((20, 0), (30, 30), (10**6, 10**6))
    assert 20 < counts["rest"][0] < 60
    assert counts["s"] == (sum(counts[name][0] for name in data), 2 * sum(counts[name][0] for name in data))


UNSOLVED = "".join(json.dumps({"question": f"{n} + 1?", "answer": f"{n + 1}"}) + "\n" for n in range(80))
CHATS = "".join(
    json.dumps({"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}!"}]}) + "\n"
    for n in range(80)
)
SERVED = {"endpoint": "http://127.0.0.1:1/v1", "model": "m"}
TUNE = {"kind": "tune", "name": "t", "from": "base", "learns": ["sums"]}


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        # a set without solutions is learnt from
        (
            {"data": {"d": {"task": "math:FOLDER/q.jsonl"}}, "steps": [{**TUNE, "learns": ["d"]}]},
            "t learns from 'd', which has no solutions: let a model answer its problems",
        ),
        # keep = "verified" where no row has a verifier
        (
            {
                "data": {"d": {"files": ["FOLDER/chats.jsonl"]}},
                "steps": [{"kind": "sample", "name": "s", "from": "base", "on": ["d"]}],
            },
            's: keep = "verified", and none of d has a verifier: set "all"',
        ),
        # a reward that nothing could give
        (
            {
                "data": {"d": {"files": ["FOLDER/chats.jsonl"]}},
                "steps": [
                    {"kind": "reinforce", "name": "rl", "from": "base", "on": ["d"],
                     "config": {"prompts_per_round": 2, "group_size": 2, "num_rounds": 1, "loss": {"method": "dapo"}}}
                ],
            },
            "rl: d has no verifier, so nothing of it can be rewarded",
        ),
        # an exam that nothing could grade
        ({"exams": [{"task": "chat:FOLDER/chats.jsonl", "problems": 4}]}, "has no verifier; measure what was held out"),
        # fewer rows than asked for
        (
            {"data": {"d": {"task": "math:FOLDER/q.jsonl", "problems": 500}}, "exams": [{"task": SUMS, "problems": 4}]},
            "500 were asked for",
        ),
        # a task that does not exist, a file that is not there, a source that is none
        ({"data": {"d": {"task": "arith:sms", "problems": 4}}, "exams": [{"task": SUMS, "problems": 4}]}, '"sums"'),
        ({"data": {"d": {"files": ["FOLDER/none.jsonl"]}}, "exams": [{"task": SUMS, "problems": 4}]}, "none.jsonl"),
        ({"models": {"base": {"source": "FOLDER/no"}}, "exams": [{"task": SUMS, "problems": 4}]}, "base: "),
        ({"exams": [{"task": "arith:nosuch", "problems": 4}]}, "exam 'exam': "),
        # the weights of a model that is only served
        (
            {"models": {"far": SERVED}, "steps": [{**TUNE, "from": "far"}]},
            "t needs far itself, which is behind an endpoint alone: add source to [models.far]",
        ),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told_by_the_plan(tmp_path: Path, tables: dict[str, Any], said: str) -> None:
    (tmp_path / "q.jsonl").write_text(UNSOLVED)
    (tmp_path / "chats.jsonl").write_text(CHATS)
    placed = json.loads(json.dumps(tables).replace("FOLDER", str(tmp_path)))
    (fault,) = faults(over(placed), tmp_path / "cache")
    assert said in fault


def test_a_verifier_that_cannot_say_anything_is_told_and_not_asked_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def silent(*_: Any) -> NoReturn:
        asked.append(1)
        raise EndpointError("m does not answer.", hint="Look at its server.")

    monkeypatch.setattr(type(build_task(SUMS).verifier), "judge", silent)
    found = faults(over({"data": {"sums": {"task": SUMS, "problems": 30}}, "steps": [TUNE]}), tmp_path / "cache")
    assert any("could not judge a single solution: EndpointError: m does not answer" in fault for fault in found)
    assert not any("has no solutions" in fault for fault in found)
    assert len(asked) == 3


def test_all_that_cannot_work_is_told_at_once(tmp_path: Path) -> None:
    data = {"a": {"task": "arith:sms", "problems": 4}, "b": {"task": "arith:sums?terms=2&digits=1", "problems": 10**4}}
    exams = [{"task": "arith:nosuch", "problems": 4}, {"name": "two", "task": "noone:x", "problems": 4}]
    recipe = over({"models": {"base": {"source": str(tmp_path / "no")}}, "data": data, "exams": exams})
    found = faults(recipe, tmp_path)
    assert len(found) == 5
    assert plan_recipe(recipe, cache=tmp_path)[2] == found
    assert "cannot run: 5 faults" in plan_recipe(recipe, cache=tmp_path)[0]
    with pytest.raises(RecipeError, match="5 things cannot work") as caught:
        refuse(found)
    assert all(fault in caught.value.message for fault in found)


def test_without_faults_nothing_is_refused() -> None:
    refuse([])
    with pytest.raises(RecipeError, match=r"^one thing\.$"):
        refuse(["one thing."])


def test_what_needs_the_decoder_stops_plan_and_run_before_anything_is_sealed(mixtral: Path, tmp_path: Path) -> None:
    recipe = recipe_with(f'models.base.source="{mixtral}"')
    (fault,) = faults(recipe)
    assert fault.startswith("small cannot be cut from teacher")
    watcher = SilentWatcher()
    with pytest.raises(RecipeError, match="small cannot be cut"):
        run_recipe(recipe, "", root=tmp_path, cache=default_cache(), watcher=watcher)
    assert watcher.began[-1] == "check"
    assert "seal" not in watcher.began


def test_adapters_are_refused_on_what_takes_none(mixtral: Path) -> None:
    assert faults(mixture(mixtral, "steps.tuned.lora={ rank = 4 }")) == []
    found = faults(mixture(mixtral, 'steps.tuned.lora={ rank = 4, targets = ["up", "down"] }'))
    assert [fault.partition(":")[0] for fault in found] == ["tuned cannot put adapters on base"]
    assert "up, down" in found[0]


def test_the_plan_of_a_mixture_is_whole_and_says_what_it_leaves_out(mixtral: Path) -> None:
    text, _, found = plan_recipe(mixture(mixtral), cache=default_cache())
    assert found == []
    for word in ("transformers' own code", "mixtral", "activations not predicted", "disk", "total", "signal"):
        assert word in text
    assert "not predicted:" not in text


def test_a_stray_key_is_told_and_changes_nothing_of_the_plan(tmp_path: Path) -> None:
    for name, more, told in (("plain", {}, False), ("odd", {"my_note": "mine"}, True)):
        source = write_stray_llama(tmp_path / name, **more)
        text, _, found = plan_recipe(recipe_with(f'models.base.source="{source}"'), cache=default_cache())
        assert found == []
        assert ("my_note" in text) == told


def test_a_student_with_other_tokens_than_its_teachers_stops_the_plan(tmp_path: Path) -> None:
    other = templates_parts.qwen3(tmp_path / "other")
    for objective, count in (("forward_kl", 1), ("jsd", 1), ("across", 0)):
        student = {"kind": "distil", "from": "other", "teacher": "rl", "learns": ["review"], "objective": objective}
        found = faults(recipe_with(f'models.other.source="{other}"', foreign=student))
        assert len([fault for fault in found if "rl and other have other tokens" in fault]) == count == len(found)


@pytest.mark.slow
def test_a_mixture_of_experts_goes_through_every_stage(mixtral: Path, tmp_path: Path) -> None:
    recipe = mixture(
        mixtral,
        "data.lessons.problems=16",
        "steps.rl.controls=[]",
        "steps.rl.config.loss={ method = 'dapo', kl_weight = 0.01 }",
        "exams.exam.problems=8",
        "exams.exam.sampling.max_tokens=4",
    )
    watcher = Hearing()
    outcome = run_recipe(recipe, "", root=tmp_path, cache=default_cache(), watcher=watcher)
    made = ["teacher", "sampled", "before-rl", "rl", "after-rl", "harvest", "tuned", "signal", "student", "on-policy"]
    assert [name for name in watcher.began if name in made] == made
    assert outcome.report.is_file()
    assert any("mixtral" in warning for warning in watcher.warnings)
    report = json.loads(next(outcome.directory.glob("stages/*-report/report.json")).read_text("utf-8"))
    rows = {row["what"]: row for row in report["memory"]}
    assert all(row["predicted_bytes"] for row in rows.values())
    assert "activations" in rows["teacher"]["note"]
    taught = json.loads(next(outcome.directory.glob("stages/*-teacher/done.json")).read_text("utf-8"))["result"]
    idle = 2 * 2 * 3 * 64 * 96  # layers × experts that are not chosen × their three matrices
    base = json.loads(next(outcome.directory.glob("stages/*-base/lineage.json")).read_text("utf-8"))
    assert taught["compute"]["flops"] == 6 * taught["tokens"] * (base["num_parameters"] - idle)
