from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from spiritsafe.release import DUTY_KINDS, DutyKind, Licence, LicenceDuty

ROW = {"id": "x", "name": "X", "ids": ("x",), "address": "https://x.example", "read": "2026-11-29", "reading": "source"}


def test_each_kind_is_told_and_has_a_consequence() -> None:
    assert set(DUTY_KINDS) == set(get_args(DutyKind))
    assert all(words and effect for words, effect in DUTY_KINDS.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"reading": "copy"},
        {"read_in": "a mirror"},
        {"ids": ()},
        {"reading": "heard"},
        {"duties": ({"kind": "banner", "uses": (), "text": "Built with X"},)},
        {"duties": ({"kind": "baner", "uses": ("weights",), "text": "Built with X"},)},
        {"duties": ({"kind": "banner", "uses": ("wights",), "text": "Built with X"},)},
        {"colour": "red"},
    ],
)
def test_a_row_that_is_wrong_is_refused(wrong: dict[str, object]) -> None:
    assert Licence.model_validate(ROW).duties == ()
    with pytest.raises(ValidationError):
        Licence.model_validate({**ROW, **wrong})


def test_a_duty_names_its_uses() -> None:
    assert LicenceDuty(kind="copy", uses=("weights",), text="X").uses == ("weights",)
