from __future__ import annotations

import pytest
from exam_parts import ToyModel, make_stage

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.exam import compare
from spiritsafe.exam.results.scores import right_answers
from spiritsafe.stats.paired import paired_difference


def test_a_better_model_is_better_on_both_halves_and_did_not_study(tmp_path):
    stage = make_stage(tmp_path, count=120)
    base = stage.certificate(ToyModel(skill=0.3, name="base"), name="base")
    student = stage.certificate(ToyModel(skill=0.8, name="student"), name="student")
    found = compare(student, base)
    assert (found.first, found.second) == ("student", "base")
    expected = paired_difference(
        right_answers(student.result.outcomes, "sealed"), right_answers(base.result.outcomes, "sealed")
    )
    assert found.sealed == expected
    assert found.sealed.difference.low > 0.2
    assert found.sealed.p_value < 1e-6
    total = found.sealed.difference.value + found.studying.gap.value
    assert found.public.difference.value == pytest.approx(total)
    assert found.studying.p_value > 0.05
    assert "Cannot rule out" in found.statement
    assert compare(base, student).sealed.difference.value == pytest.approx(-found.sealed.difference.value)


def test_studying_is_told_from_learning(tmp_path):
    stage = make_stage(tmp_path, count=120)
    base = stage.certificate(ToyModel(skill=0.3, name="base"), name="base")
    crammer = ToyModel(skill=0.35, name="crammer", studied=stage.public_ids())
    certificate = stage.certificate(crammer, name="crammer")
    found = compare(certificate, base)
    assert certificate.result.gap_statement.startswith("A sign of studying")
    assert found.statement.startswith("A sign of studying")
    assert found.studying.gap.low > 0.3
    assert found.sealed.difference.low < 0.1 < found.public.difference.low


def test_tries_are_paired_by_problem(tmp_path):
    stage = make_stage(tmp_path, count=40)
    first = stage.certificate(ToyModel(name="a"), num_tries=3, name="a")
    second = stage.certificate(ToyModel(name="b"), num_tries=3, name="b")
    found = compare(first, second)
    assert found.sealed.difference.n == 60
    assert "by cluster" in found.sealed.test


def test_what_cannot_be_compared_is_refused(stage, tmp_path):
    one = stage.certificate(ToyModel(), name="one")
    other_paper = make_stage(tmp_path / "other").certificate(ToyModel())
    with pytest.raises(CompatibilityError, match="different papers"):
        compare(one, other_paper)
    with pytest.raises(CompatibilityError, match="tries"):
        compare(one, stage.certificate(ToyModel(), num_tries=2, name="two"))
