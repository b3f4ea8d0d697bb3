from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.step import step_of

CONFIG: dict[str, Any] = {"num_hidden_layers": 4}


def student_of(*overrides: str, **changes: Any) -> Any:
    recipe, _ = load_recipe("quickstart", overrides)
    first = {key: value for key, value in recipe.students[0].to_json().items() if key not in changes}
    made = {key: value for key, value in (first | changes).items() if value is not None}
    recipe = Recipe.model_validate({**recipe.model_dump(exclude={"students"}), "students": [made]})
    return recipe.students[0]


OWN = {"share": None, "calibration": None, "source": "tiny:1"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "forward KL to the teacher + cross-entropy"),
        ({"objective": "traces", "ce_share": None}, "cross-entropy on traces"),
        (OWN | {"objective": "across"}, "divergence of chunk likelihoods to the teacher + cross-entropy"),
    ],
)
def test_a_loss_has_a_name(changes: dict[str, Any], said: str) -> None:
    assert student_of(**changes)._loss() == said


def test_a_source_of_its_own_is_as_large_as_it_is() -> None:
    own = student_of(**OWN)
    small, base = {"num_hidden_layers": 2}, {"base": CONFIG, "teacher": CONFIG}
    assert own.config_of(base, {"tiny:1": small}) == small
    assert own.config_of(base, {}) == CONFIG  # until it is there
    assert own.config_of(base | {"tiny:1": {"num_hidden_layers": 3}}, {}) == {"num_hidden_layers": 3}


def test_students_of_one_cut_pay_for_it_once() -> None:
    recipe, _ = load_recipe("quickstart", ("students.0.repeat=2",))
    first, second = (step_of(node) for node in recipe.models)
    assert (first._is_first_cut(recipe), second._is_first_cut(recipe)) == (True, False)


def test_only_a_decoder_can_be_cut() -> None:
    assert student_of().obstacles("s", {"teacher"}) == ["s cannot be cut from teacher"]
    assert student_of(**OWN).obstacles("s", {"teacher"}) == []
