from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_parts import context_after, recipe_with
from places import ROOT
from stranger_parts import IMPOSSIBLE
from told_certificates import certificates_of as told
from told_certificates import right_of

from spiritsafe.exam import load_certificate
from spiritsafe.exam.records.paper import Stratum
from spiritsafe.pipeline.recipe.schema import ExamRecipe
from spiritsafe.pipeline.summary.exams import certificates_of, exam_part, exam_score, seeds_together, speed_of
from spiritsafe.stats import gain_kept, paired_difference, score_interval


def test_scores_are_held_against_the_root_the_start_and_the_teacher(tiny_run: Path, tmp_path: Path) -> None:
    recipe, issued = context_after(tiny_run, tmp_path).recipe, told(tiny_run)
    right = {name: right_of(certificate) for name, certificate in issued.items()}
    for name, start, kept_of in (
        ("base", None, None),
        ("teacher", "base", None),
        ("rl-random", "teacher", None),
        ("tuned", "base", None),
        ("student", None, "teacher"),  # it goes on from a cut, which did not sit
        ("on-policy", "teacher", "teacher"),
    ):
        score = exam_score(recipe, recipe.node(name), issued)
        assert score.sealed == issued[name].result.sealed.accuracy
        root = None if name == "base" else "base"
        assert score.against == root
        changed = None if root is None else paired_difference(right[name], right[root]).difference
        gained = None if start is None else paired_difference(right[name], right[start]).difference
        assert (score.change, score.gain) == (changed, gained), name
        kept = kept_of and gain_kept(right[name], right[kept_of], right["base"], confidence=0.95)
        assert score.gain_kept == kept, name
        assert score.public is not None
        assert (score.public.gain_statement is None) == (root is None)


def test_an_exam_over_several_tasks_has_scores_part_by_part(tiny_run: Path, tmp_path: Path) -> None:
    recipe, issued = context_after(tiny_run, tmp_path).recipe, told(tiny_run)
    mine = issued["teacher"]
    node, header = recipe.node("teacher"), mine.paper
    assert exam_score(recipe, node, {"teacher": mine}).parts == ()
    sizes = {"arith:sums": 7, "arith:products": header.num_problems - 7}
    strata = tuple(Stratum(name=name, task=name, num_problems=size, num_public=0) for name, size in sizes.items())
    mixed = mine.model_copy(update={"paper": header.model_copy(update={"strata": strata})})
    first, second = exam_score(recipe, node, {"teacher": mixed}).parts
    sealed = {o.index: int(o.status == "correct") for o in mine.result.outcomes if o.half == "sealed"}
    assert first.part == "arith:sums"
    assert first.sealed == score_interval([sealed[place] for place in sorted(sealed) if place < 7])
    assert second.sealed == score_interval([sealed[place] for place in sorted(sealed) if place >= 7])


def test_seeds_of_a_step_are_added_up_and_need_all_of_them(tiny_run: Path, tmp_path: Path) -> None:
    issued = told(tiny_run)
    recipe = recipe_with(tuned={"repeat": 2}, student={"repeat": 2})
    (exam,) = recipe.exams
    sat = {"base": issued["base"], "tuned-1": issued["tuned"], "tuned-2": issued["rl"], "student-1": issued["student"]}
    (group,) = seeds_together(recipe, exam, sat)  # one of the students did not sit
    mine = [sum(counts) for counts in zip(right_of(issued["tuned"]), right_of(issued["rl"]), strict=True)]
    base = [2 * count for count in right_of(issued["base"])]
    assert (group.step, group.models, group.against) == ("tuned", ("tuned-1", "tuned-2"), "base")
    assert group.sealed == score_interval(mine, trials=2)
    assert group.change == paired_difference(mine, base, trials=2).difference
    assert seeds_together(recipe, exam, {name: one for name, one in sat.items() if name != "base"}) == ()


def test_without_the_root_no_change_is_stated(tiny_run: Path, tmp_path: Path) -> None:
    recipe, issued = context_after(tiny_run, tmp_path).recipe, told(tiny_run)
    some = {name: issued[name] for name in ("teacher", "on-policy")}
    score = exam_score(recipe, recipe.node("on-policy"), some)
    assert (score.change, score.against, score.gain_kept) == (None, None, None)
    assert score.gain is not None
    assert score.sealed == some["on-policy"].result.sealed.accuracy


def test_a_part_holds_its_paper_and_how_it_is_checked(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    context.run.path = tiny_run
    (exam,) = context.recipe.exams
    part = exam_part(context, exam, certificates_of(context, exam))
    assert (part.name, part.num_sealed, part.num_public) == ("exam", 6, 6)
    assert part.task.startswith("arith:sums")
    assert len(part.outcomes) == 2 * len(part.scores)
    assert part.verification is not None
    for reference in part.verification.certificates:
        assert load_certificate(tiny_run / reference.path).content_digest == reference.digest
    nobody = exam_part(context, exam, {})
    assert (nobody.scores, nobody.verification, nobody.paper) == ((), None, part.paper)


def test_an_exam_of_another_name_has_stages_of_its_own() -> None:
    exam = ExamRecipe(name="maths", task="arith:sums", problems=4)
    assert (exam.seal_stage, exam.stage) == ("seal-maths", "exam-maths")


@pytest.mark.parametrize("started", [*IMPOSSIBLE, "2999-01-01T00:00:00.000Z"])
def test_a_sitting_that_began_by_a_wrong_clock_has_nospeed_of(started: str) -> None:
    folder = ROOT / "experiments" / "contamination"
    result = load_certificate(folder / "base.certificate.json").result
    assert speed_of(result) is not None
    assert speed_of(result.model_copy(update={"started": started})) is None
