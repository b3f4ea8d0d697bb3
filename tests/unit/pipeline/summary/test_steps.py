from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pipeline_parts import context_after
from told_certificates import certificates_of, data_of, right_of

from spiritsafe.core.files.atomic import read_json
from spiritsafe.pipeline.equal_compute import own
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.summary.steps import comparisons, made_rows, reinforced_steps
from spiritsafe.stats.intervals import score_interval
from spiritsafe.stats.paired import paired_difference


def test_the_staircase_tells_counts_costs_and_gains(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    rows = {row.name: row for row in made_rows(context)}
    assert list(rows) == ["teacher", "sampled", "rl", "harvest", "tuned", "small", "student", "on-policy"]
    assert [rows[name].start for name in ("teacher", "rl", "harvest", "tuned", "small", "student")] == [
        "base", "teacher", "rl", "base", "teacher", "small",
    ]  # fmt: skip
    assert rows["teacher"].counts == "48 lessons"
    asked = read_json(context.stage("harvest").path / "report.json")
    assert rows["harvest"].counts == f"{asked['num_kept']} of 16 kept"
    assert rows["rl"].counts.startswith("2 rounds, ")
    assert "16 review" in rows["tuned"].counts
    assert rows["tuned"].total_flops > rows["tuned"].flops > 0
    assert rows["rl"].generated_tokens > 0
    assert rows["on-policy"].read_tokens > 0


def test_controls_stand_beside_the_real_run_paired(tiny_run: Path, tmp_path: Path) -> None:
    context, certificates = context_after(tiny_run, tmp_path), certificates_of(tiny_run)
    (step,) = reinforced_steps(context, {"exam": certificates})
    assert (step.name, step.start, step.method, step.k) == ("rl", "teacher", "DAPO", 4)
    assert [run.kind for run in step.runs] == [arm.kind for arm in step.arms] == [
        "reinforced", "random", "format", "rft",
    ]  # fmt: skip
    for arm, name in zip(step.arms, ("rl", "rl-random", "rl-format", "rl-rft"), strict=True):
        mine, start, real = (right_of(certificates[model]) for model in (name, "teacher", "rl"))
        assert arm.sealed == score_interval(mine)
        assert arm.gain == paired_difference(mine, start).difference
        assert (arm.behind is None) == (arm.kind == "reinforced")
        if arm.behind is not None:
            assert arm.behind == paired_difference(real, mine).difference
    assert [point.k for point in step.passes] == [1, 2, 4]
    assert step.well_formed is not None


def test_each_exam_has_its_arms_and_without_one_there_are_none(tiny_run: Path, tmp_path: Path) -> None:
    context, certificates = context_after(tiny_run, tmp_path), certificates_of(tiny_run)
    some = {name: certificates[name] for name in ("teacher", "rl")}
    (step,) = reinforced_steps(context, {"first": certificates, "second": some})
    assert [arm.kind for arm in step.arms_of("first")] == ["reinforced", "random", "format", "rft"]
    assert [arm.kind for arm in step.arms_of("second")] == ["reinforced"]
    (bare,) = reinforced_steps(context, {})
    assert (bare.arms, bare.runs) == ((), step.runs)


def test_rounds_are_told_as_they_went(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    (step,) = reinforced_steps(context, {"exam": certificates_of(tiny_run)})
    for run in step.runs:
        path = context.stage(run.name).path
        rounds, curve = read_json(path / "rounds.json"), read_json(path / "curve.json")
        assert [point.round for point in run.rounds] == [0, 1]
        assert run.rounds[-1].num_tokens == sum(row["num_tokens"] for row in rounds)
        assert [point.entropy for point in run.rounds] == [row["entropy"] for row in rounds]
        assert run.trained_tokens == sum(row["tokens"] for row in curve)
        assert run.drawing_s == pytest.approx(sum(row["draw_seconds"] for row in rounds))
        assert run.rounds[-1].dev is None  # the recipe asks for no points on dev problems
    random = step.runs[1]
    assert random.rounds[0].changed is not None
    assert random.rounds[0].gap is not None


def test_pairs_that_the_recipe_names_are_compared_at_what_they_cost(tiny_run: Path, tmp_path: Path) -> None:
    context, certificates = context_after(tiny_run, tmp_path), certificates_of(tiny_run)
    pairs = [{"first": "tuned", "second": "rl"}, {"first": "student", "second": "on-policy"}]
    recipe = Recipe.from_json(context.recipe.to_json() | {"compare": pairs})
    context, (exam,) = replace(context, recipe=recipe), recipe.exams
    tuned, student = comparisons(context, exam, certificates)
    mine, other = right_of(certificates["tuned"]), right_of(certificates["rl"])
    assert tuned.difference == paired_difference(mine, other).difference
    assert (tuned.first_sealed, tuned.second_sealed) == (score_interval(mine), score_interval(other))
    # both began as the base: the cold start counts on rl's side, the drawing of answers on tuned's
    assert tuned.first_flops == (own(context, "tuned") + own(context, "harvest")).flops
    assert tuned.second_flops == (own(context, "teacher") + own(context, "rl")).flops
    # both began as the teacher
    assert student.second_flops == (own(context, "on-policy") + own(context, "sampled")).flops
    sat = {name: certificate for name, certificate in certificates.items() if name != "rl"}
    assert [pair.first for pair in comparisons(context, exam, sat)] == [
        "student"
    ]  # the other pair did not sit this one


def test_the_report_holds_it_all(tiny_run: Path) -> None:
    data = data_of(tiny_run)
    assert [row["name"] for row in data["made"]][:2] == ["teacher", "sampled"]
    assert data["reinforced"][0]["name"] == "rl"
    roles = {rung["name"]: rung["role"] for rung in data["ladder"]}
    assert (roles["rl"], roles["rl-random"], roles["tuned"], roles["student"]) == (
        "reinforced", "control", "tuned", "student",
    )  # fmt: skip
    assert any("harvest" in row["origin"] for row in data["inputs"]["traces"])
    page = (tiny_run / "report.html").read_text("utf-8")
    for words in ("What learning by reward did", "Step by step", "rejection sampling"):
        assert words in page
