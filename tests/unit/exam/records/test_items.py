from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.records.items import PaperItems, UsedSitting
from spiritsafe.stats.irt.model import Ability, ItemBank
from spiritsafe.stats.irt.saturation import watch_saturation

BANK = ItemBank(names=("0", "1"), difficulties=(0.0, 1.0), discriminations=(1.0, 1.0), model="rasch", num_sittings=2)


def items(**changed: Any) -> dict[str, Any]:
    sittings = tuple(
        UsedSitting(
            certificate="sha256:" + digit * 64,
            registration="sha256:" + digit * 64,
            model_name=digit,
            model_digest=digit,
            num_asked=2,
            ability=Ability(value=0.0, standard_error=1.0),
        )
        for digit in "ab"
    )
    good = PaperItems(
        paper_id="sha256:" + "0" * 64,
        bank=BANK,
        times_asked=(2, 2),
        sittings=sittings,
        saturation=watch_saturation(BANK, [[1, 0], [1, 1]]),
        checked="paper",
    )
    return {**good.to_json(), **changed}


def test_a_record_reads_back() -> None:
    assert PaperItems.from_json(items()).to_json() == items()


@pytest.mark.parametrize(
    "changed",
    [
        {"times_asked": (2,)},
        {"bank": {**BANK.to_json(), "names": ("0", "2")}},
        {"bank": {**BANK.to_json(), "num_sittings": 3}},
        {"sittings": items()["sittings"][:1]},
        {"checked": "nothing"},
    ],
)
def test_what_does_not_fit_together_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        PaperItems.from_json(items(**changed))
