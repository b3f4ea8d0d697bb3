"""Route steps: what a recipe may say, what is known beforehand, and a system of three kinds of models that sits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bpe_parts import write_bpe_model
from finished_run import SilentWatcher
from lineages import given

from spiritsafe.cli.model_options import open_any_generator
from spiritsafe.core.errors import CompatibilityError, IntegrityError, RecipeError, SpiritsafeError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.digests import digest_file, digest_model
from spiritsafe.core.records import Attempt, Prompt, Sampling
from spiritsafe.exam.records import Certificate
from spiritsafe.models import default_cache, load_model, open_generator, read_checkpoint, resolve_source
from spiritsafe.pipeline import RunOutcome, run_recipe
from spiritsafe.pipeline.plan.costs import stage_costs
from spiritsafe.pipeline.plan.duties import planned_duties
from spiritsafe.pipeline.plan.known import faults_of
from spiritsafe.pipeline.plan.lineage import planned_lineage
from spiritsafe.pipeline.plan.stage_cost import DocumentSize
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.step import DataFacts, Forecast, step_of
from spiritsafe.pipeline.steps.combining.route import RouteStep
from spiritsafe.report import ReportData
from spiritsafe.rollouts import read_attempts
from spiritsafe.serve import read_routed, read_router
from spiritsafe.tasks import build_task

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 260,
    "tie_word_embeddings": True,
}


def tune(name: str, start: str = "base", **keys: Any) -> dict[str, Any]:
    return {"kind": "tune", "name": name, "from": start, "learns": ["sums"], **keys}


def recipe(*more: dict[str, Any], models: dict[str, Any] | None = None, **route: Any) -> Recipe:
    """Two specialists of one base and a router before them; then more steps."""
    step = {"kind": "route", "name": "either", "from": ["py", "f90"], "on": ["dev"], **route}
    return recipe_of(
        {
            "name": "routing",
            "models": {"base": {"source": "tiny:0"}, **(models or {})},
            "data": {
                "sums": {"task": "arith:sums", "problems": 8},
                "dev": {"task": "arith:sums", "problems": 60},
                "more": {"task": "arith:products", "problems": 60},
            },
            "steps": [tune("py"), tune("f90"), step, *more],
        }
    )


def known(wanted: Recipe, **forecast: Any) -> Forecast:
    size = DocumentSize(prompt_tokens=20, answer_tokens=10)
    facts = {
        name: DataFacts(task="arith:sums", num_problems=60, num_documents=60, size=size)
        for name in ("sums", "dev", "more")
    }
    return Forecast(recipe=wanted, device=torch.device("cpu"), **{"configs": {}, "sets": facts, **forecast})


# ---- what a recipe says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"from": ["py"]}, "at least 2"),
        ({"from": ["py", "py"]}, "named twice"),
        ({"on": []}, "at least 1"),
        ({"on": ["dev", "dev"]}, "named twice"),
        ({"max_loss": 0.05}, "max_loss: no effect"),
        ({"rule": "cheapest", "max_loss": 0.0}, "greater than 0"),
        ({"rule": "cascade"}, "'best' or 'cheapest'"),
        ({"num_samples": 4}, "temperature 0"),
        ({"on": ["sums"]}, "on names 'sums', which 'py' was made with"),
        ({"from": ["py", "nobody"]}, "'nobody', which nothing is called"),
        ({"from": ["py", "dev"]}, "'dev', which is a data set"),
        ({"on": ["py"]}, "'py', which is a model"),
        ({"repeat": 2}, "repeat"),
    ],
)
def test_what_could_not_take_effect_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(**keys)
    assert message in str(caught.value.diagnostics())


def test_what_was_learnt_from_far_back_is_seen() -> None:
    """Answers to the problems, and a start that learnt from them, are as much a giveaway as the problems."""
    answers = {"kind": "sample", "name": "answers", "from": "base", "on": ["dev"]}
    pupil = {"kind": "tune", "name": "pupil", "from": "base", "learns": ["answers"]}
    with pytest.raises(RecipeError, match="on names 'dev', which 'grand' was made with"):
        recipe(answers, pupil, tune("grand", "pupil"), **{"from": ["py", "grand"]})


@pytest.mark.parametrize(
    "step",
    [
        tune("next", "either"),
        {"kind": "cut", "name": "next", "from": "either", "share": 0.9, "calibrate": ["sums"]},
        {"kind": "quantise", "name": "next", "from": "either", "to": "q8_0"},
        {"kind": "merge", "name": "next", "from": ["py", "either"], "method": "linear"},
        {"kind": "distil", "name": "next", "from": "py", "teacher": "either", "learns": ["sums"]},
        {"kind": "reinforce", "name": "next", "from": "either", "on": ["sums"]},
        {"kind": "capture", "name": "next", "from": "either", "learns": ["sums"]},
        {"kind": "release", "name": "next", "from": "either"},
        {"kind": "measure", "name": "next", "from": ["py", "either"], "on": ["sums"]},
        {"kind": "route", "name": "next", "from": ["py", "either"], "on": ["more"]},
    ],
    ids=lambda step: step["kind"],
)
def test_nothing_goes_on_from_weights_that_it_has_not(step: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="'either', which is a routed system and has no weights of its own"):
        recipe(step)


def test_whoever_only_asks_may_ask_it() -> None:
    asked = recipe(
        {"kind": "sample", "name": "answers", "from": "either", "on": ["more"]},
        {"kind": "measure", "name": "numbers", "from": ["py", "either"], "on": ["more"], "what": ["accuracy"]},
        {"kind": "tune", "name": "pupil", "from": "base", "learns": ["answers"]},
    )
    lineage = planned_lineage(asked, {"base": given("one", "Apache-2.0")})
    assert {(parent.name, parent.used_as) for parent in lineage["pupil"].parents} == {
        ("one", ("weights",)),
        ("either", ("outputs",)),
    }


def test_a_resolved_recipe_is_a_recipe_with_the_keys_of_its_author() -> None:
    wanted = recipe()
    written = wanted.to_json()["steps"][2]
    assert recipe_of(wanted.to_json()).to_json() == wanted.to_json()
    assert (written["from"], written["rule"]) == (["py", "f90"], "best")
    assert "origins" not in written


def test_models_that_are_repeated_are_named_one_by_one() -> None:
    value = recipe().to_json()
    value["steps"][0]["repeat"] = 2
    with pytest.raises(RecipeError, match="name one of them"):
        recipe_of(value)
    value["steps"][2]["from"] = ["py-2", "f90"]
    step = recipe_of(value).node("either").recipe
    assert isinstance(step, RouteStep)
    assert step.needs.models == ("py-2", "f90")


# ---- what is known beforehand ----------------------------------------------------------------------------------------


def test_lineage_and_duties_are_those_of_every_model() -> None:
    wanted = recipe(
        models={"llama": {"source": "tiny:1"}, "other": {"source": "tiny:2"}}, **{"from": ["llama", "other"]}
    )
    checkpoints = {
        "base": given("one", "MIT"),
        "llama": given("two", "LicenseRef-llama3.1"),
        "other": given("three", "Apache-2.0"),
    }
    lineage = planned_lineage(wanted, checkpoints)["either"]
    assert [(parent.name, parent.used_as) for parent in lineage.parents] == [
        ("two", ("weights",)),
        ("three", ("weights",)),
    ]
    assert lineage.license == "LicenseRef-llama3.1"
    duties = planned_duties(known(wanted, given=checkpoints))["either"]
    assert {"llama-3.1", "apache-2.0"} <= {duty.licence for duty in duties.duties}


def test_what_cannot_work_is_a_fault_of_the_plan() -> None:
    wanted = recipe()
    assert faults_of(known(wanted)) == []
    few = {name: DataFacts(task="arith:sums", num_problems=49, num_documents=49) for name in ("sums", "dev", "more")}
    assert faults_of(known(wanted, sets=few)) == ["either: a router learns from 50 problems at least, and on has 49"]
    assert faults_of(known(recipe(on=["dev", "more"]), sets=few)) == []
    mute = {"dev": DataFacts(task="chat:x", num_problems=60, num_documents=60, verifies=False)}
    (fault,) = faults_of(known(wanted, sets=mute))
    assert fault.startswith("either: dev has no verifier")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"endpoint": "http://x/v1", "model": "m", "licence": "MIT"}, "needs far itself, which is behind an endpoint"),
        ({"endpoint": "http://x/v1", "model": "m", "source": "tiny:1"}, "leave endpoint out of [models.far]"),
    ],
)
def test_an_endpoint_is_not_asked(model: dict[str, Any], words: str) -> None:
    found = faults_of(known(recipe(models={"far": model}, **{"from": ["py", "far"]})))
    assert any(words in fault for fault in found)


def test_it_costs_what_its_models_draw_and_as_much_memory_as_the_largest() -> None:
    wanted = recipe(
        {"kind": "sample", "name": "answers", "from": "either", "on": ["more"]},
        {"kind": "measure", "name": "numbers", "from": ["either"], "on": ["more"], "what": ["accuracy"]},
    )
    value = wanted.to_json()
    exam = {"task": "arith:sums", "problems": 40, "sits": ["either"], "sampling": {"max_tokens": 20}}
    wanted = recipe_of({**value, "exams": [exam]})
    big = {**LLAMA, "num_hidden_layers": 8}
    node = wanted.node("either")
    step = step_of(node)
    forecast = known(wanted, configs={"py": LLAMA, "f90": big})
    costs = {cost.name: cost for cost in stage_costs(forecast)}
    alone = {cost.name: cost for cost in stage_costs(known(wanted, configs={"py": LLAMA}))}
    assert costs["either"].sampled_tokens == 2 * alone["either"].sampled_tokens > 0
    assert costs["either"].work.flops > 3 * alone["either"].work.flops
    assert 0 < costs["exam"].sampled_tokens <= 40 * 20  # each problem is asked once
    assert costs["exam"].work.flops > 0
    for name, count in (("answers", 60), ("numbers", 256)):  # whoever asks it, too
        assert costs[name].sampled_tokens == pytest.approx(count * 10, rel=0.02)
        asker = wanted.node(name)
        assert step_of(asker).peak(asker, forecast) == step.peak(node, forecast)
    peaks = [step.peak(node, known(wanted, configs={"py": one})) for one in (LLAMA, big)]
    assert step.peak(node, forecast) == peaks[1]
    assert peaks[0] is not None
    assert peaks[1] is not None
    assert peaks[0] < peaks[1]
    assert (step.peak(node, known(wanted)), step.costs(node, known(wanted))) == (None, [])
    assert step.config_of({"py": LLAMA}) is None
    assert step.words(node).line == "either: one of py, f90 by the prompt, learnt on dev"
    cheap = recipe(rule="cheapest", max_loss=0.03).node("either")
    assert step_of(cheap).words(cheap).line.endswith("learnt on dev, the cheapest within 3 points")
    (stage,) = step.stages(node, wanted)
    assert (stage.is_exact, stage.after, stage.scratch) == (False, ("py", "f90", "dev"), ("attempts",))


# ---- a run -----------------------------------------------------------------------------------------------------------

SIDES = {"left": "lefty", "right": "righty", "up": "upper-q8"}
"""What is asked about, and who learnt it: weights of ours, weights with another tokenizer, and a GGUF file."""
SAMPLING = Sampling(temperature=0.0, max_tokens=12)


def write_sides(folder: Path) -> Callable[..., str]:
    """Questions whose answer is the same for all of a side; a specialist learns it in seconds."""
    for number, side in enumerate(SIDES, 1):
        for split, first, count in (("train", 0, 200), ("exam", 200, 400)):
            rows = (
                json.dumps({"question": f"Which side is {side} number {place}?", "answer": f"#### {number}"})
                for place in range(first, first + count)
            )
            (folder / f"{side}-{split}.jsonl").write_text("\n".join(rows), "utf-8")

    def task(*sides: str) -> str:
        parts = [f"math:{folder}/{side}-train.jsonl?exam={folder}/{side}-exam.jsonl" for side in sides]
        return parts[0] if len(parts) == 1 else f"mix:{'|'.join(parts)}"

    return task


def sides_recipe(folder: Path) -> Recipe:
    task = write_sides(folder)
    if not (folder / "bpe").exists():
        write_bpe_model(folder / "bpe", max_position_embeddings=256)
    train = {"learning_rate": 3e-3, "tokens_per_step": 1024, "micro_batch_tokens": 1024, "max_steps": 40}
    counts = {"": 40, "-dev": 24}
    tunes = (("lefty", "base", "left"), ("righty", "other", "right"), ("upper", "base", "up"))
    return recipe_of(
        {
            "name": "sides",
            "seed": 3,
            "engine": {"max_batch": 32, "max_context": 256, "device": "cpu"},
            "models": {"base": {"source": "tiny:0"}, "other": {"source": str(folder / "bpe"), "licence": "MIT"}},
            "data": {
                f"{side}{kind}": {"task": task(side), "problems": count}
                for kind, count in counts.items()
                for side in SIDES
            },
            "defaults": {"tune": {"train": train}},
            "steps": [
                *({"kind": "tune", "name": name, "from": start, "learns": [side]} for name, start, side in tunes),
                {"kind": "quantise", "name": "upper-q8", "from": "upper", "to": "q8_0"},
                {
                    "kind": "route",
                    "name": "routed",
                    "from": list(SIDES.values()),
                    "on": [f"{side}-dev" for side in SIDES],
                    "sampling": SAMPLING.to_json(),
                },
                {
                    "kind": "route",
                    "name": "cheap",
                    "from": ["righty", "lefty"],
                    "on": [f"{side}-dev" for side in SIDES],
                    "rule": "cheapest",
                    "max_loss": 0.2,
                    "sampling": SAMPLING.to_json(),
                },
                {
                    "kind": "sample",
                    "name": "answers",
                    "from": "routed",
                    "on": ["left", "right"],
                    "sampling": SAMPLING.to_json(),
                },
            ],
            "exams": [
                {"task": task(*SIDES), "problems": 36, "sits": ["lefty", "routed"], "sampling": SAMPLING.to_json()}
            ],
            "compare": [{"first": "routed", "second": "lefty"}],
        }
    )


def go(folder: Path, watcher: SilentWatcher | None = None) -> RunOutcome:
    wanted = sides_recipe(folder)
    watcher = watcher or SilentWatcher()
    return run_recipe(wanted, "", root=folder / "runs", cache=default_cache(), watcher=watcher)


def stage_of(run: Path, name: str) -> Path:
    (found,) = run.glob(f"stages/*-{name}")
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of the data, and the run."""
    folder = tmp_path_factory.mktemp("sides")
    return folder, go(folder).directory


@pytest.mark.slow
def test_three_specialists_of_three_kinds_sit_an_exam_as_one(finished: tuple[Path, Path]) -> None:
    _, run = finished
    model = stage_of(run, "routed") / "model"
    checkpoint, router = read_checkpoint(model), read_router(model / "routed.json")
    parents = {name: read_checkpoint(stage_of(run, name) / "model") for name in SIDES.values()}
    assert checkpoint.digest == digest_file(model / "routed.json") == digest_model(model)
    assert checkpoint.num_parameters == sum(one.num_parameters for one in parents.values())
    assert checkpoint.weight_bytes == sum(one.weight_bytes for one in parents.values())
    assert [(one.digest, one.used_as) for one in checkpoint.parents] == [
        (one.digest, ("weights",)) for one in parents.values()
    ]
    assert {rung.digest for rung in router.rungs} == {one.digest for one in parents.values()}
    assert sorted(path.name for path in model.iterdir()) == ["lineage.json", "places.json", "routed.json"]
    assert not any(place.startswith("/") for place in read_json(model / "places.json").values())
    assert (router.kind, router.is_better) == ("best", True)
    assert router.point.accuracy.value > 0.9
    # the sealed exam: each specialist knows a third, the system all of it
    exam = stage_of(run, "exam")
    sat = {name: Certificate.from_json(read_json(exam / f"{name}.certificate.json")) for name in ("lefty", "routed")}
    assert sat["routed"].result.model_digest == checkpoint.digest
    assert sat["routed"].result.sealed.accuracy.value > 0.8
    assert sat["lefty"].result.sealed.accuracy.value <= 0.5
    report = ReportData.from_json(read_json(stage_of(run, "report") / "report.json"))
    assert {rung.name: rung.role for rung in report.ladder}["routed"] == "routed"
    (versus,) = report.exams[0].versus
    assert (versus.first, versus.difference.low > 0.0) == ("routed", True)
    assert versus.first_flops > versus.second_flops > 0
    made = {row.name: row for row in report.made}
    assert made["routed"].generated_tokens > 0
    most = max(one.num_parameters for one in parents.values())
    assert 0 < made["answers"].flops < 2 * made["answers"].generated_tokens * most  # a mean of their sizes
    # what it answers can be learnt from, as text: its tokens are of several vocabularies
    traces = [json.loads(line) for line in (stage_of(run, "answers") / "traces.jsonl").read_text("utf-8").splitlines()]
    assert len(traces) > 70
    assert {(trace["vocabulary"], tuple(trace["token_ids"])) for trace in traces} == {("", ())}


@pytest.mark.slow
def test_by_cost_the_router_keeps_the_promise_that_was_asked_for(finished: tuple[Path, Path]) -> None:
    stage = stage_of(finished[1], "cheap")
    router = read_router(stage / "model" / "routed.json")
    assert (router.kind, router.cost, router.num_problems) == ("prompt", "tokens", 72)
    assert router.chosen_for.startswith("at most 20 points")
    sizes = {name: read_checkpoint(stage_of(finished[1], name) / "model").weight_bytes for name in ("righty", "lefty")}
    assert [rung.name for rung in router.rungs] == ["righty", "lefty"]
    for rung in router.rungs:
        drawn = [attempt.num_tokens for attempt, _ in read_attempts(stage / "attempts" / rung.name)]
        assert rung.cost.value == pytest.approx(sizes[rung.name] * sum(drawn) / len(drawn))


@pytest.mark.slow
def test_each_answer_is_the_picked_models_own_here_and_in_a_moved_run(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    """By workers of the command line, of a copy of the run; the original is asked in this process."""
    folder, run = finished
    moved = Path(shutil.copytree(run, tmp_path / "moved"))
    system = read_routed(moved / stage_of(run, "routed").relative_to(run) / "model")
    assert all(place.resolve().is_relative_to(moved) for place in system.directories)
    task = build_task(write_sides(folder)(*SIDES))
    problems = list(task.problems("dev", seed=1, count=9))
    prompts = [Prompt(problem_id=one.id, messages=one.messages, seed=5) for one in problems]
    generator = open_any_generator(moved / stage_of(run, "routed").relative_to(run) / "model", None, None, None)
    try:
        routed = {attempt.problem_id: attempt for attempt in generator.generate(prompts, SAMPLING)}
    finally:
        generator.close()
    assert {attempt.model for attempt in routed.values()} == {system.checkpoint.digest}
    picks = {one.problem_id: system.router.rungs[system.router.pick(one.messages)].name for one in prompts}
    assert set(picks.values()) == set(SIDES.values())
    for name in SIDES.values():
        mine = [one for one in prompts if picks[one.problem_id] == name]
        own = open_generator(stage_of(run, name) / "model")
        try:
            for attempt in own.generate(mine, SAMPLING):
                assert bare(routed[attempt.problem_id]) == bare(attempt)
        finally:
            own.close()
    assert [task.grade(one, routed[one.id].text).status for one in problems].count("correct") > 7


def bare(attempt: Attempt) -> dict[str, Any]:
    """What an answer is, without who is said to have drawn it, when, and the last bits of its log-probabilities."""
    value = attempt.to_json()
    return {key: value[key] for key in value if key not in ("model", "seconds", "logprobs")}


@pytest.mark.slow
def test_a_killed_run_comes_to_the_same(finished: tuple[Path, Path]) -> None:
    folder, run = finished
    stage = stage_of(run, "routed")
    before = {path.name: path.read_bytes() for path in (stage / "model").iterdir()}
    watcher = SilentWatcher()
    assert go(folder, watcher).num_run == 0
    # killed between two models, and with half a directory
    (stage / "done.json").unlink()
    shutil.move(stage / "model", stage / ".model.x.partial")
    shutil.rmtree(stage / "attempts" / "upper-q8")
    kept = stage / "attempts" / "lefty" / "manifest.json"
    time = kept.stat().st_mtime_ns
    go(folder, watcher)
    assert watcher.began == ["routed"]
    assert {path.name: path.read_bytes() for path in (stage / "model").iterdir()} == before
    assert kept.stat().st_mtime_ns == time
    assert not list(stage.glob(".model*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SIDES.values()))
def test_a_changed_weight_is_named_before_anybody_is_asked(
    finished: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    _, run = finished
    moved = Path(shutil.copytree(run, tmp_path / "moved", ignore=shutil.ignore_patterns("attempts")))
    (file,) = [path for path in stage_of(moved, name).glob("model/model*") if path.suffix != ".json"] or list(
        stage_of(moved, name).glob("model/*.gguf")
    )
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match=f"^{name}, which .* was changed"):
        open_any_generator(stage_of(moved, "routed") / "model", None, None, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [lambda place: load_model(place, dtype=torch.float32), open_generator, lambda place: resolve_source(str(place))],
)
def test_whoever_wants_weights_is_told_that_there_are_none(
    finished: tuple[Path, Path], use: Callable[[Path], object]
) -> None:
    model = stage_of(finished[1], "routed") / "model"
    with pytest.raises(CompatibilityError, match="asks one of several models for each answer") as caught:
        use(model)
    assert "places.json" in caught.value.hint


@pytest.mark.slow
def test_a_given_model_is_not_a_routed_system(finished: tuple[Path, Path], tmp_path: Path) -> None:
    folder, run = finished
    value = sides_recipe(folder).to_json()
    system = {"models": {"routed": {"source": str(stage_of(run, "routed") / "model")}}, "exams": value["exams"][:1]}
    system["exams"][0]["sits"] = ["routed"]
    wanted = recipe_of({"name": "again", **system})
    with pytest.raises(SpiritsafeError, match="asks one of several models for each answer"):
        run_recipe(wanted, "", root=tmp_path, cache=tmp_path / "cache", watcher=SilentWatcher())
