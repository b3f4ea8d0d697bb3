from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.pipeline.recipe.cut import CutRecipe
from spiritsafe.pipeline.recipe.load import recipe_of


def make(**changes: Any) -> CutRecipe:
    given: dict[str, Any] = {"name": "c", "from": "t", "share": 0.5, "calibrate": ["lessons"]}
    return CutRecipe.model_validate({key: one for key, one in (given | changes).items() if one is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": None}, "give share or max_bytes"),
        ({"max_bytes": 10}, "one of the two"),
        ({"share": 1.5}, "less than or equal"),
        ({"candidates": 3}, "race"),
        ({"race_steps": 3}, "race"),
        ({"cut_kv_heads": True}, "race"),
        ({"train": {"learning_rate": 1.0}}, "train: no effect"),
        ({"repeat": 2}, "repeat: no effect"),
        ({"shape": "race", "train": {"seed": 3}}, "seed"),
        ({"calibrate": []}, "at least 1"),
        ({"calibrate": None}, "calibrate"),
    ],
)
def test_what_could_not_take_effect_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**changes)


def test_random_weights_may_be_drawn_again_and_again() -> None:
    cut = make(start="random", repeat=3)
    assert (cut.times, cut.one_of("c-2", str).repeat) == (3, 1)


def calibrated(*others: dict[str, Any], **changes: Any) -> tuple[str, ...]:
    cut = {"kind": "cut", "name": "c", "from": "base", "share": 0.5, **changes}
    recipe = recipe_of(
        {
            "name": "r",
            "models": {"base": {"source": "tiny:0"}},
            "data": {name: {"task": "arith:sums", "problems": 4} for name in ("a", "b", "d")},
            "steps": [cut, *others],
        }
    )
    (made,) = (node.recipe for node in recipe.nodes if node.entry == "c")
    assert isinstance(made, CutRecipe)
    assert made.needs.sets == made.calibrate
    return made.calibrate


def test_it_is_calibrated_on_what_those_learn_that_go_on_from_it() -> None:
    tune = {"kind": "tune", "name": "t", "from": "c", "learns": ["b", "a"]}
    more = {"kind": "distil", "name": "s", "from": "c", "teacher": "base", "learns": {"a": 3, "d": 2}}
    other = {"kind": "tune", "name": "o", "from": "base", "learns": ["d"]}
    assert calibrated(tune, other) == ("b", "a")
    assert calibrated(other, more, tune) == ("a", "d", "b")
    assert calibrated(tune, calibrate=["d"]) == ("d",)


def test_what_nothing_goes_on_from_must_say_on_what() -> None:
    with pytest.raises(ValueError, match=r"'steps\.0\.calibrate' is missing"):
        calibrated({"kind": "tune", "name": "o", "from": "base", "learns": ["d"]})
